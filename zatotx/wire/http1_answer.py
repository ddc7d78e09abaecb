"""HTTP/1.0 and 1.1 answers: bytes in, events out (RFC 9110, RFC 9112). No I/O, no Twisted."""

from __future__ import annotations

import msgspec


class AnswerHead(msgspec.Struct, gc=False, frozen=True):
    """An answer without its body. Answers with the same head may share one: read it, change nothing in it."""

    status: int
    reason: bytes
    version: tuple[int, int]  # (1, 1) or (1, 0)
    headers: dict[bytes, bytes]  # by lower-case name; repeated ones joined by ', ', of Set-Cookie the first
    raw_headers: list[tuple[bytes, bytes]]  # as sent, in order
    length: int | None  # of the body in bytes; 0 = none; None = in chunks, or until the connection ends
    chunked: bool
    keep_alive: bool
