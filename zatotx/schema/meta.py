"""Classes and functions to declare an object type. ODB storage, validation, zato.* services, enmasse, CLI help and
documentation are derived from the declaration and from the annotations of its Struct.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Meta

from zatotx.schema.annotations import BOUNDS, inspect_annotation, struct_annotations, struct_defaults


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
_cache: dict[type[Any], tuple[FieldInfo, ...]] = {}  # Structs do not change after their definition


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
        return struct_annotations(self.declared_in)[self.name]


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
    if not (isinstance(struct, type) and issubclass(struct, msgspec.Struct)):
        raise TypeError(f'{struct!r} is not a msgspec.Struct')
    annotations = struct_annotations(struct)
    return tuple(_field(struct, name, annotations[name], default) for name, default in struct_defaults(struct).items())


def _field(struct: type[Any], name: str, annotation: Any, default: Any) -> FieldInfo:
    found = inspect_annotation(annotation)
    meta = found.meta
    return FieldInfo(
        name=name,
        kind=found.kind,
        declared_in=struct,
        optional=found.is_optional,
        required=default is NO_DEFAULT,
        default=default,
        description=meta.get('description', ''),
        secret=meta.get('secret', ''),
        ref=meta.get('ref', ''),
        ref_purpose=meta.get('ref_purpose', ''),
        choices=tuple(meta.get('choices', ())),
        aliases=meta.get('aliases', {}),
        check=meta.get('check'),
        struct=found.struct,
        bounds={bound: meta[bound] for bound in BOUNDS if meta.get(bound) is not None},
    )
