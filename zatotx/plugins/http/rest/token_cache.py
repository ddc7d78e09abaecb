"""Where a cluster keeps its tokens of OAuth 2.0: in Redis, encrypted, until their end. Redis is a convenience here:
what it does not say within a second is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from zatotx.interfaces.redis import ILease
from zatotx.model.errors import ServiceError
from zatotx.plugins.http.rest.oauth2_tokens import AccessToken

_PATIENCE = 1.0  # seconds
_DEATH = 5.0  # seconds beyond its use that a lease lasts, should its holder die

_T = TypeVar('_T')


class CacheUnavailable(Exception):  # noqa: N818 - what it is
    """Redis says nothing."""


@frozen(kw_only=True)
class TokenCache:
    """Tokens by the fingerprints of their definitions."""

    keyvalue: Any  # IKeyValue
    leases: Any  # ILeases
    key: Callable[..., str]
    seal: Callable[[str], str]
    unseal: Callable[[str], str]
    clock: Any  # IReactorTime
    _log = Logger()

    async def get(self, name: str) -> AccessToken | None:
        """The token, or None. Raises Away."""
        stored = await self._said(self.keyvalue.execute('GET', self.key('oauth2', name)))
        if not stored:
            return None
        try:
            text = stored if isinstance(stored, str) else stored.decode('ascii')
            return msgspec.json.decode(self.unseal(text), type=AccessToken)
        except (ValueError, ServiceError):  # of another version, or under another key: as if it were not there
            return None

    async def put(self, name: str, token: AccessToken, now: float) -> None:
        """Keep it until its end, as far as Redis takes it: it is good for this worker all the same."""
        life = int((token.ends - now) * 1000)
        if life <= 0:
            return
        sealed = self.seal(msgspec.json.encode(token).decode('ascii'))
        try:
            await self._said(self.keyvalue.execute('SET', self.key('oauth2', name), sealed, 'PX', life))
        except CacheUnavailable as away:
            self._log.info('A token of OAuth 2.0 could not be kept in Redis: {why}', why=str(away))

    async def lease(self, name: str, seconds: float) -> ILease:
        """The right to get a new one, waited for so many seconds. Raises Away, also where somebody keeps it to
        himself."""
        acquiring = self.leases.acquire(f'oauth2:{name}', ttl=seconds + _DEATH, wait=seconds)
        lease: ILease = await _or_away(acquiring)
        return lease

    async def _said(self, step: Deferred[Any]) -> Any:
        return await _or_away(step.addTimeout(_PATIENCE, self.clock))


async def _or_away(step: Awaitable[_T]) -> _T:
    try:
        return await step
    except CancelledError:
        raise
    except Exception as error:  # of Redis, of its client, of the ODB that leases ask
        raise CacheUnavailable(str(error)) from error
