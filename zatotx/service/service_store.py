"""All services of a node at one moment, and the one place that changes them: whole, never half."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from attrs import define, field
from zope.interface import implementer

from zatotx.interfaces.services import IServices, IServiceStore
from zatotx.rules.limits.limits import ConcurrencyLimit
from zatotx.rules.security.roles import required_roles
from zatotx.service.deployment.service_checks import CheckedVersion
from zatotx.service.entry import ServiceEntry


@implementer(IServices)
class ServiceTable:
    """An immutable map by name. It holds the versions its services are of, so that what a request began with stays
    importable until the request is over."""

    __slots__ = ('_entries', '_held', 'get')

    def __init__(self, entries: Mapping[str, ServiceEntry], held: Sequence[object] = ()) -> None:
        self._entries = dict(entries)
        self._held = tuple(held)
        self.get: Callable[[str], ServiceEntry | None] = self._entries.get

    def __iter__(self) -> Iterator[ServiceEntry]:
        """All entries, by name."""
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


@implementer(IServiceStore)
@define(eq=False)
class ServiceStore:
    """The services zatotx brings along, and those of the deployed files. Reactor's thread only."""

    internal: Sequence[ServiceEntry]
    make_stats: Callable[[str], Any]  # the counters of a service that had none yet, by its name
    make_gate: Callable[[str], ConcurrencyLimit] = lambda name: (
        ConcurrencyLimit()
    )  # likewise the gate; its limit is that of a service without
    kind_areas: tuple[str, ...] = ()  # see required_roles
    current: ServiceTable = field(init=False)
    _files: Mapping[str, CheckedVersion] = field(factory=dict, init=False)
    _inactive: frozenset[str] = field(default=frozenset(), init=False)
    _stats: dict[str, Any] = field(factory=dict, init=False)
    _gates: dict[str, tuple[ConcurrencyLimit, int]] = field(factory=dict, init=False)  # with the limit it was made with
    _limits: Mapping[str, int] = field(factory=dict, init=False)
    _roles: Mapping[str, tuple[str, ...]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._build()

    @property
    def files(self) -> Mapping[str, CheckedVersion]:
        """What is deployed here, by file."""
        return self._files

    def swap(self, files: Mapping[str, CheckedVersion]) -> None:
        """These are all the deployed files from now on. Requests under way keep what they began with."""
        if dict(files) != dict(self._files):
            self._files = dict(files)
            self._build()

    def switch(self, inactive: frozenset[str]) -> None:
        """These services are switched off from now on, all others on."""
        if inactive != self._inactive:
            self._inactive = inactive
            self._build()

    def limit(self, limits: Mapping[str, int]) -> None:
        """So many calls at once, by service; all others as many as their gates were made for."""
        self._limits = limits
        for name in self._gates:
            self._limited(name)

    def demand(self, roles: Mapping[str, tuple[str, ...]]) -> None:
        """Callers must have one of these roles, by service; the broker's own services demand some by their names."""
        if roles != self._roles:
            self._roles = roles
            self._build()

    def gates(self) -> list[tuple[str, ConcurrencyLimit]]:
        """The gates of all services there are or were."""
        return [(name, gate) for name, (gate, _) in self._gates.items()]

    def _build(self) -> None:
        entries = {entry.name: self._ready(entry, 0) for entry in self.internal}
        for checked in self._files.values():
            for name, entry in checked.services.items():
                entries[name] = self._ready(entry, checked.number)
        self.current = ServiceTable(entries, [checked.loaded for checked in self._files.values()])

    def _ready(self, entry: ServiceEntry, version: int) -> ServiceEntry:
        """The entry with its counters and its gate, which are one a name whatever the version, its switch and roles."""
        stats = self._stats.get(entry.name)
        if stats is None:
            stats = self._stats[entry.name] = self.make_stats(entry.name)
        active = entry.name not in self._inactive
        roles = required_roles(entry.name, is_internal=entry.is_internal, by_row=self._roles.get(entry.name, ()),
                               kind_areas=self.kind_areas)
        return attrs.evolve(entry, stats=stats, gate=self._limited(entry.name), version=version, is_active=active,
                            roles=roles)  # fmt: skip

    def _limited(self, name: str) -> ConcurrencyLimit:
        """The gate of that name, with the limit it has now."""
        known = self._gates.get(name)
        if known is None:
            gate = self.make_gate(name)
            known = self._gates[name] = gate, gate.limit
        gate, usual = known
        gate.limit = self._limits.get(name, usual)
        return gate



def resolve_conflicts(
    running: Mapping[str, CheckedVersion], fresh: Mapping[str, CheckedVersion]
) -> tuple[dict[str, CheckedVersion], dict[str, str]]:
    """What runs once `fresh` replaces what it can of `running`, and for each fresh file that cannot be, why: one of
    its services still belongs to another file here, whose new version was refused."""
    accepted = dict(fresh)
    refused: dict[str, str] = {}
    while True:
        files = {**running, **accepted}
        owners = {name: file for file, checked in files.items() if file not in accepted for name in checked.services}
        clash = next(
            ((file, name) for file, checked in accepted.items() for name in checked.services if name in owners), None
        )
        if clash is None:
            return files, refused
        file, name = clash
        refused[file] = f'{file}: service {name!r} belongs to {owners[name]} here'
        del accepted[file]
