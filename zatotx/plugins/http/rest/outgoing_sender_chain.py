"""Builds the chain of senders between a request and the HTTP client, for authorization, retries and the circuit
breaker. Wrappers that a connection does not need are omitted, and cause no overhead.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from time import time
from typing import Protocol

from attrs import define, frozen

from zatotx.model.errors import ServiceError
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.client.http_messages import Fields, HttpRequest, HttpResponse
from zatotx.plugins.http.rest.error_mapping import CircuitOpen, is_circuit_failure, is_retryable
from zatotx.plugins.http.rest.request_builder import OutgoingRequest, RequestTemplate
from zatotx.rules.resilience.outgoing_retry import (
    RetryableFailure,
    RetryPolicy,
    is_transient_status,
    outgoing_retry_delay,
    parse_retry_after,
)

Attempt = Callable[[OutgoingRequest], Awaitable[HttpResponse]]  # fails with CallFailed
_UNAUTHORIZED = 401
_SERVER_ERROR = 500  # and above


@frozen
class DirectSender:
    """Sends requests with the HTTP client, without any wrapper."""

    request_template: RequestTemplate
    client: Callable[[HttpRequest], Awaitable[HttpResponse]]

    def send(self, request: OutgoingRequest) -> Awaitable[HttpResponse]:
        return self.client(self.request_template.http_request(request))


def is_peer_failure(error: Exception) -> bool:
    """Return whether an error counts as a failure of the peer for the circuit breaker."""
    return isinstance(error, CallFailed) and is_circuit_failure(error)


def is_server_error(response: HttpResponse) -> bool:
    """Return whether a response counts as a failure of the peer for the circuit breaker. This is the case for every
    status 5xx."""
    return response.head.status >= _SERVER_ERROR


class Authorizer(Protocol):
    """The interface for authorizing requests with credentials that depend on the request or on the peer's responses,
    such as Digest."""

    async def credentials(self, request: OutgoingRequest) -> Fields:
        """Return the fields for this request. Raises a ServiceError if they are not available in time."""

    async def handle_unauthorized(self, request: OutgoingRequest, response: HttpResponse) -> bool:
        """Handle a 401 response. Returns whether new credentials are available that the peer has not seen yet."""

    def handle_accepted(self, response: HttpResponse) -> None:
        """Handle a response that accepts the credentials."""


@define(eq=False)
class AuthorizingSender:
    """A Sender that adds credentials to requests. After a 401 response it sends the request once more with new
    credentials."""

    inner: Attempt
    authorizer: Authorizer
    title: str  # of the connection

    async def send(self, request: OutgoingRequest) -> HttpResponse:
        authorizer = self.authorizer
        request.credentials = await self._credentials(request)
        response = await self.inner(request)
        if (
            response.head.status == _UNAUTHORIZED
            and request.is_repeatable
            and await authorizer.handle_unauthorized(request, response)
        ):
            _discard_body(response)
            request.credentials = await self._credentials(request)
            response = await self.inner(request)
        if response.head.status != _UNAUTHORIZED:
            authorizer.handle_accepted(response)
        return response

    async def _credentials(self, request: OutgoingRequest) -> Fields:
        try:
            return await self.authorizer.credentials(request)
        except ServiceError as error:
            details = f'{self.title} cannot be used: {error.msg[:1].lower()}{error.msg[1:]}'
            raise type(error)(request.call.cid, details) from error


@define(eq=False)
class HttpRetryDecision:
    """The retry decision for HTTP calls, which determines the calls that can be retried within the timeout."""

    policy: RetryPolicy
    seconds: Callable[[], float]

    def after_error(self, request: OutgoingRequest, attempts: int, error: Exception) -> float | None:
        """See RetryDecision."""
        if not isinstance(error, CallFailed) or not is_retryable(error):
            return None
        return self._delay(request, attempts, RetryableFailure(reached_peer=error.reached_peer))

    def after_response(self, request: OutgoingRequest, attempts: int, response: HttpResponse) -> float | None:
        """See RetryDecision."""
        status = response.head.status
        if not is_transient_status(status):
            return None
        pause = parse_retry_after(response.head.headers.get(b'retry-after'), time())
        return self._delay(request, attempts, RetryableFailure(status=status, retry_after=pause))

    def discard(self, response: HttpResponse) -> None:
        """See RetryDecision."""
        _discard_body(response)

    def ends_retries(self, request: OutgoingRequest, error: Exception) -> bool:
        """See RetryDecision. A streamed response is already discarded and cannot be returned."""
        return isinstance(error, CircuitOpen) and not request.stream

    def _delay(self, request: OutgoingRequest, attempts: int, failed: RetryableFailure) -> float | None:
        again = self.policy.is_retryable(request.method, has_idempotency_key=request.has_idempotency_key)
        delay = outgoing_retry_delay(self.policy, attempts, failed, is_retryable=again, random=random.random)
        if delay is None or not request.is_repeatable or self.seconds() + delay >= request.deadline:
            return None
        return delay


def _discard_body(response: HttpResponse) -> None:
    if not isinstance(response.body, bytes):
        response.body.close()
