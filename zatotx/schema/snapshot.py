"""The configuration of a cluster at one revision, as an immutable value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec


class StoredObject(msgspec.Struct, frozen=True):
    """One object in the ODB. `value` is the type's Struct; references are names, not ids; secrets are decrypted or
    hashed, as they are used."""

    id: int
    type: str
    value: Any
    revision: int
    changed_at: float = 0.0  # unix time at which its creation or last edit was requested, by that node's clock

    @property
    def name(self) -> str:
        name: str = self.value.name
        return name


class ChangeSet(msgspec.Struct, frozen=True):
    """The changes between two revisions."""

    revision: int
    changed: tuple[StoredObject, ...] = ()
    deleted: tuple[int, ...] = ()


class Snapshot:
    """All objects of a cluster at `revision`. Immutable: `apply_changes` creates the next one."""

    __slots__ = ('_by_id', '_by_name', 'revision')

    def __init__(self, revision: int = 0, objects: Iterable[StoredObject] = ()) -> None:
        self.revision = revision
        self._by_id: dict[int, StoredObject] = {o.id: o for o in objects}
        self._by_name: dict[tuple[str, str], StoredObject] = {(o.type, o.name): o for o in self._by_id.values()}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[StoredObject]:
        return iter(self._by_id.values())

    def get(self, object_id: int) -> StoredObject | None:
        return self._by_id.get(object_id)

    def find(self, type_: str, name: str) -> StoredObject | None:
        return self._by_name.get((type_, name))

    def objects_of_types(self, *types: str) -> list[StoredObject]:
        """Returns all objects of these types, by name."""
        keys = frozenset(types)
        return sorted((o for o in self._by_id.values() if o.type in keys), key=lambda o: o.name)

    def apply_changes(self, changes: ChangeSet) -> Snapshot:
        """Returns the snapshot after the changes."""
        kept: Mapping[int, StoredObject] = self._by_id
        if changes.deleted or changes.changed:
            objects = dict(kept)
            for object_id in changes.deleted:
                objects.pop(object_id, None)
            objects.update((o.id, o) for o in changes.changed)
            kept = objects
        return Snapshot(changes.revision, kept.values())


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a change. `fields` are validated fields of the Struct."""

    action: str  # 'create', 'edit', 'delete'
    type: str
    name: str
    id: int | None = None  # for edit and delete
    fields: Mapping[str, Any] = {}  # for create: all fields; for edit: the changed ones
    revision: int | None = None  # of the object when its editor read it; Conflict if it has changed since

    def __repr__(self) -> str:  # omits the values: they may be secrets
        return f'Operation({self.action} {self.type} {self.name!r}, id={self.id}, fields={sorted(self.fields)})'


class Actor(msgspec.Struct, frozen=True):
    """The user who changes the configuration, and the address of the request; stored in the history."""

    username: str  # the principal
    source: str = ''  # a channel's name or a command
    cid: str = ''
    address: str = ''  # of the caller, if known
    at: float = 0.0  # unix time of the request; 0 = that of the write, which may have to wait for the database
