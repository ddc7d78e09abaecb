"""Stores the results of groups of invocations in Redis, in one hash per group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.redis import ICommands, IScriptRunner, LuaScript
from zatotx.interfaces.work_stream import IResultGroups
from zatotx.redis.key_names import RedisKeys

TTL = 30 * 86_400  # seconds after which a group is removed that was never completed
_COUNT, _FINAL, _PART = 'count', 'final', 'part:'

# Arguments: the part and its result. Returns the whole hash once all results are there.
_RECORD = LuaScript('record a result', """
local count = redis.call('HGET', KEYS[1], 'count')
if not count then
    return false
end
redis.call('HSETNX', KEYS[1], 'part:' .. ARGV[1], ARGV[2])
if redis.call('HLEN', KEYS[1]) < tonumber(count) + 2 then
    return false
end
return redis.call('HGETALL', KEYS[1])
""")


@implementer(IResultGroups)
@frozen
class RedisResultGroups:
    """Implements IResultGroups on Redis."""

    client: ICommands
    scripts: IScriptRunner
    keys: RedisKeys

    def open(self, group: str, parts: Sequence[str], final: bytes) -> Deferred[None]:
        return Deferred.fromCoroutine(self._open(self.keys.key('results', group), len(parts), final))

    async def _open(self, key: str, count: int, final: bytes) -> None:
        await self.client.execute('HSET', key, _COUNT, count, _FINAL, final)
        await self.client.execute('EXPIRE', key, TTL)

    def record(self, group: str, part: str, result: bytes) -> Deferred[tuple[bytes, dict[str, bytes]] | None]:
        recorded = self.scripts.run(_RECORD, [self.keys.key('results', group)], [part, result])
        return recorded.addCallback(_read_group)

    def close(self, group: str) -> Deferred[None]:
        return self.client.execute('DEL', self.keys.key('results', group)).addCallback(lambda _: None)


def _read_group(words: list[Any] | None) -> tuple[bytes, dict[str, bytes]] | None:
    if not words:
        return None
    fields = {str(name): _to_bytes(value) for name, value in zip(words[::2], words[1::2], strict=True)}
    results = {name.removeprefix(_PART): value for name, value in fields.items() if name.startswith(_PART)}
    return fields[_FINAL], results


def _to_bytes(value: str | bytes) -> bytes:
    return value.encode('utf-8') if isinstance(value, str) else value
