"""Redis as a node has it: built out of its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zatotx.node.settings import Settings
from zatotx.redis.announcements import RedisBus
from zatotx.redis.client import RedisClient
from zatotx.redis.keys import Keys
from zatotx.redis.status_log import Voice
from zatotx.redis.url import Tls, parse_address


def client_and_bus(settings: Settings, home: Path, reactor: Any) -> tuple[RedisClient, RedisBus]:
    """Not started. Raises StartError for settings that name no Redis."""
    kvdb, main = settings.kvdb, settings.main
    address = parse_address(kvdb.url, home, Tls(ca=kvdb.ca, cert=kvdb.cert, key=kvdb.key))
    shared: Any = {
        'timeout': kvdb.timeout, 'name': Keys(main.cluster).name(main.name), 'voice': Voice(str(address)),
    }
    client = RedisClient(reactor, address, **shared)
    return client, RedisBus(reactor, address, client, cluster=main.cluster, **shared)
