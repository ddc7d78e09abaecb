"""Creates the JSON Schemas of a service's declared input and output, for all three ways of declaring them.

Elements are described here; msgspec describes models. A field that may be absent is returned with its default, and its
schema says so.
"""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Iterable
from typing import Any

from zatotx.model.errors import BadInput
from zatotx.rules.openapi.component_registry import ERROR_RESPONSES
from zatotx.rules.openapi.document_input import (
    DECIMAL,
    FLOAT,
    ExampleInput,
    InputField,
    JsonSchemaWithComponents,
    ServiceInput,
    ServiceModel,
)
from zatotx.rules.openapi.json_example import REF, Schema, resolve_reference
from zatotx.service.io import elements as e
from zatotx.service.io.elements import FALSE, TRUE, BaseDateElement, Element, format_datetime, to_mapping
from zatotx.service.io.input_sources import InputSources
from zatotx.service.io.io_declaration import ElementsInput, ElementsOutput, Input, Output, TypedInput
from zatotx.service.io.model_json_schema import model_schema
from zatotx.service.io.record_elements import DeclaredField, ListOfDicts, Record, UntypedElement
from zatotx.service.service import Service
from zatotx.service.service_entry import ServiceEntry
from zatotx.service.source_analysis import analyze_source

__all__ = [
    'ElementsInput',
    'field_input_schema',
    'object_schema',
    'openapi_input_shape',
    'openapi_output_shape',
    'openapi_service_shape',
    'output_schema',
    'text_input_schema',
    'treats_empty_as_absent',
]


# Creates JSON Schemas of elements, exactly matching what the server accepts and returns.
#
# An element accepts more forms than it returns: a number may be text, and an absent value may be null or empty.

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
    (UntypedElement, {'type': [*_ANY_TYPE, 'null']}, {'type': _ANY_TYPE}, _STRING),
)  # fmt: skip


def field_input_schema(field: DeclaredField) -> Schema:
    """Return the schema of a field in JSON or XML input."""
    element = field.element
    if isinstance(element, ListOfDicts):
        schema: Schema = {'type': 'array', 'items': object_schema(element.item.fields)}
    elif isinstance(element, Record):
        schema = object_schema(element.fields)
    else:
        schema = _element_schema(element, 1)
    if treats_empty_as_absent(field):
        return _or_empty(schema)
    return {**schema, 'minLength': 1} if field.strict_empty and 'string' in schema.get('type', '') else schema


def text_input_schema(field: DeclaredField) -> Schema:
    """Return the schema of a field in path, query and form. The function `treats_empty_as_absent` says whether its
    value may be empty."""
    element = field.element
    if isinstance(element, e.List) and not isinstance(element, ListOfDicts):
        return {'type': 'array', 'items': _STRING, **({'minItems': 1} if field.required else {})}
    return field_input_schema(field) if isinstance(element, (Record, e.List)) else _element_schema(element, 2)


def treats_empty_as_absent(field: DeclaredField) -> bool:
    """Return whether null and '' count as an absent value of a field."""
    return not field.required or field.strict_empty is False


def object_schema(fields: Iterable[DeclaredField]) -> Schema:
    """Return the schema of an input object with the given fields, or of any object if no fields are given."""
    fields = tuple(fields)
    schema: dict[str, Any] = {'type': 'object'}
    if fields:
        schema['properties'] = {field.name: field_input_schema(field) for field in fields}
    required = [field.name for field in fields if field.required]
    return {**schema, 'required': required} if required else schema


def output_schema(output: ElementsOutput) -> Schema:
    """Return the schema of an output object. A field that the service does not set has its default, is null, or is
    missing."""
    date_time_format = output.date_time_format
    properties = {field.name: _output_field_schema(field, date_time_format) for field in output.fields}
    always_present = [
        field.name for field in output.fields if not output.skip_empty or field.name in output.force_empty
    ]
    return _with_required({'type': 'object', 'properties': properties}, always_present)


def _with_required(schema: dict[str, Any], names: list[str]) -> Schema:
    return {**schema, 'required': names} if names else schema


def _output_field_schema(field: DeclaredField, date_time_format: str = '') -> Schema:
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
    if isinstance(element, BaseDateElement):
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


def _moment_schema(element: BaseDateElement, date_time_format: str = '') -> Schema:
    kind = 'date' if isinstance(element, e.Date) else 'date-time'
    format_ = element.date_time_format or date_time_format
    if not format_:
        return {'type': 'string', 'format': kind}
    description = f'A {kind} written as {format_}'
    return {'type': 'string', 'description': description, 'examples': [format_datetime(_MOMENT, format_)]}


def openapi_service_shape(entry: ServiceEntry) -> ServiceModel:
    """Return the OpenAPI model of a service. Takes about a millisecond: use a thread for many services."""
    io = entry.metadata.io
    output = None if io.output is None else openapi_output_shape(io.output, entry.name)
    if output is not None and io.output is not None and io.output.element:
        element = io.output.element
        schema = {'type': 'object', 'properties': {element: output.schema}, 'required': [element]}
        output = JsonSchemaWithComponents(schema, output.components)
    facts = analyze_source(entry.cls, Service)
    return ServiceModel(
        name=entry.name,
        doc=inspect.cleandoc(entry.cls.__doc__ or ''),  # its own docstring, not the inherited one of Service
        verbs=tuple(sorted(entry.metadata.verbs)),
        input=None if io.input is None else openapi_input_shape(io.input, entry.name),
        output=output,
        element=io.output.element if io.output is not None else '',
        request_elem=io.request_elem,
        namespace=io.namespace,
        files=facts.files,
        content_types=facts.response_types,
        has_own_type=facts.has_own_type,
        statuses=tuple(sorted(facts.statuses)),
        error_statuses=tuple(
            sorted({*facts.error_statuses, *((502,) if facts.uses_outgoing else ())} & ERROR_RESPONSES.keys())
        ),
    )


def openapi_input_shape(declared: Input, service: str) -> ServiceInput:
    """Return the OpenAPI model of declared input."""
    if isinstance(declared, TypedInput):
        type_shape = _model(declared.model)
        return ServiceInput(
            whole=type_shape, fields=_model_fields(type_shape), accepts=lambda example: _accepts(declared, example)
        )
    fields = tuple(
        InputField(
            field.name,
            field_input_schema(field),
            field.required,
            text_schema=text_input_schema(field),
            empty_means_absent=treats_empty_as_absent(field),
        )
        for field in declared.fields
    )
    type_shape = _named(f'{service}.input', object_schema(declared.fields))
    return ServiceInput(whole=type_shape, fields=fields, params_only=declared.params_only,
                      accepts=lambda example: _accepts(declared, example))


def openapi_output_shape(declared: Output, service: str) -> JsonSchemaWithComponents:
    """Return the OpenAPI model of declared output, without its response element."""
    if not isinstance(declared, ElementsOutput):
        return _model(declared.model)
    record = _named(f'{service}.output', output_schema(declared))
    return (
        JsonSchemaWithComponents({'type': 'array', 'items': record.schema}, record.components)
        if declared.repeated
        else record
    )


def _named(name: str, schema: Schema) -> JsonSchemaWithComponents:
    return JsonSchemaWithComponents({'$ref': f'{REF}{name}'}, {name: schema})


def _model(model: Any) -> JsonSchemaWithComponents:
    schema, components = model_schema(model)
    return JsonSchemaWithComponents(schema, components)


def _model_fields(type_shape: JsonSchemaWithComponents) -> tuple[InputField, ...]:
    """Return the fields of a model that is an object; none for other models."""
    schema = resolve_reference(type_shape.schema, type_shape.components)
    required = schema.get('required', ())
    properties = schema.get('properties', {}) if schema.get('type') == 'object' else {}
    return tuple(
        InputField(name, schema_of_field, name in required, text_schema=schema_of_field)
        for name, schema_of_field in properties.items()
    )


def _accepts(declared: Input, example: ExampleInput) -> bool:
    """Return whether the declaration accepts an example input."""
    payload = example.body if example.json else None
    sources = InputSources(to_mapping(payload) or {}, example.text, payload)
    sources.is_json_body = example.json
    try:
        declared.read(sources)
    except BadInput:
        return False
    return True
