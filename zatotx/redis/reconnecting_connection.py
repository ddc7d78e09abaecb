"""One connection to Redis that comes back by itself."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis.connector import connect
from zatotx.redis.errors import cause, clause
from zatotx.redis.handshake import perform_handshake
from zatotx.redis.protocol import Heard, new_protocol
from zatotx.redis.sentinel import MasterFinder, follow_failover
from zatotx.redis.status_log import ConnectionLog
from zatotx.redis.url import RedisAddress
from zatotx.redis.waiters import Waiters
from zatotx.rules.resilience.backoff import next_delay

_LONGEST_DELAY = 2.0  # seconds between tries
_STABLE = 5.0  # seconds; a connection lost sooner counts as a failed try, so that nobody spins on a broken server

Prepare = Callable[[Any], Awaitable[None]]


class ConnectionState(Enum):
    STOPPED = 'stopped'
    CONNECTING = 'connecting'
    CONNECTED = 'connected'
    WAITING = 'waiting'  # for the next try


class ReconnectingConnection:
    """Keeps a protocol connected: dials, says who we are, prepares, and starts over with growing delays when that fails
    or ends. Behind sentinels it asks them for the master before each try and while it is connected."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        address: RedisAddress,
        *,
        timeout: float,
        name: str = '',
        voice: ConnectionLog | None = None,
        prepare: Prepare | None = None,
        heard: Heard | None = None,
    ) -> None:
        """`timeout`: seconds for each step and each command. `name`: what Redis calls the connection. `voice`: shared
        by links to one Redis. `prepare` readies a connected protocol. `heard`: see new_protocol."""
        self.address = address
        self.state = ConnectionState.STOPPED
        self.problem = 'it was not started'  # why there is no connection now, for people
        self.live: Any = None  # the protocol that may be used now
        self._voice = voice or ConnectionLog(str(address))
        self._reactor = reactor
        self._timeout = timeout
        self._name = name
        self._prepare = prepare
        self._heard = heard
        self._finder = MasterFinder(reactor, address, timeout) if address.sentinels is not None else None
        self._open: Any = None  # the protocol that is connected, usable or not
        self._run: object = None  # the token of the loop that is meant to run
        self._task: Deferred[None] | None = None
        self._renewing = False  # whether the next connection is made at once, and nothing said
        self._waiting = Waiters()

    def start(self) -> None:
        """Begin to connect."""
        self.problem = 'no connection was made yet'
        self._run = run = object()
        self._task = Deferred.fromCoroutine(self._keep_connected(run))
        self._task.addErrback(self._ended)

    def stop(self) -> Deferred[None]:
        """Close; fires when the connection is closed."""
        pausing = self.state is ConnectionState.WAITING  # the connection that was given up may not have ended yet
        self._run = self.live = None
        self.state, self.problem = ConnectionState.STOPPED, 'it was stopped'
        self._waiting.fail(self.away())
        # What waits for an end of the connection is ended by it: it may be who called us, and not to be cancelled.
        if self._task is not None and (self._open is None or pausing):
            self._task.cancel()
        if self._open is not None:
            gone: Deferred[Any] = self._open.whenDisconnected()
            self._open.transport.abortConnection()
            return gone.addCallback(lambda _: None)
        return succeed(None)

    def up(self) -> Deferred[None]:
        """Fires when there is a connection; fails with ServiceUnavailable where the link is stopped first."""
        if self.live is not None:
            return succeed(None)
        return self._waiting.wait()

    def drop(self, protocol: Any, why: str) -> None:
        """This connection cannot be trusted any more: close it and make another."""
        if self.live is protocol:
            self.live = None
        protocol.dropped = why
        if self._open is protocol and self._run is not None:
            self._note(why)
        protocol.transport.abortConnection()

    def renew(self, protocol: Any) -> None:
        """This connection is of no use any more, by no fault of Redis's: make another at once."""
        self._renewing = True
        if self.live is protocol:
            self.live = None
            self.problem = 'it is connected anew'
        protocol.transport.abortConnection()

    def away(self) -> ServiceUnavailable:
        """The error of whoever needs a connection now."""
        return ServiceUnavailable(None, f'{self.address} is away: {self.problem}')

    async def _keep_connected(self, run: object) -> None:
        failures = 0
        while True:
            self.state = ConnectionState.CONNECTING
            began = self._reactor.seconds()
            problem = await self._one_connection()
            if self._run is not run:
                return
            if self._renewing:
                self._renewing = False
                continue
            self._note(problem)
            self.state = ConnectionState.WAITING
            failures = 0 if self._reactor.seconds() - began >= _STABLE + self._timeout else failures + 1
            await deferLater(self._reactor, next_delay(failures, random.random, cap=_LONGEST_DELAY))

    async def _one_connection(self) -> str:
        """From dialing to the end of the connection; why there is none now."""
        try:
            place = self.address if self._finder is None else await self._finder.find()
            protocol = await self._connect(place)
        except CancelledError:
            raise
        except Exception as error:
            doubt = '; does it speak TLS?' if self.address.tls and isinstance(error, Timeout) else ''
            return clause(error, self._timeout) + doubt
        self._came_up(protocol)
        following = follow_failover(self._finder, place, self._reactor, lambda: self.drop(protocol, 'its master moved'))
        await protocol.whenDisconnected()
        following.cancel()
        if self.live is protocol:
            self.live = None
            return clause(protocol.why.value, self._timeout)
        return self.problem  # it was dropped, and that said why

    async def _connect(self, place: RedisAddress) -> Any:
        protocol = new_protocol(self._reactor, str(self.address), self._timeout, self._heard)
        protocol.hung = protocol.stale = lambda why: self.drop(protocol, why)
        await connect(self._reactor, place, protocol, self._timeout)
        self._open = protocol
        protocol.whenDisconnected().addCallback(self._closed)
        greeting = Deferred.fromCoroutine(self._greet(protocol, place))
        greeting.addTimeout(self._timeout, self._reactor)
        try:
            await greeting
        except ServiceUnavailable as error:
            protocol.transport.abortConnection()
            raise cause(error, protocol) from None
        except BaseException:
            protocol.transport.abortConnection()
            raise
        return protocol

    async def _greet(self, protocol: Any, place: RedisAddress) -> None:
        await perform_handshake(protocol, place, self._name, master=self._finder is not None)
        if self._prepare is not None:
            await self._prepare(protocol)

    def _came_up(self, protocol: Any) -> None:
        self.live = protocol
        self.state = ConnectionState.CONNECTED
        self.problem = ''
        self._voice.answers()
        self._waiting.fire()

    def _closed(self, protocol: Any) -> None:
        if self._open is protocol:
            self._open = None

    def _note(self, problem: str) -> None:
        self.problem = problem
        self._voice.away(problem)

    def _ended(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._log.failure('{address}: the connection is given up', failure, address=self.address)


class ConnectionService(Service):
    """A service that is a link, with something to say over it."""

    def __init__(self, link: ReconnectingConnection) -> None:
        self._link = link

    @property
    def address(self) -> RedisAddress:
        return self._link.address

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._link.state

    @property
    def problem(self) -> str:
        """Why there is no connection now, for people; '' when there is."""
        return self._link.problem

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._link.start()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return self._link.stop()

    def up(self) -> Deferred[None]:
        """Fires when Redis answers. Fails with ServiceUnavailable where the service is stopped first."""
        return self._link.up()
