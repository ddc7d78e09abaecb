"""Builds the connections of a node, which are the connections to Redis and the outgoing connections of all kinds."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen
from msgspec.structs import replace
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail

from zatotx.connectors.kind_registry import InstalledKind, object_types_of_kinds
from zatotx.interfaces.config import IConfigStore
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IFetcher
from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.work_stream import IWorkStream
from zatotx.metrics.meters import MeterRegistry
from zatotx.model.errors import ServiceUnavailable, StartError
from zatotx.node.settings import Settings
from zatotx.odb.secrets import Secrets
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.cluster_announcements import RedisPubSub
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.lease_store import RedisLeaseBackend
from zatotx.redis.leases import LeaseStore
from zatotx.redis.reconnecting_connection import ConnectionLog
from zatotx.redis.redis_url import RedisTlsFiles, parse_redis_url
from zatotx.redis.service_redis import NodeServiceRedis, make_service_redis
from zatotx.rules.redis.cache_size_limits import CacheSizeLimits
from zatotx.schema.secrets import ENCRYPTED
from zatotx.service.outgoing import ConnectionNamespaces


@frozen
class RedisConnections:
    """The connections of a node to Redis. They are created without being started."""

    client: RedisClient
    announcements: RedisPubSub
    services: NodeServiceRedis

    @property
    def parts(self) -> tuple[Service, ...]:
        """What is started and stopped with the node."""
        return self.client, self.announcements, self.services.client


def make_redis_connections(settings: Settings, home: Path, reactor: IReactor, odb: Any) -> RedisConnections:
    """Create the Redis connections of a node. `odb` is passed to make_lease_store. Raises StartError if the URL is
    invalid."""
    kvdb, main = settings.kvdb, settings.main
    address = parse_redis_url(kvdb.url, home, RedisTlsFiles(ca=kvdb.ca, cert=kvdb.cert, key=kvdb.key))
    shared: Any = {
        'timeout': kvdb.timeout,
        'name': RedisKeys(main.cluster).connection_name(main.name),
        'connection_log': ConnectionLog(str(address)),
    }
    client = RedisClient(reactor, address, **shared)
    services = make_service_redis(
        reactor,
        address,
        make_lease_store(reactor, client, odb, main.cluster),
        keys=RedisKeys(main.cluster),
        node=main.name,
        timeout=kvdb.timeout,
        connection_log=shared['connection_log'],
        limits=CacheSizeLimits(settings.cache.max_entries, settings.cache.max_bytes),
    )
    return RedisConnections(client, RedisPubSub(reactor, address, client, cluster=main.cluster, **shared), services)


def make_lease_store(reactor: IReactor, client: RedisClient, odb: IConfigStore, cluster: str) -> LeaseStore:
    """Create the lease store of a cluster. Epochs from the ODB ensure that lease tokens increase even if Redis loses
    its data."""
    store = RedisLeaseBackend(ScriptRunner(client), RedisKeys(cluster))
    return LeaseStore(reactor, store, partial(odb.next_epoch, 'redis'))


@frozen(kw_only=True)
class OutgoingDependencies:
    """The objects that the outgoing connections of every kind need."""

    reactor: IReactor
    settings: Settings
    offload: Callable[..., Deferred[Any]]
    meters: MeterRegistry
    client: RedisClient
    odb: IConfigStore
    secrets: Secrets
    work: IWorkStream


def make_outgoing_kinds(kinds: Sequence[InstalledKind], dependencies: OutgoingDependencies) -> list[Any]:
    """Create an IOutgoingKind for every enabled kind that has outgoing connections."""
    outgoing = []
    for found in kinds:
        if found.enabled and found.kind.outgoing:
            outgoing.append(found.load(found.kind.outgoing)(_context(found.kind.name, dependencies)))
    return outgoing


def make_connection_namespaces(made: Sequence[Any], kinds: Sequence[InstalledKind]) -> ConnectionNamespaces:
    """Create the outgoing connections in the form in which services use them. Access to a kind whose library is missing
    raises an error that says which library to install."""
    namespaces = {name: namespace for kind in made for name, namespace in kind.namespaces.items()}
    pings = {object_type: kind.ping for kind in made for object_type in kind.pingable_types}
    for found in kinds:
        if not found.enabled:
            pings.update({type_.key: partial(_fail_ping, found) for type_ in object_types_of_kinds([found])})
    disabled = {found.kind.name.replace('-', '_'): found.missing_reason for found in kinds if not found.enabled}
    return ConnectionNamespaces(namespaces, pings, disabled)


def _fail_ping(found: InstalledKind, object_type: str, name: str) -> Deferred[str]:
    """Answer the ping of a connection whose kind is disabled."""
    return fail(ServiceUnavailable(None, f'{name} cannot be used: {found.missing_reason}'))


def find_fetcher(made: Sequence[Any]) -> Any:
    """Return the first of the outgoing kinds that provides IFetcher, or None if there is none."""
    return next((kind for kind in made if IFetcher.providedBy(kind)), None)


def _context(kind: str, shared: OutgoingDependencies) -> OutgoingContext:
    main = shared.settings.main
    keys = RedisKeys(main.cluster)
    return OutgoingContext(
        reactor=shared.reactor, settings=shared.settings.kinds.get(kind, {}), run_in_thread=shared.offload,
        meters=shared.meters.outgoing, redis=shared.client, scripts=ScriptRunner(shared.client),
        leases=make_lease_store(shared.reactor, shared.client, shared.odb, main.cluster),
        work=shared.work, redis_key=keys.key, encrypt=shared.secrets.encrypt, decrypt=shared.secrets.decrypt,
        client_name=f'{main.name}@{socket.gethostname()}',
    )  # fmt: skip


def load_decrypted_settings(read: Callable[[], Settings], key: Callable[[], str]) -> Settings:
    """Read and decrypt the settings. If decryption fails, the function tries once more, because a key rotation may have
    ended after the settings and before the key was read. Raises StartError."""
    try:
        return decrypt_urls(read(), key())
    except StartError:
        return decrypt_urls(read(), key())


def decrypt_urls(settings: Settings, key: str) -> Settings:
    """Return the settings with decrypted URLs. Raises StartError for a value that was encrypted with another key."""
    odb, kvdb = settings.odb, settings.kvdb
    return replace(
        settings,
        odb=replace(odb, url=_decrypt('odb.url', odb.url, key)),
        kvdb=replace(kvdb, url=_decrypt('kvdb.url', kvdb.url, key)),
    )


def _decrypt(name: str, value: str, key: str) -> str:
    if not value.startswith(ENCRYPTED):
        return value
    try:
        return Secrets(key).decrypt(value)
    except (ServiceUnavailable, ValueError):
        raise StartError(
            f'{name} in config/server.toml was not encrypted with the secret key of this server: encrypt it anew with'
            " 'zatotx encrypt'"
        ) from None
