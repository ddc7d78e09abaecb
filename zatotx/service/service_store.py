"""The services of a node. An immutable table contains the current services, and the store replaces this table
atomically."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import attrs
from attrs import define, field
from zope.interface import implementer

from zatotx.interfaces.services import IServiceMap, IServiceMapHolder
from zatotx.rules.limits.concurrency_limit import ConcurrencyLimit
from zatotx.rules.security.roles import required_roles
from zatotx.service.deployment.service_checks import CheckedVersion
from zatotx.service.service_entry import ServiceEntry


@implementer(IServiceMap)
class CurrentServices:
    """An immutable mapping from service names to entries.

    It holds references to the versions that define its services, so that their modules stay importable until the last
    request that uses the table is over.
    """

    __slots__ = ('_entries', '_versions', 'get')

    def __init__(self, entries: Mapping[str, ServiceEntry], versions: Sequence[object] = ()) -> None:
        self._entries = dict(entries)
        self._versions = tuple(versions)
        self.get: Callable[[str], ServiceEntry | None] = self._entries.get

    def __iter__(self) -> Iterator[ServiceEntry]:
        """Iterate over all entries, sorted by name."""
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


class _CompletedEntry(NamedTuple):
    """An entry of the current table, and what it was made of."""

    source: ServiceEntry
    inputs: tuple[object, ...]
    result: ServiceEntry


@implementer(IServiceMapHolder)
@define(eq=False)
class ServiceStore:
    """Holds the built-in services and the services of the deployed files. It may be used in the reactor's thread
    only."""

    internal: Sequence[ServiceEntry]
    make_stats: Callable[[str], Any]  # service name -> new counters
    # service name -> new concurrency limit, with the limit of a service that has none configured
    make_limit: Callable[[str], ConcurrencyLimit] = lambda name: ConcurrencyLimit()
    kind_areas: tuple[str, ...] = ()  # see required_roles
    # service name, slow threshold in milliseconds, frequency of samples -> what records its calls
    make_sampler: Callable[[str, int, int], Any] = lambda *_: None
    current: CurrentServices = field(init=False)
    _files: Mapping[str, CheckedVersion] = field(factory=dict, init=False)
    _inactive: frozenset[str] = field(default=frozenset(), init=False)
    _stats: dict[str, Any] = field(factory=dict, init=False)
    _gates: dict[str, tuple[ConcurrencyLimit, int]] = field(factory=dict, init=False)  # with the default limit
    _limits: Mapping[str, int] = field(factory=dict, init=False)
    _roles: Mapping[str, tuple[str, ...]] = field(factory=dict, init=False)
    _sampling: Mapping[str, tuple[int, int]] = field(factory=dict, init=False)
    _samplers: dict[str, Any] = field(factory=dict, init=False)
    _completed: dict[str, _CompletedEntry] = field(factory=dict, init=False)  # the entries of `current`

    def __attrs_post_init__(self) -> None:
        self._build()

    @property
    def files(self) -> Mapping[str, CheckedVersion]:
        """The deployed versions, by file."""
        return self._files

    def can_invoke(self, name: str) -> bool:
        """Return whether there is an active service of that name."""
        entry = self.current.get(name)
        return entry is not None and entry.is_active

    def replace_files(self, files: Mapping[str, CheckedVersion]) -> None:
        """Replace all deployed files. Requests in progress keep the versions that they started with."""
        if dict(files) != dict(self._files):
            self._files = dict(files)
            self._build()

    def set_inactive(self, inactive: frozenset[str]) -> None:
        """Deactivate these services and activate all others."""
        if inactive != self._inactive:
            self._inactive = inactive
            self._build()

    def set_limits(self, limits: Mapping[str, int]) -> None:
        """Set the concurrency limit of services by name; all others get their default limit."""
        self._limits = limits
        for name in self._gates:
            self._limit_of(name)

    def set_required_roles(self, roles: Mapping[str, tuple[str, ...]]) -> None:
        """Set the roles of which callers must have one, by service name.

        Services built into zatotx require further roles, which follow from their names.
        """
        if roles != self._roles:
            self._roles = roles
            self._build()

    def set_sampling(self, sampling: Mapping[str, tuple[int, int]]) -> None:
        """Set the slow threshold in milliseconds and the frequency of samples of the services whose calls are recorded.
        """
        if sampling != self._sampling:
            for name in {*sampling, *self._sampling}:
                if sampling.get(name) != self._sampling.get(name):
                    self._samplers.pop(name, None)
                    if name in sampling:
                        self._samplers[name] = self.make_sampler(name, *sampling[name])
            self._sampling = sampling
            self._build()

    def concurrency_limits(self) -> list[tuple[str, ConcurrencyLimit]]:
        """Return the names and concurrency limits of all services that were ever deployed."""
        return [(name, concurrency_limit) for name, (concurrency_limit, _) in self._gates.items()]

    def _build(self) -> None:
        """Build the current table. The entries of services that have not changed are kept, because a deployment takes
        place in the reactor's thread, beside hundreds of other services."""
        completed = {entry.name: self._keep_or_complete(entry, 0) for entry in self.internal}
        for checked in self._files.values():
            for name, entry in checked.services.items():
                completed[name] = self._keep_or_complete(entry, checked.number)
        self._completed = completed
        entries = {name: one.result for name, one in completed.items()}
        self.current = CurrentServices(entries, [checked.loaded for checked in self._files.values()])

    def _keep_or_complete(self, entry: ServiceEntry, version: int) -> _CompletedEntry:
        """Return the completed entry of a service: the current one, unless something that it depends on has changed."""
        name = entry.name
        inputs = version, name in self._inactive, self._roles.get(name), self._samplers.get(name)
        current = self._completed.get(name)
        if current is not None and current.source is entry and current.inputs == inputs:
            return current
        return _CompletedEntry(entry, inputs, self._complete_entry(entry, version))

    def _complete_entry(self, entry: ServiceEntry, version: int) -> ServiceEntry:
        """Return an entry with its version, state and roles.

        All versions of a service share its counters and its concurrency limit.
        """
        stats = self._stats.get(entry.name)
        if stats is None:
            stats = self._stats[entry.name] = self.make_stats(entry.name)
        active = entry.name not in self._inactive
        roles = required_roles(entry.name, is_internal=entry.is_internal, configured=self._roles.get(entry.name, ()),
                               kind_areas=self.kind_areas)
        return attrs.evolve(
            entry,
            stats=stats,
            concurrency_limit=self._limit_of(entry.name),
            version=version,
            is_active=active,
            roles=roles,
            sampler=self._samplers.get(entry.name),
        )

    def _limit_of(self, name: str) -> ConcurrencyLimit:
        """Return the concurrency limit of a service, created on first use, with the configured limit."""
        entry = self._gates.get(name)
        if entry is None:
            concurrency_limit = self.make_limit(name)
            entry = self._gates[name] = concurrency_limit, concurrency_limit.limit
        concurrency_limit, default = entry
        concurrency_limit.limit = self._limits.get(name, default)
        return concurrency_limit


def resolve_conflicts(
    running: Mapping[str, CheckedVersion], new_versions: Mapping[str, CheckedVersion]
) -> tuple[dict[str, CheckedVersion], dict[str, str]]:
    """Merge new versions of files with the running versions. Returns the resulting files, and the rejected files with
    the reasons.

    A fresh file is rejected if one of its services still belongs to another file whose new version was rejected.
    """
    accepted = dict(new_versions)
    rejected: dict[str, str] = {}
    while True:
        files = {**running, **accepted}
        owners = {name: file for file, checked in files.items() if file not in accepted for name in checked.services}
        clash = next(
            ((file, name) for file, checked in accepted.items() for name in checked.services if name in owners), None
        )
        if clash is None:
            return files, rejected
        file, name = clash
        rejected[file] = f'{file}: service {name!r} belongs to {owners[name]} here'
        del accepted[file]
