"""Stores the usage of services in Redis.

A hash of each recent minute has a field for each process, so that a repeated write changes nothing. The usage of longer
periods is one value each, that expires when such periods are not kept any longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.redis import IScriptRunner, LuaScript
from zatotx.interfaces.statistics import IUsageStore
from zatotx.model.service_usage import ServiceUsage, UsageByService, merge_usage
from zatotx.redis.key_names import RedisKeys
from zatotx.rules.statistics.calendar_periods import MINUTE, RETENTION

RECORDS_KEPT = 1800  # seconds for which the records of single processes are kept
_BATCH = 100  # keys of one command

# Keys: the totals. Arguments: the minute until which they must be complete, the new minute, the new totals.
_REPLACE = LuaScript('replace the totals of statistics', """
local known = redis.call('HGET', KEYS[1], 'until') or '0'
if known ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[1], 'until', ARGV[2], 'usage', ARGV[3])
return 1
""")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, ServiceUsage])


@implementer(IUsageStore)
class RedisUsageStore:
    """Implements IUsageStore. It stores the usage of the services of a cluster in Redis. `client` must provide
    ICommands and IPipelinedCommands."""

    def __init__(self, client: Any, scripts: IScriptRunner, keys: RedisKeys) -> None:
        self._client = client
        self._scripts = scripts
        self._key = keys.key

    def record(self, source: str, minutes: Mapping[int, UsageByService]) -> Deferred[None]:
        commands: list[tuple[object, ...]] = []
        for minute, usage in minutes.items():
            key = self._key('stats-records', str(minute))
            commands += [('HSET', key, source, _encoder.encode(usage)), ('EXPIRE', key, RECORDS_KEPT)]
        return self._execute(commands).addCallback(lambda _: None)

    def recorded(self, minutes: Sequence[int]) -> Deferred[list[dict[str, ServiceUsage]]]:
        commands = [('HVALS', self._key('stats-records', str(minute))) for minute in minutes]
        return self._execute(commands).addCallback(
            lambda replies: [merge_usage(map(_decode, records)) for records in replies]
        )

    def usage(self, period: str, starts: Sequence[int]) -> Deferred[list[dict[str, ServiceUsage]]]:
        return self._of_periods('MGET', period, starts).addCallback(
            lambda replies: [_decode(value) for values in replies for value in values]
        )

    def stored(self, period: str, starts: Sequence[int]) -> Deferred[list[bool]]:
        commands = [('EXISTS', self._period_key(period, start)) for start in starts]
        return self._execute(commands).addCallback(lambda replies: [bool(reply) for reply in replies])

    def store(self, period: str, usages: Mapping[int, UsageByService]) -> Deferred[None]:
        return self._execute([
            ('SET', self._period_key(period, start), _encoder.encode(usage), 'EX', RETENTION[period])
            for start, usage in usages.items()
        ]).addCallback(lambda _: None)  # fmt: skip

    def delete(self, period: str, starts: Iterable[int]) -> Deferred[int]:
        return Deferred.fromCoroutine(self._delete(period, [*starts]))

    async def _delete(self, period: str, starts: Sequence[int]) -> int:
        if period == MINUTE:
            await self._execute(_in_batches('DEL', [self._key('stats-records', str(start)) for start in starts]))
        return sum(await self._of_periods('DEL', period, starts))

    def totals(self) -> Deferred[tuple[int, dict[str, ServiceUsage]]]:
        return Deferred.fromCoroutine(self._totals())

    async def _totals(self) -> tuple[int, dict[str, ServiceUsage]]:
        until, usage = await self._client.execute('HMGET', self._key('stats-totals'), 'until', 'usage')
        return int(until or 0), _decode(usage)

    def replace_totals(self, expected: int, until: int, usage: UsageByService) -> Deferred[bool]:
        replaced = self._scripts.run(_REPLACE, [self._key('stats-totals')], (expected, until, _encoder.encode(usage)))
        return replaced.addCallback(bool)

    def _period_key(self, period: str, start: int) -> str:
        return self._key('stats', period, str(start))

    def _of_periods(self, command: str, period: str, starts: Sequence[int]) -> Deferred[list[Any]]:
        keys = [self._period_key(period, start) for start in starts]
        return self._execute(_in_batches(command, keys))

    def _execute(self, commands: Sequence[Sequence[object]]) -> Deferred[list[Any]]:
        replies: Deferred[list[Any]] = self._client.execute_batch(commands)
        return replies.addCallback(_checked)


def _in_batches(command: str, keys: Sequence[str]) -> list[tuple[str, ...]]:
    return [(command, *keys[at : at + _BATCH]) for at in range(0, len(keys), _BATCH)]


def _checked(replies: list[Any]) -> list[Any]:
    """Raise the first error among the replies of a batch."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _decode(value: str | bytes | None) -> dict[str, ServiceUsage]:
    if value is None:
        return {}
    return _decoder.decode(value.encode('utf-8') if isinstance(value, str) else value)
