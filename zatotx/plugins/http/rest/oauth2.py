"""OAuth 2.0 for clients: a token that all calls of a worker share, renewed before it expires while calls still use it.

`token_fetcher` gets new tokens, one for the whole cluster. Without Redis each worker has its own token; that costs the
authorization server one more request, and no call fails.
"""

from __future__ import annotations

from math import inf
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as Late
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.model.errors import BadGateway, ServiceError, ServiceUnavailable
from zatotx.plugins.http.client.call import Fields, HttpResponse
from zatotx.plugins.http.rest.error_mapping import timeout_error
from zatotx.plugins.http.rest.oauth2_tokens import AccessToken, TokenRefused
from zatotx.plugins.http.rest.request_builder import OutgoingRequest
from zatotx.plugins.http.rest.token_fetcher import TokenFetcher

_RETRY_DELAY = 1.0  # seconds after a failure until the next request for a token
_REDIS_TIMEOUT = 3.0  # seconds that all Redis commands of a renewal may take together


@define(eq=False)
class OAuth2Authorizer:
    """The current token of one security definition in this process. An Authorizer."""

    fetcher: TokenFetcher
    clock: Any  # IReactorTime
    _token: AccessToken | None = None
    _rejected_key: str = ''  # the key of the last token that a peer rejected
    _renewing: Deferred[AccessToken] | None = None
    _waiting: list[Deferred[AccessToken]] = field(factory=list)
    _error: ServiceError | None = None  # the error of the last renewal
    _retry_at: float = -inf  # earliest time of the next renewal, on the clock
    _log = Logger()

    # Authorizer

    async def credentials(self, request: OutgoingRequest) -> Fields:
        """See Authorizer. Raises Timeout, ServiceUnavailable and BadGateway, which name the definition."""
        token, now = self._token, self.fetcher.now()
        if token is None or now >= token.expires_at:
            token = await self._wait_for_token(request)
        elif now >= token.renew_at:
            self._renew()  # calls use the old token until then
        request.sent_credentials = token
        return ((b'Authorization', b'Bearer ' + token.value.encode('ascii')),)

    async def handle_unauthorized(self, request: OutgoingRequest, response: HttpResponse) -> bool:
        """See Authorizer: a token may be revoked before it expires."""
        used: AccessToken = request.sent_credentials
        if self._token is used:
            self._token, self._rejected_key = None, used.fingerprint
        return self._token is None or self._token.value != used.value

    def handle_accepted(self, response: HttpResponse) -> None:
        """See Authorizer."""

    # Renewal

    async def _wait_for_token(self, request: OutgoingRequest) -> AccessToken:
        """Wait for a new token, within the request's timeout."""
        cid, title = request.call.cid, self.fetcher.title
        if self._error is not None and self.clock.seconds() < self._retry_at:
            raise type(self._error)(cid, self._error.msg)
        waiter: Deferred[AccessToken] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        self._renew()
        remaining = max(0.0, request.deadline - self.clock.seconds())
        try:
            return await waiter.addTimeout(remaining, self.clock)
        except Late:
            raise timeout_error(title, cid, request.timeout) from None
        except ServiceError as error:
            raise type(error)(cid, error.msg) from error

    def _renew(self) -> None:
        """Start a renewal, unless one is in progress or has just failed."""
        if self._renewing is None and self.clock.seconds() >= self._retry_at:
            self._renewing = Deferred.fromCoroutine(self.fetcher.fetch(self._rejected_key))
            timeout = 2 * self.fetcher.definition.timeout + _REDIS_TIMEOUT  # the holder of the lease, and we
            self._renewing.addTimeout(timeout, self.clock, self._timeout_failure).addBoth(self._renewed)

    def _timeout_failure(self, result: object, seconds: float) -> Failure:
        return Failure(timeout_error(self.fetcher.title, '', seconds))

    def _renewed(self, result: Any) -> None:
        self._renewing = None
        waiters, self._waiting = self._waiting, []
        if isinstance(result, Failure):
            self._retry_at = self.clock.seconds() + _RETRY_DELAY
            self._error = self._as_error(result)
            self._log.warn('{why}', why=self._error.msg)
            for waiter in waiters:
                waiter.errback(self._error)
            return
        self._error, self._token = None, result
        for waiter in waiters:
            waiter.callback(result)

    def _as_error(self, failure: Failure) -> ServiceError:
        error, title = failure.value, self.fetcher.title
        if isinstance(error, ServiceError):
            return error
        if isinstance(error, TokenRefused):
            return BadGateway('', f'{title} gives no token: {error}')
        self._log.failure('{title} gives no token', failure, title=title)
        return ServiceUnavailable('', f'{title} gives no token')
