"""Encodes server-sent events (WHATWG HTML, "text/event-stream"). No I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from zatotx.wire import json_codec

CONTENT_TYPE = 'text/event-stream; charset=utf-8'
KEEP_ALIVE_COMMENT = b': keep-alive\n\n'  # a comment: clients ignore it, but proxies and sockets see traffic


class Event(msgspec.Struct, frozen=True):
    """A server-sent event. `data` is sent unchanged if it is text, and encoded as JSON otherwise; None sends no data.
    `id` is the value that the client sends as Last-Event-ID when it reconnects, and `retry` is the number of
    milliseconds until it reconnects. Raises ValueError if `event` or `id` has several lines."""

    data: Any = None
    event: str = ''
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        for name, text in (('event', self.event), ('id', self.id or '')):
            if '\n' in text or '\r' in text or '\0' in text:
                raise ValueError(f'The {name} of a server-sent event must be one line without NUL')


def encode_event(event: Any) -> bytes:
    """Encode an Event, or the data of an event. Raises TypeError for data that JSON cannot represent."""
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
        # Normalize all line endings of the format, so that text cannot inject fields.
        text = _data_text(event.data).replace('\r\n', '\n').replace('\r', '\n')
        lines.extend(f'data: {line}' for line in text.split('\n'))
    return ('\n'.join(lines) + '\n\n').encode('utf-8')


def _data_text(data: Any) -> str:
    if isinstance(data, str):
        return data
    return (data if isinstance(data, bytes) else json_codec.encode(data)).decode('utf-8')
