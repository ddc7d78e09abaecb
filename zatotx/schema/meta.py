"""How an object type describes itself. Everything else is derived from this and the Struct's annotations:
ODB storage, validation, zato.* services, enmasse, CLI help, the docs table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Meta


class ZatoApi(msgspec.Struct, frozen=True, kw_only=True):
    """The Zato face of an object type: `zato.<prefix>.<action>` and its field names (feature map 8.8)."""

    prefix: str  # 'security.basic-auth'
    actions: tuple[str, ...] = ('create', 'edit', 'delete', 'get-list')
    fixed: Mapping[str, str] = {}  # request fields that choose among types of one prefix: connection, transport
    names: Mapping[str, str] = {}  # our field -> Zato's, where they differ: {'security': 'security_id'}
    extra_out: tuple[str, ...] = ()  # Zato's answer fields that we have no field for: answered as ''
    sec_type: str = ''  # Zato's word for a security definition of the type, where it is not the tag
    # Why (object, request to delete it) is to be refused, '' = it need not be.
    stays: Callable[[Any, Mapping[str, Any]], str] | None = None


class ObjectType(msgspec.Struct, frozen=True, kw_only=True):
    """One type of configuration object."""

    key: str  # stable key of storage: 'basic_auth', 'channel_rest'
    struct: type[Any]  # its msgspec.Struct; must have a field `name: str`
    section: str  # enmasse key: 'security', 'channel_rest'
    tag: str = ''  # the value of `type:` in an enmasse section that several types share
    title: str = ''  # for people: 'REST channel'
    zato: ZatoApi | None = None
    check: Callable[[Any], Sequence[tuple[str, str]]] | None = None  # what one field alone cannot say: (path, mistake)
    unique: Callable[[Any], str] | None = None  # beside its name: a text no two objects of the type may share, or ''
    own: frozenset[str] = frozenset()  # names of objects the broker makes itself: no export holds them
    unique_says: str = ''  # how people call that text: 'url_path and method'


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

    `secret`: 'encrypted' (Fernet, can be read back) or 'both' (an argon2id hash too: both_forms.py).
    `ref`: the enmasse section the value names an object of ('security', 'service'). `ref_types`: the types it may be
    of ('basic_auth'); none = any of the section.
    `choices`: the only values allowed. `aliases`: other spellings taken for one of them.
    `check`: what is wrong with a value that the bounds admit, '' for nothing; never asked about None.
    `bounds`: msgspec.Meta's ge, le, min_length, max_length, pattern …
    """
    return Meta(
        description=description,
        extra={'secret': secret, 'ref': ref, 'ref_types': ref_types, 'choices': choices,
               'aliases': dict(aliases or {}), 'check': check},
        **bounds,
    )
