"""Splits the bytes that a broker sends into messages for consumers and into other AMQP 0-9-1 frames.

A message is a frame with the method basic.deliver (class 60, method 60), one with its properties (§4.2.6.1) and one
with its body. Messages whose body has several frames, which frames of other channels may interrupt, are not recognized:
the library pika assembles them, as it reads all other frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Generic, TypeVar

import msgspec

from zatotx.plugins.amqp.wire import BODY, END, FRAME_OVERHEAD, HEADER, METHOD

C = TypeVar('C')

_DELIVER = b'\x00\x3c\x00\x3c'
_HEAD = 7  # bytes of a frame before its payload
_CONTENT = 12  # bytes of the payload of a header frame before the properties
_END = END[0]
_unpack_head = Struct('>BHI').unpack_from  # type, channel, size of the payload
_unpack_body_size = Struct('>Q').unpack_from
_unpack_delivery = Struct('>QB').unpack_from  # delivery tag, redelivered


class DeliveredMessage(msgspec.Struct, Generic[C], frozen=True, gc=False):
    """A message for `consumer`. The properties are not decoded."""

    consumer: C
    tag: int  # delivery tag
    redelivered: bool
    exchange: str
    routing_key: str
    properties: bytes
    body: bytes
    end: int  # where the next frame begins


class _Incomplete(Exception):  # noqa: N818 - it is no error
    """The rest of a message has not been received yet."""


class FrameReader(Generic[C]):
    """Reads the frames of one connection. `consumers`: those whose messages are recognized, by AMQP channel and
    consumer tag."""

    def __init__(self) -> None:
        self.consumers: dict[tuple[int, bytes], C] = {}
        self._left = b''  # incomplete frames, and the complete ones of an incomplete message

    def read(self, data: bytes, frame_max: int) -> Iterator[DeliveredMessage[C] | bytes]:
        """Yield the messages and, as bytes, the other complete frames in the order in which they were sent. Raises
        ValueError for a frame larger than `frame_max`."""
        buffer = self._left + data if self._left else data
        self._left = b''
        length, start, position = len(buffer), 0, 0
        while position + _HEAD <= length:
            kind, channel, size = _unpack_head(buffer, position)
            if size > frame_max:
                raise ValueError(f'a frame of {size} bytes')
            end = position + size + FRAME_OVERHEAD
            if end > length:
                break
            if kind == METHOD and buffer.startswith(_DELIVER, position + _HEAD):
                try:
                    message = self._message(buffer, position, end, channel)
                except _Incomplete:
                    break
                if message is not None:
                    if start < position:
                        yield buffer[start:position]
                    position = start = message.end
                    yield message
                    continue
            position = end
        if start < position:
            yield buffer[start:position]
        self._left = buffer[position:]

    def _message(self, buffer: bytes, position: int, end: int, channel: int) -> DeliveredMessage[C] | None:
        """Return the message whose first frame is at `position`; None where it is not recognized."""
        at = position + _HEAD + len(_DELIVER)
        tag_end = at + 1 + buffer[at]
        consumer = self.consumers.get((channel, buffer[at + 1 : tag_end]))
        if consumer is None:
            return None
        header_size = _size(buffer, end, HEADER, channel)
        if header_size is None or buffer[end - 1] != _END:
            return None
        header_end = end + header_size + FRAME_OVERHEAD
        if header_end > len(buffer):
            raise _Incomplete
        (body_size,) = _unpack_body_size(buffer, end + _HEAD + 4)
        body, message_end = b'', header_end
        if body_size:
            if _size(buffer, header_end, BODY, channel) != body_size:
                return None
            message_end += body_size + FRAME_OVERHEAD
            if message_end > len(buffer):
                raise _Incomplete
            body = buffer[header_end + _HEAD : message_end - 1]
        if buffer[header_end - 1] != _END or buffer[message_end - 1] != _END:
            return None
        tag, redelivered = _unpack_delivery(buffer, tag_end)
        exchange_end = tag_end + 10 + buffer[tag_end + 9]
        return DeliveredMessage(
            consumer, tag, bool(redelivered & 1), buffer[tag_end + 10 : exchange_end].decode('utf-8', 'replace'),
            buffer[exchange_end + 1 : exchange_end + 1 + buffer[exchange_end]].decode('utf-8', 'replace'),
            buffer[end + _HEAD + _CONTENT : header_end - 1], body, message_end,
        )  # fmt: skip


def _size(buffer: bytes, position: int, kind: int, channel: int) -> int | None:
    """Return the size of the payload of a frame of this type; None where the frame is another one."""
    if position + _HEAD > len(buffer):
        raise _Incomplete
    found, found_channel, size = _unpack_head(buffer, position)
    return size if found == kind and found_channel == channel else None
