"""From a request to an answer: what is wrapped around the client, as far as a connection asks for it. What is off is
not there, and costs nothing.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from time import time
from typing import Protocol

from attrs import define, frozen

from zatotx.model.errors import ServiceError
from zatotx.plugins.http.client.call import Fields, HttpRequest, HttpResponse
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.rest.error_mapping import CircuitOpen, is_circuit_failure, is_retryable
from zatotx.plugins.http.rest.request_builder import Request, RequestForm
from zatotx.rules.resilience.retry import (
    FailedAttempt,
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


def is_peer_failure(error: Exception) -> bool:
    """Whether an error counts for the circuit breaker."""
    return isinstance(error, CallFailed) and is_circuit_failure(error)


def is_failure(answer: HttpResponse) -> bool:
    """Whether an answer says that the peer is not well: status 5xx."""
    return answer.head.status >= _FAILED


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
class HttpRetryDecision:
    """RetryDecision of HTTP: what may be repeated, within the time of the call."""

    policy: RetryPolicy
    seconds: Callable[[], float]

    def after_error(self, request: Request, attempts: int, error: Exception) -> float | None:
        """See RetryDecision."""
        if not isinstance(error, CallFailed) or not is_retryable(error):
            return None
        return self._delay(request, attempts, FailedAttempt(reached=error.reached))

    def after_response(self, request: Request, attempts: int, response: HttpResponse) -> float | None:
        """See RetryDecision."""
        status = response.head.status
        if not is_transient_status(status):
            return None
        pause = retry_after(response.head.headers.get(b'retry-after'), time())
        return self._delay(request, attempts, FailedAttempt(status=status, retry_after=pause))

    def discard(self, response: HttpResponse) -> None:
        """See RetryDecision."""
        _dropped(response)

    def ends_retries(self, request: Request, error: Exception) -> bool:
        """See RetryDecision. Of a response that was streamed nothing is left to give."""
        return isinstance(error, CircuitOpen) and not request.stream

    def _delay(self, request: Request, attempts: int, failed: FailedAttempt) -> float | None:
        again = self.policy.may(request.method, keyed=request.keyed)
        delay = retry_delay(self.policy, attempts, failed, again=again, random=random.random)
        if delay is None or not request.repeatable or self.seconds() + delay >= request.due:
            return None
        return delay


def _dropped(answer: HttpResponse) -> None:
    if not isinstance(answer.body, bytes):
        answer.body.close()
