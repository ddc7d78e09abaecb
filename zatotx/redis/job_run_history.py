"""The history of job runs in Redis. It contains the last runs of each job, up to a total number of runs.

A stream has the runs in order. A sorted set without scores has a member `job:entry` for each of them, by which the runs
of one job are found and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.redis import ICommands, IScriptRunner, LuaScript
from zatotx.interfaces.scheduler import IRunHistory
from zatotx.model.job_run import JobRun
from zatotx.redis.key_names import RedisKeys

MAX_PER_JOB, MAX_RUNS = 100, 100_000
_BATCH = 200  # runs of one script call

# Entries of the stream are numbered by milliseconds and a sequence, so their text is padded to be in order.
_FUNCTIONS = """
local function member(job, id)
    local ms, sequence = string.match(id, '(%d+)-(%d+)')
    return string.format('%s:%020d-%010d', job, ms, sequence)
end
local function entry(member)
    local ms, sequence = string.match(member, ':0*(%d+)%-0*(%d+)$')
    return ms .. '-' .. sequence
end
"""

# Keys: stream, sorted set. Arguments: maximum per job, maximum in all, then job and run of each.
_RECORD = LuaScript('record runs', _FUNCTIONS + """
local per_job, in_all = tonumber(ARGV[1]), tonumber(ARGV[2])
for at = 3, #ARGV, 2 do
    local job = ARGV[at]
    local id = redis.call('XADD', KEYS[1], '*', 'j', job, 'r', ARGV[at + 1])
    redis.call('ZADD', KEYS[2], 0, member(job, id))
    local low, high = '[' .. job .. ':', '(' .. job .. ';'
    local excess = redis.call('ZLEXCOUNT', KEYS[2], low, high) - per_job
    if excess > 0 then
        for _, old in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], low, high, 'LIMIT', 0, excess)) do
            redis.call('ZREM', KEYS[2], old)
            redis.call('XDEL', KEYS[1], entry(old))
        end
    end
end
local excess = redis.call('XLEN', KEYS[1]) - in_all
if excess > 0 then
    for _, old in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', excess)) do
        redis.call('ZREM', KEYS[2], member(old[2][2], old[1]))
        redis.call('XDEL', KEYS[1], old[1])
    end
end
""")

# Keys: stream, sorted set. Arguments: job, maximum. Returns the runs, the newest first.
_READ = LuaScript('read the runs of a job', _FUNCTIONS + """
local found = {}
local low, high = '[' .. ARGV[1] .. ':', '(' .. ARGV[1] .. ';'
for _, one in ipairs(redis.call('ZREVRANGEBYLEX', KEYS[2], high, low, 'LIMIT', 0, ARGV[2])) do
    local id = entry(one)
    local stored = redis.call('XRANGE', KEYS[1], id, id)[1]
    if stored then
        found[#found + 1] = stored[2][4]
    end
end
return found
""")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(JobRun)


@implementer(IRunHistory)
class RedisRunHistory:
    """Implements IRunHistory for one cluster."""

    def __init__(
        self, client: ICommands, scripts: IScriptRunner, keys: RedisKeys, *, max_per_job: int = MAX_PER_JOB,
        max_runs: int = MAX_RUNS,
    ) -> None:
        self._client = client
        self._scripts = scripts
        self._keys = keys.key('scheduler-runs'), keys.key('scheduler-runs-by-job')
        self._limits = max_per_job, max_runs

    def record(self, runs: Sequence[JobRun]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._record(runs))

    async def _record(self, runs: Sequence[JobRun]) -> None:
        for begin in range(0, len(runs), _BATCH):
            args: list[object] = [*self._limits]
            for run in runs[begin : begin + _BATCH]:
                args += run.job_id, _encoder.encode(run)
            await self._scripts.run(_RECORD, self._keys, args)

    def runs(self, job_id: int | None, limit: int) -> Deferred[list[JobRun]]:
        return Deferred.fromCoroutine(self._runs(job_id, limit))

    async def _runs(self, job_id: int | None, limit: int) -> list[JobRun]:
        if job_id is not None:
            return [_decode(data) for data in await self._scripts.run(_READ, self._keys, (job_id, limit))]
        rows: Any = await self._client.execute('XREVRANGE', self._keys[0], '+', '-', 'COUNT', limit)
        return [_decode(fields[3]) for _, fields in rows]


def _decode(data: str | bytes) -> JobRun:
    return _decoder.decode(data.encode('utf-8') if isinstance(data, str) else data)
