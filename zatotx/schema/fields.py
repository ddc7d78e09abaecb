"""The fields of an object type as values: read once from its Struct, for everything that is derived from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import msgspec
from msgspec import inspect

from zatotx.schema.meta import ObjectType

NO_DEFAULT = msgspec.NODEFAULT

_KINDS: Mapping[type, str] = {
    inspect.StrType: 'text',
    inspect.BoolType: 'bool',
    inspect.IntType: 'int',
    inspect.FloatType: 'float',
    inspect.DateTimeType: 'datetime',
    inspect.ListType: 'list',
    inspect.VarTupleType: 'list',
    inspect.DictType: 'mapping',
    inspect.StructType: 'mapping',
}
_read: dict[type[Any], tuple[FieldInfo, ...]] = {}  # a Struct never changes once it is made
_BOUNDS = ('gt', 'ge', 'lt', 'le', 'min_length', 'max_length', 'pattern')


class FieldInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One field of an object type."""

    name: str
    kind: str  # 'text', 'bool', 'int', 'float', 'datetime', 'list', 'mapping', 'any'
    hint: Any  # its annotation, with the bounds in it
    optional: bool  # None is a value of it
    required: bool
    default: Any = NO_DEFAULT  # as the Struct has it; NO_DEFAULT where required
    description: str = ''
    secret: str = ''
    ref: str = ''
    ref_types: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    aliases: Mapping[str, Any] = {}
    check: Callable[[Any], str] | None = None
    struct: type[Any] | None = None  # what a mapping with fields of its own is read into
    bounds: Mapping[str, Any] = {}  # those of gt, ge, lt, le, min_length, max_length, pattern that are set


def fields_of(object_type: ObjectType) -> tuple[FieldInfo, ...]:
    """The fields, in the order the Struct declares them. Raises TypeError where the type is no msgspec.Struct."""
    return fields_of_struct(object_type.struct)


def field_names(object_type: ObjectType) -> tuple[str, ...]:
    return tuple(f.name for f in fields_of(object_type))


def refs_of(object_type: ObjectType) -> tuple[FieldInfo, ...]:
    """The fields that name other objects."""
    return tuple(f for f in fields_of(object_type) if f.ref)


def references_in(info: FieldInfo, value: Any) -> list[tuple[str, Any]]:
    """What a field that refers to others has, each with its path: ('security', 'api.user'), or of a list
    ('members[0]', 'api.user'), ('members[1]', …). None refers to nothing."""
    if isinstance(value, list | tuple):
        return [(f'{info.name}[{position}]', one) for position, one in enumerate(value)]
    return [] if value is None else [(info.name, value)]


def with_references(value: Any, other: Callable[[Any], Any]) -> Any:
    """A field's value with `other` of each reference in its place."""
    if isinstance(value, list | tuple):
        return [other(one) for one in value]
    return None if value is None else other(value)


def secrets_of(object_type: ObjectType) -> Mapping[str, str]:
    """Secret field -> 'encrypted' or 'both'."""
    return secrets_of_struct(object_type.struct)


def secrets_of_struct(struct: type[Any]) -> Mapping[str, str]:
    """As secrets_of, for those who have the Struct only."""
    return {f.name: f.secret for f in fields_of_struct(struct) if f.secret}


def fields_of_struct(struct: type[Any]) -> tuple[FieldInfo, ...]:
    """As fields_of: of the Struct itself, or of one that is a field's value (FieldInfo.struct)."""
    found = _read.get(struct)
    if found is None:
        found = _read[struct] = _read_struct(struct)
    return found


def _read_struct(struct: type[Any]) -> tuple[FieldInfo, ...]:
    described = inspect.type_info(struct)
    if not isinstance(described, inspect.StructType):
        raise TypeError(f'{struct!r} is not a msgspec.Struct')
    hints = get_type_hints(struct, include_extras=True)
    return tuple(_field(f, hints[f.name]) for f in described.fields)


def _field(found: inspect.Field, hint: Any) -> FieldInfo:
    meta: dict[str, Any] = {}
    kind, optional = _look_into(found.type, meta)
    return FieldInfo(
        name=found.name,
        kind=kind,
        hint=hint,
        optional=optional,
        required=found.required,
        default=_default(found),
        description=meta.get('description', ''),
        secret=meta.get('secret', ''),
        ref=meta.get('ref', ''),
        ref_types=tuple(meta.get('ref_types', ())),
        choices=tuple(meta.get('choices', ())),
        aliases=meta.get('aliases', {}),
        check=meta.get('check'),
        struct=meta.get('struct'),
        bounds={name: meta[name] for name in _BOUNDS if meta.get(name) is not None},
    )


def _default(found: inspect.Field) -> Any:
    if found.default_factory is not NO_DEFAULT:
        return found.default_factory()
    return found.default


def _look_into(type_: inspect.Type, meta: dict[str, Any]) -> tuple[str, bool]:
    """The kind and whether None is allowed; metadata found at any depth of the annotation goes into `meta`."""
    if isinstance(type_, inspect.Metadata):
        meta.update(type_.extra_json_schema or {})
        meta.update(type_.extra or {})
        return _look_into(type_.type, meta)
    if isinstance(type_, inspect.UnionType):
        return _look_into_union(type_, meta)
    if isinstance(type_, inspect.StructType):
        meta['struct'] = type_.cls
    for name in _BOUNDS:
        if getattr(type_, name, None) is not None:
            meta[name] = getattr(type_, name)
    return _KINDS.get(type(type_), 'any'), False


def _look_into_union(type_: inspect.UnionType, meta: dict[str, Any]) -> tuple[str, bool]:
    members = [m for m in type_.types if not isinstance(m, inspect.NoneType)]
    optional = len(members) < len(type_.types)
    kinds = {_look_into(member, meta)[0] for member in members}
    return (kinds.pop() if len(kinds) == 1 else 'any'), optional
