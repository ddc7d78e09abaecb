"""One connection to Redis that comes back by itself."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zatotx.interfaces.bus import ResponseError
from zatotx.kvdb.address import RedisAddress
from zatotx.kvdb.dialing import dial
from zatotx.kvdb.protocol import translated
from zatotx.model.faults import ServiceUnavailable
from zatotx.rules.backoff import next_delay

_LONGEST_DELAY = 2.0  # seconds between tries
_STABLE = 5.0  # seconds; a connection lost sooner counts as a failed try, so that nobody spins on a broken server


class State(Enum):
    STOPPED = 'stopped'
    CONNECTING = 'connecting'
    CONNECTED = 'connected'
    WAITING = 'waiting'  # for the next try


class Link:
    """Keeps a protocol of txredisapi connected: dials, says who we are, prepares, and starts over with growing delays
    when that fails or ends. A server counts as there only when it answered: a frozen one accepts connections too."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        address: RedisAddress,
        *,
        make: Callable[[], Any],
        prepare: Callable[[Any], Awaitable[None]],
        timeout: float,
    ) -> None:
        """`make` builds a fresh protocol, `prepare` readies a connected one. `timeout`: seconds for each step."""
        self.address = address
        self.state = State.STOPPED
        self.problem = 'it was not started'  # why there is no connection now, for people
        self.live: Any = None  # the protocol that may be used now
        self._reactor = reactor
        self._make = make
        self._prepare = prepare
        self._timeout = timeout
        self._open: Any = None  # the protocol that is connected, usable or not
        self._told = ''
        self._run: object = None  # the token of the loop that is meant to run
        self._task: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []

    def start(self) -> None:
        """Begin to connect."""
        self.problem = 'no connection was made yet'
        self._run = run = object()
        self._task = Deferred.fromCoroutine(self._keep_connected(run))
        self._task.addErrback(self._ended)

    def stop(self) -> Deferred[None]:
        """Close; fires when the connection is closed."""
        self._run = self.live = None
        self.state, self.problem = State.STOPPED, 'it was stopped'
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(self.away())
        # What waits for an end of the connection is ended by it: it may be who called us, and not to be cancelled.
        if self._open is not None:
            gone: Deferred[Any] = self._open.whenDisconnected()
            self._open.transport.abortConnection()
            return gone.addCallback(lambda _: None)
        if self._task is not None:
            self._task.cancel()
        return succeed(None)

    def up(self) -> Deferred[None]:
        """Fires when there is a connection; fails with ServiceUnavailable where the link is stopped first."""
        if self.live is not None:
            return succeed(None)
        waiter: Deferred[None] = Deferred(lambda d: self._waiting.remove(d))
        self._waiting.append(waiter)
        return waiter

    def drop(self, protocol: Any, why: str) -> None:
        """This connection cannot be trusted any more: close it and make another."""
        if self.live is protocol:
            self.live = None
        self._note(why)
        protocol.transport.abortConnection()

    def away(self) -> ServiceUnavailable:
        """The error of whoever needs a connection now."""
        return ServiceUnavailable(None, f'{self.address} is away: {self.problem}')

    async def _keep_connected(self, run: object) -> None:
        failures = 0
        while True:
            self.state = State.CONNECTING
            began = self._reactor.seconds()
            problem = await self._one_connection()
            if self._run is not run:
                return
            self._note(problem)
            self.state = State.WAITING
            failures = 0 if self._reactor.seconds() - began >= _STABLE + self._timeout else failures + 1
            await deferLater(self._reactor, next_delay(failures, random.random, cap=_LONGEST_DELAY))

    async def _one_connection(self) -> str:
        """From dialing to the end of the connection; why there is none now."""
        try:
            protocol = await self._connect()
        except CancelledError:
            raise
        except Exception as error:
            return self._sentence(error)
        self._came_up(protocol)
        await protocol.whenDisconnected()
        if self.live is protocol:
            self.live = None
            return 'the connection was lost'
        return self.problem  # it was dropped, and that said why

    async def _connect(self) -> Any:
        protocol = self._make()
        await dial(self._reactor, self.address, protocol, self._timeout)
        self._open = protocol
        protocol.whenDisconnected().addCallback(self._closed)
        greeting = Deferred.fromCoroutine(self._greet(protocol))
        greeting.addTimeout(self._timeout, self._reactor)
        try:
            await greeting
        except BaseException:
            protocol.transport.abortConnection()
            raise
        return protocol

    async def _greet(self, protocol: Any) -> None:
        address = self.address
        if address.password:
            who = (address.username,) if address.username else ()
            await protocol.execute_command('AUTH', *who, address.password)
        if address.db:
            await protocol.execute_command('SELECT', address.db)
        await protocol.execute_command('PING')
        await self._prepare(protocol)

    def _came_up(self, protocol: Any) -> None:
        self.live = protocol
        self.state = State.CONNECTED
        self.problem = self._told = ''
        self._log.info('{address} answers', address=self.address)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def _closed(self, protocol: Any) -> None:
        if self._open is protocol:
            self._open = None

    def _note(self, problem: str) -> None:
        self.problem = problem
        if problem != self._told:
            self._told = problem
            self._log.warn('{address} is away: {problem}', address=self.address, problem=problem)

    def _sentence(self, error: Exception) -> str:
        error_here = translated(error, str(self.address))
        if isinstance(error_here, ResponseError):
            return f'it refused the connection: {error_here}'
        if isinstance(error, TimeoutError):
            return f'it gave no answer within {self._timeout:g} s'
        return str(error_here).rstrip('.') or type(error).__name__

    def _ended(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._log.failure('{address}: the connection is given up', failure, address=self.address)
