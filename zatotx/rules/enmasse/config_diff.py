"""The difference between two states of an object, as lines for people. Secrets are masked."""

from __future__ import annotations

from typing import Any

import msgspec

from zatotx.schema.fields import fields_of_struct, refs_of, secrets_of
from zatotx.schema.masking import MASK
from zatotx.schema.meta import ObjectType


def changed_fields(old: Any, new: Any) -> tuple[str, ...]:
    """The fields whose values differ, in the order of the Struct."""
    return tuple(name for name in new.__struct_fields__ if getattr(old, name) != getattr(new, name))


def diff(object_type: ObjectType, old: Any, new: Any) -> list[str]:
    """`+` for a new object (old is None), `-` for one that goes (new is None), a `~` line for each changed field."""
    place = object_type.section or object_type.key
    if old is None:
        return [f'+ {place} {new.name!r}', *_facts(object_type, new)]
    if new is None:
        return [f'- {place} {old.name!r}']
    secrets = secrets_of(object_type)
    return [
        f'~ {place} {old.name!r}: {line}'
        for name in changed_fields(old, new)
        for line in (
            [f'{name}: {_masked(getattr(old, name))!r} → {_masked(getattr(new, name))!r}']
            if name in secrets
            else _changed(name, getattr(old, name), getattr(new, name))
        )
    ]


def _changed(path: str, old: Any, new: Any) -> list[str]:
    """`retry.attempts: 3 → 5`, a line for each value that differs."""
    if type(old) is not type(new) or not isinstance(old, msgspec.Struct):
        return [f'{path}: {_told(old)!r} → {_told(new)!r}']
    return [
        line
        for name in changed_fields(old, new)
        for line in _changed(f'{path}.{name}', getattr(old, name), getattr(new, name))
    ]


def _told(value: Any) -> Any:
    """A field's value for people: of a mapping with fields of its own what is not as by default, or all of it where
    everything is."""
    if not isinstance(value, msgspec.Struct):
        return value
    return {name: _told(getattr(value, name)) for name in mentioned_fields(value) or value.__struct_fields__}


def _masked(secret: Any) -> Any:
    return MASK if secret else secret


def _facts(object_type: ObjectType, new: Any) -> list[str]:
    """What of a new object is not as by default, a line."""
    secrets = secrets_of(object_type)
    values = {name: getattr(new, name) for name in mentioned_fields(new) if name != 'name'}
    return [f'    {name}: {(_masked(each) if name in secrets else _told(each))!r}' for name, each in values.items()]


def mentioned_fields(value: Any) -> tuple[str, ...]:
    """The fields of a Struct that are not at their default."""
    return tuple(f.name for f in fields_of_struct(type(value)) if f.required or getattr(value, f.name) != f.default)


def shorten(value: Any) -> Any:
    """A field's value for people: of a mapping with fields of its own what is not as by default."""
    if not isinstance(value, msgspec.Struct):
        return value
    return {name: shorten(getattr(value, name)) for name in mentioned_fields(value)}


def is_open(object_type: ObjectType, value: Any) -> bool:
    """Whether an object leads anyone, without credentials, to a service: a channel with neither security nor groups."""
    refs = {info.ref for info in refs_of(object_type)}
    if not {'service', 'security'} <= refs:
        return False
    return not any(getattr(value, info.name) for info in refs_of(object_type) if info.ref in ('security', 'groups'))
