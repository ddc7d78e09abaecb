"""The socket of an outgoing connection, with a bounded send queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from zatotx.plugins.zmq.reactor_sockets import LAST_LINGER, MonitoredSocket, SocketError, SocketFactory, SocketSpec
from zatotx.plugins.zmq.schema import DEALER, REQ
from zatotx.plugins.zmq.send_queue import QueuedMessage, SendQueue


class QueuedSender:
    """The socket of an outgoing connection and its send queue. Messages are passed to ZeroMQ only while a peer is
    connected, because ZeroMQ loses queued messages if the peer turns out to be incompatible. Raises SocketError."""

    _log = Logger()

    def __init__(self, factory: SocketFactory, title: str, queue_size: int, spec: SocketSpec) -> None:
        self.spec = spec
        self.dropped = 0
        self.late_replies = 0
        self.replies: dict[bytes, Deferred[list[bytes]]] = {}  # of calls that wait, by request id
        self._title = title
        self._reactor: Any = factory.reactor
        self._closing: IDelayedCall | None = None
        self._closed: Deferred[None] | None = None
        self.queue = SendQueue(queue_size, self._try_send)
        self.socket = MonitoredSocket(
            factory, title, spec, self._received if spec.socket_type in (REQ, DEALER) else None, changed=self._flush,
            writable=self._flush,
        )  # fmt: skip

    @property
    def has_peer(self) -> bool:
        """Whether a peer is connected."""
        return self.socket.peers.ready > 0

    def send(self, frames: Sequence[bytes]) -> tuple[QueuedMessage, Deferred[None]]:
        """Send a message, or put it into the queue: see SendQueue.add."""
        return self.queue.add(frames)

    def publish(self, frames: Sequence[bytes]) -> None:
        """Send a message to all subscribers that are connected. ZeroMQ drops it for those that do not keep up."""
        if not (self.has_peer and self.socket.try_send(frames)):
            self.dropped += 1

    def release_addresses(self) -> None:
        """See SharedSocket."""
        self.socket.unbind()

    def take_over(self, other: QueuedSender) -> None:
        """Send what is in the queue of the socket that this one replaces, before anything else."""
        self.queue.prepend(other.queue)
        self._flush()

    def finish(self, linger: float) -> Deferred[None]:
        """Send what is in the queue, for at most `linger` seconds, and close. Fires when that is done; cancelling it
        closes at once."""
        if self._closed is not None:
            return self._closed
        self._closed = Deferred(lambda _: self.close())
        self._closing = self._reactor.callLater(linger, self.close)
        self._flush()
        return self._closed if self._closed is not None else succeed(None)

    def close(self) -> None:
        """Close. What is in the queue is lost, and counted."""
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        error = SocketError('it is being closed')
        if lost := self.queue.close(error):
            self.dropped += lost
            self._log.error('{title}: {count} messages are lost, because no peer took them until the connection ended',
                            title=self._title, count=lost)  # fmt: skip
        self.socket.shutdown(LAST_LINGER if self.has_peer else 0.0)
        replies, self.replies = self.replies, {}
        for reply in replies.values():
            reply.errback(error)
        closed, self._closed = self._closed, None
        if closed is not None and not closed.called:
            closed.callback(None)

    def _try_send(self, frames: Sequence[bytes]) -> bool:
        return self.has_peer and self.socket.try_send(frames)

    def _flush(self) -> None:
        self.queue.flush()
        if self._closing is not None and not self.queue:
            self.close()

    def _received(self, frames: list[bytes]) -> None:
        reply = self.replies.pop(frames[0], None) if len(frames) > 2 and not frames[1] else None
        if reply is None:
            self.late_replies += 1
        else:
            reply.callback(frames[2:])


