"""Puts together what services call other systems with: the outgoing connections of all kinds."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from zatotx.connectors.kind_registry import FoundKind
from zatotx.interfaces.fetcher import IFetcher
from zatotx.interfaces.kind import OutgoingContext
from zatotx.metrics.meters import MeterRegistry
from zatotx.node.settings import Settings
from zatotx.odb.secrets import Secrets
from zatotx.redis.keys import Keys
from zatotx.redis.scripts import Scripts
from zatotx.service.outgoing import Outgoings
from zatotx.tap.redis_client import make_leases


@frozen(kw_only=True)
class OutgoingDependencies:
    """What all kinds get."""

    reactor: Any
    settings: Settings
    offload: Callable[..., Deferred[Any]]
    meters: MeterRegistry
    client: Any  # zatotx.redis.client.RedisClient
    odb: Any  # IConfigStore
    secrets: Secrets


def outgoing_kinds(kinds: Sequence[FoundKind], shared: OutgoingDependencies) -> list[Any]:
    """An IOutgoingKind of every enabled kind that has outgoing connections."""
    made = []
    for found in kinds:
        if found.enabled and found.kind.outgoing:
            made.append(found.load(found.kind.outgoing)(_context(found.kind.name, shared)))
    return made


def outgoings(made: Sequence[Any], kinds: Sequence[FoundKind]) -> Outgoings:
    """All of them, as services and zato.* services reach them; of a kind that lacks a library they hear what to
    install."""
    doors = {name: door for kind in made for name, door in kind.doors.items()}
    pings = {object_type: kind.ping for kind in made for object_type in kind.types}
    disabled = {found.kind.name.replace('-', '_'): found.why for found in kinds if not found.enabled}
    return Outgoings(doors, pings, disabled)


def fetcher(made: Sequence[Any]) -> Any:
    """The IFetcher that a kind offers to the rest of the node; None where none does."""
    return next((kind for kind in made if IFetcher.providedBy(kind)), None)


def _context(kind: str, shared: OutgoingDependencies) -> OutgoingContext:
    main = shared.settings.main
    keys = Keys(main.cluster)
    return OutgoingContext(
        reactor=shared.reactor, settings=shared.settings.kinds.get(kind, {}), offload=shared.offload,
        meters=shared.meters.outgoing, keyvalue=shared.client, scripts=Scripts(shared.client),
        leases=make_leases(shared.reactor, shared.client, shared.odb, main.cluster),
        key=keys.key, seal=shared.secrets.encrypt, unseal=shared.secrets.decrypt,
        component=f'{main.name}@{socket.gethostname()}',
    )  # fmt: skip
