"""The declaration of an object type. ODB storage, validation, zato.* services, enmasse, CLI help and documentation are
derived from it and from the annotations of its Struct."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Meta


class ZatoApi(msgspec.Struct, frozen=True, kw_only=True):
    """The zato.* services of an object type: `zato.<prefix>.<action>`, and Zato's field names (feature map 8.8)."""

    prefix: str  # 'security.basic-auth'
    actions: tuple[str, ...] = ('create', 'edit', 'delete', 'get-list')
    fixed_fields: Mapping[
        str, str
    ] = {}  # request fields that select among types with the same prefix: connection, transport
    zato_names: Mapping[str, str] = {}  # zatotx's field name -> Zato's, if they differ: {'security': 'security_id'}
    extra_response_fields: tuple[str, ...] = ()  # fields of Zato's responses without an equivalent; always ''
    sec_type: str = ''  # Zato's name of the security type, if it differs from the tag
    # (object, delete request) -> why deletion is rejected; '' = it is allowed.
    deletion_error: Callable[[Any, Mapping[str, Any]], str] | None = None


class ObjectType(msgspec.Struct, frozen=True, kw_only=True):
    """One type of configuration object."""

    key: str  # storage key, stable: 'basic_auth', 'channel_rest'
    struct: type[Any]  # its msgspec.Struct; must have a field `name: str`
    section: str  # enmasse key: 'security', 'channel_rest'
    tag: str = ''  # value of `type:` in an enmasse section shared by several types
    title: str = ''  # display name: 'REST channel'
    zato: ZatoApi | None = None
    # Applied to the fields of a new object, or the changed ones of an edit, before they are validated.
    normalize: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    validate: Callable[[Any], Sequence[tuple[str, str]]] | None = None  # validation across fields: (path, error)
    # a text other than the name that must be unique among objects of the type; '' = none
    unique_text: Callable[[Any], str] | None = None
    builtin_names: frozenset[str] = frozenset()  # names of objects that the broker creates; exports omit them
    unique_label: str = ''  # display name of the unique text: 'url_path and method'


def field(
    description: str,
    *,
    secret: str = '',
    ref: str = '',
    ref_types: tuple[str, ...] = (),
    choices: tuple[str, ...] = (),
    aliases: Mapping[str, Any] | None = None,
    check: Callable[[Any], str] | None = None,
    **bounds: Any,
) -> Meta:
    """Metadata of one field, for `Annotated[type, field(...)]`.

    `secret`: 'encrypted' (Fernet, can be decrypted) or 'both' (also an argon2id hash, see dual_secret.py). `ref`: the
    enmasse section of the object that the value names ('security', 'service'). `ref_types`: the types that the object
    may have ('basic_auth'); () = any of the section. `choices`: the allowed values. `aliases`: other spellings of them.
    `check`: returns the error of a value within the bounds, or ''; not called for None. `bounds`: ge, le, min_length,
    max_length, pattern … of msgspec.Meta.
    """
    return Meta(
        description=description,
        extra={'secret': secret, 'ref': ref, 'ref_types': ref_types, 'choices': choices,
               'aliases': dict(aliases or {}), 'check': check},
        **bounds,
    )
