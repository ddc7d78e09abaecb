"""Supervises one long-lived connection: connects, detects the loss of the connection, and reconnects with backoff and
jitter.

The states and what leads from one to another:

==========  ===========  ==========================================
state       event        next state
==========  ===========  ==========================================
STOPPED     start        CONNECTING
CONNECTING  connected    UP
CONNECTING  failed       WAITING
UP          lost         WAITING
WAITING     timer        CONNECTING
any         stop         STOPPED
==========  ===========  ==========================================
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from enum import Enum
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.connectors.failure_log import FailureLog
from zatotx.rules.resilience.outgoing_retry import backoff_delay

CONNECT_TIMEOUT = 10.0  # seconds in which a connection must be up
BACKOFF, MAX_BACKOFF = 0.5, 30.0  # seconds: the longest first pause, and the longest of all
DEMAND_INTERVAL = 0.5  # seconds after a failed attempt in which calls do not cause another one
STABLE = 10.0  # seconds that a connection must have been up for the backoff to begin anew

T = TypeVar('T')


class ConnectionState(Enum):
    """The states of a supervised connection."""

    STOPPED = 'stopped'
    CONNECTING = 'connecting'
    UP = 'up'
    WAITING = 'waiting'


class ConnectionSupervisor(Generic[T]):
    """Keeps one connection open. `connect` returns a connection or raises an exception, and is canceled after `timeout`
    seconds; `close` closes a connection.

    `up` is called with each new connection, `down` when it is lost; the kind calls `lost` with the reason. `title`:
    what messages call it, such as 'Definition rabbit (amqp)'. `random` gives numbers in [0, 1). `failures`: a log that
    several connections share (FailureLogGroup); None = one of its own.
    """

    _log = Logger()

    def __init__(
        self,
        title: str,
        connect: Callable[[], Awaitable[T]],
        close: Callable[[T], Awaitable[object]],
        *,
        clock: IReactorTime,
        up: Callable[[T], object],
        down: Callable[[], object],
        timeout: float = CONNECT_TIMEOUT,
        random: Callable[[], float] = random.random,
        failures: FailureLog | None = None,
    ) -> None:
        self.state = ConnectionState.STOPPED
        self.connection: T | None = None  # while the state is UP
        self.failures = FailureLog(title, clock.seconds) if failures is None else failures
        self._title = title
        self._connect = connect
        self._close = close
        self._clock = clock
        self._up, self._down = up, down
        self._timeout = timeout
        self._random = random
        self._attempts = 0  # failed in a row
        self._up_since = 0.0
        self._failed_at = 0.0
        self._connecting: Deferred[T] | None = None
        self._timer: IDelayedCall | None = None
        self._waiters: list[Deferred[T]] = []

    def start(self) -> None:
        """Begin to connect. Does nothing where it was started before."""
        if self.state is ConnectionState.STOPPED:
            self._attempts = 0
            self._begin()

    def connect_now(self) -> bool:
        """Connect without waiting for the end of the backoff, because a call needs the connection. Returns False if the
        last attempt has just failed, so that many calls do not cause many attempts."""
        if self.state is ConnectionState.WAITING and self._clock.seconds() - self._failed_at >= DEMAND_INTERVAL:
            self._cancel_timer()
            self._begin()
        return self.state is ConnectionState.CONNECTING

    def stop(self) -> Deferred[None]:
        """Close the connection and connect no more. Fires when it is closed, whether that went well or not."""
        before, self.state = self.state, ConnectionState.STOPPED
        self._cancel_timer()
        if self._connecting is not None:
            self._connecting.cancel()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(CancelledError())
        connection, self.connection = self.connection, None
        if before is not ConnectionState.UP or connection is None:
            return succeed(None)
        self._down()
        return self._closed(connection)

    def lost(self, reason: str) -> None:
        """The connection that is up is gone. Ignored in any other state."""
        if self.state is not ConnectionState.UP:
            return
        self.connection = None
        if self._clock.seconds() - self._up_since >= STABLE:
            self._attempts = 0
        self._down()
        if self.state is ConnectionState.UP:  # `down` may have stopped it
            self._wait(reason)

    def drop(self, reason: str) -> None:
        """Close the connection that is up, because it does not answer, and connect anew."""
        connection = self.connection
        if connection is not None:
            self.lost(reason)
            self._closed(connection)

    def when_up(self) -> Deferred[T]:
        """Fires with the connection as soon as there is one. Fails with CancelledError when it is stopped; may be
        cancelled."""
        if self.connection is not None:
            return succeed(self.connection)
        waiter: Deferred[T] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def findings(self) -> Iterator[str]:
        """A sentence while the connection is down though it should be up."""
        if self.state is not ConnectionState.STOPPED and self.failures.cause:
            yield f'{self._title} is not connected: {self.failures.cause}'

    # Transitions.

    def _begin(self) -> None:
        self.state = ConnectionState.CONNECTING
        self._timer = None

        async def connect() -> T:
            return await self._connect()

        connecting = self._connecting = Deferred.fromCoroutine(connect())
        connecting.addTimeout(self._timeout, self._clock, self._timed_out)
        connecting.addBoth(self._ended)

    def _timed_out(self, result: Any, seconds: float) -> Any:
        raise TimeoutError(f'no connection within {seconds:g} s')

    def _ended(self, result: T | Failure) -> None:
        self._connecting = None
        if self.state is not ConnectionState.CONNECTING:  # it was stopped meanwhile
            if not isinstance(result, Failure):
                self._closed(result)
            return
        if isinstance(result, Failure):
            self._wait(result.getErrorMessage() or type(result.value).__name__)
            return
        self.state = ConnectionState.UP
        self.connection = result
        self._up_since = self._clock.seconds()
        if self.failures.cause:
            self.failures.recovered()
        self._up(result)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(result)

    def _wait(self, reason: str) -> None:
        self.state = ConnectionState.WAITING
        self.failures.failed(reason)
        self._failed_at = self._clock.seconds()
        delay = backoff_delay(self._attempts, self._random, base=BACKOFF, cap=MAX_BACKOFF)
        self._attempts += 1
        self._timer = self._clock.callLater(delay, self._begin)

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _closed(self, connection: T) -> Deferred[None]:
        async def close() -> None:
            await self._close(connection)

        closing = Deferred.fromCoroutine(close())
        closing.addErrback(lambda failure: self._log.failure('{title} was not closed in good order', failure,
                                                             title=self._title))  # fmt: skip
        return closing
