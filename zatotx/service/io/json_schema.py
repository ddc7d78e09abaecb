"""Creates JSON Schemas of declared input and output, for all three ways of declaring them (feature map 3.5).

Elements are described here; msgspec describes models. A field that may be absent is returned with its default, and its
schema says so.
"""

from __future__ import annotations

import inspect
from typing import Any

from zatotx.model.errors import BadInput
from zatotx.rules.openapi.json_example import REF, Schema, resolve_reference
from zatotx.rules.openapi.model import ExampleInput, InputField, SchemaWithComponents, ServiceInput, ServiceModel
from zatotx.rules.openapi.schema_registry import ERROR_RESPONSES
from zatotx.service.io.element_schema import input_schema, may_be_empty, object_schema, output_schema, text_input_schema
from zatotx.service.io.elements import as_mapping
from zatotx.service.io.input_sources import InputSources
from zatotx.service.io.model_schema import model_schema
from zatotx.service.io.service_io import ElementsInput, ElementsOutput, Input, Output, TypedInput
from zatotx.service.service import Service
from zatotx.service.service_entry import ServiceEntry
from zatotx.service.source_analysis import analyze_source


def openapi_service_shape(entry: ServiceEntry) -> ServiceModel:
    """Return the description of a service for OpenAPI. Takes about a millisecond: use a thread for many services."""
    io = entry.metadata.io
    output = None if io.output is None else openapi_output_shape(io.output, entry.name)
    if output is not None and io.output is not None and io.output.element:
        element = io.output.element
        schema = {'type': 'object', 'properties': {element: output.schema}, 'required': [element]}
        output = SchemaWithComponents(schema, output.components)
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
    """Return the shape of declared input."""
    if isinstance(declared, TypedInput):
        type_shape = _model(declared.model)
        return ServiceInput(
            whole=type_shape, fields=_model_fields(type_shape), accepts=lambda example: _accepts(declared, example)
        )
    fields = tuple(
        InputField(
            field.name,
            input_schema(field),
            field.required,
            text_schema=text_input_schema(field),
            empty_means_absent=may_be_empty(field),
        )
        for field in declared.fields
    )
    type_shape = _named(f'{service}.input', object_schema(declared.fields))
    return ServiceInput(whole=type_shape, fields=fields, params_only=declared.params_only,
                      accepts=lambda example: _accepts(declared, example))


def openapi_output_shape(declared: Output, service: str) -> SchemaWithComponents:
    """Return the shape of declared output, without its response element."""
    if not isinstance(declared, ElementsOutput):
        return _model(declared.model)
    record = _named(f'{service}.output', output_schema(declared))
    return (
        SchemaWithComponents({'type': 'array', 'items': record.schema}, record.components)
        if declared.repeated
        else record
    )


def _named(name: str, schema: Schema) -> SchemaWithComponents:
    return SchemaWithComponents({'$ref': f'{REF}{name}'}, {name: schema})


def _model(model: Any) -> SchemaWithComponents:
    schema, components = model_schema(model)
    return SchemaWithComponents(schema, components)


def _model_fields(type_shape: SchemaWithComponents) -> tuple[InputField, ...]:
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
    sources = InputSources(as_mapping(payload) or {}, example.text, payload)
    sources.is_json_body = example.json
    try:
        declared.read(sources)
    except BadInput:
        return False
    return True


__all__ = ['ElementsInput', 'openapi_input_shape', 'openapi_output_shape', 'openapi_service_shape']
