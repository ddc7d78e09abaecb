"""All object types of a node, found by key, by section or by their Zato face."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from zatotx.schema.fields import FieldInfo, field_names, fields_of, fields_of_struct
from zatotx.schema.meta import ObjectType


def namespace_of(object_type: ObjectType) -> str:
    """Where the type's names are unique, and what a field's `ref` says: the section, so that two security
    definitions of different types cannot share a name; the key of a type that has no section."""
    return object_type.section or object_type.key


class ObjectTypes:
    """An immutable collection. Raises ValueError with every mistake in the types given."""

    __slots__ = ('_by_key', '_by_space')

    def __init__(self, types: Iterable[ObjectType]) -> None:
        given = tuple(types)
        self._by_key: Mapping[str, ObjectType] = {t.key: t for t in given}
        spaces: dict[str, list[ObjectType]] = {}
        for object_type in given:
            spaces.setdefault(namespace_of(object_type), []).append(object_type)
        self._by_space: Mapping[str, tuple[ObjectType, ...]] = {s: tuple(ts) for s, ts in spaces.items()}
        mistakes = [*_same_twice(given), *_misdeclared(given, frozenset(spaces))]
        if mistakes:
            raise ValueError('; '.join(mistakes))

    def __iter__(self) -> Iterator[ObjectType]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def __getitem__(self, key: str) -> ObjectType:
        return self._by_key[key]

    def get(self, key: str) -> ObjectType | None:
        return self._by_key.get(key)

    @property
    def sections(self) -> tuple[str, ...]:
        """The keys of an enmasse document, in the order the types came."""
        return tuple(space for space, types in self._by_space.items() if types[0].section)

    def in_space(self, space: str) -> tuple[ObjectType, ...]:
        """The types of one section, or the one type without a section that has this key; () for an unknown one."""
        return self._by_space.get(space, ())

    def of_zato(self, prefix: str, request: Mapping[str, object] | None = None) -> ObjectType | None:
        """The type behind `zato.<prefix>.…`; where several share the prefix, the one whose fixed fields the request
        has."""
        asked = request or {}
        found = [t for t in self if t.zato is not None and t.zato.prefix == prefix]
        for object_type in found:
            assert object_type.zato is not None
            if all(asked.get(name) == value for name, value in object_type.zato.fixed.items()):
                return object_type
        return None


def _same_twice(types: tuple[ObjectType, ...]) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for object_type in types:
        for identity in _identities(object_type):
            if identity in seen:
                what, text = identity
                yield f'two object types have the {what} {text!r}: {seen[identity]!r} and {object_type.key!r}'
            seen[identity] = object_type.key


def _identities(object_type: ObjectType) -> Iterator[tuple[str, str]]:
    yield 'key', object_type.key
    if object_type.section:
        yield 'section and tag', f'{object_type.section}/{object_type.tag}'
    if object_type.zato is not None:
        fixed = ', '.join(f'{k}={v}' for k, v in sorted(object_type.zato.fixed.items()))
        yield 'Zato prefix and fixed fields', f'{object_type.zato.prefix} {fixed}'.strip()


def _misdeclared(types: tuple[ObjectType, ...], spaces: frozenset[str]) -> Iterator[str]:
    for object_type in types:
        if 'name' not in field_names(object_type):
            yield f'object type {object_type.key!r} has no field called name'
        for info in fields_of(object_type):
            if info.ref and info.ref not in spaces:
                yield f'{object_type.key}.{info.name} refers to {info.ref!r}, which is no section or key of a type'
            if info.secret and (info.kind != 'text' or info.bounds.keys() - {'min_length'}):
                yield f'{object_type.key}.{info.name} is secret: it must be text without bounds, to be stored longer'
            yield from _too_deep(f'{object_type.key}.{info.name}', info)


def _too_deep(place: str, info: FieldInfo) -> Iterator[str]:
    """What is stored in another form than it is used in must be found without looking into values."""
    for inside in fields_of_struct(info.struct) if info.struct is not None else ():
        if inside.secret or inside.ref:
            yield f'{place}.{inside.name} is a secret or a reference: only fields of the object itself can be'
        yield from _too_deep(f'{place}.{inside.name}', inside)
