"""A pool of connections to one origin. Each connection is either idle or busy with one call. While all connections are
busy, calls wait in FIFO order.

Every connection, and every attempt to open one, occupies a slot of the pool from its start until it is known that it is
not used any more; a freed slot goes to the call that has waited longest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.connectors.http.idle_connections import IdleConnections
from zatotx.plugins.http.client.client_connection import ClientConnection
from zatotx.plugins.http.client.errors import ClientClosed, PeerReset, QueueFull, translate_twisted_error
from zatotx.plugins.http.client.http_messages import Dial, Origin
from zatotx.plugins.http.client.pending_call import CONNECTING, QUEUED, PendingCall, SharedCallResources


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of an outgoing connection's pool, for each origin."""

    max_connections: int = 100
    max_waiting: int = 10_000  # calls that wait for a connection
    idle_timeout: float = (
        30.0  # seconds that an idle one is kept; 0 = each call opens its own, with `Connection: close`
    )


@implementer(IProtocolFactory)
class ClientConnectionFactory:
    """Creates the connections of a pool."""

    __slots__ = ('_environment', '_pool')

    def __init__(self, pool: ConnectionPool, environment: SharedCallResources) -> None:
        self._pool = pool
        self._environment = environment

    def buildProtocol(self, addr: IAddress) -> ClientConnection:
        return ClientConnection(self._pool, self._environment)

    def doStart(self) -> None:
        """Do nothing."""

    def doStop(self) -> None:
        """Do nothing."""


class ConnectionPool:
    """The connections to one origin, and the calls that wait for a connection. `occupied_slots` is the number of
    occupied slots."""

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
        '_retired',
        '_waiting',
        'occupied_slots',
        'origin',
    )  # fmt: skip

    def __init__(
        self,
        origin: Origin,
        limits: PoolLimits,
        *,
        environment: SharedCallResources,
        dial: Dial,
        on_empty: Callable[[], None],
    ) -> None:
        self.origin = origin
        self._limits = limits
        self._environment = environment
        self._dial = dial
        self._on_empty = on_empty  # called when the pool is closed and no slot is occupied any more
        self._idle: IdleConnections[ClientConnection] = IdleConnections(environment.reactor, limits.idle_timeout)
        self._waiting: OrderedDict[PendingCall, None] = OrderedDict()
        self._filling = False
        self._factory = ClientConnectionFactory(self, environment)
        self.occupied_slots = 0
        self._retired = False
        self._closed = False

    # Statistics.

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    # Calls.

    def submit(self, call: PendingCall, now: float) -> None:
        """Send a call on an idle connection or a new one, or queue it."""
        connection = self._idle.take(now)
        if connection is not None:
            connection.start(call, now)
        elif self.occupied_slots < self._limits.max_connections and not self._waiting:
            self.occupied_slots += 1
            self._connect(call, now)
        elif len(self._waiting) < self._limits.max_waiting:
            call.pool = self
            call.enter_stage(QUEUED, now, call.request.timeouts.queue_timeout)
            self._waiting[call] = None
        else:
            call.fail_all(QueueFull(f'all connections are busy and {len(self._waiting)} calls wait already'))

    def remove_waiting(self, call: PendingCall) -> None:
        """Remove a call from the queue."""
        self._waiting.pop(call, None)

    def repeat(self, call: PendingCall) -> None:
        """Send a call again, on a new connection in the slot of the one that failed."""
        call.is_repeated = True
        if self._closed:
            self._free()
            call.fail_all(ClientClosed('the connection was closed', reached_peer=call.reached_peer))
        else:
            self._connect(call, self._environment.seconds())

    # Connections.

    def release(self, connection: ClientConnection, now: float) -> None:
        """Take back a connection whose call has finished."""
        if self._closed or not self._limits.idle_timeout:
            connection.close()
        elif self._waiting:
            connection.start(self._waiting.popitem(last=False)[0], now)
        elif self._retired:
            connection.close()
        else:
            self._idle.add(connection, now)

    def connection_lost(self, connection: ClientConnection) -> None:
        """Drop a connection that is unusable."""
        self._idle.remove(connection)
        self._free()

    def close_idle(self) -> None:
        """Close idle connections, now and as soon as no call waits for them."""
        self._retired = True
        self._idle.close()

    def close(self) -> None:
        """Accept no more calls, fail those that wait, and close each connection after its call."""
        self._closed = True
        while self._waiting:
            self._waiting.popitem(last=False)[0].fail_all(ClientClosed('the connection was closed'))
        self.close_idle()

    def _free(self) -> None:
        """Free a slot: the call that has waited longest opens a connection in it."""
        self.occupied_slots -= 1
        if not self._filling:
            self._fill()
        if self._closed and not self.occupied_slots:
            self._on_empty()

    def _fill(self) -> None:
        """Open connections for waiting calls. Loops instead of recursing: if nothing listens, each attempt fails at
        once and frees its slot for the next."""
        self._filling = True
        while self._waiting and self.occupied_slots < self._limits.max_connections:
            self.occupied_slots += 1
            self._connect(self._waiting.popitem(last=False)[0], self._environment.seconds())
        self._filling = False

    # Opening connections.

    def _connect(self, call: PendingCall, now: float) -> None:
        """Open a connection in a slot that is already occupied."""
        call.enter_stage(CONNECTING, now, call.request.timeouts.connect_timeout)
        dialing: Deferred[Any] = maybeDeferred(self._dial, self.origin, self._factory, call.deadline)
        call.connecting = dialing
        dialing.addCallbacks(self._connected, self._connect_failed, (call,), errbackArgs=(call,))
        dialing.addErrback(self._log_failure)

    def _connected(self, connection: ClientConnection, call: PendingCall) -> None:
        call.connecting = None
        if connection.occupy_slot():
            connection.start(call, self._environment.seconds())
            return
        self._free()
        call.fail_all(PeerReset('the peer closed the connection at once', reached_peer=False))

    def _connect_failed(self, failure: Failure, call: PendingCall) -> None:
        call.connecting = None
        self._free()
        if failure.check(CancelledError):  # by the call, which knows the reason
            return
        error = translate_twisted_error(failure.value)
        # `call.reached_peer`: by the previous connection, if this one was to replace it
        error.reached_peer = error.reached_peer or call.reached_peer
        call.fail_all(error)

    def _log_failure(self, failure: Failure) -> None:
        self._log.failure('A new connection to {host} could not be used', failure, host=self.origin.host)
