"""Encodes the AMQP 0-9-1 frames that are sent most frequently, which are messages and acknowledgments. The library pika
encodes all other frames.

A message is a frame with the method basic.publish (class 60, method 40), one with its properties (§4.2.6.1), and as
many with its body as the negotiated size of frames requires. Values in headers have the types of RabbitMQ, which differ
from those of the specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from struct import Struct
from typing import Any

METHOD, HEADER, BODY = 1, 2, 3  # types of frames
END = b'\xce'
FRAME_OVERHEAD = 8  # bytes of a frame besides its payload
_BASIC, _PUBLISH = 60, 40

_frame_head = Struct('>BHI').pack  # type, channel, size of the payload
_method_head = Struct('>HHH').pack  # class, method, reserved
_header_head = Struct('>HHQH').pack  # class, weight, size of the body, which properties follow
_ack = Struct('>BHIHHQBB').pack
_short, _long, _longlong = Struct('>H').pack, Struct('>I').pack, Struct('>Q').pack
_int32, _int64, _double, _decimal = Struct('>i').pack, Struct('>q').pack, Struct('>d').pack, Struct('>Bi').pack
_BYTES = [bytes([number]) for number in range(256)]

# The properties in their order, with their bit.
_SHORT_STRING, _TABLE, _OCTET, _TIMESTAMP = range(4)
_PROPERTIES = (
    ('content_type', 15, _SHORT_STRING), ('content_encoding', 14, _SHORT_STRING), ('headers', 13, _TABLE),
    ('delivery_mode', 12, _OCTET), ('priority', 11, _OCTET), ('correlation_id', 10, _SHORT_STRING),
    ('reply_to', 9, _SHORT_STRING), ('expiration', 8, _SHORT_STRING), ('message_id', 7, _SHORT_STRING),
    ('timestamp', 6, _TIMESTAMP), ('type', 5, _SHORT_STRING), ('user_id', 4, _SHORT_STRING),
    ('app_id', 3, _SHORT_STRING),
)  # fmt: skip


def encode_publish(channel: int, method: bytes, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """Encode a message as frames. `method` is the result of encode_publish_method, and `properties` is the result of
    encode_properties."""
    size = len(body)
    head = b'\x00\x3c\x00\x00' + _longlong(size) + properties
    parts = [_frame_head(METHOD, channel, len(method)), method, END, _frame_head(HEADER, channel, len(head)), head, END]
    limit = frame_max - FRAME_OVERHEAD
    if size <= limit:
        if size:
            parts += (_frame_head(BODY, channel, size), body, END)
    else:
        for start in range(0, size, limit):
            piece = body[start : start + limit]
            parts += (_frame_head(BODY, channel, len(piece)), piece, END)
    return b''.join(parts)


@lru_cache(maxsize=1000)
def encode_publish_method(exchange: str, routing_key: str, mandatory: bool) -> bytes:
    """Encode the payload of basic.publish. Raises ValueError for names longer than 255 bytes."""
    return b''.join((_method_head(_BASIC, _PUBLISH, 0), _short_string(exchange), _short_string(routing_key),
                     b'\x01' if mandatory else b'\x00'))  # fmt: skip


def encode_ack(channel: int, tag: int) -> bytes:
    """Encode the frame of basic.ack for one message."""
    return _ack(METHOD, channel, 13, _BASIC, 80, tag, 0, 0xCE)


def encode_properties(fields: Mapping[str, Any]) -> bytes:
    """Encode the flags and values of properties; the keys of `fields` are AMQP's property names. Raises ValueError."""
    flags, parts = 0, [b'']
    for name, bit, kind in _PROPERTIES:
        value = fields.get(name)
        if value is None:
            continue
        flags |= 1 << bit
        if kind == _SHORT_STRING:
            data = value.encode('utf-8')
            if len(data) > 255:
                raise ValueError(f'{name}: has more than 255 bytes')
            parts += (_BYTES[len(data)], data)
        elif kind == _OCTET:
            parts.append(_BYTES[value])
        elif kind == _TABLE:
            parts.append(encode_table(value))
        else:
            parts.append(_longlong(value))
    parts[0] = _short(flags)
    return b''.join(parts)


def encode_table(table: Mapping[str, Any]) -> bytes:
    """Encode a table of headers. Raises ValueError for a value that AMQP cannot represent."""
    parts = [b'']
    for name, value in table.items():
        parts.append(_short_string(name))
        if type(value) is str:  # the usual case
            data = value.encode('utf-8')
            parts += (b'S', _long(len(data)), data)
        else:
            parts.append(_encode_value(value))
    body = b''.join(parts)
    return _long(len(body)) + body


def _encode_value(value: Any) -> bytes:
    if value is None:
        return b'V'
    if isinstance(value, bool):
        return b't\x01' if value else b't\x00'
    if isinstance(value, str):
        data = value.encode('utf-8')
        return b'S' + _long(len(data)) + data
    if isinstance(value, bytes):
        return b'x' + _long(len(value)) + value
    if isinstance(value, int):
        return b'I' + _int32(value) if -(2**31) <= value < 2**31 else b'l' + _int64(value)
    if isinstance(value, float):
        return b'd' + _double(value)
    if isinstance(value, Decimal):
        return _encode_decimal(value)
    if isinstance(value, datetime):
        return b'T' + _longlong(int((value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()))
    if isinstance(value, Mapping):
        return b'F' + encode_table(value)
    if isinstance(value, list):
        body = b''.join(map(_encode_value, value))
        return b'A' + _long(len(body)) + body
    raise ValueError(f'{type(value).__name__} cannot be sent')


def _encode_decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f'{value} cannot be sent')
    number = int(''.join(map(str, digits))) * 10 ** max(0, exponent) * (-1 if sign else 1)
    if not -(2**31) <= number < 2**31 or exponent < -255:
        raise ValueError(f'the decimal number {value} has too many digits')
    return b'D' + _decimal(max(0, -exponent), number)


def _short_string(text: str) -> bytes:
    data = text.encode('utf-8')
    if len(data) > 255:
        raise ValueError('a name has more than 255 bytes')
    return _BYTES[len(data)] + data
