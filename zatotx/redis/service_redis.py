"""The Redis functions for the services of a node, on a dedicated connection.

A slow or large command of a service delays only other services, never the leases and streams of the cluster.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.cache import ICacheStore
from zatotx.interfaces.data_dictionary import IDataDictionaryStore
from zatotx.interfaces.redis import ILeaseStore
from zatotx.interfaces.service_redis import IServiceCommands, IServiceRedis
from zatotx.redis.cache_store import RedisCacheStore
from zatotx.redis.cache_usage import CacheUsage
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.data_dictionary_store import RedisDataDictionaryStore
from zatotx.redis.fencing import FencedWriter
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.reconnecting_connection import ConnectionLog
from zatotx.redis.redis_url import RedisAddress
from zatotx.redis.restricted_user import RestrictedUser
from zatotx.redis.service_commands import ServiceCommands
from zatotx.rules.redis.cache_size_limits import DEFAULT_LIMITS, CacheSizeLimits

SERVICE_KEYS = 'services'  # keys of the cluster that services use through their own methods are below it


@implementer(IServiceRedis)
@frozen
class NodeServiceRedis:
    """Implements IServiceRedis with a client of its own. `client` is started and stopped with the node."""

    client: RedisClient
    user: RestrictedUser
    commands: IServiceCommands
    leases: ILeaseStore
    cache_store: ICacheStore
    data_dictionary: IDataDictionaryStore
    cache_usage: CacheUsage
    cache_flights: dict[tuple[str, str], list[Deferred[tuple[bool, Any]]]] = field(factory=dict)


def make_service_redis(
    reactor: Any,
    address: RedisAddress,
    leases: ILeaseStore,
    *,
    keys: RedisKeys,
    node: str,
    timeout: float,
    connection_log: ConnectionLog,
    limits: CacheSizeLimits = DEFAULT_LIMITS,
) -> NodeServiceRedis:
    """Create the IServiceRedis of a node, without starting it. `leases` is the lease store of the cluster."""
    name = keys.connection_name(node) + ':services'
    user = RestrictedUser(name, [keys.key(SERVICE_KEYS, '*')], connection_log)
    client = RedisClient(
        reactor, address, timeout=timeout, name=name, connection_log=connection_log, prepare=user.switch
    )
    scripts = ScriptRunner(client)
    fenced = FencedWriter(scripts, keys, kind=f'{SERVICE_KEYS}:fence')
    commands = ServiceCommands(client, fenced, lambda: '' if user.is_enforced else user.problem)
    cache_store = RedisCacheStore(scripts, keys, f'{SERVICE_KEYS}:cache', limits)
    dictionary = RedisDataDictionaryStore(client, scripts, keys, f'{SERVICE_KEYS}:data-dict')
    usage = CacheUsage(reactor, limits)
    return NodeServiceRedis(client, user, commands, leases, cache_store, dictionary, usage)
