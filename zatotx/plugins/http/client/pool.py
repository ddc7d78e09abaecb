"""A pool of the connections to one origin: each is busy with a call, or idle. Calls that find all of them busy wait in
FIFO order.

Every connection, and every attempt to open one, occupies a slot of the pool from its start until it is known that it is
not used any more; a freed slot goes to the call that has waited longest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.plugins.http.client.call import Dial, Origin
from zatotx.plugins.http.client.connection import ClientConnection
from zatotx.plugins.http.client.errors import ClientClosed, PeerReset, QueueFull, translate_twisted_error
from zatotx.plugins.http.client.pending_call import CONNECTING, QUEUED, CallEnvironment, PendingCall

SOCKET_CHECK_AGE = 1.0  # seconds of idleness after which checking the socket is worth its cost


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of an outgoing connection, per origin."""

    connections: int = 100
    waiting: int = 10_000  # calls that wait for a connection
    idle: float = (
        30.0  # seconds that an idle one is kept; 0 = each call opens its own, with `Connection: close`
    )


@implementer(IProtocolFactory)
class ClientConnectionFactory:
    """Builds the connections of a pool."""

    __slots__ = ('_environment', '_pool')

    def __init__(self, pool: ConnectionPool, shared: CallEnvironment) -> None:
        self._pool = pool
        self._environment = shared

    def buildProtocol(self, addr: IAddress) -> ClientConnection:
        return ClientConnection(self._pool, self._environment)

    def doStart(self) -> None:
        """Do nothing."""

    def doStop(self) -> None:
        """Do nothing."""


class ConnectionPool:
    """The connections to one origin, and the calls that wait for one. `open` counts the occupied slots."""

    _log = Logger()
    __slots__ = (
        '_closed',
        '_dial',
        '_environment',
        '_factory',
        '_filling',
        '_idle',
        '_limits',
        '_on_empty',
        '_reap_call',
        '_retired',
        '_waiting',
        'open',
        'origin',
    )  # fmt: skip

    def __init__(
        self, origin: Origin, bounds: PoolLimits, *, shared: CallEnvironment, dial: Dial, emptied: Callable[[], None]
    ) -> None:
        self.origin = origin
        self._limits = bounds
        self._environment = shared
        self._dial = dial
        self._on_empty = emptied  # called when the pool is closed and no slot is occupied any more
        self._idle: list[ClientConnection] = []  # the most recently used one last
        self._waiting: OrderedDict[PendingCall, None] = OrderedDict()
        self._reap_call: IDelayedCall | None = None
        self._filling = False
        self._factory = ClientConnectionFactory(self, shared)
        self.open = 0
        self._retired = False
        self._closed = False

    # Statistics.

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    # Calls.

    def enter(self, call: PendingCall, now: float) -> None:
        """Send a call on an idle connection or a new one, or queue it."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if now - connection.idle_since < SOCKET_CHECK_AGE or not connection.asking.gone():
                connection.start(call, now)
                return
            connection.drop()
        if self.open < self._limits.connections and not self._waiting:
            self.open += 1
            self._connect(call, now)
        elif len(self._waiting) < self._limits.waiting:
            call.pool = self
            call.stand(QUEUED, now, call.outbound.timeouts.queue)
            self._waiting[call] = None
        else:
            call.fail(QueueFull(f'all connections are busy and {len(self._waiting)} calls wait already'))

    def leave(self, call: PendingCall) -> None:
        """Remove a call from the queue."""
        self._waiting.pop(call, None)

    def renew(self, call: PendingCall) -> None:
        """Send a call again, on a new connection in the slot of the one that failed."""
        call.renewed = True
        if self._closed:
            self._free()
            call.fail(ClientClosed('the connection was closed', reached=call.reached))
        else:
            self._connect(call, self._environment.seconds())

    # Connections.

    def release(self, connection: ClientConnection, now: float) -> None:
        """Take back a connection whose call has finished."""
        if self._closed or not self._limits.idle:
            connection.close()
        elif self._waiting:
            connection.start(self._waiting.popitem(last=False)[0], now)
        elif self._retired:
            connection.close()
        else:
            connection.idle_since = now
            self._idle.append(connection)
            if self._reap_call is None:
                self._reap_call = self._environment.reactor.callLater(self._limits.idle, self._reap)

    def lost(self, connection: ClientConnection) -> None:
        """Drop a connection that is unusable."""
        if connection in self._idle:
            self._idle.remove(connection)
        self._free()

    def retire(self) -> None:
        """Close idle connections, now and as soon as no call waits for them."""
        self._retired = True
        for connection in self._idle[:]:
            connection.close()
        if self._reap_call is not None:
            self._reap_call.cancel()
            self._reap_call = None

    def close(self) -> None:
        """Accept no more calls, fail those that wait, and close each connection after its call."""
        self._closed = True
        while self._waiting:
            self._waiting.popitem(last=False)[0].fail(ClientClosed('the connection was closed'))
        self.retire()

    def _free(self) -> None:
        """Free a slot: the call that has waited longest opens a connection in it."""
        self.open -= 1
        if not self._filling:
            self._fill()
        if self._closed and not self.open:
            self._on_empty()

    def _fill(self) -> None:
        """Open connections for waiting calls. Loops instead of recursing: if nothing listens, each attempt fails at
        once and frees its slot for the next."""
        self._filling = True
        while self._waiting and self.open < self._limits.connections:
            self.open += 1
            self._connect(self._waiting.popitem(last=False)[0], self._environment.seconds())
        self._filling = False

    def _reap(self) -> None:
        """Close the connections that were idle for too long, the longest idle first."""
        self._reap_call = None
        idle, keep = self._idle, self._limits.idle
        oldest = self._environment.seconds() - keep
        while idle and idle[0].idle_since <= oldest:
            idle[0].close()
        if idle:
            self._reap_call = self._environment.reactor.callLater(max(0.0, idle[0].idle_since - oldest), self._reap)

    # Opening connections.

    def _connect(self, call: PendingCall, now: float) -> None:
        """Open a connection in a slot that is already occupied."""
        call.stand(CONNECTING, now, call.outbound.timeouts.connect)
        dialing: Deferred[Any] = maybeDeferred(self._dial, self.origin, self._factory, call.due)
        call.dialing = dialing
        dialing.addCallbacks(self._connected, self._connect_failed, (call,), errbackArgs=(call,))
        dialing.addErrback(self._log_failure)

    def _connected(self, connection: ClientConnection, call: PendingCall) -> None:
        call.dialing = None
        if connection.take_place():
            connection.start(call, self._environment.seconds())
            return
        self._free()
        call.fail(PeerReset('the peer closed the connection at once', reached=False))

    def _connect_failed(self, failure: Failure, call: PendingCall) -> None:
        call.dialing = None
        self._free()
        if failure.check(CancelledError):  # by the call, which knows the reason
            return
        error = translate_twisted_error(failure.value)
        error.reached = error.reached or call.reached  # by the previous connection, if this one was to replace it
        call.fail(error)

    def _log_failure(self, failure: Failure) -> None:
        self._log.failure('A new connection to {host} could not be used', failure, host=self.origin.host)
