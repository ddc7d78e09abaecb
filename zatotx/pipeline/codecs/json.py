"""Codec of JSON (RFC 8259)."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import BadRequest
from zatotx.model.message import Message
from zatotx.pipeline.codecs.base_codec import BaseCodec, has_own_body
from zatotx.rules.limits.concurrency_limit import DEFAULT_BUDGET, MessageLimits
from zatotx.wire.json import codec
from zatotx.wire.json.limits import estimate_memory, exceeds_depth, has_more_keys

CHECK_THRESHOLD = 16 * 1024  # bytes


@implementer(ICodec)
class JsonCodec(BaseCodec):
    """Decodes and encodes JSON (RFC 8259)."""

    content_type = b'application/json'

    def __init__(self, budget: MessageLimits = DEFAULT_BUDGET) -> None:
        self._budget = budget
        self._depth = budget.json_depth
        self.check_threshold = min(budget.json_keys, CHECK_THRESHOLD)

    def check_size(self, body: bytes) -> None:
        if has_more_keys(body, self._budget.json_keys):
            raise BadRequest(None, f'The JSON has more than {self._budget.json_keys} keys and elements, the limit')

    def estimate_memory(self, body: bytes) -> int:
        return estimate_memory(body)

    def decode(self, message: Message) -> object:
        """Return the value of the body, or None if the message has none. Raises BadRequest for malformed JSON and for
        values nested too deeply. An empty body is malformed unless the method has no body or the URL carries the
        input."""
        body = message.body
        if not body:
            if has_own_body(message):
                raise BadRequest(message.cid, 'Malformed JSON: the body is empty')
            return None
        assert isinstance(body, bytes)  # the pipeline has read spooled bodies into memory
        try:
            value = codec.decode(body)
        except codec.Malformed as error:
            raise BadRequest(message.cid, f'Malformed JSON: {error}') from None
        if len(body) > self._depth and exceeds_depth(body, value, self._depth):
            raise BadRequest(message.cid, f'The JSON is nested more than {self._depth} deep, the limit')
        return value

    def encode_value(self, value: object) -> bytes:
        return codec.encode(value)

    def encode_error_body(self, cid: str, status: int, details: str) -> bytes:
        return codec.encode({'zato_env': {'result': 'ZATO_ERROR', 'cid': cid, 'details': details}})
