"""Redis for the services of a node, on a connection of their own.

A slow or large command of a service delays only other services, never the leases and streams of the cluster.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from zope.interface import implementer

from zatotx.interfaces.redis import ILeaseStore
from zatotx.interfaces.service_redis import IServiceCommands, IServiceRedis
from zatotx.redis.client import RedisClient
from zatotx.redis.connection_log import ConnectionLog
from zatotx.redis.fencing import FencedWriter
from zatotx.redis.keys import RedisKeys
from zatotx.redis.restricted_user import RestrictedUser
from zatotx.redis.scripts import ScriptRunner
from zatotx.redis.service_commands import ServiceCommands
from zatotx.redis.url import RedisAddress

SERVICE_KEYS = 'services'  # keys of the cluster that services use through their own methods are below it


@implementer(IServiceRedis)
@frozen
class ServiceRedis:
    """See IServiceRedis. `client` is started and stopped with the node."""

    client: RedisClient
    user: RestrictedUser
    commands: IServiceCommands
    leases: ILeaseStore


def make_service_redis(
    reactor: Any,
    address: RedisAddress,
    leases: ILeaseStore,
    *,
    keys: RedisKeys,
    node: str,
    timeout: float,
    connection_log: ConnectionLog,
) -> ServiceRedis:
    """Return the Redis of the services of a node, not yet started. `leases`: those of the cluster."""
    name = keys.connection_name(node) + ':services'
    user = RestrictedUser(name, [keys.key(SERVICE_KEYS, '*')], connection_log)
    client = RedisClient(
        reactor, address, timeout=timeout, name=name, connection_log=connection_log, prepare=user.switch
    )
    fenced = FencedWriter(ScriptRunner(client), keys, kind=f'{SERVICE_KEYS}:fence')
    commands = ServiceCommands(client, fenced, lambda: '' if user.is_enforced else user.problem)
    return ServiceRedis(client, user, commands, leases)
