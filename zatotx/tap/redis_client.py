"""Builds the Redis client of a node from its settings."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.application.service import Service

from zatotx.node.settings import Settings
from zatotx.redis.client import RedisClient
from zatotx.redis.connection_log import ConnectionLog
from zatotx.redis.keys import RedisKeys
from zatotx.redis.lease_store import RedisLeaseBackend
from zatotx.redis.leases import LeaseStore
from zatotx.redis.pubsub import RedisPubSub
from zatotx.redis.scripts import ScriptRunner
from zatotx.redis.service_redis import ServiceRedis, make_service_redis
from zatotx.redis.url import TlsOptions, parse_address
from zatotx.rules.redis.cache_limits import CacheLimits


@frozen
class RedisConnections:
    """The connections of a node to Redis, not yet started."""

    client: RedisClient
    announcements: RedisPubSub
    services: ServiceRedis

    @property
    def parts(self) -> tuple[Service, ...]:
        """What is started and stopped with the node."""
        return self.client, self.announcements, self.services.client


def make_redis_connections(settings: Settings, home: Path, reactor: Any, odb: Any) -> RedisConnections:
    """Return the connections of a node. `odb`: see make_leases. Raises StartError if the URL is not valid."""
    kvdb, main = settings.kvdb, settings.main
    address = parse_address(kvdb.url, home, TlsOptions(ca=kvdb.ca, cert=kvdb.cert, key=kvdb.key))
    shared: Any = {
        'timeout': kvdb.timeout,
        'name': RedisKeys(main.cluster).connection_name(main.name),
        'connection_log': ConnectionLog(str(address)),
    }
    client = RedisClient(reactor, address, **shared)
    services = make_service_redis(
        reactor,
        address,
        make_leases(reactor, client, odb, main.cluster),
        keys=RedisKeys(main.cluster),
        node=main.name,
        timeout=kvdb.timeout,
        connection_log=shared['connection_log'],
        limits=CacheLimits(settings.cache.max_entries, settings.cache.max_bytes),
    )
    return RedisConnections(client, RedisPubSub(reactor, address, client, cluster=main.cluster, **shared), services)


def make_leases(reactor: Any, client: RedisClient, odb: Any, cluster: str) -> LeaseStore:
    """The leases of a cluster. `odb`: IConfigStore, whose epochs make their tokens grow over a loss of Redis."""
    store = RedisLeaseBackend(ScriptRunner(client), RedisKeys(cluster))
    return LeaseStore(reactor, store, partial(odb.next_epoch, 'redis'))
