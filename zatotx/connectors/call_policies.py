"""Policies for the calls of outgoing connections: circuit breaker, retries, bulkhead and time limit. Each policy wraps
a function that sends a call.

Each wrapper has one method, `send`, with the signature of what it wraps, and knows requests and responses of a kind
only through the functions that it is given. A connection that does not configure a policy does not pay for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from zatotx.interfaces.meters import IOutgoingMeter
from zatotx.rules.resilience.circuit_breaker import CLOSED, HALF_OPEN, CircuitBreaker
from zatotx.rules.resilience.outgoing_retry import CallRetryBudget

Req = TypeVar('Req')
Res = TypeVar('Res')
_Req = TypeVar('_Req', contravariant=True)
_Res = TypeVar('_Res', contravariant=True)

Send = Callable[[Req], Awaitable[Res]]


class CallRejected(Exception):  # noqa: N818 - kinds map it to an error of their own
    """A policy rejected the call, so nothing was sent to the peer."""


class CircuitOpen(CallRejected):
    """The circuit breaker is open. `wait` is the number of seconds until it admits a trial call."""

    def __init__(self, wait: float) -> None:
        super().__init__('it is cut off by its circuit breaker')
        self.wait = wait


class BulkheadFull(CallRejected):
    """The connection's limit of concurrent calls is reached."""

    def __init__(self) -> None:
        super().__init__('as many calls are in flight as it may have')


class CallTimedOut(Exception):  # noqa: N818 - kinds map it to an error of their own
    """The call exceeded its time limit of `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f'no answer within {round(seconds, 3):g} s')
        self.seconds = seconds


@define(eq=False)
class CircuitBreaking(Generic[Req, Res]):
    """A policy that rejects calls while the circuit breaker is open.

    `is_failure`: whether an error, or a response, says that the peer is not well. Other errors, and callers that give
    up, leave the breaker as it is. `rejected` makes the error that is raised while it is open, from the seconds until
    it lets a call through again.
    """

    inner: Send[Req, Res]
    breaker: CircuitBreaker
    seconds: Callable[[], float]
    meter: IOutgoingMeter
    is_failed_response: Callable[[Res], bool]
    is_failure: Callable[[Exception], bool]
    rejected: Callable[[float], Exception] = CircuitOpen

    async def send(self, request: Req) -> Res:
        """The response. Raises what `rejected` makes."""
        breaker = self.breaker
        ticket = breaker.acquire(self.seconds())
        if ticket is None:
            raise self.rejected(breaker.wait_time(self.seconds()))
        if breaker.state is not CLOSED:
            self._show()
        try:
            response = await self.inner(request)
        except CancelledError:
            self._record_abandoned(ticket)
            raise
        except Exception as error:
            if self.is_failure(error):
                self._failed(ticket)
            else:
                self._record_abandoned(ticket)
            raise
        except BaseException:
            self._record_abandoned(ticket)
            raise
        if self.is_failed_response(response):
            self._failed(ticket)
        else:
            breaker.record_success(ticket)
            self._show()
        return response

    def _failed(self, ticket: int) -> None:
        before = self.breaker.times_opened
        self.breaker.record_failure(ticket, self.seconds())
        self.meter.circuits_opened += self.breaker.times_opened - before
        self._show()

    def _record_abandoned(self, ticket: int) -> None:
        self.breaker.record_abandoned(ticket)
        self._show()

    def _show(self) -> None:
        state, meter = self.breaker.state, self.meter
        meter.circuit_open = state is not CLOSED
        meter.circuit_half_open = state is HALF_OPEN


class RetryDecision(Protocol[_Req, _Res]):
    """The interface with which a kind decides whether and when a failed call is retried."""

    def after_error(self, request: _Req, attempts: int, error: Exception) -> float | None:
        """Seconds until the next attempt after `attempts` of them, or None where the error is final."""

    def after_response(self, request: _Req, attempts: int, response: _Res) -> float | None:
        """The same for a response, which may say that the peer is not well."""

    def discard(self, response: _Res) -> None:
        """Another attempt follows: release what the response holds."""

    def ends_retries(self, request: _Req, error: Exception) -> bool:
        """Whether this error of a further attempt ends the call in the outcome of the attempt before it."""


@define(eq=False)
class Retrying(Generic[Req, Res]):
    """A policy that retries calls if the retry decision of the kind and the retry budget of the connection allow it."""

    inner: Send[Req, Res]
    decision: RetryDecision[Req, Res]
    clock: IReactorTime
    meter: IOutgoingMeter
    budget: CallRetryBudget

    async def send(self, request: Req) -> Res:
        """The response of the last attempt. Raises its error."""
        self.budget.record_call(self.clock.seconds())
        attempts, outcome = 1, await self._attempt(request)
        while (delay := self._delay(request, attempts, outcome)) is not None:
            if not isinstance(outcome, Exception):
                self.decision.discard(outcome)
            self.meter.retries += 1
            await deferLater(self.clock, delay)
            attempts += 1
            following = await self._attempt(request)
            if isinstance(following, Exception) and self.decision.ends_retries(request, following):
                break
            outcome = following
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _attempt(self, request: Req) -> Res | Exception:
        try:
            return await self.inner(request)
        except CancelledError:
            raise
        except Exception as error:
            return error

    def _delay(self, request: Req, attempts: int, outcome: Res | Exception) -> float | None:
        decision = self.decision
        if isinstance(outcome, Exception):
            delay = decision.after_error(request, attempts, outcome)
        else:
            delay = decision.after_response(request, attempts, outcome)
        return delay if delay is not None and self.budget.try_acquire(self.clock.seconds()) else None


@define(eq=False)
class Bulkhead(Generic[Req, Res]):
    """A policy that limits the number of concurrent calls to `limit`, and rejects further calls immediately."""

    inner: Send[Req, Res]
    limit: int
    in_flight: int = 0

    async def send(self, request: Req) -> Res:
        """The response. Raises BulkheadFull."""
        if self.in_flight >= self.limit:
            raise BulkheadFull
        self.in_flight += 1
        try:
            return await self.inner(request)
        finally:
            self.in_flight -= 1


@define(eq=False)
class TimeLimit(Generic[Req, Res]):
    """A policy that cancels a call after a time limit. The function `seconds` returns the time limit for a request, in
    seconds."""

    inner: Send[Req, Res]
    clock: IReactorTime
    seconds: Callable[[Req], float]

    async def send(self, request: Req) -> Res:
        """The response. Raises CallTimedOut."""
        limit = self.seconds(request)

        async def call() -> Res:
            return await self.inner(request)

        calling = Deferred.fromCoroutine(call())
        timer = self.clock.callLater(limit, calling.cancel)
        try:
            return await calling
        except CancelledError:
            if timer.active():  # somebody else cancelled it
                raise
            raise CallTimedOut(limit) from None
        finally:
            if timer.active():
                timer.cancel()
