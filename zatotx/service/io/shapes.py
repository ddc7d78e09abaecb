"""Declared input and output as JSON Schemas: one description for the three ways of declaring (feature map 3.5).

Elements are described here; of models msgspec knows the schema itself. An `Elements` field that may be absent is given
out as what stands in for it, which its schema says.
"""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Iterable
from typing import Any

from zatotx.model.faults import BadInput
from zatotx.rules.json_example import REF, Schema, resolved
from zatotx.rules.openapi_shapes import FieldShape, InputShape, ServiceShape, Shape, Tried
from zatotx.service.entry import ServiceEntry
from zatotx.service.io import elements as e
from zatotx.service.io.description import Elements, ElementsOut, Input, Output, Typed
from zatotx.service.io.elements import Element, Timed, as_mapping, format_moment
from zatotx.service.io.model_schema import model_schema
from zatotx.service.io.records import Field, ListOfDicts, Record
from zatotx.service.io.sources import Sources

_MOMENT = dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC)
# The first class that an element is an instance of counts.
_SCHEMAS: tuple[tuple[type[Element], Schema], ...] = (
    (e.Secret, {'type': 'string', 'format': 'password'}),
    (e.UTC, {'type': 'string', 'description': 'A timestamp without offset', 'examples': ['2026-01-31T12:00:00']}),
    (e.Text, {'type': 'string'}),
    (e.Int, {'type': 'integer'}),
    (e.Float, {'type': 'number'}),
    (e.Bool, {'type': 'boolean'}),
    (e.Decimal, {'type': 'string', 'format': 'decimal'}),
    (e.UUID, {'type': 'string', 'format': 'uuid'}),
    (e.CSV, {'type': 'string', 'description': 'Values separated by commas', 'examples': ['a,b']}),
)


def service_shape(entry: ServiceEntry) -> ServiceShape:
    """What a service takes and gives. Takes a millisecond or so: for threads where there are many."""
    io = entry.traits.io
    given = None if io.output is None else output_shape(io.output, entry.name)
    if given is not None and io.output is not None and io.output.element:
        element = io.output.element
        schema = {'type': 'object', 'properties': {element: given.schema}, 'required': [element]}
        given = Shape(schema, given.components)
    return ServiceShape(
        name=entry.name,
        doc=inspect.cleandoc(entry.cls.__doc__ or ''),  # its own: the one of Service tells nothing of it
        verbs=tuple(sorted(entry.traits.verbs)),
        input=None if io.input is None else input_shape(io.input, entry.name),
        output=given,
        element=io.output.element if io.output is not None else '',
        request_elem=io.request_elem,
        namespace=io.namespace,
    )


def input_shape(declared: Input, service: str) -> InputShape:
    """What a declaration of input takes."""
    if isinstance(declared, Typed):
        whole = _model(declared.model)
        return InputShape(whole=whole, fields=_model_fields(whole), accepts=lambda tried: _accepts(declared, tried))
    fields = tuple(FieldShape(f.name, element_schema(f.element), f.required) for f in declared.fields)
    whole = _named(f'{service}.input', object_schema(declared.fields))
    return InputShape(whole=whole, fields=fields, params_only=declared.params_only,
                      accepts=lambda tried: _accepts(declared, tried))


def output_shape(declared: Output, service: str) -> Shape:
    """What a declaration of output gives, without its response element."""
    if not isinstance(declared, ElementsOut):
        return _model(declared.model)
    one = _named(f'{service}.output', given_schema(declared))
    return Shape({'type': 'array', 'items': one.schema}, one.components) if declared.repeated else one


def element_schema(element: Element) -> Schema:
    """The schema of one element, both ways."""
    if isinstance(element, Timed):
        return _moment_schema(element)
    if isinstance(element, ListOfDicts):
        return {'type': 'array', 'items': object_schema(element.item.fields)}
    if isinstance(element, e.List):
        return {'type': 'array', 'items': {}}
    if isinstance(element, Record):
        return object_schema(element.fields)
    return next((schema for kind, schema in _SCHEMAS if isinstance(element, kind)), {})


def object_schema(fields: Iterable[Field]) -> Schema:
    """An object of these fields; any object where there are none."""
    fields = tuple(fields)
    schema: dict[str, Any] = {'type': 'object'}
    if fields:
        schema['properties'] = {field.name: element_schema(field.element) for field in fields}
    required = [field.name for field in fields if field.required]
    return {**schema, 'required': required} if required else schema


def given_schema(declared: ElementsOut) -> Schema:
    """As `object_schema`, for output: a field that was not set goes out as its default, or not at all."""
    properties = {field.name: _with_default(field) for field in declared.fields}
    kept = [field.name for field in declared.fields if not declared.skip_empty or field.name in declared.force_empty]
    schema: dict[str, Any] = {'type': 'object', 'properties': properties}
    return {**schema, 'required': kept} if kept else schema


def _with_default(field: Field) -> Schema:
    schema = element_schema(field.element)
    default = field.default
    if field.required or not schema or (isinstance(default, str) and schema.get('type') == 'string'):
        return schema
    if default is None or isinstance(default, (str, int, float, bool)):
        return {'anyOf': [schema, {'const': default}]}
    return schema


def _moment_schema(element: Timed) -> Schema:
    kind = 'date' if isinstance(element, e.Date) else 'date-time'
    if not element.date_time_format:
        return {'type': 'string', 'format': kind}
    said = f'A {kind} written as {element.date_time_format}'
    return {'type': 'string', 'description': said, 'examples': [format_moment(_MOMENT, element.date_time_format)]}


def _named(name: str, schema: Schema) -> Shape:
    return Shape({'$ref': f'{REF}{name}'}, {name: schema})


def _model(model: Any) -> Shape:
    schema, components = model_schema(model)
    return Shape(schema, components)


def _model_fields(whole: Shape) -> tuple[FieldShape, ...]:
    """The fields of an object; none for anything else."""
    schema = resolved(whole.schema, whole.components)
    required = schema.get('required', ())
    properties = schema.get('properties', {}) if schema.get('type') == 'object' else {}
    return tuple(FieldShape(name, below, name in required) for name, below in properties.items())


def _accepts(declared: Input, tried: Tried) -> bool:
    """Whether the reader of the declaration takes an input."""
    whole = tried.body if tried.json else None
    sources = Sources(as_mapping(whole) or {}, tried.text, whole)
    sources.json = tried.json
    try:
        declared.read(sources)
    except BadInput:
        return False
    return True


__all__ = ['Elements', 'element_schema', 'input_shape', 'object_schema', 'output_shape', 'service_shape']
