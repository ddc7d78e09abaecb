"""The connections to one origin: each busy with a call, or idle until the next. Calls that find all of them busy wait
in the order in which they came.

Every connection, and every attempt to make one, holds one of the pool's places from when it is begun until it is known
that nothing more will be done with it; whatever frees a place gives it to the call that has waited longest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.plugins.http.client.call import Dial, Origin
from zatotx.plugins.http.client.connection import ClientConnection
from zatotx.plugins.http.client.errors import ClientClosed, PeerReset, QueueFull, from_twisted
from zatotx.plugins.http.client.pending_call import CONNECTING, QUEUED, CallEnvironment, PendingCall

DOUBTFUL = 1.0  # seconds of idleness after which a look at the socket is worth its price


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much an outgoing connection may have, to each origin."""

    connections: int = 100
    waiting: int = 10_000  # calls that wait for one of them
    idle: float = (
        30.0  # seconds that an idle one is kept; 0 = every call has its own, and says `ClientConnection: close`
    )


@implementer(IProtocolFactory)
class ConnectionFactory:
    """Makes the connections of a pool."""

    __slots__ = ('_pool', '_shared')

    def __init__(self, pool: ConnectionPool, shared: CallEnvironment) -> None:
        self._pool = pool
        self._shared = shared

    def buildProtocol(self, addr: Any) -> ClientConnection:
        return ClientConnection(self._pool, self._shared)

    def doStart(self) -> None:
        """Nothing to begin."""

    def doStop(self) -> None:
        """Nothing to end."""


class ConnectionPool:
    """`open`: places taken."""

    _log = Logger()
    __slots__ = ('_bounds', '_closed', '_dial', '_emptied', '_filling', '_idle', '_maker', '_reaper', '_retired',
                 '_shared', '_waiting', 'open', 'origin')  # fmt: skip

    def __init__(
        self, origin: Origin, bounds: PoolLimits, *, shared: CallEnvironment, dial: Dial, emptied: Callable[[], None]
    ) -> None:
        self.origin = origin
        self._bounds = bounds
        self._shared = shared
        self._dial = dial
        self._emptied = emptied  # called once the pool is closed and no place is taken any more
        self._idle: list[ClientConnection] = []  # the last used one last
        self._waiting: OrderedDict[PendingCall, None] = OrderedDict()
        self._reaper: Any = None
        self._filling = False
        self._maker = ConnectionFactory(self, shared)
        self.open = 0
        self._retired = False
        self._closed = False

    # What it has.

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    # Calls.

    def enter(self, call: PendingCall, now: float) -> None:
        """Send it on an idle connection or a new one, or let it wait."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if now - connection.idle_since < DOUBTFUL or not connection.asking.gone():
                connection.start(call, now)
                return
            connection.drop()
        if self.open < self._bounds.connections and not self._waiting:
            self.open += 1
            self._connect(call, now)
        elif len(self._waiting) < self._bounds.waiting:
            call.pool = self
            call.stand(QUEUED, now, call.outbound.timeouts.queue)
            self._waiting[call] = None
        else:
            call.fail(QueueFull(f'all connections are busy and {len(self._waiting)} calls wait already'))

    def leave(self, call: PendingCall) -> None:
        """It waits no longer."""
        self._waiting.pop(call, None)

    def renew(self, call: PendingCall) -> None:
        """Send it once more, on a new connection in the place of the one that failed it."""
        call.renewed = True
        if self._closed:
            self._free()
            call.fail(ClientClosed('the connection was closed', reached=call.reached))
        else:
            self._connect(call, self._shared.seconds())

    # Connections.

    def release(self, connection: ClientConnection, now: float) -> None:
        """A call is over and another may follow."""
        if self._closed or not self._bounds.idle:
            connection.close()
        elif self._waiting:
            connection.start(self._waiting.popitem(last=False)[0], now)
        elif self._retired:
            connection.close()
        else:
            connection.idle_since = now
            self._idle.append(connection)
            if self._reaper is None:
                self._reaper = self._shared.reactor.callLater(self._bounds.idle, self._reap)

    def lost(self, connection: ClientConnection) -> None:
        """It is of no use any more."""
        if connection in self._idle:
            self._idle.remove(connection)
        self._free()

    def retire(self) -> None:
        """Keep no connection longer than there are calls for it."""
        self._retired = True
        for connection in self._idle[:]:
            connection.close()
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None

    def close(self) -> None:
        """Take no more calls, fail those that wait, and keep no connection longer than its call lasts."""
        self._closed = True
        while self._waiting:
            self._waiting.popitem(last=False)[0].fail(ClientClosed('the connection was closed'))
        self.retire()

    def _free(self) -> None:
        """A place is free: whoever has waited longest makes a connection in it."""
        self.open -= 1
        if not self._filling:
            self._fill()
        if self._closed and not self.open:
            self._emptied()

    def _fill(self) -> None:
        """Not by recursion: where nobody listens each attempt fails at once and frees its place for the next."""
        self._filling = True
        while self._waiting and self.open < self._bounds.connections:
            self.open += 1
            self._connect(self._waiting.popitem(last=False)[0], self._shared.seconds())
        self._filling = False

    def _reap(self) -> None:
        """Close what was idle for too long, the longest idle first."""
        self._reaper = None
        idle, keep = self._idle, self._bounds.idle
        oldest = self._shared.seconds() - keep
        while idle and idle[0].idle_since <= oldest:
            idle[0].close()
        if idle:
            self._reaper = self._shared.reactor.callLater(max(0.0, idle[0].idle_since - oldest), self._reap)

    # Making one.

    def _connect(self, call: PendingCall, now: float) -> None:
        """In a place that is taken already."""
        call.stand(CONNECTING, now, call.outbound.timeouts.connect)
        dialing: Deferred[Any] = maybeDeferred(self._dial, self.origin, self._maker, call.due)
        call.dialing = dialing
        dialing.addCallbacks(self._connected, self._not_connected, (call,), errbackArgs=(call,))
        dialing.addErrback(self._broken)

    def _connected(self, connection: ClientConnection, call: PendingCall) -> None:
        call.dialing = None
        if connection.take_place():
            connection.start(call, self._shared.seconds())
            return
        self._free()
        call.fail(PeerReset('the peer closed the connection at once', reached=False))

    def _not_connected(self, failure: Failure, call: PendingCall) -> None:
        call.dialing = None
        self._free()
        if failure.check(CancelledError):  # by the call, which knows why
            return
        error = from_twisted(failure.value)
        error.reached = error.reached or call.reached  # by the connection before, where this one was to replace it
        call.fail(error)

    def _broken(self, failure: Failure) -> None:
        self._log.failure('A new connection to {host} could not be used', failure, host=self.origin.host)
