"""Stores leases in Redis. The operations are three atomic Lua scripts."""

from __future__ import annotations

from typing import Protocol
from uuid import uuid4

from attrs import frozen
from twisted.internet.defer import Deferred

from zatotx.interfaces.redis import IScriptRunner, LuaScript
from zatotx.redis.key_names import RedisKeys
from zatotx.rules.resilience.lease_claim import lowest_token_of_epoch


@frozen
class LeaseGranted:
    """The reply to a lease request that was granted. It contains a fencing token."""

    token: int


@frozen
class LeaseHeldByOther:
    """The reply to a lease request if another owner holds the lease. The lease expires in `seconds_left` seconds unless
    it is renewed."""

    seconds_left: float


@frozen
class NewEpochNeeded:
    """The reply to a lease request if Redis cannot know all tokens that were issued so far. This is the case if Redis
    was wiped, or was restarted and may have lost the last writes. The caller must fetch a new epoch after it has
    received the `ticket`."""

    ticket: str


@frozen
class EpochSeed:
    """The response to NewEpochNeeded, which contains a new epoch from the database."""

    ticket: str
    epoch: int


class ILeaseBackend(Protocol):
    """The interface of the storage of leases. Every method fails with the errors of ICommands.execute; the operation
    may have been executed nevertheless."""

    def take(
        self, name: str, owner: str, ttl: float, seed: EpochSeed | None
    ) -> Deferred[LeaseGranted | LeaseHeldByOther | NewEpochNeeded]:
        """Grant a lease to `owner`, with the same token again if it holds the lease already."""

    def renew(self, name: str, owner: str, ttl: float) -> Deferred[bool]:
        """Extend a lease to `ttl` seconds from now. False if the owner does not hold it."""

    def release(self, name: str, owner: str) -> Deferred[bool]:
        """Release a lease. False if the owner does not hold it."""


# An epoch is valid only for the ticket it was fetched for: one fetched before Redis was wiped again is outdated. `run`
# identifies the server's process (INFO run_id): tickets and seeds are not valid beyond it.
_TAKE = LuaScript('take a lease', """
local lease, tokens, seed = KEYS[1], KEYS[2], KEYS[3]
local owner, ttl, ticket, base, fresh = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local known = redis.call('HMGET', seed, 'run', 'ticket', 'ticket_run')
if known[1] ~= run or redis.call('EXISTS', tokens) == 0 then
    if not known[2] or known[3] ~= run then
        redis.call('HSET', seed, 'ticket', fresh, 'ticket_run', run)
        return {'unseeded', fresh}
    end
    if ticket ~= known[2] or base == '' then
        return {'unseeded', known[2]}
    end
    if tonumber(base) > tonumber(redis.call('GET', tokens) or '0') then
        redis.call('SET', tokens, base)
    end
    redis.call('DEL', seed)
    redis.call('HSET', seed, 'run', run)
end
local held = redis.call('HMGET', lease, 'owner', 'token')
if held[1] and held[1] ~= owner then
    return {'taken', redis.call('PTTL', lease)}
end
if not held[1] then
    redis.call('INCR', tokens)
    held[2] = redis.call('GET', tokens)
    redis.call('HSET', lease, 'owner', owner, 'token', held[2])
end
redis.call('PEXPIRE', lease, ttl)
return {'granted', held[2]}
""")

_RENEW = LuaScript('renew a lease', """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
    return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

_FREE = LuaScript('free a lease', """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
    return 0
end
return redis.call('DEL', KEYS[1])
""")


class RedisLeaseBackend:
    """Implements ILeaseBackend on Redis, over the shared connection."""

    def __init__(self, scripts: IScriptRunner, keys: RedisKeys) -> None:
        self._scripts = scripts
        self._keys = keys

    def take(
        self, name: str, owner: str, ttl: float, seed: EpochSeed | None
    ) -> Deferred[LeaseGranted | LeaseHeldByOther | NewEpochNeeded]:
        """See ILeaseStore."""
        return Deferred.fromCoroutine(self._take(name, owner, ttl, seed))

    async def _take(
        self, name: str, owner: str, ttl: float, seed: EpochSeed | None
    ) -> LeaseGranted | LeaseHeldByOther | NewEpochNeeded:
        ticket, base = (seed.ticket, str(lowest_token_of_epoch(seed.epoch))) if seed is not None else ('', '')
        keys = (self._keys.key('lease', name), self._keys.key('lease-tokens'), self._keys.key('lease-seed'))
        result, value = await self._scripts.run(_TAKE, keys, (owner, _milliseconds(ttl), ticket, base, uuid4().hex))
        if result == 'granted':
            return LeaseGranted(int(value))
        return LeaseHeldByOther(max(0, value) / 1000) if result == 'taken' else NewEpochNeeded(str(value))

    def renew(self, name: str, owner: str, ttl: float) -> Deferred[bool]:
        """See ILeaseStore."""
        done = self._scripts.run(_RENEW, (self._keys.key('lease', name),), (owner, _milliseconds(ttl)))
        return done.addCallback(bool)

    def release(self, name: str, owner: str) -> Deferred[bool]:
        """See ILeaseStore."""
        return self._scripts.run(_FREE, (self._keys.key('lease', name),), (owner,)).addCallback(bool)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
