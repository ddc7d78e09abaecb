"""The memory that calls use while they wait, and that all of it is freed."""

from __future__ import annotations

import gc
import socket
import tracemalloc
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from zatotx.plugins.http.client.http_client import HttpClient
from zatotx.plugins.http.client.http_messages import HttpRequest, HttpResponse, Origin
from zatotx.plugins.http.test.memory_connections import OK, InMemory, Memory
from zatotx.plugins.http.test.scripted_peers import WithCore, pause

MOST = 20 * 1024  # bytes that a waiting call may cost
TABLES = 300  # bytes that a call may leave behind, in tables that keep the size which they once had
FIELDS = [(b'Accept', b'application/json'), (b'X-Zato-CID', b'0123456789abcdef'), (b'X-Zato-Component', b'zatotx')]


class WaitingTests(WithCore):
    """Calls to a peer whose kernel accepts connections and whose program does not read."""

    async def cost(self, client: HttpClient, calls: int, active: int) -> float:
        """Return the bytes used per call while all calls wait."""
        with socket.socket() as listener:
            listener.bind(('127.0.0.1', 0))
            listener.listen(4096)
            origin = Origin('http', '127.0.0.1', listener.getsockname()[1])
            first = self.send(client, origin)
            await pause(0.05)
            gc.collect()
            tracemalloc.start()
            try:
                sendings = [self.send(client, origin) for _ in range(calls)]
                await pause(0.5)
                self.assertEqual((client.active, client.waiting), (active, calls + 1 - active))
                gc.collect()
                cost, _ = tracemalloc.get_traced_memory()
                for sending in [*sendings, first]:
                    sending.cancel()
                    await self.assertFailure(sending, CancelledError)
                del sendings
                await self.until(lambda: self.left() / calls < TABLES)  # what is over is gone, once it has ended
            finally:
                tracemalloc.stop()
        self.clean(client)
        return cost / calls

    def left(self) -> int:
        """Return the bytes still in use."""
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    def send(self, client: HttpClient, origin: Origin) -> Deferred[HttpResponse]:
        return client.send(HttpRequest('POST', origin, b'/orders?id=1', FIELDS, b'{"order": 1}'))

    async def test_on_connections_of_their_own(self) -> None:
        """A call on its own connection uses less than 20 KiB, Twisted's part included."""
        self.assertLess(await self.cost(self.core(max_connections=2000), 300, 301), MOST)

    async def test_in_the_queue(self) -> None:
        """A queued call uses a fraction of that."""
        self.assertLess(await self.cost(self.core(max_connections=1), 1000, 1), MOST / 4)


class GarbageTests(InMemory):
    def test_calls_leave_no_cycles(self) -> None:
        """A finished call is freed without the garbage collector, however it ended."""
        memory = Memory(max_connections=2)

        def ended(error: Any) -> None:
            """Consume the error."""

        def answered() -> None:
            memory.send('POST', body=b'{}')
            memory.lines[-1].say(OK)

        def cancelled_in_the_queue() -> None:
            sendings = [memory.send() for _ in range(3)]
            sendings[2].addErrback(ended)
            sendings[2].cancel()
            for line in memory.lines[-2:]:
                line.say(OK)

        for way in (answered, cancelled_in_the_queue):
            way()
            gc.collect()
            gc.disable()
            try:
                for _ in range(50):
                    way()
                self.assertLess(gc.collect(), 50, way.__name__)
            finally:
                gc.enable()
        self.clean(memory, idle=2)
