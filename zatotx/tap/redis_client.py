"""Builds the Redis client of a node from its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zatotx.node.settings import Settings
from zatotx.redis.announcements import RedisAnnouncements
from zatotx.redis.client import RedisClient
from zatotx.redis.keys import Keys
from zatotx.redis.status_log import ConnectionLog
from zatotx.redis.url import TlsOptions, parse_address


def make_redis_client(settings: Settings, home: Path, reactor: Any) -> tuple[RedisClient, RedisAnnouncements]:
    """Return the client and its pub/sub announcements, not yet started. Raises StartError if the URL is not valid."""
    kvdb, main = settings.kvdb, settings.main
    address = parse_address(kvdb.url, home, TlsOptions(ca=kvdb.ca, cert=kvdb.cert, key=kvdb.key))
    shared: Any = {
        'timeout': kvdb.timeout, 'name': Keys(main.cluster).name(main.name), 'voice': ConnectionLog(str(address)),
    }
    client = RedisClient(reactor, address, **shared)
    return client, RedisAnnouncements(reactor, address, client, cluster=main.cluster, **shared)
