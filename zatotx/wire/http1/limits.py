"""How much HTTP/1 is read, and how it is refused."""

from __future__ import annotations

import msgspec


class ParserLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one message, in bytes unless said otherwise. What goes over is refused with a status of its own."""

    head: int = 32_768  # request line and fields with their ends: 431
    fields: int = 100  # number of fields in a head, and in a trailer section: 431
    field: int = 8_190  # one field line with its end: 431
    target: int = 8_192  # 414
    body: int = 20 * 1024 * 1024  # 413, by Content-Length at once, by chunks as they come
    chunk_extensions: int = 4_096  # all extensions of one body together: 400
    trailers: int = 8_192  # the trailer section with its line ends: 431


class MessageRejected(Exception):  # noqa: N818 - what happened, not an error of ours
    """A message that is not taken. The connection is to be answered once with `status` and closed.

    `framing` says that the sender and we may disagree on where messages end, so nothing after it can be believed; it
    is False where the message was understood and merely goes over a limit. `request_line` is the line as sent, for the
    access log, or b'' where there was no whole line.
    """

    def __init__(self, status: int, reason: str, *, framing: bool | None = None, request_line: bytes = b'') -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.framing = status == 400 if framing is None else framing
        self.request_line = request_line

    def __str__(self) -> str:
        return f'{self.status}: {self.reason}'
