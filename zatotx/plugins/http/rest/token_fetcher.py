"""How a new token is come by: by one worker of the cluster, for all of it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zatotx.plugins.http.client.call import Answer, Outbound, Timeouts
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.rest.error_mapping import fault_of
from zatotx.plugins.http.rest.oauth2_tokens import Token, asked, fingerprint, granted
from zatotx.plugins.http.rest.token_cache import Away, TokenShelf
from zatotx.plugins.http.rest.urls import split_url
from zatotx.schema.security.oauth2_client import OAuth2Client

_MOST = 256 * 1024  # bytes of the server's answer


@frozen(kw_only=True)
class Granting:
    """The tokens of one definition: those that others got, and those that the server gives."""

    definition: OAuth2Client
    title: str  # what faults call the definition
    client: Callable[[Outbound], Deferred[Answer]]
    shelf: TokenShelf | None  # None = there is no Redis
    now: Callable[[], float]  # seconds since the epoch
    _log = Logger()

    async def token(self, refused: str) -> Token:
        """One that is not at its end, and not the one of the key `refused`. Raises NoToken, and a Fault where the
        server does not answer."""
        shelf, name = self.shelf, fingerprint(self.definition)
        if shelf is None:
            return await self._given()
        try:
            found = await self._kept(shelf, name, refused)
            lease = None if found is not None else await shelf.lease(name, self.definition.timeout)
        except Away as away:
            self._log.info('{title}: this worker gets its token by itself: {why}', title=self.title, why=str(away))
            return await self._given()
        if lease is None:
            assert found is not None
            return found
        try:
            return await self._kept_meanwhile(shelf, name, refused) or await self._given_to_all(shelf, name)
        finally:
            lease.release()

    async def _kept(self, shelf: TokenShelf, name: str, refused: str) -> Token | None:
        token = await shelf.get(name)
        fits = token is not None and self.now() < token.renew_at and token.key != refused
        return token if fits else None

    async def _kept_meanwhile(self, shelf: TokenShelf, name: str, refused: str) -> Token | None:
        """What somebody else got while this one waited for the lease."""
        try:
            return await self._kept(shelf, name, refused)
        except Away:  # whatever it has, there is still the server
            return None

    async def _given_to_all(self, shelf: TokenShelf, name: str) -> Token:
        token = await self._given()
        await shelf.put(name, token, self.now())
        return token

    async def _given(self) -> Token:
        """The server's."""
        fields, body = asked(self.definition)
        origin, target = split_url(self.definition.token_url)
        timeouts = Timeouts(queue=inf, connect=inf, first_byte=inf, silence=inf, total=self.definition.timeout)
        try:
            answer = await self.client(Outbound('POST', origin, target, fields, body, timeouts, most=_MOST))
        except CallFailed as failed:
            self._log.warn('{title}: {why}', title=self.title, why=failed.detail)
            raise fault_of(failed, self.title, '', self.definition.timeout) from failed
        content: Any = answer.body
        return granted(answer.head.status, content, self.now())
