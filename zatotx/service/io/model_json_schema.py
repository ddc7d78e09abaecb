"""Creates the JSON Schemas of typed models, which are Structs, dataclasses, and lists and unions of them.

msgspec generates the schemas, but describes dates that may lack an offset as plain strings; these are found by walking
the types along with their schemas. Other differences between a schema and what msgspec accepts are corrected: decimals
may be numbers, sets may contain duplicates, durations have no years or months, base64 is padded.
"""

from __future__ import annotations

import datetime as dt
import inspect
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from zatotx.rules.openapi.document_input import DECIMAL
from zatotx.rules.openapi.json_example import REF, Schema
from zatotx.service.io.typed_models import is_list_type, model_fields
from zatotx.service.naming import original_module_name

_ANYTHING = {'description': 'Of a type that no schema tells of'}
_NAIVE = {dt.datetime: '2026-01-31T12:00:00', dt.time: '12:00:00'}
_FORMATS = {dt.datetime: 'date-time', dt.time: 'time'}
_OF_DAY = r'T([0-9]{1,6}H([0-9]{1,6}M)?(S)?|[0-9]{1,6}M(S)?|S)'.replace('S', r'[0-9]{1,6}(\.[0-9]{1,6})?S')
_DECIMAL = {'type': ['string', 'number'], 'pattern': DECIMAL}
_DURATION = {'description': 'An ISO 8601 duration', 'examples': ['P1DT12H']}
_DURATIONS = f'^[-+]?P([0-9]{{1,6}}D({_OF_DAY})?|{_OF_DAY})$'
_BASE64 = r'^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'
_NUMBER_KEYS = {'propertyNames': {'pattern': '^(0|-?[1-9][0-9]*)$'}}


def model_schema(model: Any) -> tuple[Schema, dict[str, Schema]]:
    """Return the JSON Schema of a model, and the referenced schemas by name.

    A class that msgspec has no schema for (one that is not a model) may have any value.
    """
    classes = list(dict.fromkeys(_models(model, set())))
    (schema, *refs), components = msgspec.json.schema_components(
        (model, *classes), schema_hook=lambda _: _ANYTHING, ref_template=f'{REF}{{name}}'
    )
    schemas: dict[str, Schema] = {name: _clean_component(component) for name, component in components.items()}
    for cls, ref in zip(classes, refs, strict=True):
        name = ref.get('$ref', '').removeprefix(REF)
        if name in schemas:
            schemas[name] = _with_dates(schemas[name], cls)
    return correct_msgspec_schema(add_datetime_formats(schema, model)), {
        name: correct_msgspec_schema(component) for name, component in schemas.items()
    }


def correct_msgspec_schema(schema: Any) -> Any:
    """Correct a JSON Schema that msgspec generated, so that it describes exactly the values that msgspec accepts. The
    schema is corrected at any depth."""
    if isinstance(schema, list):
        return [correct_msgspec_schema(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    result = {
        key: value if key in _VALUES else correct_msgspec_schema(value)
        for key, value in schema.items()
        if key != 'uniqueItems'
    }
    if 'properties' in result:
        result['properties'] = {name: correct_msgspec_schema(value) for name, value in schema['properties'].items()}
    if result.get('type') == 'string':
        format_name = result.get('format')
        if format_name == 'decimal':
            result |= _DECIMAL
        elif format_name == 'duration':  # the format is RFC 3339's, which has neither signs nor fractions
            del result['format']
            result = {**_DURATION, **result, 'pattern': _DURATIONS}
        if 'contentEncoding' in result:
            result['pattern'] = _BASE64
    return result


# Keywords whose values are not schemas.
_VALUES = frozenset(('default', 'examples', 'enum', 'const', 'required', 'properties'))


def _models(declared: Any, seen: set[Any]) -> Iterator[Any]:
    """Yield every model contained in a type, at any depth."""
    fields = model_fields(declared) if isinstance(declared, type) else None
    if fields is not None:
        if declared in seen:
            return
        seen.add(declared)
        yield declared
        for field in fields:
            yield from _models(field.type, seen)
    for argument in typing.get_args(declared):
        yield from _models(argument, seen)


def _with_dates(component: Schema, cls: Any) -> Schema:
    """Add the formats of dates to the properties of a component."""
    properties = component.get('properties')
    if not isinstance(properties, Mapping):
        return component
    types = {field.key: field.type for field in model_fields(cls) or ()}
    return {**component, 'properties': {
        name: add_datetime_formats(value, types[name]) if name in types else value for name, value in properties.items()
    }}  # fmt: skip


def add_datetime_formats(schema: Schema, declared: Any, naive: bool = False) -> Schema:
    """Add the `format` of every date and time to a JSON Schema."""
    origin, args = typing.get_origin(declared), typing.get_args(declared)
    if origin is typing.Annotated:
        is_naive = any(isinstance(item, msgspec.Meta) and item.tz is False for item in args[1:])
        return add_datetime_formats(schema, args[0], naive or is_naive)
    if declared in _FORMATS:
        return _datetime_schema(schema, declared, naive)
    if 'anyOf' in schema:  # at most one member of a union is a text
        datetimes = [item for item in args if _is_datetime(item)]
        return {
            **schema,
            'anyOf': [
                add_datetime_formats(item, datetimes[0], naive) if datetimes and _is_text(item) else item
                for item in schema['anyOf']
            ],
        }
    if args and is_list_type(declared) and isinstance(schema.get('items'), Mapping):
        return {**schema, 'items': add_datetime_formats(schema['items'], args[0], naive)}
    if len(args) == 2 and isinstance(schema.get('additionalProperties'), Mapping):
        keys = _NUMBER_KEYS if args[0] is int else {}
        return {
            **schema,
            **keys,
            'additionalProperties': add_datetime_formats(schema['additionalProperties'], args[1], naive),
        }
    return schema


def _datetime_schema(schema: Schema, declared: Any, naive: bool) -> Schema:
    if not _is_text(schema):
        return schema
    if naive:
        return {'description': 'Without offset', **schema, 'examples': schema.get('examples') or [_NAIVE[declared]]}
    return {**schema, 'format': _FORMATS[declared]}


def _is_text(schema: Schema) -> bool:
    return schema.get('type') == 'string' and 'format' not in schema


def _is_datetime(declared: Any) -> bool:
    if typing.get_origin(declared) is typing.Annotated:
        return _is_datetime(typing.get_args(declared)[0])
    return declared in _FORMATS


def _clean_component(component: Schema) -> Schema:
    """Remove the version's module from ambiguous titles, and indentation from docstrings."""
    cleaned = dict(component)
    if '.' in cleaned.get('title', ''):
        cleaned['title'] = original_module_name(cleaned['title'])
    if 'description' in cleaned:
        cleaned['description'] = inspect.cleandoc(cleaned['description']).strip()
    return cleaned


__all__ = ['add_datetime_formats', 'model_schema']
