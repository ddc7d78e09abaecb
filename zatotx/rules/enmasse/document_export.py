"""Exports the objects of a cluster as an enmasse document that imports to the same state."""

from __future__ import annotations

import re
from collections import Counter
from hashlib import sha256
from typing import Any

import msgspec

from zatotx.rules.enmasse.object_diff import export_value_without_defaults, non_default_fields
from zatotx.rules.enmasse.reference_resolution import escape_references
from zatotx.schema.meta import ObjectType, secret_fields
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry

_PLAIN_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9 ._/-]*')
_NON_IDENTIFIER = re.compile(r'[^A-Z0-9]')


def export_document(
    snapshot: Snapshot, types: ObjectTypeRegistry, *, secrets: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """Return a document that maps sections to objects, with fields in the order of the Struct and without default
    values. The output is deterministic.

    Secrets are exported as `${ZATOTX_…}`; with `secrets`, as stored: hashed ones as their hash, which an import
    accepts. Objects that the broker creates (ObjectType.own) are omitted, since every environment has its own.
    """
    document: dict[str, list[dict[str, Any]]] = {}
    placeholders = (
        {} if secrets else _placeholders([o for o in snapshot if o.name not in types[o.type].builtin_names], types)
    )
    for section in types.sections:
        types_by_key = {t.key: t for t in types.in_namespace(section)}
        objects = [
            o for o in snapshot.objects_of_types(*types_by_key) if o.name not in types_by_key[o.type].builtin_names
        ]
        items = [_export_object(types_by_key[stored.type], stored, placeholders) for stored in objects]
        if items:
            document[section] = items
    return document


def _export_object(
    object_type: ObjectType, stored: StoredObject, placeholders: dict[tuple[int, str], str]
) -> dict[str, Any]:
    fields = {
        name: msgspec.to_builtins(export_value_without_defaults(getattr(stored.value, name)))
        for name in non_default_fields(stored.value)
    }
    item = {'name': fields['name']}
    if object_type.tag:
        item['type'] = object_type.tag
    for name in fields:
        variable = placeholders.get((stored.id, name))
        item[name] = escape_references(fields[name]) if variable is None else f'${{{variable}}}'
    return item


def _placeholders(objects: list[StoredObject], types: ObjectTypeRegistry) -> dict[tuple[int, str], str]:
    """Return (object id, secret field) -> name of its variable: readable if the object's name permits, and unique even
    if objects of several types share a name."""
    variables = {
        (o.id, field): _variable_name(o.name, field) for o in objects for field in secret_fields(types[o.type])
    }
    names = {o.id: o.name for o in objects}
    types_by_id = {o.id: o.type for o in objects}
    counts = Counter(variables.values())
    return {
        (object_id, field): variable
        if counts[variable] == 1 and _PLAIN_NAME.fullmatch(names[object_id])
        else f'{variable}_{_digest(types_by_id[object_id], names[object_id])}'
        for (object_id, field), variable in variables.items()
    }


def _digest(type_: str, name: str) -> str:
    return sha256(f'{type_} {name}'.encode()).hexdigest()[:8].upper()


def _variable_name(name: str, field: str) -> str:
    return 'ZATOTX_' + _NON_IDENTIFIER.sub('_', f'{name}_{field}'.upper())
