"""Reads declared input from XML documents, and serializes responses as XML elements.

The same code reads XML and SOAP, whose payload is the first element of the Body.
"""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import TYPE_CHECKING, Any

import msgspec
from attrs import evolve

from zatotx.model.errors import BadInput, InternalServerError
from zatotx.model.message import Message, ServiceResult
from zatotx.service.io.input_sources import XML
from zatotx.service.io.io_declaration import NO_SERVICE_IO, ElementsOutput, ServiceIO, TypedOutput
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.envelope import to_body_content
from zatotx.wire.soap.soap_action import operation_message_namespace, operation_name, response_name
from zatotx.wire.xml.parser import Element, PlainLxmlElements, ensure_own_tree, is_element, serialize_document
from zatotx.wire.xml.writer import (
    ITEM,
    TOO_DEEPLY_NESTED,
    NotRepresentable,
    SerializedElement,
    escape_text,
    is_xml_name,
    wrap_in_root,
)

if TYPE_CHECKING:
    from zatotx.service.io.xml_shapes import XmlShape

LARGE_DOCUMENT = 64 * 1024  # bytes of a document; processing it takes some milliseconds


def is_xml_message(message: Message, payload: Any) -> bool:
    """Return whether a payload is XML. This is determined by the channel's data format, or by an element that another
    service passed."""
    return message.channel.data_format in XML or (message.http is None and is_element(payload))


def is_large_message(message: Message) -> bool:
    """Return whether an XML message is so large that it should be processed in a thread."""
    body = message.body
    return isinstance(body, bytes) and len(body) > LARGE_DOCUMENT


def read_element_values(payload: Any, io: ServiceIO = NO_SERVICE_IO, message: Message | None = None) -> Any:
    """Read the values of an XML document. Returns a dict of the declared fields, a dict or list for a model, or the
    whole content if no input is declared.

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
        from zatotx.service.io.xml_shape_builder import xml_input_shape  # loaded with the first XML message

        shape = io.shape_cache[key] = xml_input_shape(io, namespace)
    if message is None or message.parsed is None or not io.use_text:  # other code uses the same elements
        return shape.read(_request_element(payload, io) if io.request_elem else payload)
    with PlainLxmlElements(payload):
        return shape.read(_request_element(payload, io) if io.request_elem else payload)


def _request_element(root: Element, io: ServiceIO) -> Element:
    """Return the element that contains the input. Raises BadInput."""
    element = next(root.iter(f'{{{io.namespace or "*"}}}{io.request_elem}'), None)
    if element is None:
        where = f' in the namespace {io.namespace}' if io.namespace else ''
        raise BadInput([('$', f'expected the element {io.request_elem}{where}, got {root.tag}')])
    return element


ROOT = 'response'
ITEM_LIST = 'item_list'
ZATO = 'https://zato.io/ns/20130518'  # namespace of the zato.* services (feature map 3.5)
_OUT = 'xml_out'
_BOMS_16 = (BOM_UTF16_LE, BOM_UTF16_BE)


def serialize_response(outcome: ServiceResult, io: ServiceIO, message: Message, service: str) -> None:
    """Serialize the outcome's value as one XML element, unless the value is text, bytes or an element.

    On a SOAP channel, where only elements can be sent, text and bytes that are not XML are wrapped too, bytes in
    base64. Raises InternalServerError for a value that XML cannot represent.
    """
    value = outcome.value
    if message.channel.soap is None and is_element(value) and not outcome.element:
        # serialized here, which is a thread for large documents
        outcome.value = SerializedElement(serialize_document(value))
        return
    text = isinstance(value, (str, bytes))
    wrap_text = text and message.channel.soap is not None and not _is_markup(value)
    if outcome.element or wrap_text or not (text or is_element(value)):
        try:
            io = evolve(io, output=None, element='') if wrap_text else io
            outcome.value = build_response_element(value, io, message, internal=outcome.internal)
        except (NotRepresentable, RecursionError) as error:
            reason = TOO_DEEPLY_NESTED if isinstance(error, RecursionError) else error
            raise InternalServerError(
                message.cid, f'Service {service} gives what has no form in XML: {reason}'
            ) from None
        outcome.element = ''
    elif message.channel.soap is not None:
        try:
            outcome.value = to_body_content(value)
        except Malformed as reason:
            raise InternalServerError(message.cid, f'Service {service} gives what is no XML: {reason}') from None


def build_response_element(value: Any, io: ServiceIO, message: Message, *, internal: bool = False) -> SerializedElement:
    """Serialize a value as a response element. If output is declared, the value must have been converted with
    `io.output.write`.

    `internal` says that a zato.* service responds. Classic SimpleIO and zato.* services respond in their
    `response_elem`, which contains `zato_env` and an `<item>`, or an `<item_list>` of items (feature map 3.5); all
    others in `<response>`, on a SOAP channel in the response element of the operation, which contains the fields
    themselves. Raises NotRepresentable for values that XML cannot represent.
    """
    name, namespace = _names(io, message, internal)
    if not is_xml_name(name):
        raise NotRepresentable(f'The response_elem {name!r} is no name for an XML element')
    pieces: list[str] = []
    output = io.output
    if internal or (isinstance(output, ElementsOutput) and output.element):
        pieces += f'<{name}>', _zato_env(message.cid)
        _write_items(pieces, io, value)
        pieces.append(f'</{name}>')
    else:
        _shape(io).write(pieces, name, msgspec.to_builtins(value) if isinstance(output, TypedOutput) else value)
    soap = message.channel.soap
    return wrap_in_root(name, pieces, namespace, qualified=soap is None or not soap.rpc)


def _is_markup(value: str | bytes) -> bool:
    """Return whether text is XML, in any encoding."""
    if isinstance(value, str):
        return value.lstrip('\ufeff \t\r\n')[:1] == '<'
    return value[:2] in _BOMS_16 or value.removeprefix(BOM_UTF8).lstrip()[:1] == b'<'


def _names(io: ServiceIO, message: Message, internal: bool) -> tuple[str, str]:
    """Return name and namespace of the response element."""
    declared = io.namespace or (ZATO if internal else '')
    soap = message.channel.soap
    if soap is None:
        return io.element or ROOT, declared
    service = message.service
    operation = response_name(operation_name(soap.action, service, soap.operation))
    name = operation if soap.rpc else io.element or operation
    return name, operation_message_namespace(soap.namespace, service, declared)


def _write_items(pieces: list[str], io: ServiceIO, value: Any) -> None:
    """Write `<item>`, or `<item_list>` for repeated output."""
    output = io.output
    if output.repeated if isinstance(output, ElementsOutput) else isinstance(value, list):
        from zatotx.service.io.xml_shapes import ListShape

        ListShape(_shape(io)).write(pieces, ITEM_LIST, value)
    else:
        _shape(io).write(pieces, ITEM, value)


def _zato_env(cid: str) -> str:
    return f'<zato_env><cid>{escape_text(cid)}</cid><result>ZATO_OK</result></zato_env>'


def _shape(io: ServiceIO) -> XmlShape:
    """Return the cached shape of one record, or of the model."""
    shape: XmlShape | None = io.shape_cache.get(_OUT)
    if shape is None:
        from zatotx.service.io.xml_shape_builder import xml_output_shape
        from zatotx.service.io.xml_shapes import ANY_SHAPE

        shape = io.shape_cache[_OUT] = ANY_SHAPE if io.output is None else xml_output_shape(io.output)
    return shape
