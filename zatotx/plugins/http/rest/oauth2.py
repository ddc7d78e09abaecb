"""OAuth 2.0 as a client: a token that all calls of a worker share, renewed before its end while they go on with it.

How a new one is come by is a matter of `granting`: one for the cluster. Where Redis is away each worker has a token of
its own; it costs the authorization server a request more, and no call its answer.
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
from zatotx.plugins.http.rest.request_builder import Request
from zatotx.plugins.http.rest.token_fetcher import TokenFetcher

_PAUSE = 1.0  # seconds after a failure until the server is asked again
_REDIS = 3.0  # seconds that Redis may take of a renewal, all its steps together


@define(eq=False)
class TokenSource:
    """The token of one definition in this process. An Authorizer."""

    granting: TokenFetcher
    clock: Any  # IReactorTime
    _token: AccessToken | None = None
    _refused: str = ''  # the key of the last token that a peer did not accept
    _renewing: Deferred[AccessToken] | None = None
    _waiting: list[Deferred[AccessToken]] = field(factory=list)
    _failed: ServiceError | None = None  # how the last try ended
    _again_at: float = -inf  # when there may be another, on the clock
    _log = Logger()

    # Authorizer

    async def credentials(self, request: Request) -> Fields:
        """See Authorizer. Raises Timeout, ServiceUnavailable and BadGateway, naming the definition."""
        token, now = self._token, self.granting.now()
        if token is None or now >= token.ends:
            token = await self._fresh(request)
        elif now >= token.renew_at:
            self._renew()  # those who call meanwhile have the old one
        request.proof = token
        return ((b'Authorization', b'Bearer ' + token.value.encode('ascii')),)

    async def refused(self, request: Request, answer: HttpResponse) -> bool:
        """See Authorizer: a token may have been withdrawn before its end."""
        used: AccessToken = request.proof
        if self._token is used:
            self._token, self._refused = None, used.key
        return self._token is None or self._token.value != used.value

    def accepted(self, answer: HttpResponse) -> None:
        """See Authorizer."""

    # Renewing

    async def _fresh(self, request: Request) -> AccessToken:
        """A token for somebody who has to wait for it."""
        cid, title = request.call.cid, self.granting.title
        if self._failed is not None and self.clock.seconds() < self._again_at:
            raise type(self._failed)(cid, self._failed.msg)
        waiting: Deferred[AccessToken] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        self._renew()
        left = max(0.0, request.due - self.clock.seconds())
        try:
            return await waiting.addTimeout(left, self.clock)
        except Late:
            raise timeout_error(title, cid, request.seconds) from None
        except ServiceError as fault:
            raise type(fault)(cid, fault.msg) from fault

    def _renew(self) -> None:
        """Begin, unless it is under way, or failed a moment ago."""
        if self._renewing is None and self.clock.seconds() >= self._again_at:
            self._renewing = Deferred.fromCoroutine(self.granting.token(self._refused))
            longest = 2 * self.granting.definition.timeout + _REDIS  # for whoever has the lease, and for us
            self._renewing.addTimeout(longest, self.clock, self._too_late).addBoth(self._over)

    def _too_late(self, result: object, seconds: float) -> Failure:
        return Failure(timeout_error(self.granting.title, '', seconds))

    def _over(self, result: Any) -> None:
        self._renewing = None
        waiting, self._waiting = self._waiting, []
        if isinstance(result, Failure):
            self._again_at = self.clock.seconds() + _PAUSE
            self._failed = self._as_fault(result)
            self._log.warn('{why}', why=self._failed.msg)
            for each in waiting:
                each.errback(self._failed)
            return
        self._failed, self._token = None, result
        for each in waiting:
            each.callback(result)

    def _as_fault(self, failure: Failure) -> ServiceError:
        error, title = failure.value, self.granting.title
        if isinstance(error, ServiceError):
            return error
        if isinstance(error, TokenRefused):
            return BadGateway('', f'{title} gives no token: {error}')
        self._log.failure('{title} gives no token', failure, title=title)
        return ServiceUnavailable('', f'{title} gives no token')
