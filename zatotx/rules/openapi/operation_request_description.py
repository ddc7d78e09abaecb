"""Describes the HTTP request of an OpenAPI operation: which fields of a service's input are in the path, the query and
the body. The description includes valid examples. Pure functions.

Follows service/io: path and query parameters are part of the input unless the channel says otherwise, channels without
a data format accept forms, and only JSON and XML can carry values other than text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from zatotx.rules.openapi.component_registry import XML, xml_example_document, xml_request_schema
from zatotx.rules.openapi.document_input import (
    ChannelModel,
    ExampleInput,
    InputField,
    JsonSchemaWithComponents,
    ServiceInput,
    ServiceModel,
)
from zatotx.rules.openapi.json_example import NoExample, Schema, make_example, resolve_reference
from zatotx.rules.routing.route_pattern import Placeholder, parse_pattern

JSON, FORM, BYTES = 'application/json', 'application/x-www-form-urlencoded', 'application/octet-stream'
UPLOAD = 'multipart/form-data'
BINARY: Schema = {'type': 'string', 'format': 'binary'}
METHODS_WITH_BODY = frozenset(('POST', 'PUT', 'PATCH'))
ANY_TEXT: Schema = {'type': 'string'}
NO_EXAMPLE: Any = msgspec.UNSET  # no example
_LISTS, _OBJECTS = 'array', 'object'
_CARRY_ALL = ('json', 'xml')  # data formats that carry values other than text
_TAKE_UPLOADS = ('json', 'form', '')


class OperationParameter(msgspec.Struct, frozen=True):
    """One path or query parameter of an OpenAPI operation."""

    name: str
    location: str  # 'path', 'query'
    schema: Schema
    required: bool
    may_have_slashes: bool = False  # may contain slashes
    example: Any = NO_EXAMPLE
    may_be_empty: bool = False


class OperationRequestBody(msgspec.Struct, frozen=True):
    """The request body of an OpenAPI operation, in one content type."""

    content_type: str
    schema: Schema
    required: bool
    example: Any = NO_EXAMPLE


class OperationRequest(msgspec.Struct, frozen=True):
    """The request of an OpenAPI operation: a channel with one method. `components` contains the schemas to which the
    schemas of the request refer."""

    params: tuple[OperationParameter, ...]
    bodies: tuple[OperationRequestBody, ...]  # alternatives with different content types
    components: Mapping[str, Schema] = {}


def describe_operation_request(channel: ChannelModel, method: str) -> OperationRequest:
    """Return the request with which a client sends the input of a channel's service."""
    path = _path_params(channel)
    declared = channel.service.input
    if declared is None:
        bodies = _undeclared_bodies(channel, bool(path)) if method in METHODS_WITH_BODY else ()
        return OperationRequest(path, bodies)
    request = _InputPlacement(channel, method, declared, path).request()
    return _in_xml(request, channel.service) if channel.data_format == 'xml' else request


def _in_xml(request: OperationRequest, service: ServiceModel) -> OperationRequest:
    """Return the request with an XML document as its body."""
    body = next((candidate for candidate in request.bodies if candidate.content_type == JSON), None)
    if body is None:
        return request
    shape = xml_request_schema(JsonSchemaWithComponents(body.schema, request.components), service)
    try:
        example = xml_example_document(shape, body.example) if body.example is not NO_EXAMPLE else NO_EXAMPLE
    except NoExample:
        example = NO_EXAMPLE
    return OperationRequest(
        request.params, (OperationRequestBody(XML, shape.schema, body.required, example),), shape.components
    )


def _path_params(channel: ChannelModel) -> tuple[OperationParameter, ...]:
    """Return the parameters that the channel's pattern captures, with the service's types if they are part of the
    input."""
    pattern, _ = parse_pattern(channel.path, match_slash=channel.match_slash)
    declared = channel.service.input
    input_schemas = (
        {f.name: f.text_schema for f in declared.fields} if declared is not None and channel.merges_url_params else {}
    )
    spans = [
        segment.spans_segments
        for segment in pattern.segments
        if isinstance(segment, Placeholder)
        for _ in range(len(segment.separators) + 1)
    ]
    return tuple(
        OperationParameter(
            name,
            'path',
            input_schemas.get(name, ANY_TEXT),
            required=True,
            may_have_slashes=spans_slashes,
            example=NO_EXAMPLE if name in input_schemas else 'text',
        )
        for name, spans_slashes in zip(pattern.names, spans, strict=True)
    )


def _undeclared_bodies(channel: ChannelModel, has_params: bool) -> tuple[OperationRequestBody, ...]:
    """Return the possible bodies for a service without declared input."""
    match channel.data_format:
        case 'json' | 'xml':
            body = OperationRequestBody(XML if channel.data_format == 'xml' else JSON, {}, required=not has_params)
        case 'form':
            body = OperationRequestBody(FORM, {'type': 'object'}, required=False)
        case _:  # any bytes
            body = OperationRequestBody(BYTES, BINARY, required=False)
    return _with_upload(channel, (body,), ())


def _with_upload(
    channel: ChannelModel, usual: tuple[OperationRequestBody, ...], fields: Iterable[InputField]
) -> tuple[OperationRequestBody, ...]:
    """Return the bodies of a service that reads files: a multipart form with the files and the other fields, and
    `usual` if no file is required."""
    files = channel.service.files
    if files is None or channel.data_format not in _TAKE_UPLOADS:
        return usual
    schema: dict[str, Any] = {**_form_object(fields), 'propertyNames': {'minLength': 1}}  # every part has a name
    properties = {**schema.get('properties', {}), **dict.fromkeys(files, BINARY)}
    required = [*schema.get('required', ()), *(name for name, needed in files.items() if needed)]
    schema |= {'properties': properties} if properties else {'additionalProperties': BINARY}
    upload = OperationRequestBody(
        UPLOAD, {**schema, 'required': required} if required else schema, required=bool(required)
    )
    return (upload,) if any(files.values()) else (*usual, upload)


class _InputPlacement:
    """Assigns the fields of one declared input to path, query and body."""

    def __init__(
        self, channel: ChannelModel, method: str, declared: ServiceInput, path: tuple[OperationParameter, ...]
    ) -> None:
        self.channel, self.method = channel, method
        self.declared, self.path = declared, path
        self.json = channel.data_format in _CARRY_ALL and not declared.params_only
        self.components = declared.whole.components
        in_path = {param.name for param in path} if channel.merges_url_params else set()
        rest = [field for field in declared.fields if field.name not in in_path]
        self.in_query = [f for f in rest if channel.merges_url_params and self._goes_by_query(f, method)]
        no_fields = declared.params_only or channel.data_format == 'file'
        self.in_body = [] if no_fields else [f for f in rest if f not in self.in_query]
        self.no_object = not declared.fields and self._kind(declared.whole.schema) != _OBJECTS
        self.must_have_body = self.json and method in METHODS_WITH_BODY and not path
        self.partial = len(self.in_body) != len(declared.fields)

    def request(self) -> OperationRequest:
        values = self._examples()
        path = tuple(self._with_example(param, values) for param in self.path)
        query = tuple(
            OperationParameter(f.name, 'query', f.text_schema, f.required, example=values.get(f.name, NO_EXAMPLE),
                  may_be_empty=f.empty_means_absent and not _allows_empty(f.text_schema))
            for f in self.in_query
        )  # fmt: skip
        return OperationRequest((*path, *query), self._bodies(values), self.components)

    def _goes_by_query(self, field: InputField, method: str) -> bool:
        if self.declared.params_only:
            return True
        no_body = method not in METHODS_WITH_BODY or self.channel.data_format == 'file'
        return no_body and self._is_text(field.text_schema)

    def _with_example(self, param: OperationParameter, values: Mapping[str, Any]) -> OperationParameter:
        if param.name not in values:
            return param
        return msgspec.structs.replace(param, example=values[param.name])

    def _bodies(self, values: Mapping[str, Any]) -> tuple[OperationRequestBody, ...]:
        if self.channel.data_format == 'file':
            return (OperationRequestBody(BYTES, BINARY, required=False),) if self.method in METHODS_WITH_BODY else ()
        usual = self._body(values)
        bodies = () if usual is None else (usual,)
        return _with_upload(self.channel, bodies, self.in_body) if self.method in METHODS_WITH_BODY else bodies

    def _body(self, values: Mapping[str, Any]) -> OperationRequestBody | None:
        content_type = JSON if self.json else FORM
        if self.no_object:
            return (
                OperationRequestBody(content_type, self.declared.whole.schema, True, values.get('', NO_EXAMPLE))
                if self.json
                else None
            )
        if not self.in_body and not self.must_have_body:
            return None
        if not self.json:
            schema = _form_object(self.in_body)
        else:
            schema = _object_of(self.in_body) if self.partial else self.declared.whole.schema
        required = self.must_have_body or any(field.required for field in self.in_body)
        example: Any = {f.name: values[f.name] for f in self.in_body if f.name in values}
        return OperationRequestBody(content_type, schema, required, example if example or self._taken else NO_EXAMPLE)

    # -- examples

    def _examples(self) -> dict[str, Any]:
        """Return a value for each field ('' = the whole input) that the service's input validation accepts; {} if none
        is found."""
        self._taken = False
        for fields in (self.declared.fields, [f for f in self.declared.fields if f.required]):
            try:
                values = self._made(fields)
            except NoExample:
                continue
            if self.declared.accepts(self._tried(values)):
                self._taken = True
                return values
        return {}

    def _made(self, fields: Iterable[InputField]) -> dict[str, Any]:
        if self.no_object:
            return {'': make_example(self.declared.whole.schema, self.components)}
        values = {}
        for field in fields:
            try:
                values[field.name] = make_example(field.schema, self.components)
            except NoExample:
                if field.required:
                    raise
        return values

    def _tried(self, values: Mapping[str, Any]) -> ExampleInput:
        if self.no_object:
            return ExampleInput(values[''], {}, self.json)
        body = {f.name: values[f.name] for f in self.in_body if f.name in values}
        named = {name: to_text(value) for name, value in values.items() if name not in body}
        if self.json:
            return ExampleInput(body, named, json=True)
        return ExampleInput(None, {**named, **{name: to_text(value) for name, value in body.items()}}, json=False)

    # -- what can be text

    def _kind(self, schema: Schema) -> str:
        return str(resolve_reference(schema, self.components).get('type', ''))

    def _is_text(self, schema: Schema) -> bool:
        """Return whether a value can be in a query: a text, number or the like, or a list of these."""
        resolved = resolve_reference(schema, self.components)
        kind = resolved.get('type')
        if kind == _LISTS:
            items = resolved.get('items', {})
            return 'prefixItems' not in resolved and self._kind(items) != _LISTS and self._is_text(items)
        for keyword in ('anyOf', 'oneOf'):
            if keyword in resolved:
                alternatives = resolved[keyword]
                return all(self._is_text(schema) for schema in alternatives if schema.get('type') != 'null')
        return kind != _OBJECTS


def to_text(value: Any) -> Any:
    """Convert a value to its form in a query string or an HTML form: a text, or a list of texts."""
    if isinstance(value, list):
        return [to_text(item) for item in value]
    if isinstance(value, str):
        return value
    return '' if value is None else msgspec.json.encode(value).decode('utf-8')


def _object_of(fields: Iterable[InputField]) -> Schema:
    return _object([(field, field.schema) for field in fields])


def _form_object(fields: Iterable[InputField]) -> Schema:
    """Return the schema of a form with these fields, whose values are converted from text."""
    return _object([(field, _form_schema(field)) for field in fields])


def _form_schema(field: InputField) -> Schema:
    kind, alternatives = field.text_schema.get('type'), []
    if kind == _LISTS and 'items' in field.text_schema:
        alternatives.append(field.text_schema['items'])  # a single value is a list of one item
    elif kind == 'boolean':
        alternatives.append({'enum': [0, 1]})
    if field.empty_means_absent and not _allows_empty(field.text_schema):
        alternatives.append({'const': ''})
    return {'anyOf': [field.text_schema, *alternatives]} if alternatives else field.text_schema


def _allows_empty(schema: Schema) -> bool:
    """Return whether empty text is a valid value: for text, or a list of text."""
    kinds = schema.get('type')
    return kinds == _LISTS or ('string' in (kinds or ()) and not {'pattern', 'format'} & schema.keys())


def _object(fields: Iterable[tuple[InputField, Schema]]) -> Schema:
    fields = tuple(fields)
    properties = {field.name: field_schema for field, field_schema in fields}
    schema: dict[str, Any] = {'type': 'object', 'properties': properties}
    required = [field.name for field, _ in fields if field.required]
    return {**schema, 'required': required} if required else schema


__all__ = [
    'BYTES',
    'FORM',
    'JSON',
    'METHODS_WITH_BODY',
    'NO_EXAMPLE',
    'XML',
    'OperationParameter',
    'OperationRequest',
    'OperationRequestBody',
    'describe_operation_request',
    'to_text',
]
