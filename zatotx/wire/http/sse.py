"""Server-sent events (WHATWG HTML, "text/event-stream"): events as bytes. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from zatotx.wire.json import codec

CONTENT_TYPE = 'text/event-stream; charset=utf-8'
KEEP_ALIVE = b': keep-alive\n\n'  # a comment: readers skip it, proxies and sockets see life


class Event(msgspec.Struct, frozen=True):
    """One event. `data`: text as it is, None for none, anything else as JSON. `id` comes back as Last-Event-ID when the
    client connects anew; `retry`: milliseconds until it does. Raises ValueError for an `event` or `id` of more than one
    line."""

    data: Any = None
    event: str = ''
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        for name, text in (('event', self.event), ('id', self.id or '')):
            if '\n' in text or '\r' in text or '\0' in text:
                raise ValueError(f'The {name} of a server-sent event must be one line without NUL')


def encode_event(event: Any) -> bytes:
    """An Event, or the data of one, as it goes out. Raises TypeError for data that JSON cannot say."""
    if not isinstance(event, Event):
        event = Event(event)
    lines = []
    if event.event:
        lines.append(f'event: {event.event}')
    if event.id is not None:
        lines.append(f'id: {event.id}')
    if event.retry is not None:
        lines.append(f'retry: {event.retry}')
    if event.data is not None:
        # Every end of a line that the format knows, so that no text can begin a field of its own.
        text = _text(event.data).replace('\r\n', '\n').replace('\r', '\n')
        lines.extend(f'data: {line}' for line in text.split('\n'))
    return ('\n'.join(lines) + '\n\n').encode('utf-8')


def _text(data: Any) -> str:
    if isinstance(data, str):
        return data
    return (data if isinstance(data, bytes) else codec.encode(data)).decode('utf-8')
