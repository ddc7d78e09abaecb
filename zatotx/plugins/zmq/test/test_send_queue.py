"""The bounded queue in front of a socket."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.zmq.send_queue import SendQueue


class SendQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sent: list[bytes] = []
        self.capacity = 0
        self.queue = SendQueue(2, self.try_send)

    def try_send(self, frames: Sequence[bytes]) -> bool:
        if not self.capacity:
            return False
        self.capacity -= 1
        self.sent += frames
        return True

    def test_in_order(self) -> None:
        """Messages go straight to the socket while it takes them, then into the queue, then they wait."""
        self.capacity = 1
        for text in (b'1', b'2', b'3'):
            self.successResultOf(self.queue.add([text])[1])
        waiting = [self.queue.add([text])[1] for text in (b'4', b'5')]
        self.assertEqual((self.sent, len(self.queue)), ([b'1'], 2))
        self.capacity = 1
        self.queue.flush()
        self.successResultOf(waiting[0])
        self.assertNoResult(waiting[1])
        self.capacity = 10
        self.queue.flush()
        self.successResultOf(waiting[1])
        self.assertEqual((self.sent, len(self.queue)), ([b'1', b'2', b'3', b'4', b'5'], 0))

    def test_does_not_overtake(self) -> None:
        """A message that comes while others are queued goes behind them, even if the socket takes some again."""
        self.queue.add([b'1'])
        self.capacity = 5
        self.queue.add([b'2'])
        self.assertEqual(self.sent, [])
        self.queue.flush()
        self.assertEqual(self.sent, [b'1', b'2'])

    def test_unbuffered(self) -> None:
        """With a limit of 0 a message is accepted when the socket has taken it, in order."""
        self.queue.limit = 0
        waiting = [self.queue.add([text])[1] for text in (b'1', b'2', b'3')]
        self.assertEqual(len(self.queue), 0)
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.capacity = 1
        self.queue.flush()
        self.successResultOf(waiting[1])
        self.assertNoResult(waiting[2])
        self.capacity = 10
        _, last = self.queue.add([b'4'])
        self.assertNoResult(last)  # it does not overtake the one that waits
        self.queue.flush()
        self.successResultOf(waiting[2])
        self.successResultOf(last)
        self.successResultOf(self.queue.add([b'5'])[1])
        self.assertEqual(self.sent, [b'2', b'3', b'4', b'5'])

    def test_cancelled(self) -> None:
        """A message whose caller gave up waiting is not sent, and is not kept."""
        for text in (b'1', b'2'):
            self.queue.add([text])
        message, given_up = self.queue.add([bytes(1000)])
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        _, waiting = self.queue.add([b'3'])
        self.assertEqual((message.frames, len(self.queue._waiting)), ((), 1))
        self.capacity = 10
        self.queue.flush()
        self.successResultOf(waiting)
        self.assertEqual(self.sent, [b'1', b'2', b'3'])

    def test_discard(self) -> None:
        """A message can be taken back, which makes room for one that waits."""
        first, _ = self.queue.add([b'1'])
        self.queue.add([b'2'])
        _, waiting = self.queue.add([b'3'])
        self.queue.discard(first)
        self.successResultOf(waiting)
        self.capacity = 10
        self.queue.flush()
        self.queue.discard(first)
        self.assertEqual(self.sent, [b'2', b'3'])

    def test_take_over(self) -> None:
        """The messages of another queue go first, and its callers wait here."""
        other = SendQueue(1, self.try_send)
        other.add([b'1'])
        _, waiting = other.add([b'2'])
        self.queue.add([b'3'])
        self.queue.prepend(other)
        self.assertNoResult(waiting)
        self.capacity = 10
        self.queue.flush()
        self.successResultOf(waiting)
        self.assertEqual((sorted(self.sent), self.sent[0], len(other)), ([b'1', b'2', b'3'], b'1', 0))

    def test_close(self) -> None:
        """Closing drops the queue and ends those that wait with the error."""
        self.queue.add([b'1'])
        self.queue.add([b'2'])
        _, waiting = self.queue.add([b'3'])
        self.assertEqual(self.queue.close(OSError('closed')), 2)
        self.failureResultOf(waiting, OSError)
