"""OAuth 2.0 for clients. All calls of a worker share one access token, which is renewed before it expires as long as it
is used.

TokenFetcher gets new tokens, one for the whole cluster. Without Redis each worker has its own token; that costs the
authorization server one more request, and no call fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from time import time
from typing import Any, TypeVar

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as Late
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.connectors.tls_settings import TlsSettings
from zatotx.interfaces.redis import ICommands, ILease, ILeaseStore
from zatotx.interfaces.security_type import CredentialsContext, OutgoingCredentials
from zatotx.model.errors import BadGateway, ServiceError, ServiceUnavailable
from zatotx.plugins.http.client.connection_pool import PoolLimits
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.client.http_client import ClientEnvironment, ClientSettings, make_client
from zatotx.plugins.http.client.http_messages import Fields, HttpRequest, HttpResponse, Timeouts, split_url
from zatotx.plugins.http.rest.error_mapping import map_client_error, timeout_error
from zatotx.plugins.http.rest.oauth2_tokens import (
    AccessToken,
    TokenRefused,
    definition_fingerprint,
    parse_token_response,
    token_request,
)
from zatotx.plugins.http.rest.request_builder import OutgoingRequest
from zatotx.schema.snapshot import StoredObject
from zatotx.security.oauth2_client import OAuth2Client

_TIMEOUT = 1.0  # seconds
_LEASE_MARGIN = 5.0  # seconds that a lease outlasts the request for a token, in case its holder dies

_T = TypeVar('_T')
_MAX_RESPONSE = 256 * 1024  # bytes of the server's response
_RETRY_DELAY = 1.0  # seconds after a failure until the next request for a token
_REDIS_TIMEOUT = 3.0  # seconds that all Redis commands of a renewal may take together


class TokenCacheUnavailable(Exception):  # noqa: N818 - what it is
    """Raised if Redis does not reply, so that the token cache cannot be used."""


@frozen(kw_only=True)
class TokenCache:
    """The cluster's cache of access tokens in Redis. Tokens are stored encrypted until they expire; the key is the
    fingerprint of the security definition. Redis is optional: if it does not reply within a second, the cache counts as
    unavailable."""

    redis: ICommands
    leases: ILeaseStore
    make_key: Callable[..., str]
    seal: Callable[[str], str]
    unseal: Callable[[str], str]
    clock: IReactorTime
    _log = Logger()

    async def get(self, name: str) -> AccessToken | None:
        """Return the token, or None. Raises TokenCacheUnavailable."""
        stored = await self._execute(self.redis.execute('GET', self.make_key('oauth2', name)))
        if not stored:
            return None
        try:
            text = stored if isinstance(stored, str) else stored.decode('ascii')
            return msgspec.json.decode(self.unseal(text), type=AccessToken)
        except (ValueError, ServiceError):  # of another version, or encrypted with another key
            return None

    async def put(self, name: str, token: AccessToken, now: float) -> None:
        """Store a token until it expires. Errors of Redis are logged: this worker can use the token anyway."""
        milliseconds = int((token.expires_at - now) * 1000)
        if milliseconds <= 0:
            return
        sealed = self.seal(msgspec.json.encode(token).decode('ascii'))
        try:
            await self._execute(self.redis.execute('SET', self.make_key('oauth2', name), sealed, 'PX', milliseconds))
        except TokenCacheUnavailable as error:
            self._log.info('A token of OAuth 2.0 could not be kept in Redis: {why}', why=str(error))

    async def acquire_lease(self, name: str, seconds: float) -> ILease:
        """Acquire the lease for getting a new token, waiting up to `seconds`. Raises TokenCacheUnavailable, also if it
        stays taken."""
        acquiring = self.leases.acquire(f'oauth2:{name}', ttl=seconds + _LEASE_MARGIN, wait=seconds)
        lease: ILease = await _or_unavailable(acquiring)
        return lease

    async def _execute(self, step: Deferred[Any]) -> Any:
        return await _or_unavailable(step.addTimeout(_TIMEOUT, self.clock))


async def _or_unavailable(step: Awaitable[_T]) -> _T:
    try:
        return await step
    except CancelledError:
        raise
    except Exception as error:  # of Redis, of its client, or of the ODB, which leases use
        raise TokenCacheUnavailable(str(error)) from error


@frozen(kw_only=True)
class TokenFetcher:
    """Gets the access tokens of one security definition, from the cache of the cluster or from the authorization
    server."""

    definition: OAuth2Client
    title: str  # the definition's name in error messages
    send: Callable[[HttpRequest], Deferred[HttpResponse]]
    cache: TokenCache | None  # None = no Redis
    now: Callable[[], float]  # seconds since the epoch
    _log = Logger()

    async def fetch(self, rejected_fingerprint: str) -> AccessToken:
        """Return a token that has not expired, and whose key is not `rejected_fingerprint`. Raises TokenRefused, and a
        ServiceError if the server does not respond."""
        cache, name = self.cache, definition_fingerprint(self.definition)
        if cache is None:
            return await self._request_token()
        try:
            cached = await self._cached(cache, name, rejected_fingerprint)
            lease = None if cached is not None else await cache.acquire_lease(name, self.definition.timeout)
        except TokenCacheUnavailable as error:
            self._log.info('{title}: this worker gets its token by itself: {why}', title=self.title, why=str(error))
            return await self._request_token()
        if lease is None:
            assert cached is not None
            return cached
        try:
            return await self._recheck_cache(cache, name, rejected_fingerprint) or await self._request_and_cache(
                cache, name
            )
        finally:
            lease.release()

    async def _cached(self, cache: TokenCache, name: str, refused: str) -> AccessToken | None:
        token = await cache.get(name)
        is_usable = token is not None and self.now() < token.renew_at and token.fingerprint != refused
        return token if is_usable else None

    async def _recheck_cache(self, cache: TokenCache, name: str, refused: str) -> AccessToken | None:
        """Return the token that another worker cached while this one waited for the lease."""
        try:
            return await self._cached(cache, name, refused)
        except TokenCacheUnavailable:  # the server can still be asked
            return None

    async def _request_and_cache(self, cache: TokenCache, name: str) -> AccessToken:
        token = await self._request_token()
        await cache.put(name, token, self.now())
        return token

    async def _request_token(self) -> AccessToken:
        """Request a token from the server."""
        fields, body = token_request(self.definition)
        origin, target = split_url(self.definition.token_url)
        timeouts = Timeouts(
            queue_timeout=inf,
            connect_timeout=inf,
            first_byte_timeout=inf,
            read_timeout=inf,
            total_timeout=self.definition.timeout,
        )
        try:
            request = HttpRequest('POST', origin, target, fields, body, timeouts, max_body=_MAX_RESPONSE)
            response = await self.send(request)
        except CallFailed as failure:
            self._log.warn('{title}: {why}', title=self.title, why=failure.detail)
            raise map_client_error(failure, self.title, '', self.definition.timeout) from failure
        content: Any = response.body
        return parse_token_response(response.head.status, content, self.now())


@define(eq=False)
class OAuth2Authorizer:
    """An Authorizer that adds an access token to requests. It holds the current token of one security definition in
    this process."""

    fetcher: TokenFetcher
    clock: IReactorTime
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


@frozen
class CredentialsDependencies(CredentialsContext):
    """The dependencies that are needed to create credentials for outgoing HTTP connections."""

    environment: ClientEnvironment = field(kw_only=True)
    token_cache: TokenCache | None = field(kw_only=True)


def make_credentials(stored: StoredObject, context: CredentialsDependencies) -> OutgoingCredentials:
    """Return the outgoing credentials of an OAuth 2.0 client definition."""
    # One connection per token request: they are rare, and nothing has to be closed when the definition changes.
    settings = ClientSettings(
        pool_limits=PoolLimits(idle_timeout=0), tls=TlsSettings(ca=stored.value.tls_ca), max_redirects=0
    )
    client = make_client(settings, context.environment)
    fetcher = TokenFetcher(definition=stored.value, title=f'Security definition {stored.name} (oauth2_client)',
                           send=client.send, cache=context.token_cache, now=time)  # fmt: skip
    source = OAuth2Authorizer(fetcher, context.environment.reactor)
    return OutgoingCredentials(make_authorizer=lambda: source)
