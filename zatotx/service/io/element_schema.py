"""Creates JSON Schemas of elements, exactly matching what the server accepts and returns.

An element accepts more forms than it returns: a number may be text, and an absent value may be null or empty.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from zatotx.rules.openapi.json_example import Schema
from zatotx.rules.openapi.model import DECIMAL, FLOAT
from zatotx.service.io import elements as e
from zatotx.service.io.elements import FALSE, TRUE, DateTimeElement, Element, format_datetime
from zatotx.service.io.records import Field, ListOfDicts, PlainElement, Record
from zatotx.service.io.service_io import ElementsOutput

_MOMENT = dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC)
_INTEGER = r'^[-+]?[0-9]+(\.0*)?$'
_ANY_TYPE = ['string', 'number', 'boolean', 'object', 'array']
_UTC = {'description': 'A timestamp without offset', 'examples': ['2026-01-31T12:00:00']}
_CSV = {'description': 'Values separated by commas', 'examples': ['a,b']}
_SECRET = {'format': 'password'}


def _case_insensitive(words: Iterable[str]) -> str:
    """Return a case-insensitive pattern of these words, as JSON Schema has no flags."""
    patterns = (
        ''.join(f'[{letter.upper()}{letter}]' if letter.isalpha() else letter for letter in word)
        for word in sorted(words)
    )
    return f'^({"|".join(patterns)})$'


_BOOL_WORDS = {'type': 'string', 'pattern': _case_insensitive(TRUE | FALSE)}
_TEXT_IN = {'type': ['string', 'number', 'boolean']}
_STRING = {'type': 'string'}
_TEXTS = {'type': ['string', 'array'], 'items': _STRING}
_DECIMAL = {'format': 'decimal', 'pattern': DECIMAL}

# For each class: the schema of output, of JSON input, and of text input (None: as output). The first class that
# matches applies.
_SCHEMAS: tuple[tuple[type[Element], Schema, Schema, Schema | None], ...] = (
    (e.Secret, {**_STRING, **_SECRET}, {**_TEXT_IN, **_SECRET}, None),
    (e.UTC, {**_STRING, **_UTC}, {**_TEXT_IN, **_UTC}, None),
    (e.Text, _STRING, _TEXT_IN, None),
    (e.Int, {'type': 'integer'}, {'type': ['integer', 'string'], 'pattern': _INTEGER}, None),
    (e.Float, {'type': 'number'}, {'type': ['number', 'string'], 'pattern': FLOAT}, None),
    (e.Bool, {'type': 'boolean'}, {'anyOf': [{'type': 'boolean'}, {'enum': [0, 1]}, _BOOL_WORDS]},
     {'anyOf': [{'type': 'boolean'}, _BOOL_WORDS]}),
    (e.Decimal, {**_STRING, **_DECIMAL}, {'type': ['string', 'number'], **_DECIMAL}, {**_STRING, **_DECIMAL}),
    (e.UUID, {**_STRING, 'format': 'uuid'}, {**_STRING, 'format': 'uuid'}, None),
    (e.CSV, {**_STRING, **_CSV}, {'type': ['string', 'array'], **_CSV}, {**_TEXTS, **_CSV}),
    (e.AsIs, {'type': [*_ANY_TYPE, 'null']}, {'type': [*_ANY_TYPE, 'null']}, _TEXTS),
    (PlainElement, {'type': [*_ANY_TYPE, 'null']}, {'type': _ANY_TYPE}, _STRING),
)  # fmt: skip


def input_schema(field: Field) -> Schema:
    """Return the schema of a field in JSON or XML input."""
    element = field.element
    if isinstance(element, ListOfDicts):
        schema: Schema = {'type': 'array', 'items': object_schema(element.item.fields)}
    elif isinstance(element, Record):
        schema = object_schema(element.fields)
    else:
        schema = _element_schema(element, 1)
    if may_be_empty(field):
        return _or_empty(schema)
    return {**schema, 'minLength': 1} if field.strict_empty and 'string' in schema.get('type', '') else schema


def text_input_schema(field: Field) -> Schema:
    """Return the schema of a field in path, query and form; `may_be_empty` says whether it may be empty."""
    element = field.element
    if isinstance(element, e.List) and not isinstance(element, ListOfDicts):
        return {'type': 'array', 'items': _STRING, **({'minItems': 1} if field.required else {})}
    return input_schema(field) if isinstance(element, (Record, e.List)) else _element_schema(element, 2)


def may_be_empty(field: Field) -> bool:
    """Return whether null and '' are treated as an absent value."""
    return not field.required or field.strict_empty is False


def object_schema(fields: Iterable[Field]) -> Schema:
    """Return the schema of an object with these fields in input; any object if there are none."""
    fields = tuple(fields)
    schema: dict[str, Any] = {'type': 'object'}
    if fields:
        schema['properties'] = {field.name: input_schema(field) for field in fields}
    required = [field.name for field in fields if field.required]
    return {**schema, 'required': required} if required else schema


def output_schema(output: ElementsOutput) -> Schema:
    """Return the schema of an output object: fields that are not set have their default, null, or are missing."""
    date_time_format = output.date_time_format
    properties = {field.name: _output_field_schema(field, date_time_format) for field in output.fields}
    always_present = [
        field.name for field in output.fields if not output.skip_empty or field.name in output.force_empty
    ]
    return _with_required({'type': 'object', 'properties': properties}, always_present)


def _with_required(schema: dict[str, Any], names: list[str]) -> Schema:
    return {**schema, 'required': names} if names else schema


def _output_field_schema(field: Field, date_time_format: str = '') -> Schema:
    """Return the schema of a field in output, which may be null."""
    element = field.element
    if isinstance(element, ListOfDicts):
        schema: Schema = {'type': 'array', 'items': _output_record_schema(element.item)}
    elif isinstance(element, Record):
        schema = _output_record_schema(element)
    else:
        schema = _element_schema(element, 0, date_time_format)
    types = schema['type']
    types = types if isinstance(types, list) else [types]
    schema = {**schema, 'type': [*types, *(() if 'null' in types else ('null',))]}
    absent = field.output_default()
    is_text = 'string' in types and schema.get('format') in (None, 'password')
    if field.required or absent is None or (isinstance(absent, str) and is_text):
        return schema
    if isinstance(absent, (str, int, float)):
        return {'anyOf': [schema, {'const': absent}]}
    return schema


def _output_record_schema(record: Record) -> Schema:
    if not record.fields:
        return {'type': 'object'}
    properties = {field.name: _output_field_schema(field) for field in record.fields}
    return {'type': 'object', 'properties': properties, 'required': [*properties]}


def _element_schema(element: Element, column: int, date_time_format: str = '') -> Schema:
    """Return the schema of an element; `column` is 0 for output, 1 for JSON input, 2 for text input."""
    if isinstance(element, DateTimeElement):
        return _moment_schema(element, date_time_format)
    if isinstance(element, e.List):
        return {'type': 'array', 'items': {}}
    for kind, output, json_input, text_input in _SCHEMAS:
        if isinstance(element, kind):
            return (output, json_input, text_input or output)[column]
    return {'type': [*_ANY_TYPE, 'null']}  # an element class defined by the user


def _or_empty(schema: Schema) -> Schema:
    """Return the schema, extended to accept null and ''."""
    types = schema.get('type')
    any_text = 'pattern' not in schema and schema.get('format') in (None, 'password')
    if isinstance(types, list) and 'string' in types and any_text:
        return {**schema, 'type': [*types, *(() if 'null' in types else ('null',))]}
    return {'anyOf': [schema, {'enum': ['', None]}]}


def _moment_schema(element: DateTimeElement, date_time_format: str = '') -> Schema:
    kind = 'date' if isinstance(element, e.Date) else 'date-time'
    format_ = element.date_time_format or date_time_format
    if not format_:
        return {'type': 'string', 'format': kind}
    description = f'A {kind} written as {format_}'
    return {'type': 'string', 'description': description, 'examples': [format_datetime(_MOMENT, format_)]}


__all__ = ['input_schema', 'may_be_empty', 'object_schema', 'output_schema', 'text_input_schema']
