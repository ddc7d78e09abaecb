"""The difference between two states of an object, as lines for people. Secrets are masked."""

from __future__ import annotations

from typing import Any

import msgspec

from zatotx.schema.fields import fields_of_struct
from zatotx.schema.masking import masked
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
    before, after = _shown(object_type, old), _shown(object_type, new)
    return [
        f'~ {place} {old.name!r}: {name}: {before[name]!r} → {after[name]!r}' for name in changed_fields(old, new)
    ]


def _facts(object_type: ObjectType, new: Any) -> list[str]:
    """What of a new object is not as by default, a line."""
    shown = _shown(object_type, new)
    return [f'    {name}: {shown[name]!r}' for name in given(new) if name != 'name']


def given(value: Any) -> tuple[str, ...]:
    """The fields of a Struct that are not at their default."""
    return tuple(f.name for f in fields_of_struct(type(value)) if f.required or getattr(value, f.name) != f.default)


def brief(value: Any) -> Any:
    """A field's value for people: of a mapping with fields of its own what is not as by default."""
    if not isinstance(value, msgspec.Struct):
        return value
    return {name: brief(getattr(value, name)) for name in given(value)}


def _shown(object_type: ObjectType, value: Any) -> dict[str, Any]:
    fields = masked(object_type.struct, msgspec.structs.asdict(value))
    return {name: brief(each) for name, each in fields.items()}
