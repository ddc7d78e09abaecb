"""Schemas of XML channels in an OpenAPI document, with OpenAPI's `xml` attributes. Pure.

Follows service/io: lists are wrapped and have an `<item>` for each element; objects with arbitrary keys are encoded as
key-value pairs, and are also accepted with their keys as child elements, as requests are documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.rules.openapi.json_example import NoExample, Schema, make_example, resolve_reference
from zatotx.rules.openapi.model import SchemaWithComponents, ServiceModel
from zatotx.wire.xml.writer import ITEM, KEY, VALUE, NotRepresentable, write_document

XML = 'application/xml'
ERROR = 'ZatoErrorXml'
DEFAULT_REQUEST_ELEMENT, DEFAULT_RESPONSE_ELEMENT, ITEM_LIST_ELEMENT = 'request', 'response', 'item_list'
_COMBINATORS = ('anyOf', 'oneOf', 'allOf', 'prefixItems')
_ITEM: Schema = {'xml': {'name': ITEM}}
_ZATO_ENV: Schema = {
    'type': 'object', 'properties': {'cid': {'type': 'string'}, 'result': {'type': 'string', 'enum': ['ZATO_OK']}},
    'required': ['cid', 'result'],
}  # fmt: skip


def request_schema(content: SchemaWithComponents, service: ServiceModel) -> SchemaWithComponents:
    """Returns the shape of a request document. `content`: the shape of its content."""
    return _with_root(content, service.request_elem or DEFAULT_REQUEST_ELEMENT, service.namespace, pairs=False)


def response_schema(service: ServiceModel, output: SchemaWithComponents) -> SchemaWithComponents:
    """Returns the shape of a response document: with classic SimpleIO an item, or a list of items, beside
    `zato_env`."""
    if service.element:
        inner = output.schema['properties'][service.element]
        name = ITEM_LIST_ELEMENT if resolve_reference(inner, output.components).get('type') == 'array' else ITEM
        properties = {'zato_env': _ZATO_ENV, name: inner}
        output = SchemaWithComponents(
            {'type': 'object', 'properties': properties, 'required': [*properties]}, output.components
        )
    return _with_root(output, service.element or DEFAULT_RESPONSE_ELEMENT, service.namespace, pairs=True)


def example_document(shape: SchemaWithComponents, value: Any = None) -> str:
    """Encodes a value, or by default an example, as an XML document. Raises NoExample."""
    root = shape.schema['xml']
    try:
        value = make_example(shape.schema, shape.components) if value is None else value
        return write_document(root['name'], value, root.get('namespace', '')).data.decode('utf-8')
    except NotRepresentable as error:
        raise NoExample(str(error)) from None


def error_schema() -> Schema:
    """Returns the schema of the body of error responses."""
    properties = {'cid': {'type': 'string'}, 'details': {'type': 'string'}}
    return {'type': 'object', 'title': ERROR, 'description': 'Why a request failed.', 'properties': properties,
            'required': [*properties], 'xml': {'name': 'error'}}  # fmt: skip


def _with_root(shape: SchemaWithComponents, name: str, namespace: str, *, pairs: bool) -> SchemaWithComponents:
    root = {'name': name, 'namespace': namespace} if namespace else {'name': name}
    components = {name: _to_xml(component, pairs) for name, component in shape.components.items()}
    return SchemaWithComponents({**_to_xml(shape.schema, pairs), 'xml': root}, components)


def _to_xml(schema: Any, pairs: bool) -> Any:
    """Returns a schema, and all nested schemas, with `xml` attributes."""
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
    """Returns the schema of an object with arbitrary keys as a list of key-value pairs."""
    value = _to_xml(schema.get('additionalProperties', {}), True)
    pair = {'type': 'object', 'properties': {KEY: {'type': 'string'}, VALUE: value if isinstance(value, dict) else {}},
            'required': [KEY, VALUE], **_ITEM}  # fmt: skip
    return {'type': 'array', 'items': pair, 'xml': {'wrapped': True}}
