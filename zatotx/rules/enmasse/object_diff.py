"""Compares two versions of a configuration object and describes the difference in readable lines. Secrets are
masked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from zatotx.schema.meta import ObjectType, fields_of_struct, reference_fields, secret_fields
from zatotx.schema.secrets import MASK


def changed_fields(old: Any, new: Any) -> tuple[str, ...]:
    """Return the fields whose values differ, in the order of the Struct."""
    return tuple(name for name in new.__struct_fields__ if getattr(old, name) != getattr(new, name))


def describe_changes(object_type: ObjectType, old: Any, new: Any) -> list[str]:
    """Describe a change in readable lines. Each line of a new object (`old` is None) begins with `+`, each line of a
    deleted object (`new` is None) with `-`, and each changed field with `~`."""
    section = object_type.section or object_type.key
    if old is None:
        return [f'+ {section} {new.name!r}', *_non_default_lines(object_type, new)]
    if new is None:
        return [f'- {section} {old.name!r}']
    secrets = secret_fields(object_type)
    return [
        f'~ {section} {old.name!r}: {line}'
        for name in changed_fields(old, new)
        for line in (
            [f'{name}: {_mask(getattr(old, name))!r} → {_mask(getattr(new, name))!r}']
            if name in secrets
            else _changed_lines(name, getattr(old, name), getattr(new, name))
        )
    ]


def _changed_lines(path: str, old: Any, new: Any) -> list[str]:
    """Return `retry.attempts: 3 → 5`, one line for each value that differs."""
    if type(old) is not type(new) or not isinstance(old, msgspec.Struct):
        return [f'{path}: {_without_defaults(old)!r} → {_without_defaults(new)!r}']
    return [
        line
        for name in changed_fields(old, new)
        for line in _changed_lines(f'{path}.{name}', getattr(old, name), getattr(new, name))
    ]


def _without_defaults(value: Any) -> Any:
    """Return a value for display: for a Struct, the fields that differ from their defaults, or all fields if none
    does."""
    if isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, msgspec.Struct):
        return value
    names = non_default_fields(value) or value.__struct_fields__
    return {name: _without_defaults(getattr(value, name)) for name in names}


def _mask(secret: Any) -> Any:
    return MASK if secret else secret


def _non_default_lines(object_type: ObjectType, new: Any) -> list[str]:
    """Return a line for each field of a new object that differs from its default."""
    secrets = secret_fields(object_type)
    values = {name: getattr(new, name) for name in non_default_fields(new) if name != 'name'}
    return [
        f'    {name}: {(_mask(value) if name in secrets else _without_defaults(value))!r}'
        for name, value in values.items()
    ]


def non_default_fields(value: Any) -> tuple[str, ...]:
    """Return the fields of a Struct that differ from their defaults."""
    return tuple(f.name for f in fields_of_struct(type(value)) if f.required or getattr(value, f.name) != f.default)


def export_value_without_defaults(value: Any) -> Any:
    """Return a value for export: for a Struct, only the fields that differ from their defaults."""
    if not isinstance(value, msgspec.Struct):
        return value
    return {name: export_value_without_defaults(getattr(value, name)) for name in non_default_fields(value)}


def allows_anonymous_access(object_type: ObjectType, value: Any) -> bool:
    """Return whether an object lets unauthenticated callers reach a service: a channel with neither security nor
    groups."""
    refs = {info.ref for info in reference_fields(object_type)}
    if not {'service', 'security'} <= refs:
        return False
    return not any(
        getattr(value, info.name) for info in reference_fields(object_type) if info.ref in ('security', 'groups')
    )
