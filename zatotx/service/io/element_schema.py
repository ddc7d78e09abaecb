"""JSON Schemas of elements, exactly what the server takes and gives: in JSON, as text of path, query and form, and in
answers. An element takes more forms than it gives: the text of a number is a number, absent may be null or empty."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from zatotx.rules.openapi.json_example import Schema
from zatotx.rules.openapi.model import DECIMAL, FLOAT
from zatotx.service.io import elements as e
from zatotx.service.io.description import ElementsOutput
from zatotx.service.io.elements import FALSE, TRUE, Element, TimedElement, format_datetime
from zatotx.service.io.records import Field, ListOfDicts, PlainElement, Record

_MOMENT = dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC)
_INTEGER = r'^[-+]?[0-9]+(\.0*)?$'
_ANY_TYPE = ['string', 'number', 'boolean', 'object', 'array']
_UTC = {'description': 'A timestamp without offset', 'examples': ['2026-01-31T12:00:00']}
_CSV = {'description': 'Values separated by commas', 'examples': ['a,b']}
_SECRET = {'format': 'password'}


def _in_any_case(words: Iterable[str]) -> str:
    """The pattern of these words: JSON Schema has no flags."""
    cased = (''.join(f'[{c.upper()}{c}]' if c.isalpha() else c for c in word) for word in sorted(words))
    return f'^({"|".join(cased)})$'


_BOOL_WORDS = {'type': 'string', 'pattern': _in_any_case(TRUE | FALSE)}
_TEXT_IN = {'type': ['string', 'number', 'boolean']}
_STRING = {'type': 'string'}
_TEXTS = {'type': ['string', 'array'], 'items': _STRING}
_DECIMAL = {'format': 'decimal', 'pattern': DECIMAL}

# Of each class what goes out, what is taken in JSON, and what as text, where that is not what goes out. The first class
# that an element is an instance of counts.
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
    """What a field takes in JSON, and in XML."""
    element = field.element
    if isinstance(element, ListOfDicts):
        schema: Schema = {'type': 'array', 'items': object_schema(element.item.fields)}
    elif isinstance(element, Record):
        schema = object_schema(element.fields)
    else:
        schema = _of_element(element, 1)
    if may_be_empty(field):
        return _or_nothing(schema)
    return {**schema, 'minLength': 1} if field.strict_empty and 'string' in schema.get('type', '') else schema


def text_schema(field: Field) -> Schema:
    """What a field takes of path, query and form; an empty one too, where `may_be_empty`."""
    element = field.element
    if isinstance(element, e.List) and not isinstance(element, ListOfDicts):
        return {'type': 'array', 'items': _STRING, **({'minItems': 1} if field.required else {})}
    return input_schema(field) if isinstance(element, (Record, e.List)) else _of_element(element, 2)


def may_be_empty(field: Field) -> bool:
    """Whether null and an empty text stand for an absent value."""
    return not field.required or field.strict_empty is False


def object_schema(fields: Iterable[Field]) -> Schema:
    """An object of these fields, as it is taken; any object where there are none."""
    fields = tuple(fields)
    schema: dict[str, Any] = {'type': 'object'}
    if fields:
        schema['properties'] = {field.name: input_schema(field) for field in fields}
    required = [field.name for field in fields if field.required]
    return {**schema, 'required': required} if required else schema


def response_schema(declared: ElementsOutput) -> Schema:
    """An object of output: a field that was not set goes out as its default, null, or not at all."""
    formatted = declared.date_time_format
    properties = {field.name: _given(field, formatted) for field in declared.fields}
    kept = [field.name for field in declared.fields if not declared.skip_empty or field.name in declared.force_empty]
    return _with_required({'type': 'object', 'properties': properties}, kept)


def _with_required(schema: dict[str, Any], names: list[str]) -> Schema:
    return {**schema, 'required': names} if names else schema


def _given(field: Field, date_time_format: str = '') -> Schema:
    """What goes out of a field: null where the service says None."""
    element = field.element
    if isinstance(element, ListOfDicts):
        schema: Schema = {'type': 'array', 'items': _given_record(element.item)}
    elif isinstance(element, Record):
        schema = _given_record(element)
    else:
        schema = _of_element(element, 0, date_time_format)
    kinds = schema['type']
    kinds = kinds if isinstance(kinds, list) else [kinds]
    schema = {**schema, 'type': [*kinds, *(() if 'null' in kinds else ('null',))]}
    absent = field.absent()
    is_text = 'string' in kinds and schema.get('format') in (None, 'password')
    if field.required or absent is None or (isinstance(absent, str) and is_text):
        return schema
    if isinstance(absent, (str, int, float)):
        return {'anyOf': [schema, {'const': absent}]}
    return schema


def _given_record(record: Record) -> Schema:
    if not record.fields:
        return {'type': 'object'}
    properties = {field.name: _given(field) for field in record.fields}
    return {'type': 'object', 'properties': properties, 'required': [*properties]}


def _of_element(element: Element, way: int, date_time_format: str = '') -> Schema:
    """`way`: the column of _SCHEMAS, from 0."""
    if isinstance(element, TimedElement):
        return _moment_schema(element, date_time_format)
    if isinstance(element, e.List):
        return {'type': 'array', 'items': {}}
    for kind, given, taken, text in _SCHEMAS:
        if isinstance(element, kind):
            return (given, taken, text or given)[way]
    return {'type': [*_ANY_TYPE, 'null']}  # of the author's own class


def _or_nothing(schema: Schema) -> Schema:
    """The same, or null, or an empty text."""
    kinds = schema.get('type')
    free = 'pattern' not in schema and schema.get('format') in (None, 'password')
    if isinstance(kinds, list) and 'string' in kinds and free:
        return {**schema, 'type': [*kinds, *(() if 'null' in kinds else ('null',))]}
    return {'anyOf': [schema, {'enum': ['', None]}]}


def _moment_schema(element: TimedElement, date_time_format: str = '') -> Schema:
    kind = 'date' if isinstance(element, e.Date) else 'date-time'
    form = element.date_time_format or date_time_format
    if not form:
        return {'type': 'string', 'format': kind}
    said = f'A {kind} written as {form}'
    return {'type': 'string', 'description': said, 'examples': [format_datetime(_MOMENT, form)]}


__all__ = ['input_schema', 'may_be_empty', 'object_schema', 'response_schema', 'text_schema']
