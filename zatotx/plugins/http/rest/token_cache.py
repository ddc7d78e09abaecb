"""The cluster's cache of OAuth 2.0 tokens: in Redis, encrypted, until they expire. Redis is optional: if it does not
reply within a second, it counts as unavailable."""

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

_TIMEOUT = 1.0  # seconds
_LEASE_MARGIN = 5.0  # seconds that a lease outlasts the request for a token, in case its holder dies

_T = TypeVar('_T')


class CacheUnavailable(Exception):  # noqa: N818 - what it is
    """Redis does not reply."""


@frozen(kw_only=True)
class TokenCache:
    """Stores tokens by the fingerprints of their definitions."""

    redis: Any  # IKeyValue
    leases: Any  # ILeases
    make_key: Callable[..., str]
    seal: Callable[[str], str]
    unseal: Callable[[str], str]
    clock: Any  # IReactorTime
    _log = Logger()

    async def get(self, name: str) -> AccessToken | None:
        """Return the token, or None. Raises CacheUnavailable."""
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
        except CacheUnavailable as error:
            self._log.info('A token of OAuth 2.0 could not be kept in Redis: {why}', why=str(error))

    async def acquire_lease(self, name: str, seconds: float) -> ILease:
        """Acquire the lease for getting a new token, waiting up to `seconds`. Raises CacheUnavailable, also if it stays
        taken."""
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
        raise CacheUnavailable(str(error)) from error
