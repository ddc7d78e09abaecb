"""What a change lays claim to: names, unique texts, objects to refer to. Found wanting before anything is written.

These run under the cluster's lock, so what they find stays so until the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import Factory, define
from sqlalchemy import select

from zatotx.model.errors import BadInput, Conflict
from zatotx.odb.documents import Document
from zatotx.odb.statement_context import Transaction, chunks
from zatotx.odb.tables import config_object, key_of
from zatotx.schema.fields import references_in, refs_of
from zatotx.schema.meta import ObjectType
from zatotx.schema.references import no_such_object
from zatotx.schema.type_registry import namespace_of

_SHOWN = 20  # mistakes that one sentence can carry


@define(kw_only=True)
class ObjectChange:
    """One object of a change: before and after."""

    action: str
    object_type: ObjectType
    id: int
    value: Any  # the Struct after the change; of a deletion: before it
    old: Document  # as shown: references are names; {} of a creation
    document: Document = Factory(dict)  # to be stored; of a deletion: the last one

    @property
    def name(self) -> str:
        name: str = self.value.name
        return name

    @property
    def place(self) -> tuple[str, str]:
        """Where and by which name it is found."""
        return namespace_of(self.object_type), self.name

    @property
    def unique(self) -> str:
        """The text it shares with no other of its type, or ''."""
        return '' if self.object_type.unique is None else self.object_type.unique(self.value)

    @property
    def title(self) -> str:
        return self.object_type.title or self.object_type.key


def check_constraints(t: Transaction, written: Sequence[ObjectChange]) -> None:
    """Check names and unique texts of created and edited objects. Raises Conflict naming all that are taken."""
    ours = frozenset(target.id for target in written)
    taken = [*_names_taken(t, written, ours), *_texts_taken(t, written, ours)]
    if taken:
        more = [f'and {len(taken) - _SHOWN} more'] if len(taken) > _SHOWN else []
        raise Conflict(None, '; '.join(taken[:_SHOWN] + more))


def _names_taken(t: Transaction, written: Sequence[ObjectChange], ours: frozenset[int]) -> Iterator[str]:
    places: dict[tuple[str, str], int] = {}
    for row in _rows(t, config_object.c.name_key, [key_of(target.name) for target in written]):
        if row.id not in ours:
            places[row.space, row.name] = row.id
    for target in written:
        if places.setdefault(target.place, target.id) != target.id:
            yield f'{target.title} {target.name!r} exists already{_as_another(t, target)}'


def _as_another(t: Transaction, target: ObjectChange) -> str:
    """Names are shared by all types of a section."""
    others = t.cluster.types.in_space(namespace_of(target.object_type))
    return f' among {namespace_of(target.object_type)} objects' if len(others) > 1 else ''


def _texts_taken(t: Transaction, written: Sequence[ObjectChange], ours: frozenset[int]) -> Iterator[str]:
    unique = [(target, target.unique) for target in written if target.unique]
    holders: dict[tuple[str, str], str] = {}
    for row in _rows(t, config_object.c.unique_key, [key_of(text) for _, text in unique]):
        if row.id not in ours:
            holders[row.type, row.unique_key] = row.name
    for target, text in unique:
        holder = holders.setdefault((target.object_type.key, key_of(text)), target.name)
        if holder != target.name:
            yield (
                f'{target.title} {target.name!r} cannot have the {target.object_type.unique_says} {text!r}: '
                f'{holder!r} has it'
            )


def resolve_references(t: Transaction, written: Sequence[ObjectChange]) -> dict[tuple[str, str], int]:
    """(space, name) -> id of everything that the written objects refer to. Raises BadInput naming what there is not."""
    ours = frozenset(target.id for target in written)
    ids = {target.place: target.id for target in written}
    wanted = {place for _, __, place in _references(written)}
    for row in _rows(t, config_object.c.name_key, sorted({key_of(name) for _, name in wanted - ids.keys()})):
        if row.id not in ours:
            ids.setdefault((row.space, row.name), row.id)
    mistakes = [
        (field if len(written) == 1 else f'{target.object_type.key} {target.name!r}: {field}', no_such_object(*place))
        for target, field, place in _references(written)
        if place not in ids
    ]
    if mistakes:
        raise BadInput(mistakes)
    return ids


def _references(written: Iterable[ObjectChange]) -> Iterator[tuple[ObjectChange, str, tuple[str, str]]]:
    for target in written:
        for info in refs_of(target.object_type):
            for path, name in references_in(info, getattr(target.value, info.name)):
                yield target, path, (info.ref, name)


def _rows(t: Transaction, column: Any, keys: Sequence[str]) -> Iterator[Any]:
    """The cluster's objects that have one of these keys."""
    c = config_object.c
    for some in chunks(keys):
        yield from t.connection.execute(
            select(c.id, c.type, c.space, c.name, c.unique_key).where(c.cluster_id == t.cluster.id, column.in_(some))
        )
        t.moved()
