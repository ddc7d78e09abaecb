"""A connection to Redis that reconnects automatically."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zatotx.interfaces.reactor import IReactor
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis.connector import connect_to_address, perform_handshake
from zatotx.redis.deferred_waiters import WaiterSet
from zatotx.redis.error_conversion import describe_error, disconnect_cause
from zatotx.redis.redis_url import RedisAddress
from zatotx.redis.sentinel import MasterFinder, watch_failover
from zatotx.redis.txredisapi_adapter import MessageListener, make_protocol
from zatotx.rules.resilience.outgoing_retry import backoff_delay


class ConnectionLog:
    """Logs each change of the connection state once. The states are: Redis is connected, Redis is unavailable for a
    certain reason, or the settings of the server have problems."""

    _log = Logger('zatotx.redis')

    def __init__(self, server: str) -> None:
        """`server`: 'Redis at …'."""
        self.server = server
        self._state: str | None = None  # '' = connected, otherwise the problem; None = nothing was logged yet
        self._warned: set[str] = set()

    def log_connected(self) -> None:
        """Log that there is a connection."""
        if self._state != '':
            self._state = ''
            self._log.info('{where} answers', where=self.server)

    def log_unavailable(self, problem: str) -> None:
        """Log that there is no connection, with the reason as a clause."""
        if problem != self._state:
            self._state = problem
            self._log.warn('{where} is unavailable: {problem}', where=self.server, problem=problem)

    def log_warning(self, sentence: str) -> None:
        """Log a problem with the server's settings."""
        if sentence not in self._warned:
            self._warned.add(sentence)
            self._log.warn('{sentence}', sentence=sentence)


_MAX_DELAY = 2.0  # seconds between attempts
# seconds; a connection lost sooner counts as a failed attempt, to avoid a tight loop on a broken server
_STABLE_AFTER = 5.0

PrepareConnection = Callable[[Any], Awaitable[None]]


class ConnectionState(Enum):
    """The states of a ReconnectingConnection."""

    STOPPED = 'stopped'
    CONNECTING = 'connecting'
    CONNECTED = 'connected'
    WAITING = 'waiting'  # for the next attempt


class ReconnectingConnection:
    """Keeps a protocol connected. It connects, performs the handshake and prepares the protocol. If a step fails or the
    connection ends, it retries with increasing delays. With sentinels, the master is looked up before each attempt and
    while the protocol is connected."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        address: RedisAddress,
        *,
        timeout: float,
        name: str = '',
        connection_log: ConnectionLog | None = None,
        prepare: PrepareConnection | None = None,
        on_message: MessageListener | None = None,
    ) -> None:
        """`timeout`: seconds for each step and each command. `name`: the connection's name in CLIENT LIST.
        `connection_log`: the log shared by connections to one Redis. `prepare` is called with each connected protocol
        before it is used. `on_message`: see new_protocol."""
        self.address = address
        self.state = ConnectionState.STOPPED
        self.problem = 'it was not started'  # why there is no connection now, for users
        self.protocol: Any = None  # the protocol that may be used now
        self._connection_log = connection_log or ConnectionLog(str(address))
        self._reactor = reactor
        self._timeout = timeout
        self._name = name
        self._prepare = prepare
        self._on_message = on_message
        self._finder = MasterFinder(reactor, address, timeout) if address.sentinels is not None else None
        self._connected: Any = None  # the protocol that is connected, whether it is usable or not
        self._run_token: object = None  # identifies the loop that is supposed to run
        self._task: Deferred[None] | None = None
        self._is_renewing = False  # whether the next connection is made at once and without a log entry
        self._waiting = WaiterSet()

    def start(self) -> None:
        """Start to connect."""
        self.problem = 'no connection has been made yet'
        self._run_token = run = object()
        self._task = Deferred.fromCoroutine(self._keep_connected(run))
        self._task.addErrback(self._log_failure)

    def stop(self) -> Deferred[None]:
        """Stop; fires when the connection is closed."""
        was_waiting = self.state is ConnectionState.WAITING  # the dropped connection may not have ended yet
        self._run_token = self.protocol = None
        self.state, self.problem = ConnectionState.STOPPED, 'it was stopped'
        self._waiting.fail_all(self.unavailable_error())
        # A task that waits for the end of the connection ends with it; it must not be cancelled, since it may have
        # called us.
        if self._task is not None and (self._connected is None or was_waiting):
            self._task.cancel()
        if self._connected is not None:
            disconnected: Deferred[Any] = self._connected.whenDisconnected()
            self._connected.transport.abortConnection()
            return disconnected.addCallback(lambda _: None)
        return succeed(None)

    def wait_connected(self) -> Deferred[None]:
        """Fires when there is a connection; fails with ServiceUnavailable if stopped first."""
        if self.protocol is not None:
            return succeed(None)
        return self._waiting.wait()

    def drop_connection(self, protocol: Any, reason: str) -> None:
        """Close a connection that can no longer be trusted, and make another."""
        if self.protocol is protocol:
            self.protocol = None
        protocol.dropped = reason
        if self._connected is protocol and self._run_token is not None:
            self._report_problem(reason)
        protocol.transport.abortConnection()

    def reconnect(self, protocol: Any) -> None:
        """Replace a connection at once that became unusable without a fault of Redis."""
        self._is_renewing = True
        if self.protocol is protocol:
            self.protocol = None
            self.problem = 'it is reconnecting'
        protocol.transport.abortConnection()

    def unavailable_error(self) -> ServiceUnavailable:
        """Return the error for callers that need a connection now."""
        return ServiceUnavailable(None, f'{self.address} is unavailable: {self.problem}')

    async def _keep_connected(self, run: object) -> None:
        failures = 0
        while True:
            self.state = ConnectionState.CONNECTING
            began = self._reactor.seconds()
            problem = await self._connect_once()
            if self._run_token is not run:
                return
            if self._is_renewing:
                self._is_renewing = False
                continue
            self._report_problem(problem)
            self.state = ConnectionState.WAITING
            failures = 0 if self._reactor.seconds() - began >= _STABLE_AFTER + self._timeout else failures + 1
            await deferLater(self._reactor, backoff_delay(failures, random.random, cap=_MAX_DELAY))

    async def _connect_once(self) -> str:
        """Connect, wait until the connection ends, and return why there is none now."""
        try:
            server = self.address if self._finder is None else await self._finder.find_master()
            protocol = await self._connect(server)
        except CancelledError:
            raise
        except Exception as error:
            hint = '; does it speak TLS?' if self.address.tls and isinstance(error, Timeout) else ''
            return describe_error(error, self._timeout) + hint
        self._on_connected(protocol)
        following = watch_failover(
            self._finder, server, self._reactor, lambda: self.drop_connection(protocol, 'its master moved')
        )
        await protocol.whenDisconnected()
        following.cancel()
        if self.protocol is protocol:
            self.protocol = None
            return describe_error(protocol.close_reason.value, self._timeout)
        return self.problem  # set by `drop_connection`

    async def _connect(self, server: RedisAddress) -> Any:
        protocol = make_protocol(self._reactor, str(self.address), self._timeout, self._on_message)
        protocol.hung = protocol.stale = lambda reason: self.drop_connection(protocol, reason)
        await connect_to_address(self._reactor, server, protocol, self._timeout)
        self._connected = protocol
        protocol.whenDisconnected().addCallback(self._on_closed)
        handshake = Deferred.fromCoroutine(self._handshake_and_prepare(protocol, server))
        handshake.addTimeout(self._timeout, self._reactor)
        try:
            await handshake
        except ServiceUnavailable as error:
            protocol.transport.abortConnection()
            raise disconnect_cause(error, protocol) from None
        except BaseException:
            protocol.transport.abortConnection()
            raise
        return protocol

    async def _handshake_and_prepare(self, protocol: Any, server: RedisAddress) -> None:
        await perform_handshake(protocol, server, self._name, master=self._finder is not None)
        if self._prepare is not None:
            await self._prepare(protocol)

    def _on_connected(self, protocol: Any) -> None:
        self.protocol = protocol
        self.state = ConnectionState.CONNECTED
        self.problem = ''
        self._connection_log.log_connected()
        self._waiting.fire_all()

    def _on_closed(self, protocol: Any) -> None:
        if self._connected is protocol:
            self._connected = None

    def _report_problem(self, problem: str) -> None:
        self.problem = problem
        self._connection_log.log_unavailable(problem)

    def _log_failure(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._log.failure(
                '{address}: an unexpected error ended the connection for good', failure, address=self.address
            )


class ReconnectingServiceBase(Service):
    """Base class of Twisted services that use a reconnecting connection."""

    def __init__(self, connection: ReconnectingConnection) -> None:
        self._connection = connection

    @property
    def address(self) -> RedisAddress:
        """The address of the server."""
        return self._connection.address

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._connection.state

    @property
    def problem(self) -> str:
        """Why there is no connection now, for users; '' if there is one."""
        return self._connection.problem

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._connection.start()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return self._connection.stop()

    def wait_connected(self) -> Deferred[None]:
        """Fires when Redis is connected. Fails with ServiceUnavailable if the service is stopped first."""
        return self._connection.wait_connected()
