"""Channels of XML in an OpenAPI document: the same schemas, in the words that OpenAPI has for elements. Pure.

As service.io.xml_shapes reads and writes them: lists are wrapped and have an `<item>` for each of theirs; objects of
any keys go out as pairs, and are taken with their keys as children too, which is how requests are told of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.rules.openapi.json_example import NoExample, Schema, make_example, resolve_reference
from zatotx.rules.openapi.model import ServiceShape, TypeShape
from zatotx.wire.xml.writer import ITEM, KEY, VALUE, NotRepresentable, document

XML = 'application/xml'
ERROR = 'ZatoErrorXml'
REQUEST, RESPONSE, ITEM_LIST = 'request', 'response', 'item_list'
_SEVERAL = ('anyOf', 'oneOf', 'allOf', 'prefixItems')
_ITEM: Schema = {'xml': {'name': ITEM}}
_ZATO_ENV: Schema = {
    'type': 'object', 'properties': {'cid': {'type': 'string'}, 'result': {'type': 'string', 'enum': ['ZATO_OK']}},
    'required': ['cid', 'result'],
}  # fmt: skip


def asked(whole: TypeShape, service: ServiceShape) -> TypeShape:
    """What a service takes. `whole`: what stands in the body of it."""
    return _rooted(whole, service.request_elem or REQUEST, service.namespace, pairs=False)


def answered(service: ServiceShape, output: TypeShape) -> TypeShape:
    """What a service gives: classic SimpleIO in an item, or in a list of them, beside `zato_env`."""
    if service.element:
        inner = output.schema['properties'][service.element]
        name = ITEM_LIST if resolve_reference(inner, output.components).get('type') == 'array' else ITEM
        properties = {'zato_env': _ZATO_ENV, name: inner}
        output = TypeShape({'type': 'object', 'properties': properties, 'required': [*properties]}, output.components)
    return _rooted(output, service.element or RESPONSE, service.namespace, pairs=True)


def text(shape: TypeShape, value: Any = None) -> str:
    """The document of a value; without one, of an example. Raises NoExample."""
    root = shape.schema['xml']
    try:
        value = make_example(shape.schema, shape.components) if value is None else value
        return document(root['name'], value, root.get('namespace', '')).data.decode('utf-8')
    except NotRepresentable as why:
        raise NoExample(str(why)) from None


def error_schema() -> Schema:
    """The body of every error answer of such a channel."""
    properties = {'cid': {'type': 'string'}, 'details': {'type': 'string'}}
    return {'type': 'object', 'title': ERROR, 'description': 'Why a request failed.', 'properties': properties,
            'required': [*properties], 'xml': {'name': 'error'}}  # fmt: skip


def _rooted(shape: TypeShape, name: str, namespace: str, *, pairs: bool) -> TypeShape:
    root = {'name': name, 'namespace': namespace} if namespace else {'name': name}
    components = {name: _in_xml(below, pairs) for name, below in shape.components.items()}
    return TypeShape({**_in_xml(shape.schema, pairs), 'xml': root}, components)


def _in_xml(schema: Any, pairs: bool) -> Any:
    """A schema with all that is in it, in the words for elements."""
    if not isinstance(schema, Mapping):
        return schema
    out = dict(schema)
    for several in _SEVERAL:
        if several in out:
            out[several] = [_in_xml(one, pairs) for one in out[several]]
    if 'properties' in out:
        out['properties'] = {name: _in_xml(below, pairs) for name, below in out['properties'].items()}
    elif pairs and out.get('type') == 'object':
        return _in_pairs(out)
    if out.get('type') == 'array':
        out['xml'] = {'wrapped': True}
        if isinstance(out.get('items'), Mapping):
            out['items'] = {**_in_xml(out['items'], pairs), **_ITEM}
        if 'prefixItems' in out:
            out.pop('items', None)  # `false`: maxItems says the same, and readers of XML look for elements in it
            out['prefixItems'] = [{**one, **_ITEM} for one in out['prefixItems']]
    return out


def _in_pairs(schema: Schema) -> Schema:
    """An object of any keys, as a list of them with their values."""
    value = _in_xml(schema.get('additionalProperties', {}), True)
    pair = {'type': 'object', 'properties': {KEY: {'type': 'string'}, VALUE: value if isinstance(value, dict) else {}},
            'required': [KEY, VALUE], **_ITEM}  # fmt: skip
    return {'type': 'array', 'items': pair, 'xml': {'wrapped': True}}
