"""Builds the outgoing connections of all kinds."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from zatotx.connectors.kind_registry import FoundKind
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.fetcher import IFetcher
from zatotx.metrics.meters import MeterRegistry
from zatotx.node.settings import Settings
from zatotx.odb.secrets import Secrets
from zatotx.redis.keys import RedisKeys
from zatotx.redis.scripts import ScriptRunner
from zatotx.service.outgoing import ConnectionNamespaces
from zatotx.tap.redis_client import make_leases


@frozen(kw_only=True)
class OutgoingDependencies:
    """The collaborators that every kind receives."""

    reactor: Any
    settings: Settings
    offload: Callable[..., Deferred[Any]]
    meters: MeterRegistry
    client: Any  # zatotx.redis.client.RedisClient
    odb: Any  # IConfigStore
    secrets: Secrets


def make_outgoing_kinds(kinds: Sequence[FoundKind], dependencies: OutgoingDependencies) -> list[Any]:
    """Return an IOutgoingKind for every enabled kind that has outgoing connections."""
    outgoing = []
    for found in kinds:
        if found.enabled and found.kind.outgoing:
            outgoing.append(found.load(found.kind.outgoing)(_context(found.kind.name, dependencies)))
    return outgoing


def make_outgoings(made: Sequence[Any], kinds: Sequence[FoundKind]) -> ConnectionNamespaces:
    """Return the outgoing connections as services use them. Accessing a kind whose library is missing raises an error
    that says what to install."""
    namespaces = {name: namespace for kind in made for name, namespace in kind.namespaces.items()}
    pings = {object_type: kind.ping for kind in made for object_type in kind.pingable_types}
    disabled = {found.kind.name.replace('-', '_'): found.missing_reason for found in kinds if not found.enabled}
    return ConnectionNamespaces(namespaces, pings, disabled)


def find_fetcher(made: Sequence[Any]) -> Any:
    """Return the first kind that provides IFetcher; None if there is none."""
    return next((kind for kind in made if IFetcher.providedBy(kind)), None)


def _context(kind: str, shared: OutgoingDependencies) -> OutgoingContext:
    main = shared.settings.main
    keys = RedisKeys(main.cluster)
    return OutgoingContext(
        reactor=shared.reactor, settings=shared.settings.kinds.get(kind, {}), run_in_thread=shared.offload,
        meters=shared.meters.outgoing, redis=shared.client, scripts=ScriptRunner(shared.client),
        leases=make_leases(shared.reactor, shared.client, shared.odb, main.cluster),
        redis_key=keys.key, encrypt=shared.secrets.encrypt, decrypt=shared.secrets.decrypt,
        client_name=f'{main.name}@{socket.gethostname()}',
    )  # fmt: skip
