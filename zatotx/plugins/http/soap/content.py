"""What a service answers with, as the content of a Body."""

from __future__ import annotations

from typing import Any

from zatotx.model.soap import SoapSpec
from zatotx.rules.soap_names import namespace_of, operation_of, response_of
from zatotx.wire import soap, xml
from zatotx.wire.malformed import Malformed
from zatotx.wire.xml_encoding import as_utf8
from zatotx.wire.xml_write import Markup, escaped, markup

_FREE = xml.Budget(elements=1 << 62, attributes=1 << 62, per_element=1 << 30, namespaces=1 << 62)


class Message(bytes):
    """A whole envelope, which a service made itself."""


def is_message(content: bytes) -> bool:
    """Whether `as_content` found that there is nothing to put around it."""
    return type(content) is Message


def as_content(value: Any, spec: SoapSpec, service: str) -> bytes:
    """An element as XML, or a Message. Text that is no XML becomes the text of the operation's response. Raises
    ValueError for a value that is none of it."""
    if type(value) is Markup:
        return value.data
    if xml.is_element(value):
        written = xml.to_bytes(value)
        return Message(written) if soap.is_envelope(value) else written
    if isinstance(value, str):
        value = value.encode('utf-8')
    if not isinstance(value, bytes):
        raise ValueError(f'A {type(value).__name__} is no content of a SOAP message')
    data = value.strip()
    if not data:
        return b''
    if data[:1] == b'<' or not _is_text(data):
        return _checked(data)
    name = response_of(operation_of(spec.action, service, spec.operation))
    return markup(name, [escaped(value.decode('utf-8'))], namespace_of(spec.namespace, service, '')).data


def header_xml(header: Any) -> bytes:
    """A header of an answer: an element, or XML. Raises ValueError."""
    if xml.is_element(header):
        return xml.to_bytes(header)
    return _checked(header.encode('utf-8') if isinstance(header, str) else header)


def _is_text(data: bytes) -> bool:
    """Whether bytes are text that may stand in an element, and no document in an encoding of its own."""
    try:
        return '\0' not in data.decode('utf-8')
    except UnicodeDecodeError:
        return False


def _checked(data: bytes) -> bytes:
    """A document that a service wrote, as it may stand within another one; a Message where it is an envelope. Nothing
    that would break the envelope around it gets out."""
    try:
        data = as_utf8(data)
        root = xml.parse(data, budget=_FREE)
    except Malformed as error:
        raise ValueError(f'The service answers with what is no XML: {error}') from None
    if soap.is_envelope(root):
        return Message(data)
    if data.startswith(b'<?xml'):
        data = data[data.index(b'?>') + 2 :]
    return data
