"""What a service answers, as one XML element: for channels of XML, and of SOAP, which puts it into an Envelope."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import Any

import msgspec
from attrs import evolve

from zatotx.model.errors import InternalServerError
from zatotx.model.message import Message, Outcome
from zatotx.rules.http.soap_names import message_namespace, operation_name, response_name
from zatotx.service.io.description import IO, ElementsOutput, TypedOutput
from zatotx.service.io.xml_plan import output_shape
from zatotx.service.io.xml_shapes import ANYTHING, ItemsShape, XmlShape
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.body_content import content_of
from zatotx.wire.xml.parser import is_element, to_bytes
from zatotx.wire.xml.writer import ENDLESS, ITEM, Markup, NotRepresentable, escaped, is_name, wrap_in_root

ROOT = 'response'
ITEM_LIST = 'item_list'
ZATO = 'https://zato.io/ns/20130518'  # what zato.* services stand in (feature map 3.5)
_OUT = 'xml_out'
_BOMS_16 = (BOM_UTF16_LE, BOM_UTF16_BE)


def write_response(outcome: Outcome, io: IO, inbound: Message, service: str) -> None:
    """What a service gives, as one XML element: whatever is no text, no bytes and no element that it made itself. On
    a SOAP channel, where nothing but elements can go out, text and bytes too unless they are XML, bytes in base64.
    Raises InternalServerError for what XML has no form for."""
    value = outcome.value
    if inbound.channel.soap is None and is_element(value) and not outcome.element:
        outcome.value = Markup(to_bytes(value))  # here, which is a thread where it is large
        return
    text = isinstance(value, (str, bytes))
    told = text and inbound.channel.soap is not None and not _is_markup(value)
    if outcome.element or told or not (text or is_element(value)):
        try:
            io = evolve(io, output=None, element='') if told else io
            outcome.value = answer(value, io, inbound, internal=outcome.internal)
        except (NotRepresentable, RecursionError) as error:
            why = ENDLESS if isinstance(error, RecursionError) else error
            raise InternalServerError(inbound.cid, f'Service {service} gives what has no form in XML: {why}') from None
        outcome.element = ''
    elif inbound.channel.soap is not None:
        try:
            outcome.value = content_of(value)
        except Malformed as why:
            raise InternalServerError(inbound.cid, f'Service {service} gives what is no XML: {why}') from None


def answer(value: Any, io: IO, inbound: Message, *, internal: bool = False) -> Markup:
    """The element of an answer whose declared output was made (`io.output.write`), or of any value where none is
    declared. `internal`: a zato.* service answers.

    Classic SimpleIO and zato.* answer in their `response_elem`, which holds `zato_env` and an `<item>`, or an
    `<item_list>` of them (feature map 3.5); all others in a `<response>`, on a SOAP channel in the response of its
    operation, with the fields themselves. Raises NotRepresentable for what XML cannot hold.
    """
    name, namespace = _names(io, inbound, internal)
    if not is_name(name):
        raise NotRepresentable(f'The response_elem {name!r} is no name for an XML element')
    pieces: list[str] = []
    output = io.output
    if internal or (isinstance(output, ElementsOutput) and output.element):
        pieces += f'<{name}>', _zato_env(inbound.cid)
        _write_items(pieces, io, value)
        pieces.append(f'</{name}>')
    else:
        _shape(io).write(pieces, name, msgspec.to_builtins(value) if isinstance(output, TypedOutput) else value)
    soap = inbound.channel.soap
    return wrap_in_root(name, pieces, namespace, qualified=soap is None or not soap.rpc)


def _is_markup(value: str | bytes) -> bool:
    """Whether text is meant as XML, in whatever encoding."""
    if isinstance(value, str):
        return value.lstrip('\ufeff \t\r\n')[:1] == '<'
    return value[:2] in _BOMS_16 or value.removeprefix(BOM_UTF8).lstrip()[:1] == b'<'


def _names(io: IO, inbound: Message, internal: bool) -> tuple[str, str]:
    """Name and namespace of the element."""
    declared = io.namespace or (ZATO if internal else '')
    soap = inbound.channel.soap
    if soap is None:
        return io.element or ROOT, declared
    service = inbound.service
    operation = response_name(operation_name(soap.action, service, soap.operation))
    name = operation if soap.rpc else io.element or operation
    return name, message_namespace(soap.namespace, service, declared)


def _write_items(pieces: list[str], io: IO, value: Any) -> None:
    output = io.output
    if output.repeated if isinstance(output, ElementsOutput) else isinstance(value, list):
        ItemsShape(_shape(io)).write(pieces, ITEM_LIST, value)
    else:
        _shape(io).write(pieces, ITEM, value)


def _zato_env(cid: str) -> str:
    return f'<zato_env><cid>{escaped(cid)}</cid><result>ZATO_OK</result></zato_env>'


def _shape(io: IO) -> XmlShape:
    """Of one record, or of the model; worked out once."""
    shape: XmlShape | None = io.memo.get(_OUT)
    if shape is None:
        shape = io.memo[_OUT] = ANYTHING if io.output is None else output_shape(io.output)
    return shape
