"""An in-memory IServiceRedis for the test kit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from zatotx.interfaces.cache import ICacheStore
from zatotx.interfaces.data_dictionary import IDataDictionaryStore
from zatotx.interfaces.redis import IFencedWriter, ILeaseStore
from zatotx.interfaces.service_redis import IServiceCommands, IServiceRedis
from zatotx.model.errors import Conflict
from zatotx.redis.cache_usage import CacheUsage
from zatotx.redis.service_commands import ServiceCommands
from zatotx.rules.redis.cache_size_limits import DEFAULT_LIMITS, CacheSizeLimits
from zatotx.testing.kit_redis.cache_store import MemoryCacheStore
from zatotx.testing.kit_redis.client import MemoryRedis
from zatotx.testing.kit_redis.data_dictionary_store import MemoryDataDictionaryStore
from zatotx.testing.memory_redis_components import make_memory_lease_store

_NO_SCRIPTS = 'a Redis in memory runs no Lua: test such a service with a real Redis'


@implementer(IFencedWriter)
@define(eq=False)
class MemoryFencedWriter:
    """An IFencedWriter for an in-memory Redis."""

    redis: MemoryRedis
    highest: dict[str, int] = field(factory=dict)

    def write(self, name: str, token: int, commands: Sequence[Sequence[object]]) -> Deferred[list[Any]]:
        """See IFencedWriter."""
        highest = max(token, self.highest.get(name, 0))
        if token < highest:
            return fail(Conflict(None, f'The token {token} of a write to {name!r} is outdated: {highest} was seen'))
        self.highest[name] = highest
        return self.redis.execute_transaction(commands)


@implementer(IServiceRedis)
@define(eq=False)
class MemoryServiceRedis:
    """An in-memory IServiceRedis. `memory` is the Redis itself, with which a test inspects data and simulates
    failures."""

    memory: MemoryRedis
    commands: IServiceCommands
    leases: ILeaseStore
    cache_store: ICacheStore
    data_dictionary: IDataDictionaryStore
    cache_usage: CacheUsage
    cache_flights: dict[tuple[str, str], list[Deferred[tuple[bool, Any]]]] = field(factory=dict)


def memory_service_redis(
    clock: Any, now: Callable[[], float] | None = None, limits: CacheSizeLimits = DEFAULT_LIMITS
) -> MemoryServiceRedis:
    """Create an in-memory IServiceRedis. `clock` is an IReactorTime, and `now` returns Unix time."""
    memory = MemoryRedis(clock, now)
    commands = ServiceCommands(memory, MemoryFencedWriter(memory), lambda: _NO_SCRIPTS)
    cache_store = MemoryCacheStore(memory, now or clock.seconds, limits)
    dictionary, usage = MemoryDataDictionaryStore(memory), CacheUsage(clock, limits)
    return MemoryServiceRedis(memory, commands, make_memory_lease_store(clock), cache_store, dictionary, usage)
