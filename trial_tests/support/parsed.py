"""What RequestParser makes of bytes, as values that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from zatotx.wire.http1.request_parser import (
    EndOfBody,
    HttpMessageRejected,
    HttpParserLimits,
    RequestHead,
    RequestParser,
)


class Message(msgspec.Struct, frozen=True):
    """A request that came whole, or the head of one that did not (`end` None; its body is not compared: how much of it
    came before the fault depends on how it was sent)."""

    head: RequestHead
    body: bytes
    end: EndOfBody | None


class Outcome(msgspec.Struct, frozen=True):
    """All that came out of one connection. `status` 0 = nothing was refused."""

    messages: tuple[Message, ...]
    status: int
    framing: bool
    reason: str = ''

    @property
    def verdict(self) -> tuple[object, ...]:
        """What must not depend on how bytes are split; the wording of a reason may."""
        return self.messages, self.status, self.framing


def outcome(pieces: Iterable[bytes], limits: HttpParserLimits | None = None, *, eof: bool = True) -> Outcome:
    """Feed the pieces one by one, taking all events after each, then say that no more comes."""
    parser = RequestParser(limits or HttpParserLimits())
    events: list[RequestHead | bytes | EndOfBody] = []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (event := parser.next()) is not None:
                events.append(event)
        if eof:
            parser.feed_eof()
    except HttpMessageRejected as refused:
        return Outcome(_messages(events), refused.status, refused.is_framing_error, refused.reason)
    return Outcome(_messages(events), 0, False)


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def _messages(events: Sequence[RequestHead | bytes | EndOfBody]) -> tuple[Message, ...]:
    messages: list[Message] = []
    body: list[bytes] = []
    for event in events:
        if isinstance(event, RequestHead):
            messages.append(Message(event, b'', None))
            body = []
        elif isinstance(event, EndOfBody):
            messages[-1] = Message(messages[-1].head, b''.join(body), event)
        else:
            body.append(event)
    return tuple(messages)
