"""Codec of channels without a data format."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.message import Message
from zatotx.pipeline.codecs.base_codec import UNLIMITED
from zatotx.pipeline.codecs.json import JsonCodec
from zatotx.rules.limits.concurrency_limit import DEFAULT_BUDGET, MessageLimits


@implementer(ICodec)
class RawCodec(JsonCodec):
    """The payload is the body's bytes, unchanged. Text responses are sent as plain text (feature map 3.6); responses
    that are neither text nor bytes, and errors, as JSON."""

    text_type = b'text/plain; charset=utf-8'

    def __init__(self, budget: MessageLimits = DEFAULT_BUDGET) -> None:
        super().__init__(budget)
        self.check_threshold = UNLIMITED

    def estimate_memory(self, body: bytes) -> int:
        return 0

    def decode(self, message: Message) -> object:
        return message.body
