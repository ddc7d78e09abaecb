"""Validates the properties and headers of AMQP messages that services send, and converts the properties and headers of
received messages.

A service sees what belongs to a message as header fields, `self.request.headers`: the message's own headers, and its
properties and where it comes from under the names in `PROPERTY_NAMES`. Names are told apart without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol

import msgspec

MessageFields = dict[str, Any]  # the properties of one message by AMQP's names, with the headers among them

# AMQP's names -> names of header fields.
PROPERTY_NAMES = {
    'content_type': b'content-type', 'content_encoding': b'content-encoding', 'correlation_id': b'correlation-id',
    'reply_to': b'reply-to', 'message_id': b'message-id', 'expiration': b'expiration', 'type': b'type',
    'user_id': b'user-id', 'app_id': b'app-id', 'priority': b'priority', 'delivery_mode': b'delivery-mode',
    'timestamp': b'timestamp',
}  # fmt: skip
_ATTRIBUTES = {field: name for name, field in PROPERTY_NAMES.items()}
EXCHANGE, ROUTING_KEY, REDELIVERED = b'x-amqp-exchange', b'x-amqp-routing-key', b'x-amqp-redelivered'
DELIVERY_COUNT = 'x-delivery-count'  # of quorum queues: how often the message was delivered before
STATUS_HEADER, CID_HEADER = 'X-Zato-Status', 'X-Zato-CID'
COMPONENT_HEADER, TIME_HEADER, TRACE_HEADER = 'X-Zato-Component', 'X-Zato-Msg-TS', 'traceparent'

_TEXTS = frozenset(('content_type', 'content_encoding', 'correlation_id', 'reply_to', 'expiration', 'message_id',
                    'type', 'user_id', 'app_id'))  # fmt: skip
_NUMBERS = {'delivery_mode': (1, 2), 'priority': (0, 255), 'timestamp': (0, 2**63 - 1)}
_MAX_TEXT = 255  # bytes of a short string
_MAX_DEPTH = 20  # of nested headers


class ReceivedProperties(Protocol):
    """The interface of a received message's properties, as pika provides them."""

    headers: Mapping[str, Any] | None
    message_id: str | None
    content_encoding: str | None


class InvalidProperties(ValueError):  # noqa: N818 - what it is
    """Properties or headers that cannot be sent. The message lists all errors."""


def merge_fields(
    defaults: Mapping[str, Any], properties: Mapping[str, Any] | None, headers: Mapping[str, Any] | None
) -> MessageFields:
    """Return the properties of a message. The properties of the connection are overridden by `properties`, which may
    also contain the key `headers`. The value None removes a property. Raises InvalidProperties."""
    if not properties and not headers:
        return {**defaults, 'headers': {}}
    given = dict(properties or {})
    merged_headers = {**_headers_in(given.pop('headers', None)), **_headers_in(headers)}
    fields = {name: value for name, value in {**defaults, **given}.items() if value is not None}
    errors = [*_property_errors(fields), *_header_errors(merged_headers)]
    if errors:
        raise InvalidProperties('; '.join(errors))
    if isinstance(fields.get('expiration'), int):
        fields['expiration'] = str(fields['expiration'])
    if isinstance(fields.get('timestamp'), datetime):
        fields['timestamp'] = int(fields['timestamp'].timestamp())
    fields['headers'] = merged_headers
    return fields


def _headers_in(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidProperties(f'headers: expected a mapping, got {type(value).__name__}')
    return value


def _property_errors(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        if name == 'expiration' and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if name == 'timestamp' and isinstance(value, datetime):
            continue
        if name in _TEXTS:
            yield from _text_errors(name, value)
        elif name in _NUMBERS:
            low, high = _NUMBERS[name]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                yield f'{name}: expected a number from {low} to {high}, got {value!r}'
        else:
            yield f'{name}: AMQP has no such property (known: {", ".join((*PROPERTY_NAMES, "headers"))})'


def _text_errors(name: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str):
        yield f'{name}: expected text, got {type(value).__name__}'
    elif len(value.encode('utf-8', 'surrogatepass')) > _MAX_TEXT:
        yield f'{name}: has more than {_MAX_TEXT} bytes'
    elif name == 'expiration' and not (value.isascii() and value.isdigit()):
        yield f'expiration: expected milliseconds, got {value!r}'


def _header_errors(headers: Mapping[Any, Any]) -> Iterator[str]:
    for name, value in headers.items():
        if not isinstance(name, str) or len(name.encode('utf-8', 'surrogatepass')) > _MAX_TEXT:
            yield f'headers: {name!r} is not a name of at most {_MAX_TEXT} bytes'
            continue
        if name.upper() in ('CC', 'BCC') and not _is_list_of_text(value):
            yield f'headers.{name}: expected a list of routing keys'
        elif problem := _value_error(value, 0):
            yield f'headers.{name}: {problem}'


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _value_error(value: Any, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return f'is nested more than {_MAX_DEPTH} levels deep'
    if isinstance(value, bool | float | Decimal | datetime | bytes | str | None):
        return ''
    if isinstance(value, int):
        return '' if -(2**63) <= value < 2**63 else 'has more than 64 bits'
    if isinstance(value, list):
        return next((problem for item in value if (problem := _value_error(item, depth + 1))), '')
    if isinstance(value, Mapping):
        return next(_header_errors(value), '')
    return f'{type(value).__name__} cannot be sent'


class MessageHeaders(Mapping[bytes, bytes]):
    """The headers of a received AMQP message as a mapping. A header is converted when it is accessed. Names are in
    lower case."""

    __slots__ = ('_delivery', '_fields', '_properties')

    def __init__(self, properties: Any, exchange: str, routing_key: str, redelivered: bool) -> None:
        self._properties = properties
        self._delivery = exchange, routing_key, redelivered
        self._fields: dict[bytes, bytes] | None = None

    def __getitem__(self, name: bytes) -> bytes:
        if self._fields is None:
            attribute = _ATTRIBUTES.get(name)
            if attribute is not None:  # without the cost of all others
                value = getattr(self._properties, attribute)
                if value is not None:
                    return value_to_bytes(value)
                if not self._properties.headers:
                    raise KeyError(name)
        return self._all()[name]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[bytes, bytes]:
        if self._fields is None:
            exchange, routing_key, redelivered = self._delivery
            headers = self._properties.headers or {}
            fields = {_encode(name.lower()): value_to_bytes(value) for name, value in headers.items()}
            for name, field in PROPERTY_NAMES.items():
                value = getattr(self._properties, name)
                if value is not None:
                    fields[field] = value_to_bytes(value)
            fields[EXCHANGE], fields[ROUTING_KEY] = _encode(exchange), _encode(routing_key)
            fields[REDELIVERED] = b'true' if redelivered else b'false'
            self._fields = fields
        return self._fields


def value_to_bytes(value: Any) -> bytes:
    """Convert the value of a header to bytes. Bytes are returned unchanged, text is encoded, and other values are
    converted to JSON."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return _encode(value)
    if isinstance(value, datetime) and value.tzinfo is None:  # AMQP's times are in UTC
        value = value.replace(tzinfo=UTC)
    return msgspec.json.encode(value, enc_hook=str).strip(b'"')


def header_text(properties: ReceivedProperties, name: str) -> str:
    """Return a header of a received message as text, or '' if the message lacks the header. `name` is either in lower
    case or spelled as in the message."""
    headers = properties.headers
    if not headers:
        return ''
    value = headers.get(name)
    if value is None:
        value = headers.get(name.lower())
    return '' if value is None else value_to_bytes(value).decode('utf-8', 'replace')


def delivery_count(properties: ReceivedProperties) -> int:
    """Return how many times a quorum queue has already delivered the message, or 0 for other queues."""
    count = (properties.headers or {}).get(DELIVERY_COUNT, 0)
    return count if isinstance(count, int) else 0


def _encode(text: str) -> bytes:
    return text.encode('utf-8', 'surrogateescape')
