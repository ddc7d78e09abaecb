"""Declared input from XML: the values of a document as the declaration says they are, in texts that it converts.

The same for XML and for SOAP, whose payload is the first element of the Body.
"""

from __future__ import annotations

from typing import Any

from zatotx.model.errors import BadInput
from zatotx.model.message import Message
from zatotx.service.io.description import IO, NO_IO
from zatotx.service.io.input_sources import XML
from zatotx.service.io.xml_plan import input_shape
from zatotx.service.io.xml_shapes import XmlShape
from zatotx.wire.xml.parser import Element, PlainElement, is_element, own_tree

LONG = 64 * 1024  # bytes of a document: some milliseconds of a declaration's work


def is_xml(inbound: Message, payload: Any) -> bool:
    """Whether the payload is a part of an XML document: by the channel's data format, or because another service hands
    it over."""
    return inbound.channel.data_format in XML or (inbound.http is None and is_element(payload))


def is_large(inbound: Message) -> bool:
    """Whether a message of XML is of a size that makes a thread worth while for reading and answering it."""
    body = inbound.body
    return isinstance(body, bytes) and len(body) > LONG


def values(payload: Any, io: IO = NO_IO, inbound: Message | None = None) -> Any:
    """What a document holds: a dict for declared fields, a dict or list for a model, whatever there is for a service
    that declares no input. A payload that is no element is given back.

    With `request_elem` it stands in an element of that name: the root, or the first one in it. With `namespace` all
    that is declared stands in that, without one in any; the parts of a call on a SOAP channel of rpc's are in none.
    Raises BadInput where the element is not there.
    """
    if not is_element(payload):
        return payload
    payload = own_tree(payload)
    soap = None if inbound is None else inbound.channel.soap
    namespace = '' if soap is not None and soap.rpc else io.namespace
    known = ('xml_in', namespace)
    shape: XmlShape | None = io.memo.get(known)
    if shape is None:
        shape = io.memo[known] = input_shape(io, namespace)
    if inbound is None or not hasattr(inbound, 'parsed') or not io.use_text:  # others look at the same elements
        return shape.one(_asked(payload, io) if io.request_elem else payload)
    with PlainElement(payload):
        return shape.one(_asked(payload, io) if io.request_elem else payload)


def _asked(root: Element, io: IO) -> Element:
    """The element that holds the input."""
    found = next(root.iter(f'{{{io.namespace or "*"}}}{io.request_elem}'), None)
    if found is None:
        inside = f' in the namespace {io.namespace}' if io.namespace else ''
        raise BadInput([('$', f'expected the element {io.request_elem}{inside}, got {root.tag}')])
    return found
