"""Where the input of a service stands in an HTTP request: path, query or body, with examples it takes. Pure.

Follows service.io.sources: path and query join the input unless the channel says otherwise, a channel without a data
format takes a form, and only JSON and XML can carry what is no text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from zatotx.rules.openapi.json_example import NoExample, Schema, make_example, resolve_reference
from zatotx.rules.openapi.model import Channel, ExampleInput, FieldShape, InputShape, ServiceShape, TypeShape
from zatotx.rules.openapi.xml import XML, asked, text
from zatotx.rules.routing.route_pattern import Placeholder, parse_pattern

JSON, FORM, BYTES = 'application/json', 'application/x-www-form-urlencoded', 'application/octet-stream'
UPLOAD = 'multipart/form-data'
BINARY: Schema = {'type': 'string', 'format': 'binary'}
WITH_BODY = frozenset(('POST', 'PUT', 'PATCH'))
ANY_TEXT: Schema = {'type': 'string'}
NOTHING: Any = msgspec.UNSET  # where there is no example
_LISTS, _OBJECTS = 'array', 'object'
_CARRY_ALL = ('json', 'xml')  # data formats that carry what is no text
_TAKE_UPLOADS = ('json', 'form', '')


class Param(msgspec.Struct, frozen=True):
    """One parameter of path or query."""

    name: str
    place: str  # 'path', 'query'
    schema: Schema
    required: bool
    spans: bool = False  # may hold slashes
    example: Any = NOTHING
    may_be_empty: bool = False


class Body(msgspec.Struct, frozen=True):
    """The body of a request."""

    content_type: str
    schema: Schema
    required: bool
    example: Any = NOTHING


class Request(msgspec.Struct, frozen=True):
    """A request as one channel takes it with one method. `components` are those its schemas refer to."""

    params: tuple[Param, ...]
    bodies: tuple[Body, ...]  # one of them, each in another content type
    components: Mapping[str, Schema] = {}


def describe_request(channel: Channel, method: str) -> Request:
    """The request that brings a channel's service its input."""
    path = _path_params(channel)
    declared = channel.service.input
    if declared is None:
        bodies = _free_bodies(channel, bool(path)) if method in WITH_BODY else ()
        return Request(path, bodies)
    found = _Plan(channel, method, declared, path).request()
    return _in_xml(found, channel.service) if channel.data_format == 'xml' else found


def _in_xml(found: Request, service: ServiceShape) -> Request:
    """The same request with a document of XML as its body."""
    body = next((one for one in found.bodies if one.content_type == JSON), None)
    if body is None:
        return found
    shape = asked(TypeShape(body.schema, found.components), service)
    try:
        made = text(shape, body.example) if body.example is not NOTHING else NOTHING
    except NoExample:
        made = NOTHING
    return Request(found.params, (Body(XML, shape.schema, body.required, made),), shape.components)


def _path_params(channel: Channel) -> tuple[Param, ...]:
    """What the channel's pattern captures; of the service's type where it joins the input."""
    pattern, _ = parse_pattern(channel.path, match_slash=channel.match_slash)
    declared = channel.service.input
    known = {f.name: f.text for f in declared.fields} if declared is not None and channel.merged else {}
    spans = [
        hole.spans for hole in pattern.segments if isinstance(hole, Placeholder) for _ in range(len(hole.middles) + 1)
    ]
    return tuple(
        Param(name, 'path', known.get(name, ANY_TEXT), required=True, spans=spans_,
              example=NOTHING if name in known else 'text')
        for name, spans_ in zip(pattern.names, spans, strict=True)
    )  # fmt: skip


def _free_bodies(channel: Channel, in_url: bool) -> tuple[Body, ...]:
    """What a service that declares no input may be sent."""
    match channel.data_format:
        case 'json' | 'xml':
            usual = Body(XML if channel.data_format == 'xml' else JSON, {}, required=not in_url)
        case 'form':
            usual = Body(FORM, {'type': 'object'}, required=False)
        case _:  # as it is, of any size
            usual = Body(BYTES, BINARY, required=False)
    return _with_upload(channel, (usual,), ())


def _with_upload(channel: Channel, usual: tuple[Body, ...], fields: Iterable[FieldShape]) -> tuple[Body, ...]:
    """The bodies of a service that reads files: a form with them and the fields beside them, and the `usual` one where
    no file must be there."""
    files = channel.service.files
    if files is None or channel.data_format not in _TAKE_UPLOADS:
        return usual
    schema: dict[str, Any] = {**_form_of(fields), 'propertyNames': {'minLength': 1}}  # a part has a name
    properties = {**schema.get('properties', {}), **dict.fromkeys(files, BINARY)}
    required = [*schema.get('required', ()), *(name for name, needed in files.items() if needed)]
    schema |= {'properties': properties} if properties else {'additionalProperties': BINARY}
    upload = Body(UPLOAD, {**schema, 'required': required} if required else schema, required=bool(required))
    return (upload,) if any(files.values()) else (*usual, upload)


class _Plan:
    """Of one declared input: which field stands where."""

    def __init__(self, channel: Channel, method: str, declared: InputShape, path: tuple[Param, ...]) -> None:
        self.channel, self.method = channel, method
        self.declared, self.path = declared, path
        self.json = channel.data_format in _CARRY_ALL and not declared.params_only
        self.components = declared.whole.components
        in_path = {param.name for param in path} if channel.merged else set()
        rest = [field for field in declared.fields if field.name not in in_path]
        self.in_query = [f for f in rest if channel.merged and self._goes_by_query(f, method)]
        no_fields = declared.params_only or channel.data_format == 'file'
        self.in_body = [] if no_fields else [f for f in rest if f not in self.in_query]
        self.no_object = not declared.fields and self._kind(declared.whole.schema) != _OBJECTS
        self.must_have_body = self.json and method in WITH_BODY and not path
        self.partial = len(self.in_body) != len(declared.fields)

    def request(self) -> Request:
        values = self._examples()
        path = tuple(self._with_example(param, values) for param in self.path)
        query = tuple(
            Param(f.name, 'query', f.text, f.required, example=values.get(f.name, NOTHING),
                  may_be_empty=f.may_be_empty and not _takes_empty(f.text))
            for f in self.in_query
        )  # fmt: skip
        return Request((*path, *query), self._bodies(values), self.components)

    def _goes_by_query(self, field: FieldShape, method: str) -> bool:
        if self.declared.params_only:
            return True
        no_body = method not in WITH_BODY or self.channel.data_format == 'file'
        return no_body and self._is_text(field.text)

    def _with_example(self, param: Param, values: Mapping[str, Any]) -> Param:
        if param.name not in values:
            return param
        return msgspec.structs.replace(param, example=values[param.name])

    def _bodies(self, values: Mapping[str, Any]) -> tuple[Body, ...]:
        if self.channel.data_format == 'file':
            return (Body(BYTES, BINARY, required=False),) if self.method in WITH_BODY else ()
        usual = self._body(values)
        bodies = () if usual is None else (usual,)
        return _with_upload(self.channel, bodies, self.in_body) if self.method in WITH_BODY else bodies

    def _body(self, values: Mapping[str, Any]) -> Body | None:
        kind = JSON if self.json else FORM
        if self.no_object:
            return Body(kind, self.declared.whole.schema, True, values.get('', NOTHING)) if self.json else None
        if not self.in_body and not self.must_have_body:
            return None
        if not self.json:
            schema = _form_of(self.in_body)
        else:
            schema = _object_of(self.in_body) if self.partial else self.declared.whole.schema
        required = self.must_have_body or any(field.required for field in self.in_body)
        found: Any = {f.name: values[f.name] for f in self.in_body if f.name in values}
        return Body(kind, schema, required, found if found or self._taken else NOTHING)

    # -- examples

    def _examples(self) -> dict[str, Any]:
        """A value for each field ('' = the whole) that the service's own reader takes; {} where none is found."""
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

    def _made(self, fields: Iterable[FieldShape]) -> dict[str, Any]:
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
        named = {name: as_text(value) for name, value in values.items() if name not in body}
        if self.json:
            return ExampleInput(body, named, json=True)
        return ExampleInput(None, {**named, **{name: as_text(value) for name, value in body.items()}}, json=False)

    # -- what can be text

    def _kind(self, schema: Schema) -> str:
        return str(resolve_reference(schema, self.components).get('type', ''))

    def _is_text(self, schema: Schema) -> bool:
        """Whether a value may stand in a query: a text, number or the like, or a list of such."""
        found = resolve_reference(schema, self.components)
        kind = found.get('type')
        if kind == _LISTS:
            items = found.get('items', {})
            return 'prefixItems' not in found and self._kind(items) != _LISTS and self._is_text(items)
        for several in ('anyOf', 'oneOf'):
            if several in found:
                return all(self._is_text(one) for one in found[several] if one.get('type') != 'null')
        return kind != _OBJECTS


def as_text(value: Any) -> Any:
    """A value as query and form carry it: text, a list of texts for a list."""
    if isinstance(value, list):
        return [as_text(one) for one in value]
    if isinstance(value, str):
        return value
    return '' if value is None else msgspec.json.encode(value).decode('utf-8')


def _object_of(fields: Iterable[FieldShape]) -> Schema:
    return _object([(field, field.schema) for field in fields])


def _form_of(fields: Iterable[FieldShape]) -> Schema:
    """A form of these fields: all of it is text, which is converted."""
    return _object([(field, _in_form(field)) for field in fields])


def _in_form(field: FieldShape) -> Schema:
    kind, others = field.text.get('type'), []
    if kind == _LISTS and 'items' in field.text:
        others.append(field.text['items'])  # one value is a list of it
    elif kind == 'boolean':
        others.append({'enum': [0, 1]})
    if field.may_be_empty and not _takes_empty(field.text):
        others.append({'const': ''})
    return {'anyOf': [field.text, *others]} if others else field.text


def _takes_empty(schema: Schema) -> bool:
    """Whether an empty text is a value as it is: a text, or one of a list."""
    kinds = schema.get('type')
    return kinds == _LISTS or ('string' in (kinds or ()) and not {'pattern', 'format'} & schema.keys())


def _object(fields: Iterable[tuple[FieldShape, Schema]]) -> Schema:
    fields = tuple(fields)
    schema: dict[str, Any] = {'type': 'object', 'properties': {field.name: below for field, below in fields}}
    required = [field.name for field, _ in fields if field.required]
    return {**schema, 'required': required} if required else schema


__all__ = [
    'BYTES',
    'FORM',
    'JSON',
    'NOTHING',
    'WITH_BODY',
    'XML',
    'Body',
    'Param',
    'Request',
    'as_text',
    'describe_request',
]
