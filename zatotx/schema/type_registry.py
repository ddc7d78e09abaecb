"""Registry of the object types of a node, indexed by key, section and zato.* prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from zatotx.schema.meta import FieldInfo, ObjectType, field_names, fields_of, fields_of_struct
from zatotx.schema.rate_limit import RATE_LIMIT
from zatotx.schema.scheduler_job import SCHEDULER_JOB
from zatotx.schema.security.group import SECURITY_GROUP
from zatotx.schema.service_config import SERVICE


def namespace_of(object_type: ObjectType) -> str:
    """Return the namespace in which names of this type must be unique, in the form of a field's `ref`. The namespace is
    the section of the type, so that security definitions of different types cannot have the same name. For a type
    without a section, the namespace is the key of the type."""
    return object_type.section or object_type.key


class ObjectTypeRegistry:
    """An immutable registry of object types. Raises ValueError, whose message lists all errors in the declarations of
    the types."""

    __slots__ = ('_by_key', '_by_space')

    def __init__(self, types: Iterable[ObjectType]) -> None:
        all_types = tuple(types)
        self._by_key: Mapping[str, ObjectType] = {t.key: t for t in all_types}
        spaces: dict[str, list[ObjectType]] = {}
        for object_type in all_types:
            spaces.setdefault(namespace_of(object_type), []).append(object_type)
        self._by_space: Mapping[str, tuple[ObjectType, ...]] = {s: tuple(ts) for s, ts in spaces.items()}
        errors = [*_duplicates(all_types), *_declaration_errors(all_types, frozenset(spaces))]
        if errors:
            raise ValueError('; '.join(errors))

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
        """The keys of an enmasse document, in the order of the types."""
        return tuple(space for space, types in self._by_space.items() if types[0].section)

    def in_namespace(self, namespace: str) -> tuple[ObjectType, ...]:
        """Return the types of one section, or the type without section that has this key; () if there is none."""
        return self._by_space.get(namespace, ())

    def keys_for(self, info: FieldInfo) -> tuple[str, ...]:
        """Return the keys of the types that a reference field may refer to."""
        types = self.in_namespace(info.ref)
        return tuple(t.key for t in types if not info.ref_purpose or info.ref_purpose in t.purposes)

    def find_by_zato_prefix(self, prefix: str, request: Mapping[str, object] | None = None) -> ObjectType | None:
        """Return the type behind `zato.<prefix>.…`; if several share the prefix, the one whose fixed fields match the
        request."""
        fields = request or {}
        candidates = [t for t in self if t.zato is not None and t.zato.prefix == prefix]
        for object_type in candidates:
            assert object_type.zato is not None
            if all(fields.get(name) == value for name, value in object_type.zato.fixed_fields.items()):
                return object_type
        return None


def _duplicates(types: tuple[ObjectType, ...]) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for object_type in types:
        for identity in _identities(object_type):
            if identity in seen:
                label, text = identity
                yield f'two object types have the {label} {text!r}: {seen[identity]!r} and {object_type.key!r}'
            seen[identity] = object_type.key


def _identities(object_type: ObjectType) -> Iterator[tuple[str, str]]:
    yield 'key', object_type.key
    if object_type.section:
        yield 'section and tag', f'{object_type.section}/{object_type.tag}'
    if object_type.zato is not None:
        fixed = ', '.join(f'{k}={v}' for k, v in sorted(object_type.zato.fixed_fields.items()))
        yield 'Zato prefix and fixed fields', f'{object_type.zato.prefix} {fixed}'.strip()


def _declaration_errors(types: tuple[ObjectType, ...], spaces: frozenset[str]) -> Iterator[str]:
    for object_type in types:
        if 'name' not in field_names(object_type):
            yield f'object type {object_type.key!r} has no field called name'
        for info in fields_of(object_type):
            if info.ref and info.ref not in spaces:
                yield f'{object_type.key}.{info.name} refers to {info.ref!r}, which is no section or key of a type'
            if info.secret and (info.kind != 'text' or info.bounds.keys() - {'min_length'}):
                yield f'{object_type.key}.{info.name} is secret: it must be text without bounds, to be stored longer'
            yield from _nested_errors(f'{object_type.key}.{info.name}', info)


def _nested_errors(path: str, info: FieldInfo) -> Iterator[str]:
    """Report nested secrets and references: values with a different stored form must be top-level fields."""
    for nested in fields_of_struct(info.struct) if info.struct is not None else ():
        if nested.secret or nested.ref:
            yield f'{path}.{nested.name} is a secret or a reference: only fields of the object itself can be'
        yield from _nested_errors(f'{path}.{nested.name}', nested)


# The object types that are neither a security type's nor a kind's.
BUILTIN_TYPES = (SECURITY_GROUP, RATE_LIMIT, SERVICE, SCHEDULER_JOB)
