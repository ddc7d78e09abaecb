"""Which objects there are to refer to: ids to names and back, as a snapshot has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from zatotx.schema.fields import FieldInfo, references_in
from zatotx.schema.meta import ObjectType
from zatotx.schema.snapshot import Snapshot
from zatotx.schema.suggestion import did_you_mean
from zatotx.schema.type_registry import ObjectTypes


class References(Protocol):
    """What the doors and enmasse must know of the other objects. `space`: as a field's `ref` says it."""

    def name_of(self, space: str, object_id: int) -> str | None:
        """The name of the object with that id, or None."""

    def has(self, space: str, name: str) -> bool:
        """Whether there is one of that name."""

    def type_of(self, space: str, name: str) -> ObjectType | None:
        """The type of the object of that name, or None."""

    def names(self, space: str) -> Iterator[str]:
        """The names of all objects there are."""


class SnapshotReferences:
    """References of a snapshot."""

    __slots__ = ('_snapshot', '_types')

    def __init__(self, snapshot: Snapshot, types: ObjectTypes) -> None:
        self._snapshot = snapshot
        self._types = types

    def name_of(self, space: str, object_id: int) -> str | None:
        found = self._snapshot.get(object_id)
        if found is None or found.type not in self._keys(space):
            return None
        return found.name

    def has(self, space: str, name: str) -> bool:
        return any(self._snapshot.named(key, name) is not None for key in self._keys(space))

    def id_of(self, space: str, name: str) -> int | None:
        """The id of the object of that name, or None."""
        for key in self._keys(space):
            found = self._snapshot.named(key, name)
            if found is not None:
                return found.id
        return None

    def type_of(self, space: str, name: str) -> ObjectType | None:
        return next((t for t in self._types.in_space(space) if self._snapshot.named(t.key, name) is not None), None)

    def names(self, space: str) -> Iterator[str]:
        for stored in self._snapshot.of(*self._keys(space)):
            yield stored.name

    def _keys(self, space: str) -> Iterable[str]:
        return [t.key for t in self._types.in_space(space)]


def dangling_references(
    references: References, refs: Iterable[FieldInfo], document: Mapping[str, object]
) -> list[tuple[str, str]]:
    """A mistake for every reference of the document that leads nowhere, or to what does not fit; what is no text is for
    others to name."""
    return [
        (path, wrong)
        for info in refs
        for path, name in references_in(info, document.get(info.name))
        if isinstance(name, str) and (
            wrong := reference_error(info, name, references.type_of(info.ref, name), references.names(info.ref))
        )
    ]


def reference_error(info: FieldInfo, name: str, found: ObjectType | None, known: Iterable[str] = ()) -> str:
    """What is wrong with a reference to that name, which is of that type; '' for nothing. `known`: the names there
    are, asked for only where there is nothing of that name, so that a near one is suggested."""
    if found is None:
        return f'{no_such_object(info.ref, name)}{did_you_mean(name, known)}'
    if info.ref_types and found.key not in info.ref_types:
        return f'{name!r} is of type {found.key}, and only {", ".join(info.ref_types)} will do here'
    return ''


def no_such_object(space: str, name: str) -> str:
    """The sentence for a dangling name."""
    return f'there is no {space} called {name!r}'
