"""How a new token is come by: by one worker of the cluster, for all of it."""

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
from zatotx.plugins.http.rest.oauth2_tokens import AccessToken, fingerprint, parse_token_response, token_request
from zatotx.plugins.http.rest.token_cache import CacheUnavailable, TokenCache
from zatotx.plugins.http.rest.urls import split_url
from zatotx.schema.security.oauth2_client import OAuth2Client

_MOST = 256 * 1024  # bytes of the server's answer


@frozen(kw_only=True)
class TokenFetcher:
    """The tokens of one definition: those that others got, and those that the server gives."""

    definition: OAuth2Client
    title: str  # what faults call the definition
    client: Callable[[HttpRequest], Deferred[HttpResponse]]
    shelf: TokenCache | None  # None = there is no Redis
    now: Callable[[], float]  # seconds since the epoch
    _log = Logger()

    async def token(self, refused: str) -> AccessToken:
        """One that is not at its end, and not the one of the key `refused`. Raises NoToken, and a Fault where the
        server does not answer."""
        shelf, name = self.shelf, fingerprint(self.definition)
        if shelf is None:
            return await self._given()
        try:
            found = await self._kept(shelf, name, refused)
            lease = None if found is not None else await shelf.lease(name, self.definition.timeout)
        except CacheUnavailable as away:
            self._log.info('{title}: this worker gets its token by itself: {why}', title=self.title, why=str(away))
            return await self._given()
        if lease is None:
            assert found is not None
            return found
        try:
            return await self._kept_meanwhile(shelf, name, refused) or await self._given_to_all(shelf, name)
        finally:
            lease.release()

    async def _kept(self, shelf: TokenCache, name: str, refused: str) -> AccessToken | None:
        token = await shelf.get(name)
        fits = token is not None and self.now() < token.renew_at and token.key != refused
        return token if fits else None

    async def _kept_meanwhile(self, shelf: TokenCache, name: str, refused: str) -> AccessToken | None:
        """What somebody else got while this one waited for the lease."""
        try:
            return await self._kept(shelf, name, refused)
        except CacheUnavailable:  # whatever it has, there is still the server
            return None

    async def _given_to_all(self, shelf: TokenCache, name: str) -> AccessToken:
        token = await self._given()
        await shelf.put(name, token, self.now())
        return token

    async def _given(self) -> AccessToken:
        """The server's."""
        fields, body = token_request(self.definition)
        origin, target = split_url(self.definition.token_url)
        timeouts = Timeouts(queue=inf, connect=inf, first_byte=inf, silence=inf, total=self.definition.timeout)
        try:
            answer = await self.client(HttpRequest('POST', origin, target, fields, body, timeouts, most=_MOST))
        except CallFailed as failed:
            self._log.warn('{title}: {why}', title=self.title, why=failed.detail)
            raise map_error(failed, self.title, '', self.definition.timeout) from failed
        content: Any = answer.body
        return parse_token_response(answer.head.status, content, self.now())
