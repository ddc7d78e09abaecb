"""Frames of AMQP in pieces of any size: which are messages for consumers, and which are left to pika."""

from __future__ import annotations

from typing import Any

import pika
from pika import frame, spec
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.amqp.frame_reader import FrameReader

FRAME_MAX = 4096
HEARTBEAT = frame.Heartbeat().marshal()
ACK = frame.Method(2, spec.Basic.Ack(7)).marshal()


def message(*bodies: bytes, channel: int = 1, tag: str = 'one', redelivered: bool = False, size: int | None = None,
            **properties: Any) -> bytes:  # fmt: skip
    """A message whose body has these frames."""
    method = spec.Basic.Deliver(tag, 5, redelivered, 'shop', 'key-é')
    total = sum(map(len, bodies)) if size is None else size
    frames = [frame.Method(channel, method), frame.Header(channel, total, pika.BasicProperties(**properties)),
              *(frame.Body(channel, body) for body in bodies)]  # fmt: skip
    return b''.join(each.marshal() for each in frames)


class FrameReaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reader: FrameReader[str] = FrameReader()
        self.reader.consumers = {(1, b'one'): 'first', (2, b'one'): 'second'}

    def read(self, *pieces: bytes) -> list[Any]:
        """What comes of pieces: the messages, and the bytes between them as one."""
        found: list[Any] = []
        for piece in pieces:
            for each in self.reader.read(piece, FRAME_MAX):
                if isinstance(each, bytes) and found and isinstance(found[-1], bytes):
                    found[-1] += each
                else:
                    found.append(each)
        return found

    def test_message(self) -> None:
        """A message has its consumer, its delivery and its body; its properties are as they were sent."""
        (found,) = self.read(message(b'text', channel=2, redelivered=True, message_id='m1', headers={'a': 1}))
        self.assertEqual((found.consumer, found.tag, found.redelivered, found.exchange, found.routing_key, found.body),
                         ('second', 5, True, 'shop', 'key-é', b'text'))  # fmt: skip
        properties = pika.BasicProperties()
        properties.decode(found.properties)
        self.assertEqual((properties.message_id, properties.headers), ('m1', {'a': 1}))

    def test_pieces_of_any_size(self) -> None:
        """However the bytes are cut, the same messages and frames come, in their order."""
        parts = [HEARTBEAT, message(b'x' * 50, priority=3), message(), ACK, HEARTBEAT, message(b'y', channel=2),
                 message(b'ab', b'cd'), message(b'z')]  # fmt: skip
        data = b''.join(parts)
        whole = [getattr(each, 'body', each) for each in self.read(data)]
        self.assertEqual(whole, [HEARTBEAT, b'x' * 50, b'', ACK + HEARTBEAT, b'y', parts[6], b'z'])
        for size in range(1, 90):
            pieces = [data[start : start + size] for start in range(0, len(data), size)]
            self.assertEqual([getattr(each, 'body', each) for each in self.read(*pieces)], whole, size)

    def test_what_is_left_to_pika(self) -> None:
        """Messages of unknown consumers, interrupted ones, and frames that do not fit together come as bytes."""
        broken = bytearray(message(b'text'))
        broken[-1] = 0
        start = len(frame.Method(1, spec.Basic.Deliver('one', 5, False, 'shop', 'key-é')).marshal())
        interrupted = message(b'text')[:start] + HEARTBEAT + message(b'text')[start:]
        for data in (message(b'text', tag='other'), message(b'text', channel=3), message(b'te', b'xt'),
                     message(b'text', size=3), bytes(broken), interrupted):  # fmt: skip
            self.assertEqual(self.read(data), [data])
        self.assertEqual([each.body for each in self.read(message(b'next'))], [b'next'])

    def test_a_consumer_that_ends(self) -> None:
        """The messages behind the one with which a consumer ends are left to pika."""
        reading = self.reader.read(message(b'1') + message(b'2'), FRAME_MAX)
        self.assertEqual(getattr(next(reading), 'body', None), b'1')
        self.reader.consumers.clear()
        self.assertEqual(list(reading), [message(b'2')])

    def test_too_large_frames(self) -> None:
        """A frame that is larger than was agreed on is an error before all of it is received."""
        with self.assertRaises(ValueError):
            self.read(b'SSH-2.0-OpenSSH')
