"""What ResponseParser makes of bytes, as values that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from zatotx.wire.http1.response_parser import (
    RESPONSE_LIMITS,
    EndOfBody,
    HttpMessageRejected,
    HttpParserLimits,
    ResponseHead,
    ResponseParser,
)


class Reading(msgspec.Struct, frozen=True):
    """All that came out of one connection. `ends`: for each final answer its End, None for one that is not whole, whose
    body is not compared."""

    heads: tuple[ResponseHead, ...]
    bodies: tuple[bytes, ...]
    ends: tuple[EndOfBody | None, ...]
    status: int = 0  # 0 = nothing was refused
    reason: str = ''

    @property
    def verdict(self) -> tuple[object, ...]:
        """What must not depend on how bytes are split; the wording of a reason may."""
        return self.heads, self.bodies, self.ends, self.status


def reading(
    pieces: Iterable[bytes],
    methods: Sequence[str] = ('GET',),
    limits: HttpParserLimits = RESPONSE_LIMITS,
    *,
    eof: bool = True,
) -> Reading:
    """Feed the pieces one by one, taking all events after each, then say that no more comes. One request of each method
    is expected to be answered, each when the one before is."""
    parser = ResponseParser(limits)
    events: list[ResponseHead | bytes | EndOfBody] = []
    waiting = list(methods)
    parser.expect_response(waiting.pop(0))
    status, reason = 0, ''
    try:
        for piece in pieces:
            parser.feed(piece)
            while (event := parser.next()) is not None:
                events.append(event)
                if isinstance(event, EndOfBody) and waiting:
                    parser.expect_response(waiting.pop(0))
        if eof and (end := parser.feed_eof()) is not None:
            events.append(end)
    except HttpMessageRejected as refused:
        status, reason = refused.status, refused.reason
    return _reading(events, status, reason)


def _reading(events: Sequence[ResponseHead | bytes | EndOfBody], status: int, reason: str) -> Reading:
    heads: list[ResponseHead] = []
    bodies: list[bytes] = []
    ends: list[EndOfBody | None] = []
    pieces: list[bytes] = []
    for event in events:
        if isinstance(event, ResponseHead):
            heads.append(event)
            if event.status >= 200:
                pieces = []
                ends.append(None)
                bodies.append(b'')
        elif isinstance(event, EndOfBody):
            ends[-1] = event
            bodies[-1] = b''.join(pieces)
        else:
            pieces.append(event)
    return Reading(tuple(heads), tuple(bodies), tuple(ends), status, reason)
