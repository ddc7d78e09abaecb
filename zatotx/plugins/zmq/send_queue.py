"""A bounded queue of messages to send. Each message that waits for space in the queue has a Deferred."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, succeed


@define(eq=False)
class QueuedMessage:
    """A message that waits in the send queue."""

    frames: Sequence[bytes]
    room: Deferred[None] | None = None  # fires when the message is in the queue; None = it is, or was
    is_abandoned: bool = False  # its caller waits no longer, so that it is not sent


@define
class SendQueue:
    """A queue of at most `limit` messages in FIFO order, and of further messages that wait for space. If `limit` is 0,
    each message waits until the socket accepts it.

    `try_send` gives a message to the socket; it returns False where the socket takes none now.
    """

    limit: int
    try_send: Callable[[Sequence[bytes]], bool]
    _accepted: deque[QueuedMessage] = field(factory=deque)
    _waiting: deque[QueuedMessage] = field(factory=deque)

    def __len__(self) -> int:
        return len(self._accepted)

    def add(self, frames: Sequence[bytes]) -> tuple[QueuedMessage, Deferred[None]]:
        """Add a message. The Deferred fires when it was sent or is in the queue; cancelling it before takes the message
        back."""
        message = QueuedMessage(frames)
        if not self._has_waiting() and not self._accepted and self.try_send(frames):
            return message, succeed(None)
        if len(self._accepted) < self.limit:
            self._accepted.append(message)
            return message, succeed(None)
        room: Deferred[None] = Deferred(lambda _: _abandon(message))
        message.room = room
        self._waiting.append(message)
        return message, room

    def discard(self, message: QueuedMessage) -> None:
        """Take a message back, unless the socket has it."""
        if message in self._accepted:
            self._accepted.remove(message)
            self._move_waiting()

    def flush(self) -> None:
        """Give the socket as many messages as it takes."""
        while self._accepted and self.try_send(self._accepted[0].frames):
            self._accepted.popleft()
            self._move_waiting()
        while not self._accepted and self._has_waiting() and self.try_send(self._waiting[0].frames):
            message = self._waiting.popleft()
            room, message.room = message.room, None
            if room is not None:
                room.callback(None)

    def prepend(self, other: SendQueue) -> None:
        """Take over the messages of another queue, which go before those of this one."""
        self._accepted.extendleft(reversed(other._accepted))
        other._accepted.clear()
        self._waiting.extendleft(reversed(other._waiting))
        other._waiting.clear()
        self._move_waiting()

    def close(self, error: Exception) -> int:
        """Drop all messages; those that wait for room end with the error. Returns the number of those in the queue."""
        count = len(self._accepted)
        self._accepted.clear()
        while self._waiting:
            message = self._waiting.popleft()
            if message.room is not None and not message.is_abandoned:
                message.room.errback(error)
        return count

    def _has_waiting(self) -> bool:
        """Whether a message waits for room. Drops the abandoned ones before it."""
        while self._waiting and self._waiting[0].is_abandoned:
            self._waiting.popleft()
        return bool(self._waiting)

    def _move_waiting(self) -> None:
        while self._waiting and len(self._accepted) < self.limit:
            message = self._waiting.popleft()
            room, message.room = message.room, None
            if room is not None and not message.is_abandoned:
                self._accepted.append(message)
                room.callback(None)


def _abandon(message: QueuedMessage) -> None:
    message.is_abandoned, message.frames = True, ()
