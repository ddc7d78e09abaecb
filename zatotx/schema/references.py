"""References between configuration objects. IDs are resolved to names, and names to IDs, within a configuration
snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from zatotx.schema.meta import FieldInfo, ObjectType, iter_references
from zatotx.schema.name_suggestion import suggest_similar_name
from zatotx.schema.snapshot import Snapshot
from zatotx.schema.type_registry import ObjectTypeRegistry


class ReferenceTargets(Protocol):
    """The objects of one namespace that fields can refer to. `namespace` has the form of a field's `ref`."""

    def name_of(self, namespace: str, object_id: int) -> str | None:
        """Return the name of the object with that id, or None."""

    def has(self, namespace: str, name: str) -> bool:
        """Return whether an object with that name exists."""

    def type_of(self, namespace: str, name: str) -> ObjectType | None:
        """Return the type of the object with that name, or None."""

    def names(self, namespace: str) -> Iterator[str]:
        """Return the names of all objects."""

    def keys_for(self, info: FieldInfo) -> Sequence[str]:
        """Return the keys of the types that a reference field may refer to."""


class SnapshotReferences:
    """Implements ReferenceTargets for the objects of a snapshot."""

    __slots__ = ('_snapshot', '_types')

    def __init__(self, snapshot: Snapshot, types: ObjectTypeRegistry) -> None:
        self._snapshot = snapshot
        self._types = types

    def name_of(self, namespace: str, object_id: int) -> str | None:
        stored = self._snapshot.get(object_id)
        if stored is None or stored.type not in self._keys(namespace):
            return None
        return stored.name

    def has(self, namespace: str, name: str) -> bool:
        return any(self._snapshot.find(key, name) is not None for key in self._keys(namespace))

    def id_of(self, namespace: str, name: str) -> int | None:
        """Return the id of the object with that name, or None."""
        for key in self._keys(namespace):
            stored = self._snapshot.find(key, name)
            if stored is not None:
                return stored.id
        return None

    def type_of(self, namespace: str, name: str) -> ObjectType | None:
        return next(
            (t for t in self._types.in_namespace(namespace) if self._snapshot.find(t.key, name) is not None), None
        )

    def names(self, namespace: str) -> Iterator[str]:
        for stored in self._snapshot.objects_of_types(*self._keys(namespace)):
            yield stored.name

    def keys_for(self, info: FieldInfo) -> Sequence[str]:
        return self._types.keys_for(info)

    def _keys(self, space: str) -> Iterable[str]:
        return [t.key for t in self._types.in_namespace(space)]


def find_dangling_references(
    references: ReferenceTargets, refs: Iterable[FieldInfo], document: Mapping[str, object]
) -> list[tuple[str, str]]:
    """Return an error for every reference in the document to a missing object or to one of the wrong type. Values that
    are not text are ignored, because validation reports them."""
    return [
        (path, error)
        for info in refs
        for path, name in iter_references(info, document.get(info.name))
        if isinstance(name, str) and (
            error := reference_error(info, name, references.type_of(info.ref, name), references.keys_for(info),
                                    references.names(info.ref))
        )
    ]


def reference_error(
    info: FieldInfo, name: str, target_type: ObjectType | None, usable_types: Sequence[str],
    known_names: Iterable[str] = (),
) -> str:
    """Return the error message for an invalid reference, or '' if the reference is valid. `target_type` is the type of
    the referenced object, or None if it does not exist; `usable_types` are the keys of the types that the field may
    refer to; `known_names` are the existing names, used only to suggest a similar name."""
    if target_type is None:
        return f'{missing_object_error(info.ref, name)}{suggest_similar_name(name, known_names)}'
    if target_type.key not in usable_types:
        return f'{name!r} is of type {target_type.key}, and only {", ".join(usable_types)} will do here'
    return ''


def missing_object_error(namespace: str, name: str) -> str:
    """Return the error message for a reference to a missing object."""
    return f'there is no {namespace} called {name!r}'
