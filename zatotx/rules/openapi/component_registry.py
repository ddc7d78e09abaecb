"""Registers the shared components of an OpenAPI document: named schemas, security schemes, header fields and error
responses. Pure: no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from zatotx.rules.openapi.document_input import JsonSchemaWithComponents, ServiceModel
from zatotx.rules.openapi.json_example import REF, NoExample, Schema, make_example, resolve_reference
from zatotx.wire.xml.writer import ITEM, KEY, VALUE, NotRepresentable, write_document, write_error

# Schemas of XML channels in an OpenAPI document, with OpenAPI's `xml` attributes. Pure.
#
# Follows service/io: lists are wrapped and have an `<item>` for each element; objects with arbitrary keys are encoded
# as key-value pairs, and are also accepted with their keys as child elements, as requests are documented.

XML = 'application/xml'
XML_ERROR = 'ZatoErrorXml'
DEFAULT_REQUEST_ELEMENT, DEFAULT_RESPONSE_ELEMENT, ITEM_LIST_ELEMENT = 'request', 'response', 'item_list'
_COMBINATORS = ('anyOf', 'oneOf', 'allOf', 'prefixItems')
_ITEM: Schema = {'xml': {'name': ITEM}}
_ZATO_ENV: Schema = {
    'type': 'object', 'properties': {'cid': {'type': 'string'}, 'result': {'type': 'string', 'enum': ['ZATO_OK']}},
    'required': ['cid', 'result'],
}  # fmt: skip


def xml_request_schema(content: JsonSchemaWithComponents, service: ServiceModel) -> JsonSchemaWithComponents:
    """Return the schema of an XML request document. `content` describes the document's content."""
    return _with_root(content, service.request_elem or DEFAULT_REQUEST_ELEMENT, service.namespace, pairs=False)


def xml_response_schema(service: ServiceModel, output: JsonSchemaWithComponents) -> JsonSchemaWithComponents:
    """Return the schema of an XML response document. With classic SimpleIO, the document has one item or a list of
    items, in addition to `zato_env`."""
    if service.element:
        inner = output.schema['properties'][service.element]
        name = ITEM_LIST_ELEMENT if resolve_reference(inner, output.components).get('type') == 'array' else ITEM
        properties = {'zato_env': _ZATO_ENV, name: inner}
        output = JsonSchemaWithComponents(
            {'type': 'object', 'properties': properties, 'required': [*properties]}, output.components
        )
    return _with_root(output, service.element or DEFAULT_RESPONSE_ELEMENT, service.namespace, pairs=True)


def xml_example_document(shape: JsonSchemaWithComponents, value: Any = None) -> str:
    """Encode a value as an XML document. If no value is given, encode an example. Raises NoExample."""
    root = shape.schema['xml']
    try:
        value = make_example(shape.schema, shape.components) if value is None else value
        return write_document(root['name'], value, root.get('namespace', '')).data.decode('utf-8')
    except NotRepresentable as error:
        raise NoExample(str(error)) from None


def xml_error_schema() -> Schema:
    """Return the schema of the XML body of error responses."""
    properties = {'cid': {'type': 'string'}, 'details': {'type': 'string'}}
    return {'type': 'object', 'title': XML_ERROR, 'description': 'Why a request failed.', 'properties': properties,
            'required': [*properties], 'xml': {'name': 'error'}}  # fmt: skip


def _with_root(shape: JsonSchemaWithComponents, name: str, namespace: str, *, pairs: bool) -> JsonSchemaWithComponents:
    root = {'name': name, 'namespace': namespace} if namespace else {'name': name}
    components = {name: _to_xml(component, pairs) for name, component in shape.components.items()}
    return JsonSchemaWithComponents({**_to_xml(shape.schema, pairs), 'xml': root}, components)


def _to_xml(schema: Any, pairs: bool) -> Any:
    """Return a schema, and all nested schemas, with `xml` attributes."""
    if not isinstance(schema, Mapping):
        return schema
    result = dict(schema)
    for keyword in _COMBINATORS:
        if keyword in result:
            result[keyword] = [_to_xml(subschema, pairs) for subschema in result[keyword]]
    if 'properties' in result:
        properties = result['properties'].items()
        result['properties'] = {name: _to_xml(property_schema, pairs) for name, property_schema in properties}
    elif pairs and result.get('type') == 'object':
        return _to_pairs(result)
    if result.get('type') == 'array':
        result['xml'] = {'wrapped': True}
        if isinstance(result.get('items'), Mapping):
            result['items'] = {**_to_xml(result['items'], pairs), **_ITEM}
        if 'prefixItems' in result:
            result.pop('items', None)  # `false`: maxItems has the same effect, and XML tools expect a schema here
            result['prefixItems'] = [{**subschema, **_ITEM} for subschema in result['prefixItems']]
    return result


def _to_pairs(schema: Schema) -> Schema:
    """Return the schema of an object with arbitrary keys as a list of key-value pairs."""
    value = _to_xml(schema.get('additionalProperties', {}), True)
    pair = {'type': 'object', 'properties': {KEY: {'type': 'string'}, VALUE: value if isinstance(value, dict) else {}},
            'required': [KEY, VALUE], **_ITEM}  # fmt: skip
    return {'type': 'array', 'items': pair, 'xml': {'wrapped': True}}


CID = 'X-Zato-CID'
ERROR = 'ZatoError'
_UNSAFE_CHARACTERS = re.compile(r'[^A-Za-z0-9._-]')
_EXAMPLE_CID = '8f14e45fceea167a5a36dedd'

# status -> (name of the response, description, example of its details)
ERROR_RESPONSES: dict[int, tuple[str, str, str]] = {
    400: ('BadRequest', 'The request or its input is wrong; every mistake is named by its path',
          '$.items[1].qty: expected int, got str'),
    401: ('Unauthorized', 'The credentials are missing or wrong', 'You are not authorized to access this resource'),
    403: ('Forbidden', 'Whoever logs in lacks the role that is needed here',
          'You are not allowed to access this resource'),
    404: ('NotFound', 'There is nothing of that name', 'URL not found'),
    405: ('MethodNotAllowed', 'The path takes other methods, which Allow names', 'Method `PUT` is not allowed here'),
    409: ('Conflict', 'The state of the resource does not allow this', 'The state of the resource does not allow this'),
    413: ('TooLarge', 'The body is larger than the server takes', 'The body is larger than allowed here'),
    415: ('UnsupportedMediaType', 'The body is in a coding or format that is not taken here',
          'Bodies are taken as gzip, as deflate, or without Content-Encoding'),
    429: ('TooManyRequests', 'Too many attempts; Retry-After says when to come back', 'Too many requests'),
    500: ('InternalError', 'The service failed; the log of the server says why under the cid', 'Internal server error'),
    502: ('BadGateway', 'Another system, which the request needs, gave no usable answer',
          'Another system gave no usable answer'),
    503: ('Unavailable', 'It cannot be served now; Retry-After says when to come back', 'The server is starting'),
    504: ('TimedOut', 'The service gave no answer in time', 'The request timed out'),
}  # fmt: skip
_ROUTER_STATUSES = (405,)  # responses of the router, independent of the channel's data format
_STATUS_HEADERS = {401: ('WWW-Authenticate',), 405: ('Allow',), 429: ('Retry-After',), 503: ('Retry-After',)}


def safe_component_name(name: str) -> str:
    """Convert a name to a valid OpenAPI component name (OpenAPI 3.1, §4.8.7)."""
    return _UNSAFE_CHARACTERS.sub('_', name) or '_'


class UniqueNames:
    """Generates unique names for components."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, preferred: str) -> str:
        """Return `preferred`, with a number appended if it is in use."""
        name, number = preferred, 1
        while name in self._taken:
            number += 1
            name = f'{preferred}_{number}'
        self._taken.add(name)
        return name


class ComponentRegistry:
    """Collects schemas under unique names. Identical schemas share a name. The name is also the title of the schema,
    because client generators derive class names from the title."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._names = UniqueNames()
        self._known: dict[str, str] = {}  # a schema and all that it refers to, as text -> its component name
        self._names.new(ERROR)
        self._names.new(XML_ERROR)
        self.schemas[ERROR] = json_error_schema()

    def register(self, shape: JsonSchemaWithComponents) -> Any:
        """Register the components of a shape; return its schema with references to the registered names."""
        reachable = dict.fromkeys(_reachable(shape.schema, shape.components))
        names = {name: self._name(name, shape.components) for name in reachable}
        for name, new_name in names.items():
            if new_name not in self.schemas:
                self.schemas[new_name] = {**rename_references(shape.components[name], names), 'title': new_name}
        return rename_references(shape.schema, names)

    def _name(self, name: str, components: Mapping[str, Schema]) -> str:
        used = {used_name: components[used_name] for used_name in _reachable({'$ref': f'{REF}{name}'}, components)}
        key = json.dumps([name, used], sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = self._names.new(safe_component_name(name))
        return self._known[key]


def _reachable(schema: Schema, components: Mapping[str, Schema]) -> list[str]:
    """Return the names of all components that a schema refers to, directly or indirectly."""
    names: dict[str, None] = {}
    pending: list[Any] = [schema]
    while pending:
        for name in _refs(pending.pop()):
            if name not in names:
                names[name] = None
                pending.append(components[name])
    return list(names)


def _refs(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for key, child in value.items():
            if key == '$ref' and isinstance(child, str):
                yield child.removeprefix(REF)
            else:
                yield from _refs(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _refs(child)


def rename_references(value: Any, names: Mapping[str, str]) -> Any:
    """Rename the references in a schema, including the references in the mapping of a discriminator."""
    if isinstance(value, Mapping):
        return {key: rename_references(child, names) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [rename_references(child, names) for child in value]
    if isinstance(value, str) and value.startswith(REF):
        name = value.removeprefix(REF)
        return f'{REF}{names.get(name, name)}'
    return value


def json_error_schema() -> Schema:
    """Return the schema of the JSON body of error responses."""
    return {
        'type': 'object',
        'title': ERROR,
        'description': 'Why a request failed.',
        'properties': {
            'zato_env': {
                'type': 'object',
                'properties': {
                    'result': {'const': 'ZATO_ERROR'},
                    'cid': {'type': 'string', 'description': 'What the log of the server knows the request by'},
                    'details': {'type': 'string'},
                },
                'required': ['result', 'cid', 'details'],
            }
        },
        'required': ['zato_env'],
    }


def header_components() -> dict[str, Any]:
    """Return the OpenAPI header components of responses."""
    text = {'type': 'string'}
    return {
        CID: {'description': 'The id of the request, its caller\'s own where one was sent', 'schema': text},
        'Retry-After': {'description': 'Seconds until it may go well', 'schema': {'type': 'integer'}},
        'WWW-Authenticate': {'description': 'How to log in', 'schema': text},
        'Allow': {'description': 'The methods there are', 'schema': text},
    }


def response_header_references(status: int) -> dict[str, Any]:
    """Return references to the header fields of a response with this status."""
    return {name: {'$ref': f'#/components/headers/{name}'} for name in (CID, *_STATUS_HEADERS.get(status, ()))}


def json_error_responses() -> dict[str, Any]:
    """Return the error responses by component name."""
    return {
        name: _error_response(status, description, details)
        for status, (name, description, details) in ERROR_RESPONSES.items()
    }


def xml_error_responses() -> dict[str, Any]:
    """Return the error responses of XML channels by component name."""
    responses = {}
    for status, (_, description, details) in ERROR_RESPONSES.items():
        if status not in _ROUTER_STATUSES:
            media = {'schema': {'$ref': f'{REF}{XML_ERROR}'},
                     'example': write_error(_EXAMPLE_CID, details).decode('utf-8')}  # fmt: skip
            content = {XML: media}
            responses[error_response_name(status, xml=True)] = {
                'description': description, 'headers': response_header_references(status), 'content': content,
            }  # fmt: skip
    return responses


def error_response_name(status: int, *, xml: bool = False) -> str:
    """Return the component name of the error response with this status."""
    return ERROR_RESPONSES[status][0] + ('Xml' if xml and status not in _ROUTER_STATUSES else '')


def _error_response(status: int, description: str, details: str) -> dict[str, Any]:
    example = {'zato_env': {'result': 'ZATO_ERROR', 'cid': _EXAMPLE_CID, 'details': details}}
    return {
        'description': description,
        'headers': response_header_references(status),
        'content': {'application/json': {'schema': {'$ref': f'{REF}{ERROR}'}, 'example': example}},
    }
