"""Where leases are kept in Redis: three scripts, each of which decides as one."""

from __future__ import annotations

from typing import Protocol
from uuid import uuid4

from attrs import frozen
from twisted.internet.defer import Deferred

from zatotx.interfaces.redis import IScripts, Script
from zatotx.redis.keys import Keys
from zatotx.rules.resilience.lease import first_token


@frozen
class Granted:
    """It is yours."""

    token: int


@frozen
class Taken:
    """It is somebody else's, for so many seconds unless renewed."""

    left: float


@frozen
class Unseeded:
    """Redis does not know whether it saw all tokens so far: it was wiped, or its process is another one, which may have
    lost the last writes. It needs an epoch that was made after this `ticket`."""

    ticket: str


@frozen
class Seed:
    """The answer to Unseeded."""

    ticket: str
    epoch: int


class ILeaseStore(Protocol):
    """Keeps leases. Every method fails as IKeyValue.execute does; then what was asked for may have been done."""

    def take(self, name: str, owner: str, ttl: float, seed: Seed | None) -> Deferred[Granted | Taken | Unseeded]:
        """Give it to `owner`, who gets the same token again where it has it already."""

    def renew(self, name: str, owner: str, ttl: float) -> Deferred[bool]:
        """`ttl` seconds from now on. False where it is not the owner's."""

    def free(self, name: str, owner: str) -> Deferred[bool]:
        """Take it back. False where it is not the owner's."""


# An epoch counts only for the ticket it was fetched for: one that was fetched before Redis was wiped once more is old.
# `run` is the process's own name (INFO run_id): a ticket and a seed never outlive it.
_TAKE = Script('take a lease', """
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

_RENEW = Script('renew a lease', """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
    return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

_FREE = Script('free a lease', """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
    return 0
end
return redis.call('DEL', KEYS[1])
""")


class RedisLeaseStore:
    """A Desk on the shared connection."""

    def __init__(self, scripts: IScripts, keys: Keys) -> None:
        self._scripts = scripts
        self._keys = keys

    def take(self, name: str, owner: str, ttl: float, seed: Seed | None) -> Deferred[Granted | Taken | Unseeded]:
        """See Desk."""
        return Deferred.fromCoroutine(self._take(name, owner, ttl, seed))

    async def _take(self, name: str, owner: str, ttl: float, seed: Seed | None) -> Granted | Taken | Unseeded:
        ticket, base = (seed.ticket, str(first_token(seed.epoch))) if seed is not None else ('', '')
        keys = (self._keys.key('lease', name), self._keys.key('lease-tokens'), self._keys.key('lease-seed'))
        word, value = await self._scripts.run(_TAKE, keys, (owner, _milliseconds(ttl), ticket, base, uuid4().hex))
        if word == 'granted':
            return Granted(int(value))
        return Taken(max(0, value) / 1000) if word == 'taken' else Unseeded(str(value))

    def renew(self, name: str, owner: str, ttl: float) -> Deferred[bool]:
        """See Desk."""
        done = self._scripts.run(_RENEW, (self._keys.key('lease', name),), (owner, _milliseconds(ttl)))
        return done.addCallback(bool)

    def free(self, name: str, owner: str) -> Deferred[bool]:
        """See Desk."""
        return self._scripts.run(_FREE, (self._keys.key('lease', name),), (owner,)).addCallback(bool)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
