"""Size limits of HTTP/1 messages, and the exception for rejected messages."""

from __future__ import annotations

import msgspec


class HttpParserLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one message, in bytes unless noted otherwise. A message that exceeds a limit is rejected with the
    status given for the limit."""

    head: int = 32_768  # request line and fields including line ends: 431
    fields: int = 100  # number of fields in a head or trailer section: 431
    field: int = 8_190  # one field line including its end: 431
    target: int = 8_192  # 414
    body: int = 20 * 1024 * 1024  # 413; checked by Content-Length, or while chunks arrive
    chunk_extensions: int = 4_096  # total of all extensions of one body: 400
    trailers: int = 8_192  # the trailer section including line ends: 431


class HttpMessageRejected(Exception):  # noqa: N818 - named for the condition
    """Raised for an invalid message. The server should send one response with `status` and close the connection.

    `is_framing_error`: sender and recipient may disagree on where messages end, so nothing after this message can be
    trusted; False if the message was understood and merely exceeds a limit. `request_line`: the line as sent, for the
    access log, or b'' if it was incomplete.
    """

    def __init__(
        self, status: int, reason: str, *, is_framing_error: bool | None = None, request_line: bytes = b''
    ) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.is_framing_error = status == 400 if is_framing_error is None else is_framing_error
        self.request_line = request_line

    def __str__(self) -> str:
        return f'{self.status}: {self.reason}'
