"""Classes and functions to declare an object type. ODB storage, validation, zato.* services, enmasse, CLI help and
documentation are derived from the declaration and from the annotations of its Struct.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_type_hints

import msgspec
from msgspec import Meta, inspect


class ZatoApi(msgspec.Struct, frozen=True, kw_only=True):
    """The zato.* services of an object type (`zato.<prefix>.<action>`), and the field names that Zato uses in them."""

    prefix: str  # 'security.basic-auth'
    actions: tuple[str, ...] = ('create', 'edit', 'delete', 'get-list')
    fixed_fields: Mapping[
        str, str
    ] = {}  # request fields that select among types with the same prefix: connection, transport
    zato_names: Mapping[str, str] = {}  # zatotx's field name -> Zato's, if they differ: {'security': 'security_id'}
    extra_response_fields: tuple[str, ...] = ()  # fields of Zato's responses without an equivalent; always ''
    response_fields: tuple[str, ...] = ()  # fields that create and edit return beside id and name
    sec_type: str = ''  # Zato's name of the security type, if it differs from the tag
    # (object, delete request) -> why deletion is rejected; '' = it is allowed.
    deletion_error: Callable[[Any, Mapping[str, Any]], str] | None = None


class ObjectType(msgspec.Struct, frozen=True, kw_only=True):
    """The declaration of one type of configuration object: its Struct, its names, and the rules that apply to it."""

    key: str  # storage key, stable: 'basic_auth', 'channel_rest'
    struct: type[Any]  # its msgspec.Struct; must have a field `name: str`
    section: str  # enmasse key: 'security', 'channel_rest'
    tag: str = ''  # value of `type:` in an enmasse section shared by several types
    title: str = ''  # display name: 'REST channel'
    heading: str = ''  # display name of a list of its objects; '' = derived from the title, see schema.display_labels
    zato: ZatoApi | None = None
    # Applied to the fields of a new object, or the changed ones of an edit, before they are validated.
    normalize: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    validate: Callable[[Any], Sequence[tuple[str, str]]] | None = None  # validation across fields: (path, error)
    # validation of a new object, or of an edited one, against its former state (None if it is new) and the current time
    validate_change: Callable[[Any, Any, datetime], Sequence[tuple[str, str]]] | None = None
    # a text other than the name that must be unique among objects of the type; '' = none
    unique_text: Callable[[Any], str] | None = None
    purposes: frozenset[str] = frozenset()  # what references may require of its objects: 'channel', 'outgoing_rest'
    builtin_names: frozenset[str] = frozenset()  # names of objects that the broker creates; exports omit them
    unique_label: str = ''  # display name of the unique text: 'url_path and method'


def field(
    description: str,
    *,
    secret: str = '',
    ref: str = '',
    ref_purpose: str = '',
    choices: tuple[str, ...] = (),
    aliases: Mapping[str, Any] | None = None,
    check: Callable[[Any], str] | None = None,
    **bounds: Any,
) -> Meta:
    """Create the metadata of one field, for use in `Annotated[type, field(...)]`.

    `secret`: 'encrypted' (Fernet, can be decrypted), 'hashed' (argon2id, can only be verified) or 'both'. `ref`: the
    enmasse section of the object that the value names ('security', 'service'). `ref_purpose`: what the object must be
    usable for, one of its type's purposes ('channel'); '' = anything. `choices`: the allowed values. `aliases`: other
    spellings of them.
    `check`: returns the error of a value within the bounds, or ''; not called for None. `bounds`: ge, le, min_length,
    max_length, pattern … of msgspec.Meta.
    """
    return Meta(
        description=description,
        extra={'secret': secret, 'ref': ref, 'ref_purpose': ref_purpose, 'choices': choices,
               'aliases': dict(aliases or {}), 'check': check},
        **bounds,
    )


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
_cache: dict[type[Any], tuple[FieldInfo, ...]] = {}  # Structs do not change after their definition
_hints: dict[type[Any], Mapping[str, Any]] = {}
_BOUNDS = ('gt', 'ge', 'lt', 'le', 'min_length', 'max_length', 'pattern')


class FieldInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The description of one field of an object type, derived from the annotations of its Struct."""

    name: str
    kind: str  # 'text', 'bool', 'int', 'float', 'datetime', 'list', 'mapping', 'any'
    declared_in: type[Any]  # the Struct that it is a field of
    optional: bool  # whether None is allowed
    required: bool
    default: Any = NO_DEFAULT  # NO_DEFAULT if required
    description: str = ''
    secret: str = ''
    ref: str = ''
    ref_purpose: str = ''
    choices: tuple[str, ...] = ()
    aliases: Mapping[str, Any] = {}
    check: Callable[[Any], str] | None = None
    struct: type[Any] | None = None  # the Struct of a nested mapping
    bounds: Mapping[str, Any] = {}  # the given ones of gt, ge, lt, le, min_length, max_length, pattern

    @property
    def hint(self) -> Any:
        """Its annotation, including the bounds."""
        hints = _hints.get(self.declared_in)
        if hints is None:  # evaluated on demand: a start would take 30 ms longer
            hints = _hints[self.declared_in] = get_type_hints(self.declared_in, include_extras=True)
        return hints[self.name]


def fields_of(object_type: ObjectType) -> tuple[FieldInfo, ...]:
    """Return the fields in declaration order. Raises TypeError if the type's struct is not a msgspec.Struct."""
    return fields_of_struct(object_type.struct)


def field_names(object_type: ObjectType) -> tuple[str, ...]:
    """Return the names of the fields in declaration order."""
    return tuple(f.name for f in fields_of(object_type))


def reference_fields(object_type: ObjectType) -> tuple[FieldInfo, ...]:
    """Return the fields that refer to other objects by name."""
    return tuple(f for f in fields_of(object_type) if f.ref)


def iter_references(info: FieldInfo, value: Any) -> list[tuple[str, Any]]:
    """Return the references in a field's value with their paths, such as ('security', 'api.user'), or ('members[0]',
    'api.user') and ('members[1]', …) for a list. The value None contains no reference."""
    if isinstance(value, list | tuple):
        return [(f'{info.name}[{position}]', name) for position, name in enumerate(value)]
    return [] if value is None else [(info.name, value)]


def map_references(value: Any, replace: Callable[[Any], Any]) -> Any:
    """Return a field's value with each reference replaced by the result of `replace`."""
    if isinstance(value, list | tuple):
        return [replace(name) for name in value]
    return None if value is None else replace(value)


def secret_fields(object_type: ObjectType) -> Mapping[str, str]:
    """Return a mapping from the names of the secret fields to 'encrypted', 'hashed' or 'both'."""
    return secret_fields_of_struct(object_type.struct)


def secret_fields_of_struct(struct: type[Any]) -> Mapping[str, str]:
    """Return the secret fields of a Struct, in the same form as `secret_fields`."""
    return {f.name: f.secret for f in fields_of_struct(struct) if f.secret}


def fields_of_struct(struct: type[Any]) -> tuple[FieldInfo, ...]:
    """Return the fields of a Struct, or of the Struct of a nested mapping (FieldInfo.struct), in declaration order."""
    fields = _cache.get(struct)
    if fields is None:
        fields = _cache[struct] = _read_struct(struct)
    return fields


def _read_struct(struct: type[Any]) -> tuple[FieldInfo, ...]:
    described = inspect.type_info(struct)
    if not isinstance(described, inspect.StructType):
        raise TypeError(f'{struct!r} is not a msgspec.Struct')
    return tuple(_field(f, struct) for f in described.fields)


def _field(declared: inspect.Field, struct: type[Any]) -> FieldInfo:
    meta: dict[str, Any] = {}
    kind, optional = _inspect_type(declared.type, meta)
    return FieldInfo(
        name=declared.name,
        kind=kind,
        declared_in=struct,
        optional=optional,
        required=declared.required,
        default=_default(declared),
        description=meta.get('description', ''),
        secret=meta.get('secret', ''),
        ref=meta.get('ref', ''),
        ref_purpose=meta.get('ref_purpose', ''),
        choices=tuple(meta.get('choices', ())),
        aliases=meta.get('aliases', {}),
        check=meta.get('check'),
        struct=meta.get('struct'),
        bounds={name: meta[name] for name in _BOUNDS if meta.get(name) is not None},
    )


def _default(declared: inspect.Field) -> Any:
    if declared.default_factory is not NO_DEFAULT:
        return declared.default_factory()
    return declared.default


def _inspect_type(type_: inspect.Type, meta: dict[str, Any]) -> tuple[str, bool]:
    """Return the kind of a type and whether it allows None; collect metadata from any depth of the annotation in
    `meta`."""
    if isinstance(type_, inspect.Metadata):
        meta.update(type_.extra_json_schema or {})
        meta.update(type_.extra or {})
        return _inspect_type(type_.type, meta)
    if isinstance(type_, inspect.UnionType):
        return _inspect_union(type_, meta)
    if isinstance(type_, inspect.StructType):
        meta['struct'] = type_.cls
    for name in _BOUNDS:
        if getattr(type_, name, None) is not None:
            meta[name] = getattr(type_, name)
    return _KINDS.get(type(type_), 'any'), False


def _inspect_union(type_: inspect.UnionType, meta: dict[str, Any]) -> tuple[str, bool]:
    members = [m for m in type_.types if not isinstance(m, inspect.NoneType)]
    optional = len(members) < len(type_.types)
    kinds = {_inspect_type(member, meta)[0] for member in members}
    return (kinds.pop() if len(kinds) == 1 else 'any'), optional
