"""Stores the idempotency keys of processed messages in Redis.

A key is `running` while a process works on its message, and `done` afterwards. A running key expires soon unless its
process renews it: the message of a process that died is not taken for processed. Apart from these, a key says that its
message was given to a service.
"""

from __future__ import annotations

from uuid import uuid4

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from zope.interface import implementer

from zatotx.interfaces.inbound_delivery import IIdempotencyKeyStore
from zatotx.interfaces.redis import IScriptRunner, LuaScript
from zatotx.redis.key_names import RedisKeys

RUNNING_TTL = 15.0  # seconds after which a key that is not renewed is free
RENEWAL = 5.0  # seconds between two renewals
RETRY = 0.5  # seconds until a key that another process works on is looked at again

_CLAIM = LuaScript('claim a key', """
local state = redis.call('GET', KEYS[1])
if state == 'done' then
    return 0
end
if state and state ~= ARGV[1] then
    return -1
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")
_CONFIRM = LuaScript('confirm a key', "redis.call('SET', KEYS[1], 'done', 'PX', ARGV[1])")
_RELEASE = LuaScript('release a key', """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
""")
_NOTE = LuaScript('note a delivery', """
local was_noted = redis.call('EXISTS', KEYS[1])
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return was_noted
""")
_RENEW = LuaScript('renew a key', """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
""")


@implementer(IIdempotencyKeyStore)
@define(eq=False)
class RedisIdempotencyKeyStore:
    """Implements IIdempotencyKeyStore for all nodes of a cluster."""

    clock: IReactorTime
    scripts: IScriptRunner
    keys: RedisKeys
    _running: dict[str, str] = field(factory=dict, init=False)  # key in Redis -> the claim's token
    _loop: LoopingCall | None = field(default=None, init=False)

    def claim(self, key: str) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._claim(self.keys.key('processed', key)))

    async def _claim(self, key: str) -> bool:
        token = uuid4().hex
        while True:
            result = await self.scripts.run(_CLAIM, [key], [token, _milliseconds(RUNNING_TTL)])
            if result >= 0:
                break
            await deferLater(self.clock, RETRY)
        if result:
            self._running[key] = token
            self._renew_regularly()
        return bool(result)

    def confirm(self, key: str, ttl: float) -> Deferred[None]:
        name = self.keys.key('processed', key)
        self._running.pop(name, None)
        return self.scripts.run(_CONFIRM, [name], [_milliseconds(ttl)]).addCallback(lambda _: None)

    def release(self, key: str) -> Deferred[None]:
        name = self.keys.key('processed', key)
        token = self._running.pop(name, '')
        return self.scripts.run(_RELEASE, [name], [token]).addCallback(lambda _: None)

    def note_delivery(self, key: str, ttl: float) -> Deferred[bool]:
        return self.scripts.run(_NOTE, [self.keys.key('delivered', key)], [_milliseconds(ttl)]).addCallback(bool)

    def stop(self) -> None:
        """Renew no more keys: those of messages that still run expire soon."""
        self._running.clear()
        if self._loop is not None:
            self._loop.stop()
            self._loop = None

    def _renew_regularly(self) -> None:
        if self._loop is None:
            self._loop = LoopingCall(self._renew)
            self._loop.clock = self.clock
            self._loop.start(RENEWAL, now=False)

    def _renew(self) -> None:
        """Renew the keys whose messages still run; ends when there are none."""
        if not self._running and self._loop is not None:
            self._loop.stop()
            self._loop = None
        for key, token in tuple(self._running.items()):
            renewing = self.scripts.run(_RENEW, [key], [token, _milliseconds(RUNNING_TTL)])
            renewing.addErrback(lambda _: None)  # the next one may succeed; a key that expires is claimed again


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
