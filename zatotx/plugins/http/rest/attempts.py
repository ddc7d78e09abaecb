"""From a request to an answer: what is wrapped around the client, as far as a connection asks for it. What is off is
not there, and costs nothing.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from time import time
from typing import Any, Protocol

from attrs import define, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from zatotx.model.errors import ServiceError
from zatotx.plugins.http.client.call import Fields, HttpRequest, HttpResponse
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.rest.error_mapping import CircuitOpen, is_circuit_failure, is_retryable
from zatotx.plugins.http.rest.request_builder import Request, RequestForm
from zatotx.rules.resilience.circuit_breaker import CLOSED, HALF_OPEN, CircuitBreaker
from zatotx.rules.resilience.retry import (
    FailedAttempt,
    RetryBudget,
    RetryPolicy,
    is_transient_status,
    retry_after,
    retry_delay,
)

Attempt = Callable[[Request], Awaitable[HttpResponse]]  # fails with CallFailed
_REFUSED = 401
_FAILED = 500  # and above


@frozen
class DirectSender:
    """The client itself."""

    form: RequestForm
    client: Callable[[HttpRequest], Awaitable[HttpResponse]]

    def send(self, request: Request) -> Awaitable[HttpResponse]:
        return self.client(self.form.outbound(request))


def is_failure(answer: HttpResponse) -> bool:
    """Whether an answer says that the peer is not well: status 5xx."""
    return answer.head.status >= _FAILED


@define(eq=False)
class CircuitBreaking:
    """Nothing is sent while the circuit breaker is open. Each attempt is one of its calls: it fails where there is no
    answer, or one that is a failure."""

    inner: Attempt
    breaker: CircuitBreaker
    seconds: Callable[[], float]
    meter: Any  # IOutgoingMeter
    is_failure: Callable[[HttpResponse], bool] = is_failure

    async def send(self, request: Request) -> HttpResponse:
        breaker = self.breaker
        ticket = breaker.enter(self.seconds())
        if ticket is None:
            raise CircuitOpen(breaker.wait(self.seconds()))
        if breaker.state is not CLOSED:
            self._show()
        try:
            answer = await self.inner(request)
        except CallFailed as failed:
            if is_circuit_failure(failed):
                self._failed(ticket)
            else:
                self._left(ticket)
            raise
        except BaseException:  # its caller gave up, or the request must not be sent at all
            self._left(ticket)
            raise
        if self.is_failure(answer):
            self._failed(ticket)
        else:
            breaker.succeeded(ticket)
            self._show()
        return answer

    def _failed(self, ticket: int) -> None:
        before = self.breaker.opened
        self.breaker.failed(ticket, self.seconds())
        self.meter.circuits_opened += self.breaker.opened - before
        self._show()

    def _left(self, ticket: int) -> None:
        self.breaker.left(ticket)
        self._show()

    def _show(self) -> None:
        state, meter = self.breaker.state, self.meter
        meter.circuit_open = state is not CLOSED
        meter.circuit_half_open = state is HALF_OPEN


class Authorizer(Protocol):
    """Says who we are, where that takes more than fields that are always the same."""

    async def credentials(self, request: Request) -> Fields:
        """The fields for this request. Raises a Fault where they cannot be had in time."""

    async def refused(self, request: Request, answer: HttpResponse) -> bool:
        """The peer did not accept them (401). Whether others can be had, which it has not seen yet."""

    def accepted(self, answer: HttpResponse) -> None:
        """It did."""


@define(eq=False)
class Authorizing:
    """Requests go out with credentials, and once again with others where the peer does not take those."""

    inner: Attempt
    authorizer: Authorizer
    title: str  # of the connection

    async def send(self, request: Request) -> HttpResponse:
        authorizer = self.authorizer
        request.credentials = await self._credentials(request)
        answer = await self.inner(request)
        if answer.head.status == _REFUSED and request.repeatable and await authorizer.refused(request, answer):
            _dropped(answer)
            request.credentials = await self._credentials(request)
            answer = await self.inner(request)
        if answer.head.status != _REFUSED:
            authorizer.accepted(answer)
        return answer

    async def _credentials(self, request: Request) -> Fields:
        try:
            return await self.authorizer.credentials(request)
        except ServiceError as fault:
            said = f'{self.title} cannot be used: {fault.msg[:1].lower()}{fault.msg[1:]}'
            raise type(fault)(request.call.cid, said) from fault


@define(eq=False)
class Retrying:
    """Tries once more where that may help and does no harm, within the call's time and the connection's budget."""

    inner: Attempt
    repeats: RetryPolicy
    clock: IReactorTime
    meter: Any  # IOutgoingMeter
    budget: RetryBudget

    async def send(self, request: Request) -> HttpResponse:
        self.budget.called(self.clock.seconds())
        try:
            answer = await self.inner(request)
        except CallFailed as failed:
            return await self._again(request, _Ended(failed))
        if is_transient_status(answer.head.status):
            return await self._again(request, _Ended(answer))
        return answer

    async def _again(self, request: Request, ended: _Ended) -> HttpResponse:
        """What comes of it after a first attempt that ended so."""
        made = 1
        while (delay := self._delay(request, made, ended)) is not None:
            ended.drop()
            self.meter.retries += 1
            await deferLater(self.clock, delay)
            made += 1
            try:
                ended = await self._ended(request)
            except CircuitOpen:
                if request.stream:  # of which nothing is left to give
                    raise
                break
        return ended.answer()

    async def _ended(self, request: Request) -> _Ended:
        try:
            return _Ended(await self.inner(request))
        except CircuitOpen:
            raise
        except CallFailed as failed:
            return _Ended(failed)

    def _delay(self, request: Request, made: int, ended: _Ended) -> float | None:
        """Seconds until it is tried again; None = it is not."""
        tried = ended.tried()
        if tried is None:
            return None
        again = self.repeats.may(request.method, keyed=request.keyed)
        delay = retry_delay(self.repeats, made, tried, again=again, random=random.random)
        if delay is None or not request.repeatable:
            return None
        now = self.clock.seconds()
        return delay if now + delay < request.due and self.budget.take(now) else None


@frozen
class _Ended:
    """How one attempt did."""

    how: HttpResponse | CallFailed

    def answer(self) -> HttpResponse:
        """The answer. Raises what there was instead of one."""
        if isinstance(self.how, CallFailed):
            raise self.how
        return self.how

    def tried(self) -> FailedAttempt | None:
        """As it is judged; None where trying again is of no use."""
        if isinstance(self.how, CallFailed):
            return FailedAttempt(reached=self.how.reached) if is_retryable(self.how) else None
        status = self.how.head.status
        if not is_transient_status(status):
            return None
        return FailedAttempt(status=status, retry_after=retry_after(self.how.head.headers.get(b'retry-after'), time()))

    def drop(self) -> None:
        """It is not wanted."""
        if not isinstance(self.how, CallFailed):
            _dropped(self.how)


def _dropped(answer: HttpResponse) -> None:
    if not isinstance(answer.body, bytes):
        answer.body.close()
