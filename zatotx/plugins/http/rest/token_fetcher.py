"""Gets a new OAuth 2.0 token, by one worker for the whole cluster."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zatotx.plugins.http.client.call import HttpRequest, HttpResponse, Timeouts
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.rest.error_mapping import map_error
from zatotx.plugins.http.rest.oauth2_tokens import (
    AccessToken,
    definition_fingerprint,
    parse_token_response,
    token_request,
)
from zatotx.plugins.http.rest.token_cache import CacheUnavailable, TokenCache
from zatotx.plugins.http.rest.urls import split_url
from zatotx.schema.security.oauth2_client import OAuth2Client

_MAX_RESPONSE = 256 * 1024  # bytes of the server's response


@frozen(kw_only=True)
class TokenFetcher:
    """Gets the tokens of one definition: from the cluster's cache, or from the authorization server."""

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
        except CacheUnavailable as error:
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
        except CacheUnavailable:  # the server can still be asked
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
            raise map_error(failure, self.title, '', self.definition.timeout) from failure
        content: Any = response.body
        return parse_token_response(response.head.status, content, self.now())
