"""The way out: a cluster's objects as an enmasse document that imports back to the same state."""

from __future__ import annotations

import re
from collections import Counter
from hashlib import sha256
from typing import Any

import msgspec

from zatotx.rules.enmasse.config_diff import mentioned_fields, shorten
from zatotx.rules.enmasse.references import escape_references
from zatotx.schema.fields import secrets_of
from zatotx.schema.meta import ObjectType
from zatotx.schema.snapshot import Snapshot, Stored
from zatotx.schema.type_registry import ObjectTypes

_PLAIN_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9 ._/-]*')
_OTHER = re.compile(r'[^A-Z0-9]')


def export(snapshot: Snapshot, types: ObjectTypes, *, secrets: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Section -> objects, each in the order of its Struct, defaults left out: the same objects give the same document.

    Secrets come as `${ZATOTX_…}`; with `secrets` as they are: hashed ones as their hash, which an import takes. What
    the broker made itself (ObjectType.own) is left out: every environment has its own.
    """
    document: dict[str, list[dict[str, Any]]] = {}
    placeholders = {} if secrets else _placeholders([o for o in snapshot if o.name not in types[o.type].own], types)
    for section in types.sections:
        known = {t.key: t for t in types.in_space(section)}
        objects = [o for o in snapshot.of(*known) if o.name not in known[o.type].own]
        found = [_exported(known[stored.type], stored, placeholders) for stored in objects]
        if found:
            document[section] = found
    return document


def _exported(object_type: ObjectType, stored: Stored, placeholders: dict[tuple[int, str], str]) -> dict[str, Any]:
    fields = {
        name: msgspec.to_builtins(shorten(getattr(stored.value, name))) for name in mentioned_fields(stored.value)
    }
    item = {'name': fields['name']}
    if object_type.tag:
        item['type'] = object_type.tag
    for name in fields:
        variable = placeholders.get((stored.id, name))
        item[name] = escape_references(fields[name]) if variable is None else f'${{{variable}}}'
    return item


def _placeholders(objects: list[Stored], types: ObjectTypes) -> dict[tuple[int, str], str]:
    """(object, secret field) -> the name of its variable: readable where the object's name allows, always its own, also
    among objects of several types that have one name."""
    readable = {(o.id, field): _readable(o.name, field) for o in objects for field in secrets_of(types[o.type])}
    names = {o.id: o.name for o in objects}
    kinds = {o.id: o.type for o in objects}
    times = Counter(readable.values())
    return {
        (object_id, field): variable
        if times[variable] == 1 and _PLAIN_NAME.fullmatch(names[object_id])
        else f'{variable}_{_tail(kinds[object_id], names[object_id])}'
        for (object_id, field), variable in readable.items()
    }


def _tail(type_: str, name: str) -> str:
    return sha256(f'{type_} {name}'.encode()).hexdigest()[:8].upper()


def _readable(name: str, field: str) -> str:
    return 'ZATOTX_' + _OTHER.sub('_', f'{name}_{field}'.upper())
