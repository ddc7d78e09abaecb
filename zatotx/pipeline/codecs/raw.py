"""No data format."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.message import Message
from zatotx.pipeline.codecs.base import ANY
from zatotx.pipeline.codecs.json import JsonCodec
from zatotx.rules.limits.limits import USUAL, MessageBudget


@implementer(ICodec)
class RawCodec(JsonCodec):
    """No data format: the body is the payload, bytes as they came. Texts go out as such (feature map 3.6), answers that
    are neither text nor bytes, and errors, as JSON."""

    text_type = b'text/plain; charset=utf-8'

    def __init__(self, budget: MessageBudget = USUAL) -> None:
        super().__init__(budget)
        self.weightless = ANY

    def footprint(self, body: bytes) -> int:
        return 0

    def decode(self, inbound: Message) -> object:
        return inbound.body
