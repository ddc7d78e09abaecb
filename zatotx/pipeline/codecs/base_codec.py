"""Base class of codecs whose replies contain a value or an error in one format, without an envelope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from zatotx.model.errors import ServiceError
from zatotx.model.message import Message, Reply, ServiceResult

UNLIMITED = 1 << 62  # bytes
_ZATO_OK = 'ZATO_OK'
_BYTES = b'application/octet-stream'
_BODY_METHODS = frozenset({'POST', 'PUT', 'PATCH'})


class BaseCodec:
    """Implements the encoding half of ICodec; subclasses encode a single value and a single error."""

    content_type: ClassVar[bytes]
    text_type: ClassVar[bytes] = b''  # content type of text responses; b'' = content_type
    bytes_type: ClassVar[bytes] = _BYTES  # content type of bytes responses
    check_threshold: int = UNLIMITED
    thread_threshold: int = UNLIMITED
    reads_stream: bool = False

    def check_size(self, body: bytes) -> None:
        """See ICodec. No body exceeds the limits by default."""

    def estimate_memory(self, body: bytes) -> int:
        """See ICodec. The payload is the body itself."""
        return 0

    def encode_value(self, value: object) -> bytes:
        """Return the body of a response. Raises TypeError if the value cannot be represented in this format."""
        raise NotImplementedError

    def encode_error_body(self, cid: str, status: int, details: str) -> bytes:
        """Return the body of an error response in Zato's form for this format."""
        raise NotImplementedError

    def encode(self, result: ServiceResult, message: Message) -> Reply:
        """Encode the outcome of a service. Text and bytes are sent unchanged; other values are encoded in this format,
        inside the element that the service declares. Raises TypeError if the value cannot be represented, ValueError
        for an illegal header."""
        headers = encode_headers(result.headers) if result.headers else ()
        content_type = result.content_type.encode('latin-1') if result.content_type else b''
        if result.stream is not None:
            return Reply(result.status, b'', content_type or _BYTES, headers, stream=result.stream)
        value = result.value
        if not result.element and type(value) in (bytes, str):
            body = value if type(value) is bytes else value.encode('utf-8')
            default_type = (self.text_type or self.content_type) if type(value) is str else self.bytes_type
        else:
            body = self.encode_value(wrap_in_envelope(result, message.cid) if result.element else value)
            default_type = self.content_type
        return Reply(result.status, body, content_type or default_type, headers)

    def encode_error(self, error: ServiceError, details: str, message: Message) -> Reply:
        """See ICodec."""
        return Reply(
            error.status, self.encode_error_body(message.cid, error.status, details), self.content_type, error.headers
        )


def has_own_body(message: Message) -> bool:
    """Return whether the message must have a body: its method allows one, and the URL carries no input instead."""
    http = message.http
    if http is None or message.channel.is_builtin_endpoint:
        return False
    return http.method in _BODY_METHODS and not http.query and not http.params


def wrap_in_envelope(outcome: ServiceResult, cid: str) -> dict[str, Any]:
    """Wrap the value in its response element; for zato.* services, with `zato_env` next to it (Zato's wire form)."""
    if not outcome.internal:
        return {outcome.element: outcome.value}
    return {'zato_env': {'result': _ZATO_OK, 'cid': cid, 'details': ''}, outcome.element: outcome.value}


def encode_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Encode header fields set by a service for the wire."""
    return [(name.encode('ascii'), str(value).encode('utf-8')) for name, value in headers.items()]
