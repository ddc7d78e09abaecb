"""Reads declared input from XML: the values of a document in the declared form, as texts that the declaration converts.

The same code reads XML and SOAP, whose payload is the first element of the Body.
"""

from __future__ import annotations

from typing import Any

from zatotx.model.errors import BadInput
from zatotx.model.message import Message
from zatotx.service.io.input_sources import XML
from zatotx.service.io.service_io import NO_SERVICE_IO, ServiceIO
from zatotx.service.io.xml_shape_builder import xml_input_shape
from zatotx.service.io.xml_shapes import XmlShape
from zatotx.wire.xml.parser import Element, PlainElement, ensure_own_tree, is_element

LARGE_DOCUMENT = 64 * 1024  # bytes of a document; processing it takes some milliseconds


def is_xml_message(message: Message, payload: Any) -> bool:
    """Return whether the payload is XML: by the channel's data format, or as an element passed by another service."""
    return message.channel.data_format in XML or (message.http is None and is_element(payload))


def is_large_message(message: Message) -> bool:
    """Return whether an XML message is so large that it should be processed in a thread."""
    body = message.body
    return isinstance(body, bytes) and len(body) > LARGE_DOCUMENT


def read_element_values(payload: Any, io: ServiceIO = NO_SERVICE_IO, message: Message | None = None) -> Any:
    """Return the values of a document: a dict for declared fields, a dict or list for a model, otherwise all content.

    A payload that is not an element is returned unchanged. With `request_elem`, the input is in the element of that
    name, which is the root or the first one below it. With `namespace`, declared elements must be in it, otherwise they
    may be in any; the parts of an RPC call on a SOAP channel are in none. Raises BadInput if the element is missing.
    """
    if not is_element(payload):
        return payload
    payload = ensure_own_tree(payload)
    soap = None if message is None else message.channel.soap
    namespace = '' if soap is not None and soap.rpc else io.namespace
    key = ('xml_in', namespace)
    shape: XmlShape | None = io.shape_cache.get(key)
    if shape is None:
        shape = io.shape_cache[key] = xml_input_shape(io, namespace)
    if message is None or not hasattr(message, 'parsed') or not io.use_text:  # other code uses the same elements
        return shape.read(_request_element(payload, io) if io.request_elem else payload)
    with PlainElement(payload):
        return shape.read(_request_element(payload, io) if io.request_elem else payload)


def _request_element(root: Element, io: ServiceIO) -> Element:
    """Return the element that contains the input. Raises BadInput."""
    element = next(root.iter(f'{{{io.namespace or "*"}}}{io.request_elem}'), None)
    if element is None:
        where = f' in the namespace {io.namespace}' if io.namespace else ''
        raise BadInput([('$', f'expected the element {io.request_elem}{where}, got {root.tag}')])
    return element
