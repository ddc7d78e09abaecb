"""Converts the result of a service to the content of a SOAP Body. May be slow: run it in a thread for large values."""

from __future__ import annotations

from typing import Any, AnyStr

from zatotx.wire.malformed import Malformed
from zatotx.wire.soap import envelope
from zatotx.wire.soap.envelope import SoapVersion
from zatotx.wire.xml import parser
from zatotx.wire.xml.encoding import to_utf8
from zatotx.wire.xml.writer import SerializedElement

_UNLIMITED = parser.XmlLimits(elements=1 << 62, attributes=1 << 62, per_element=1 << 30, namespaces=1 << 62)


class CompleteEnvelope:
    """A complete envelope that the service created itself."""

    __slots__ = ('data', 'version')

    def __init__(self, data: bytes, version: SoapVersion) -> None:
        self.data = data
        self.version = version


def to_body_content(value: Any) -> SerializedElement | CompleteEnvelope:
    """Converts an element or a document to content of an envelope, or to a complete envelope if it is one. Checks that
    it cannot break the envelope around it. Raises Malformed."""
    if type(value) is SerializedElement or type(value) is CompleteEnvelope:
        return value
    if parser.is_element(value):
        data = parser.to_bytes(value)
        version = envelope.soap_version(value)
        return SerializedElement(data) if version is None else CompleteEnvelope(data, version)
    return _from_document(value)


def _from_document(value: Any) -> SerializedElement | CompleteEnvelope:
    if isinstance(value, str):  # text has no encoding any more, although it may declare one
        try:
            value = strip_xml_declaration(value.lstrip('\ufeff').strip()).encode('utf-8')
        except UnicodeEncodeError:
            raise Malformed('it has a lone surrogate, which has no form in XML') from None
    if not isinstance(value, bytes):
        raise Malformed(f'a value of type {type(value).__name__} is no XML')
    data = to_utf8(value)
    content = strip_xml_declaration(data)
    version = envelope.soap_version(parser.parse(content, budget=_UNLIMITED))
    if version is None:
        return SerializedElement(content)
    return CompleteEnvelope(value if data is value else content, version)


def strip_xml_declaration(text: AnyStr) -> AnyStr:
    """Removes the XML declaration of a document."""
    opening, closing = ('<?xml', '?>') if isinstance(text, str) else (b'<?xml', b'?>')
    end = text.find(closing) if text.startswith(opening) else -1
    return text if end < 0 else text[end + 2 :]
