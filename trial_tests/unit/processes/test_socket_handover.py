"""Listening sockets that a parent hands to its workers while they run. Both ends are in this process."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from zatotx.processes.listeners import Listeners
from zatotx.processes.workers import socket_handover
from zatotx.processes.workers.socket_handover import SocketLender, WorkerSocketClient

ADDRESS = 'tcp:0:interface=127.0.0.1'


class HandoverTests(TestCase):
    def setUp(self) -> None:
        from trial_tests.support.reactor import reactor

        self.reactor: Any = reactor
        self.lender = SocketLender(reactor)
        self.borrowers: list[WorkerSocketClient] = []
        self.patch(socket_handover, 'LINGER', 0.2)
        self.addCleanup(self.ended)

    async def ended(self) -> None:
        for borrower in self.borrowers:
            self.end(borrower)
        await self.sleep()
        self.lender.stop()

    def sleep(self, seconds: float = 0.05) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, waiting.callback, None)
        return waiting

    def worker(self) -> WorkerSocketClient:
        borrower = WorkerSocketClient(self.reactor, self.lender.connect_worker().detach())
        self.borrowers.append(borrower)
        return borrower

    def end(self, borrower: WorkerSocketClient) -> None:
        """As the kernel does when a worker dies."""
        connection: Any = borrower._connection
        if connection is not None:
            connection.transport.loseConnection()

    async def test_one_socket(self) -> None:
        """All workers get the same socket; it is closed when the last of them gives it back."""
        one, other = self.worker(), self.worker()
        descriptors = await gatherResults([one.open(ADDRESS), other.open(ADDRESS)])
        names = set()
        for descriptor in descriptors:
            self.assertFalse(os.get_inheritable(descriptor))
            with socket.socket(fileno=descriptor) as found:
                names.add(found.getsockname())
        self.assertEqual(len(names), 1)
        one.give_back(ADDRESS)
        await self.sleep()
        self.assertEqual(list(self.lender.bound), [ADDRESS])
        other.give_back(ADDRESS)
        await self.sleep()
        self.assertEqual(list(self.lender.bound), [])

    async def test_a_dead_worker(self) -> None:
        """The address of workers that died stays open for a while: another worker gets it."""
        first = self.worker()
        os.close(await first.open(ADDRESS))
        self.end(first)
        await self.sleep()
        self.assertEqual(list(self.lender.bound), [ADDRESS])
        second = self.worker()
        os.close(await second.open(ADDRESS))
        await self.sleep(0.4)
        self.assertEqual(list(self.lender.bound), [ADDRESS])
        self.end(second)
        await self.sleep(0.4)
        self.assertEqual(list(self.lender.bound), [])

    async def test_address_in_use(self) -> None:
        """What the kernel says reaches the worker; the next request is not disturbed."""
        with socket.create_server(('127.0.0.1', 0)) as taken:
            failing = self.worker().open(f'tcp:{taken.getsockname()[1]}:interface=127.0.0.1')
            error = await self.assertFailure(failing, OSError)
        self.assertIn('in use', str(error))
        os.close(await self.borrowers[0].open(ADDRESS))

    async def test_cancelled(self) -> None:
        """An address that a worker does not wait for any more is given back."""
        borrower = self.worker()
        opening = borrower.open(ADDRESS)
        opening.addErrback(lambda failure: None)
        opening.cancel()
        os.close(await borrower.open('tcp:0:interface=127.0.0.2'))
        await self.sleep()
        self.assertEqual(list(self.lender.bound), ['tcp:0:interface=127.0.0.2'])

    async def test_listening(self) -> None:
        """A worker's listener borrows the socket of an address that it has not inherited, and gives it back when it
        closes."""
        listeners = Listeners(self.reactor, {}, lambda name: None, self.worker())
        port: Any = await listeners.listen(ADDRESS, Factory.forProtocol(Protocol))
        address: Any = port.getHost()
        socket.create_connection(('127.0.0.1', address.port)).close()
        await self.sleep()
        self.assertEqual(list(self.lender.bound), [ADDRESS])
        await port.stopListening()
        await self.sleep()
        self.assertEqual(list(self.lender.bound), [])

    async def test_parent_gone(self) -> None:
        """A worker whose parent is gone gets an error, not silence."""
        borrower = self.worker()
        os.close(await borrower.open(ADDRESS))
        self.end(borrower)
        await self.sleep()
        error = await self.assertFailure(borrower.open('tcp:1'), OSError)
        self.assertIn('parent', str(error))
