"""What the codecs share whose answers are plain bodies: a value or an error in one format, nothing around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from zatotx.model.errors import ServiceError
from zatotx.model.message import Message, Outcome, Reply

ANY = 1 << 62  # bytes
_ZATO_OK = 'ZATO_OK'
_BYTES = b'application/octet-stream'
_BODY_METHODS = frozenset({'POST', 'PUT', 'PATCH'})


class BaseCodec:
    """An ICodec but for reading: subclasses say how one value and one error are written."""

    content_type: ClassVar[bytes]
    text_type: ClassVar[bytes] = b''  # what a text is that a service answers with; b'' = the format's content type
    bytes_type: ClassVar[bytes] = _BYTES  # what bytes are that a service answers with
    weightless: int = ANY
    threaded: int = ANY
    piecewise: bool = False

    def weigh(self, body: bytes) -> None:
        """See ICodec: nothing here is too much."""

    def footprint(self, body: bytes) -> int:
        """See ICodec: the payload is the body."""
        return 0

    def encode(self, value: object) -> bytes:
        """The body of an answer. Raises TypeError where the value has no form in this format."""
        raise NotImplementedError

    def fault(self, cid: str, status: int, details: str) -> bytes:
        """The body of an error answer in Zato's form for this format."""
        raise NotImplementedError

    def answer(self, outcome: Outcome, inbound: Message) -> Reply:
        """Text and bytes go out unchanged, anything else as this format writes it, inside the element the service
        declared. Raises TypeError where the value has no form in the format, ValueError for an illegal header."""
        headers = fields(outcome.headers) if outcome.headers else ()
        content_type = outcome.content_type.encode('latin-1') if outcome.content_type else b''
        if outcome.stream is not None:
            return Reply(outcome.status, b'', content_type or _BYTES, headers, stream=outcome.stream)
        value = outcome.value
        if not outcome.element and type(value) in (bytes, str):
            body = value if type(value) is bytes else value.encode('utf-8')
            written = (self.text_type or self.content_type) if type(value) is str else self.bytes_type
        else:
            body = self.encode(wrap_in_envelope(outcome, inbound.cid) if outcome.element else value)
            written = self.content_type
        return Reply(outcome.status, body, content_type or written, headers)

    def refuse(self, fault: ServiceError, details: str, inbound: Message) -> Reply:
        """See ICodec."""
        return Reply(fault.status, self.fault(inbound.cid, fault.status, details), self.content_type, fault.headers)


def has_own_body(inbound: Message) -> bool:
    """Whether a body must be there: the method has one, and the URL carries no input in its stead."""
    http = inbound.http
    if http is None or inbound.channel.door:
        return False
    return http.method in _BODY_METHODS and not http.query and not http.params


def wrap_in_envelope(outcome: Outcome, cid: str) -> dict[str, Any]:
    """The value inside its response element; for zato.* services with `zato_env` beside it (Zato's wire form)."""
    if not outcome.internal:
        return {outcome.element: outcome.value}
    return {'zato_env': {'result': _ZATO_OK, 'cid': cid, 'details': ''}, outcome.element: outcome.value}


def fields(given: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Header fields as a service set them, for the wire."""
    return [(name.encode('ascii'), str(value).encode('utf-8')) for name, value in given.items()]
