"""The configuration of a cluster at one revision, as an immutable value."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import msgspec


class StoredObject(msgspec.Struct, frozen=True, gc=False):
    """An object that is stored in the ODB. `value` is the Struct of the object type. References are names, not IDs.
    Secrets are decrypted or hashed, as they are used. The garbage collector does not visit the object (gc=False),
    because values contain no cycles."""

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


class _ObjectsOfType:
    """The objects of one type by id and by name. Constant once it belongs to a snapshot, so that snapshots share it."""

    __slots__ = ('_sorted', 'by_id', 'by_name')

    def __init__(self, by_id: dict[int, StoredObject], by_name: dict[str, StoredObject]) -> None:
        self.by_id = by_id
        self.by_name = by_name
        self._sorted: list[StoredObject] | None = None

    def sorted_by_name(self) -> list[StoredObject]:
        """Return the objects by name, sorted by the first call."""
        if self._sorted is None:
            self._sorted = sorted(self.by_id.values(), key=lambda o: o.name)
        return self._sorted


_NO_OBJECTS = _ObjectsOfType({}, {})


class Snapshot:
    """All objects of a cluster at a revision. A snapshot is immutable: `apply_changes` creates the next snapshot, which
    shares the objects of unchanged types with this one."""

    __slots__ = ('_by_type', 'revision')

    def __init__(self, revision: int = 0, objects: Iterable[StoredObject] = ()) -> None:
        self.revision = revision
        self._by_type: Mapping[str, _ObjectsOfType] = {}
        if objects:
            self._by_type = SnapshotUpdate(self, ChangeSet(revision, tuple(objects))).finish()._by_type

    def __len__(self) -> int:
        return sum(len(objects.by_id) for objects in self._by_type.values())

    def __iter__(self) -> Iterator[StoredObject]:
        for objects in self._by_type.values():
            yield from objects.by_id.values()

    def get(self, object_id: int) -> StoredObject | None:
        found = (objects.by_id.get(object_id) for objects in self._by_type.values())
        return next(filter(None, found), None)

    def find(self, type_: str, name: str) -> StoredObject | None:
        return self._of_type(type_).by_name.get(name)

    def objects_of_types(self, *types: str) -> list[StoredObject]:
        """Return all objects of these types, by name."""
        by_type = [self._of_type(type_).sorted_by_name() for type_ in dict.fromkeys(types)]
        by_type = [objects for objects in by_type if objects]
        if len(by_type) < 2:
            return by_type[0].copy() if by_type else []
        return sorted(chain.from_iterable(by_type), key=lambda o: o.name)

    def iter_type(self, type_: str) -> Collection[StoredObject]:
        """Return all objects of a type in any order, without the cost of a list of them."""
        return self._of_type(type_).by_id.values()

    def has_type(self, type_: str) -> bool:
        """Return whether there are objects of a type."""
        return bool(self._of_type(type_).by_id)

    def objects_with(self, field: str) -> Iterator[StoredObject]:
        """Yield the objects of all types whose Struct has a field, in any order."""
        for objects in self._by_type.values():
            if hasattr(next(iter(objects.by_id.values())).value, field):
                yield from objects.by_id.values()

    def has_same_objects(self, other: Snapshot, *types: str) -> bool:
        """Return whether no object of these types has changed from one snapshot to the other, as far as that is known
        without comparing them: if one of the snapshots was made from the other."""
        return all(self._of_type(type_) is other._of_type(type_) for type_ in types)

    def apply_changes(self, changes: ChangeSet) -> Snapshot:
        """Return the snapshot after the changes. SnapshotUpdate does the same in steps."""
        return SnapshotUpdate(self, changes).finish()

    def _of_type(self, type_: str) -> _ObjectsOfType:
        return self._by_type.get(type_, _NO_OBJECTS)


class SnapshotUpdate:
    """Builds a new snapshot from changes in steps. This avoids blocking the reactor, because an import may change
    100,000 objects.

    The objects of a type are copied when its first change is applied.
    """

    def __init__(self, current: Snapshot, changes: ChangeSet) -> None:
        self._revision = changes.revision
        self._by_type = dict(current._by_type)
        self._copied: set[str] = set()
        self._deleted = iter(changes.deleted)
        self._changed = iter(changes.changed)

    def advance(self, count: int) -> bool:
        """Apply up to `count` changes. Returns whether there may be more."""
        for object_id in islice(self._deleted, count):
            self._delete(object_id)
            count -= 1
        for stored in islice(self._changed, count):
            self._store(stored)
            count -= 1
        return not count

    def finish(self) -> Snapshot:
        """Apply all changes that are left, and return the new snapshot."""
        self.advance(sys.maxsize)
        snapshot = Snapshot(self._revision)
        snapshot._by_type = {key: objects for key, objects in self._by_type.items() if objects.by_id}
        return snapshot

    def _delete(self, object_id: int) -> None:
        for type_, objects in self._by_type.items():
            stored = objects.by_id.get(object_id)
            if stored is not None:
                own = self._own(type_)
                del own.by_id[object_id]
                _remove_name(own, stored)
                return

    def _store(self, stored: StoredObject) -> None:
        own, name = self._own(stored.type), stored.name
        before = own.by_id.get(stored.id)
        if before is not None and before.name != name:
            _remove_name(own, before)
        own.by_id[stored.id] = own.by_name[name] = stored

    def _own(self, type_: str) -> _ObjectsOfType:
        """Return the objects of a type, which may be changed."""
        if type_ not in self._copied:
            self._copied.add(type_)
            shared = self._by_type.get(type_, _NO_OBJECTS)
            self._by_type[type_] = _ObjectsOfType(shared.by_id.copy(), shared.by_name.copy())
        return self._by_type[type_]


def _remove_name(objects: _ObjectsOfType, stored: StoredObject) -> None:
    """Remove the name of an object, unless another one has taken it over."""
    if objects.by_name.get(stored.name) is stored:
        del objects.by_name[stored.name]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of a configuration change. `fields` are validated fields of the Struct."""

    action: str  # 'create', 'edit', 'delete'
    type: str
    name: str
    id: int | None = None  # for edit and delete
    fields: Mapping[str, Any] = {}  # for create: all fields; for edit: the changed ones
    revision: int | None = None  # of the object when its editor read it; Conflict if it has changed since

    def __repr__(self) -> str:  # omits the values: they may be secrets
        return f'Operation({self.action} {self.type} {self.name!r}, id={self.id}, fields={sorted(self.fields)})'


class Actor(msgspec.Struct, frozen=True):
    """The user who changes the configuration, and the client address of the request. Both are stored in the history."""

    username: str  # the principal
    source: str = ''  # a channel's name or a command
    cid: str = ''
    address: str = ''  # of the caller, if known
    at: float = 0.0  # unix time of the request; 0 = that of the write, which may have to wait for the database
