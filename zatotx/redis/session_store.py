"""Stores each login session of the web admin's users in Redis as one expiring key."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.admin_sessions import IDLE_TIMEOUT, MAX_AGE, ISessionStore
from zatotx.interfaces.redis import ICommands
from zatotx.redis.key_names import RedisKeys


@implementer(ISessionStore)
@frozen(kw_only=True)
class RedisSessionStore:
    """Implements ISessionStore on Redis. The value of a key is the Unix time at which the session began."""

    client: ICommands
    keys: RedisKeys
    now: Callable[[], float] = time.time  # Unix time, because all nodes compare it
    idle_timeout: float = IDLE_TIMEOUT  # seconds

    def open(self, key: str) -> Deferred[None]:
        arguments = self._key(key), int(self.now()), 'PX', int(self.idle_timeout * 1000)
        return self.client.execute('SET', *arguments).addCallback(lambda _: None)

    def use(self, key: str, *, renews: bool = True) -> Deferred[bool]:
        if not renews:
            return self.client.execute('GET', self._key(key)).addCallback(self._is_young)
        began = self.client.execute('GETEX', self._key(key), 'PX', int(self.idle_timeout * 1000))
        return began.addCallback(self._is_young)

    def close(self, key: str) -> Deferred[None]:
        return self.client.execute('DEL', self._key(key)).addCallback(lambda _: None)

    def _is_young(self, began: object) -> bool:
        return isinstance(began, str | bytes | int) and self.now() - int(began) < MAX_AGE

    def _key(self, key: str) -> str:
        return self.keys.key('session', key)
