"""Writes the ticks of the scheduler's leaders to the work stream. A Lua script ensures that each tick is written only
once.

A hash has the epoch of the leader; writes of another epoch are refused. A second hash has the last tick of each job. If
Redis loses its data, both hashes and the work stream are lost together; the next leader finds no epoch, and sets the
time from which on ticks are repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from zatotx.interfaces.redis import ICommands, IScriptRunner, LuaScript
from zatotx.interfaces.scheduler import DUPLICATE, OVERLAPPING, WRITTEN, ITickWriter, OutdatedLeaderEpoch, TickWrite
from zatotx.model.work_message import encode_work
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.work_stream import RedisWorkStream

_UNORDERED, _QUEUED, _SKIPPED = '0', '1', '2'
_RESULTS = {'w': WRITTEN, 'd': DUPLICATE, 'o': OVERLAPPING}

# Arguments: epoch, recovery point. Returns the recovery point, or the epoch of a newer leader.
_BEGIN = LuaScript('begin to lead the scheduler', """
local known = redis.call('HGET', KEYS[1], 'epoch')
if known and tonumber(known) > tonumber(ARGV[1]) then
    return {'outdated', known}
end
if not known then
    redis.call('HSET', KEYS[1], 'recovery_point', ARGV[2])
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
return {'begun', redis.call('HGET', KEYS[1], 'recovery_point') or '0'}
""")

# Keys: leader, last ticks, then stream and list of each message. Arguments: epoch, then for each tick: job, tick,
# whether it has an order key (2: it is not written if another message of that key is in the work stream), message.
_WRITE = LuaScript('write ticks', """
local known = redis.call('HGET', KEYS[1], 'epoch')
if known ~= ARGV[1] then
    return {'outdated', known or ''}
end
local results, key = {}, 3
for at = 2, #ARGV, 4 do
    local job, tick, order, body = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local stream, list = KEYS[key], KEYS[key + 1]
    key = key + 2
    local last = redis.call('HGET', KEYS[2], job)
    if last and tonumber(last) >= tonumber(tick) then
        results[#results + 1] = 'd'
    else
        redis.call('HSET', KEYS[2], job, tick)
        if order == '2' and redis.call('LLEN', list) > 0 then
            results[#results + 1] = 'o'
        else
            if order == '0' or redis.call('RPUSH', list, body) == 1 then
                redis.call('XADD', stream, '*', 'm', body)
            end
            results[#results + 1] = 'w'
        end
    end
end
return {'written', table.concat(results)}
""")


@implementer(ITickWriter)
class RedisTickWriter:
    """Implements ITickWriter for one cluster. Each tick is a due time of a job, and starts one run of the job."""

    def __init__(self, client: ICommands, scripts: IScriptRunner, keys: RedisKeys, work: RedisWorkStream) -> None:
        self._client = client
        self._scripts = scripts
        self._work = work
        self._leader = keys.key('scheduler')
        self._ticks = keys.key('scheduler-ticks')

    def begin(self, epoch: int, recovery_point: int) -> Deferred[int]:
        begun = self._scripts.run(_BEGIN, (self._leader,), (epoch, recovery_point))
        return begun.addCallback(_accepted).addCallback(int)

    def last_ticks(self, job_ids: Sequence[int]) -> Deferred[list[int | None]]:
        if not job_ids:
            return succeed([])
        read: Deferred[Any] = self._client.execute('HMGET', self._ticks, *job_ids)
        return read.addCallback(lambda values: [None if value is None else int(value) for value in values])

    def write(self, epoch: int, ticks: Sequence[TickWrite]) -> Deferred[list[str]]:
        keys: list[str] = [self._leader, self._ticks]
        args: list[object] = [epoch]
        for one in ticks:
            keys += self._work.stream_key(one.message.target), self._work.order_list(one.message)
            args += one.job_id, one.tick, _order(one), encode_work(one.message)
        written = self._scripts.run(_WRITE, keys, args).addCallback(_accepted)
        return written.addCallback(lambda results: [_RESULTS[letter] for letter in results])

    def forget(self, job_ids: Sequence[int]) -> Deferred[None]:
        if not job_ids:
            return succeed(None)
        return self._client.execute('HDEL', self._ticks, *job_ids).addCallback(lambda _: None)


def _order(one: TickWrite) -> str:
    if not one.message.order_key:
        return _UNORDERED
    return _SKIPPED if one.skips_overlap else _QUEUED


def _accepted(reply: list[Any]) -> Any:
    """Return the value of a reply. Raises OutdatedLeaderEpoch."""
    state, value = reply
    if state == 'outdated':
        raise OutdatedLeaderEpoch(f'Redis has epoch {value}' if value else 'Redis has lost its data')
    return value
