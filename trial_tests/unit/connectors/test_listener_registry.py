"""Addresses that pass from one channel to the next."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from zatotx.connectors.listener_registry import ListenerRegistry


class Port:
    """A listening port."""

    def __init__(self, factory: Any) -> None:
        self.factory = factory
        self.closed: Deferred[None] | None = None

    def stopListening(self) -> Deferred[None]:
        self.closed = Deferred()
        return self.closed

    def getHost(self) -> str:
        return 'here'


class ListenerRegistryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.opened: list[tuple[str, Port]] = []
        self.results: list[Deferred[Any]] = []
        self.listeners: Any = ListenerRegistry(self.listen)
        self.one: Any = Factory.forProtocol(Protocol)
        self.other: Any = Factory.forProtocol(Protocol)

    def listen(self, description: str, factory: Any) -> Deferred[Any]:
        port = Port(factory)
        self.opened.append((description, port))
        return self.results.pop(0) if self.results else succeed(port)

    def acquire(self, description: str, factory: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(self.listeners.acquire(description, factory))

    def made_by(self, port: Port) -> object:
        return port.factory.buildProtocol(None).factory

    def test_passes_on(self) -> None:
        """The next channel of an address gets its new clients over the same socket; the end of the one before does not
        close it, that of the last does."""
        self.successResultOf(self.acquire('tcp:1', self.one))
        self.successResultOf(self.acquire('tcp:1', self.other))
        ((_, port),) = self.opened
        self.assertIs(self.made_by(port), self.other)
        self.listeners.release('tcp:1', self.one)
        self.assertIsNone(port.closed)
        self.assertEqual(self.listeners.address('tcp:1'), 'here')
        self.listeners.release('tcp:1', self.other)
        self.assertIsNotNone(port.closed)
        self.assertIsNone(self.listeners.address('tcp:1'))

    def test_exchanged(self) -> None:
        """Two channels that exchange their addresses close none of them."""
        for description, factory in (('tcp:1', self.one), ('tcp:2', self.other)):
            self.acquire(description, factory)
        self.acquire('tcp:2', self.one)
        self.acquire('tcp:1', self.other)
        self.listeners.release('tcp:1', self.one)
        self.listeners.release('tcp:2', self.other)
        self.assertEqual([port.closed for _, port in self.opened], [None, None])

    def test_fails(self) -> None:
        """An address that cannot be opened is free for the next attempt."""
        self.results = [Deferred()]
        result = self.results[0]
        acquiring = self.acquire('tcp:1', self.one)
        result.errback(OSError('in use'))
        self.failureResultOf(acquiring, OSError)
        self.successResultOf(self.acquire('tcp:1', self.other))
        self.assertEqual(len(self.opened), 2)

    def test_reopened(self) -> None:
        """An address that is being closed is opened again when that is done; `closed` waits for it."""
        self.acquire('tcp:1', self.one)
        self.listeners.release('tcp:1', self.one)
        closed = Deferred.fromCoroutine(self.listeners.closed())
        again = self.acquire('tcp:1', self.other)
        self.assertNoResult(again)
        self.assertNoResult(closed)
        closing = self.opened[0][1].closed
        assert closing is not None
        closing.callback(None)
        self.successResultOf(again)
        self.successResultOf(closed)
        self.assertEqual(len(self.opened), 2)

    def test_released_while_it_opens(self) -> None:
        """An address that was given up while it was opened does not stay open."""
        result: Deferred[Any] = Deferred()
        self.results = [result]
        self.acquire('tcp:1', self.one)
        self.listeners.release('tcp:1', self.one)
        port = Port(None)
        result.callback(port)
        self.assertIsNotNone(port.closed)
