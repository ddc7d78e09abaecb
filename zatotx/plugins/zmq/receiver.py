"""Receives messages on the ZeroMQ socket of a channel. The socket stays open when the channel is reconfigured."""

from __future__ import annotations

from typing import Protocol

from zatotx.plugins.zmq.reactor_sockets import MonitoredSocket, SocketFactory, SocketSpec


class Consumer(Protocol):
    """The interface of the object that consumes the messages of a receiver."""

    def received(self, frames: list[bytes]) -> None:
        """Take a message."""

    @property
    def is_full(self) -> bool:
        """Whether the consumer takes no further messages now. It calls `Receiver.resume` when it does again."""


class Receiver:
    """A receiving socket and its current consumer. Raises SocketError if the socket cannot be opened."""

    def __init__(self, factory: SocketFactory, title: str, spec: SocketSpec) -> None:
        self.spec = spec
        self._consumer: Consumer | None = None
        self.socket = MonitoredSocket(factory, title, spec, self._received)
        self.socket.pause()

    def attach(self, consumer: Consumer) -> None:
        """Give further messages to this consumer."""
        self._consumer = consumer
        self.resume()

    def detach(self, consumer: Consumer) -> None:
        """Read no further messages, unless another consumer has come."""
        if self._consumer is consumer:
            self._consumer = None
            self.socket.pause()

    def resume(self) -> None:
        """The consumer takes messages again."""
        consumer = self._consumer
        if consumer is not None and not consumer.is_full:
            self.socket.resume()

    def release_addresses(self) -> None:
        """See SharedSocket."""
        self.socket.unbind()

    def _received(self, frames: list[bytes]) -> None:
        consumer = self._consumer
        assert consumer is not None  # otherwise the socket is paused
        consumer.received(frames)
        if consumer.is_full or self._consumer is None:
            self.socket.pause()
