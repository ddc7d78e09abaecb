"""What a service answers with, as the content of a Body."""

from __future__ import annotations

from typing import Any, AnyStr

from zatotx.wire import soap, xml
from zatotx.wire.malformed import Malformed
from zatotx.wire.xml_encoding import as_utf8
from zatotx.wire.xml_write import Markup

_FREE = xml.Budget(elements=1 << 62, attributes=1 << 62, per_element=1 << 30, namespaces=1 << 62)


class Message(bytes):
    """A whole envelope, which a service made itself."""


def is_message(content: bytes) -> bool:
    """Whether `as_content` found that there is nothing to put around it."""
    return type(content) is Message


def as_content(value: Any) -> bytes:
    """An element as XML, or a Message. Raises ValueError for what is no element and no XML."""
    if type(value) is Markup:
        return value.data
    if xml.is_element(value):
        written = xml.to_bytes(value)
        return Message(written) if soap.is_envelope(value) else written
    return _checked(value)


def header_xml(header: Any) -> bytes:
    """A header of an answer: an element, or XML. Raises ValueError."""
    if xml.is_element(header):
        return xml.to_bytes(header)
    return _checked(header)


def _checked(written: Any) -> bytes:
    """A document that a service wrote, as it may stand within another one; a Message where it is an envelope. Nothing
    that would break the envelope around it gets out."""
    if isinstance(written, str):  # which has left the encoding behind that it may still speak of
        written = _undeclared(written.lstrip('\ufeff').strip()).encode('utf-8')
    if not isinstance(written, bytes):
        raise ValueError(f'A {type(written).__name__} is no content of a SOAP message')
    try:
        data = as_utf8(written)
        inside = _undeclared(data)
        root = xml.parse(inside, budget=_FREE)
    except Malformed as error:
        raise ValueError(f'The service answers with what is no XML: {error}') from None
    if soap.is_envelope(root):
        return Message(written if data is written else inside)
    return inside


def _undeclared(text: AnyStr) -> AnyStr:
    """A document without its XML declaration."""
    opening, closing = ('<?xml', '?>') if isinstance(text, str) else (b'<?xml', b'?>')
    end = text.find(closing) if text.startswith(opening) else -1
    return text if end < 0 else text[end + 2 :]
