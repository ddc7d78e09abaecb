"""Generates the documentation of an object type, which is a table in the reference pages, and help lines of the command
line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from zatotx.schema.meta import NO_DEFAULT, FieldInfo, ObjectType, fields_of, fields_of_struct
from zatotx.schema.type_registry import ObjectTypeRegistry

_COMPARED = {'gt': '>', 'ge': '>=', 'lt': '<', 'le': '<='}


def make_field_table(object_type: ObjectType, types: ObjectTypeRegistry | None = None) -> str:
    """Return a Markdown table of the fields with name, type, default and meaning, followed by the fields of nested
    mappings. `types` are the existing object types, with which the table shows the types to which a reference is
    limited."""
    rows = ['| Field | Type | Default | Meaning |', '| --- | --- | --- | --- |', *_rows(fields_of(object_type), types)]
    return '\n'.join(rows) + '\n'


def _rows(fields: Iterable[FieldInfo], types: ObjectTypeRegistry | None, prefix: str = '') -> Iterator[str]:
    for f in fields:
        usable = f' Usable types: {", ".join(types.keys_for(f))}' if types is not None and f.ref_purpose else ''
        meaning = f'{f.description}.{usable}' if usable else f.description
        cells = ' | '.join(map(_cell, (describe_type(f), describe_default(f), meaning)))
        yield f'| `{prefix}{f.name}` | {cells} |'
        if f.struct is not None:
            yield from _rows(fields_of_struct(f.struct), types, f'{prefix}{f.name}.')


def field_help(info: FieldInfo) -> str:
    """Return one line of help about a field."""
    tail = 'required' if info.required else f'default: {describe_default(info)}'
    return f'{info.description} ({describe_type(info)}; {tail})'


def describe_type(info: FieldInfo) -> str:
    """Return a description of a field's type, which contains the data type, the choices, the bounds and the
    reference."""
    if info.choices:
        return ', '.join(choice or '(empty)' for choice in info.choices)
    parts = [_reference_type(info) if info.ref else info.kind]
    parts.extend(f'{_COMPARED[b]} {value}' for b, value in info.bounds.items() if b in _COMPARED)
    if info.secret:
        parts.append('secret')
    return ' '.join(parts)


def _reference_type(info: FieldInfo) -> str:
    return f'names ({info.ref})' if info.kind == 'list' else f'name ({info.ref})'


def describe_default(info: FieldInfo) -> str:
    """Return the default of a field as text, or '' if the field is required."""
    return '' if info.default is NO_DEFAULT else _default(info.default)


def _default(value: Any) -> str:
    if value is None:
        return 'none'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ', '.join(map(str, value)) or '(none)'
    return '(empty)' if value == '' else str(value)


def _cell(text: str) -> str:
    return text.replace('|', '\\|').replace('\n', ' ')
