"""The configuration of a cluster at one revision, as an immutable value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec


class Stored(msgspec.Struct, frozen=True):
    """One object as the ODB has it. `value` is the type's Struct; its references are names, never ids; secrets are
    in the form they are used in (decrypted, or an argon2 hash)."""

    id: int
    type: str
    value: Any
    revision: int

    @property
    def name(self) -> str:
        name: str = self.value.name
        return name


class Changes(msgspec.Struct, frozen=True):
    """What happened between two revisions."""

    revision: int
    changed: tuple[Stored, ...] = ()
    deleted: tuple[int, ...] = ()


class Snapshot:
    """All objects of a cluster at `revision`. Never changed: `evolve` makes the next one."""

    __slots__ = ('_by_id', '_by_name', 'revision')

    def __init__(self, revision: int = 0, objects: Iterable[Stored] = ()) -> None:
        self.revision = revision
        self._by_id: dict[int, Stored] = {o.id: o for o in objects}
        self._by_name: dict[tuple[str, str], Stored] = {(o.type, o.name): o for o in self._by_id.values()}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Stored]:
        return iter(self._by_id.values())

    def get(self, object_id: int) -> Stored | None:
        return self._by_id.get(object_id)

    def named(self, type_: str, name: str) -> Stored | None:
        return self._by_name.get((type_, name))

    def of(self, *types: str) -> list[Stored]:
        """All objects of these types, by name."""
        wanted = frozenset(types)
        return sorted((o for o in self._by_id.values() if o.type in wanted), key=lambda o: o.name)

    def evolve(self, changes: Changes) -> Snapshot:
        """The snapshot after these changes."""
        kept: Mapping[int, Stored] = self._by_id
        if changes.deleted or changes.changed:
            objects = dict(kept)
            for object_id in changes.deleted:
                objects.pop(object_id, None)
            objects.update((o.id, o) for o in changes.changed)
            kept = objects
        return Snapshot(changes.revision, kept.values())


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a change: what to do to which object. `fields` are the Struct's, already validated."""

    action: str  # 'create', 'edit', 'delete'
    type: str
    name: str
    id: int | None = None  # of edit and delete
    fields: Mapping[str, Any] = {}  # of create: all of them; of edit: the ones that change
    revision: int | None = None  # of the object as its editor saw it: Conflict where it is another one by now

    def __repr__(self) -> str:  # names the fields only: their values may be secrets
        return f'Operation({self.action} {self.type} {self.name!r}, id={self.id}, fields={sorted(self.fields)})'


class Actor(msgspec.Struct, frozen=True):
    """Who changes the configuration, and from where: goes into the history."""

    who: str  # the principal
    source: str = ''  # the door: a channel's name, a command
    cid: str = ''
    address: str = ''  # of the caller, where there is one
