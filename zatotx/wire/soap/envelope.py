"""Reads and writes SOAP envelopes, versions 1.1 (W3C note of 2000-05-08) and 1.2 (W3C recommendation, second edition).

Reads trees parsed by `wire.xml.parser`, which contain elements and text only, and writes bytes. Parts are found by
their position among the children of the root, never by a search: an envelope, body or header anywhere else is
application data. For faults see `wire.soap.faults`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, AnyStr

import msgspec

from zatotx.wire.malformed import Malformed
from zatotx.wire.xml import parser
from zatotx.wire.xml.encoding import to_utf8
from zatotx.wire.xml.parser import local_name, serialize_document
from zatotx.wire.xml.writer import SerializedElement

Element = Any  # lxml.etree._Element, or an objectified one


class SoapVersion(msgspec.Struct, frozen=True):
    """A version of SOAP, with its namespace and the names that it defines."""

    number: str  # '1.1', '1.2'
    namespace: str
    content_type: str
    prefix: str
    actor: str  # the attribute that names the receiver of a header
    own_actors: frozenset[str]  # its values that address this node
    envelope: str
    header: str
    body: str
    fault: str
    must_understand: str
    opening: bytes  # the envelope around the content of a body without headers
    closing: bytes


def _version(number: str, namespace: str, *, content_type: str, prefix: str, actor: tuple[str, ...]) -> SoapVersion:
    """Create a version. `actor`: name of the attribute, and its values that address this node."""
    def name(local: str) -> str:
        return f'{{{namespace}}}{local}'

    return SoapVersion(
        number, namespace, content_type, prefix, name(actor[0]), frozenset(('', *actor[1:])), name('Envelope'),
        name('Header'), name('Body'), name('Fault'), name('mustUnderstand'),
        f'<{prefix}:Envelope xmlns:{prefix}="{namespace}"><{prefix}:Body>'.encode('ascii'),
        f'</{prefix}:Body></{prefix}:Envelope>'.encode('ascii'),
    )  # fmt: skip


NS_11 = 'http://schemas.xmlsoap.org/soap/envelope/'
NS_12 = 'http://www.w3.org/2003/05/soap-envelope'
# §4.2.2 of 1.1, §2.2 of part 1 of 1.2
SOAP_11 = _version('1.1', NS_11, content_type='text/xml; charset=utf-8', prefix='SOAP-ENV',
                   actor=('actor', 'http://schemas.xmlsoap.org/soap/actor/next'))  # fmt: skip
SOAP_12 = _version('1.2', NS_12, content_type='application/soap+xml; charset=utf-8', prefix='env',
                   actor=('role', f'{NS_12}/role/next', f'{NS_12}/role/ultimateReceiver'))  # fmt: skip
VERSIONS = {version.number: version for version in (SOAP_11, SOAP_12)}
_BY_ENVELOPE = {version.envelope: version for version in (SOAP_11, SOAP_12)}
_RESERVED_TAGS = {tag for version in (SOAP_11, SOAP_12) for tag in (version.envelope, version.header, version.body)}
_YES, _NO = frozenset(('1', 'true')), frozenset(('0', 'false'))


class UnsupportedSoapVersion(Malformed):
    """The root element is an Envelope in the namespace of an unsupported SOAP version (VersionMismatch)."""


class Envelope(msgspec.Struct, frozen=True):
    """The parts of a SOAP message: its version, headers and body content."""

    version: SoapVersion
    headers: tuple[Element, ...]  # in document order
    body: Element
    payload: Element | None  # the first element of the body


def soap_version(root: Element) -> SoapVersion | None:
    """Return the SOAP version of a document's root element, or None if it is not an envelope of a supported version."""
    return _BY_ENVELOPE.get(root.tag)


def read_envelope(root: Element) -> Envelope:
    """Parse an envelope into its parts.

    Raises UnsupportedSoapVersion; Malformed for anything but an optional Header followed by one Body, for text around
    them, and for a body that contains another envelope. SOAP 1.1 allows elements after the Body, the Basic Profile
    (1.1, R1011) does not.
    """
    version = _BY_ENVELOPE.get(root.tag)
    if version is None:
        raise _not_an_envelope(root.tag)
    headers: tuple[Element, ...] = ()
    has_header = False
    body: Element = None
    _reject_text(root.text, 'Envelope')
    for child in root.iterchildren():
        tag = child.tag
        if body is not None:
            raise Malformed(_describe_extra(version, tag))
        if tag == version.body:
            body = child
        elif tag == version.header and not has_header:
            has_header = True
            headers = tuple(child.iterchildren())
        else:
            raise Malformed(f'the Envelope has {_describe(version, tag)} before its Body, where one Header may stand')
        _reject_text(child.tail, 'Envelope')
    if body is None:
        raise Malformed('the Envelope has no Body')
    return Envelope(version, headers, body, _payload(body))


def mandatory_headers(envelope: Envelope) -> Iterator[Element]:
    """Yield the headers that this node must understand. Raises Malformed for a mustUnderstand attribute that is not a
    boolean."""
    version = envelope.version
    for header in envelope.headers:
        value = header.get(version.must_understand)
        if value is None:
            continue
        value = value.strip()
        if value not in _YES and value not in _NO:
            raise Malformed(f'header {local_name(header)} has mustUnderstand={value!r}, which is no boolean')
        if value in _YES and header.get(version.actor, '').strip() in version.own_actors:
            yield header


def write_envelope(version: SoapVersion, *content: bytes | Element, headers: Iterable[bytes | Element] = ()) -> bytes:
    """Return an envelope with the given body content. The content consists of elements, or of well-formed XML in UTF-8
    without a declaration."""
    body = b''.join(map(to_xml, content))
    header = b''.join(map(to_xml, headers))
    if not header:
        return b'%s%s%s' % (version.opening, body, version.closing)
    prefix = version.prefix.encode('ascii')
    opening = version.opening.removesuffix(b'<%s:Body>' % prefix)
    return b'%s<%s:Header>%s</%s:Header><%s:Body>%s%s' % (
        opening, prefix, header, prefix, prefix, body, version.closing,
    )  # fmt: skip


def to_xml(piece: Any) -> bytes:
    """Serialize an element as XML without a declaration, with all namespaces in scope. Bytes are returned unchanged."""
    return piece if isinstance(piece, bytes) else serialize_document(piece)


def is_envelope(element: Element) -> bool:
    """Return whether an element is a SOAP envelope of version 1.1 or 1.2."""
    return element.tag in _BY_ENVELOPE


def _payload(body: Element) -> Element | None:
    _reject_text(body.text, 'Body')
    first: Element | None = None
    for child in body.iterchildren():
        if first is None:
            first = child
        if child.tag in _RESERVED_TAGS:
            raise Malformed(f'the Body holds a second {local_name(child)}: a message within the message')
        _reject_text(child.tail, 'Body')
    return first


def _reject_text(text: str | None, where: str) -> None:
    if text and not text.isspace():
        raise Malformed(f'the {where} has text of its own')


def _not_an_envelope(tag: str) -> Malformed:
    namespace, name = _split_tag(tag)
    if name == 'Envelope':
        return UnsupportedSoapVersion(
            f'the namespace {namespace!r} of the Envelope is that of no version of SOAP: '
            f'1.1 is {NS_11}, 1.2 is {NS_12}'
        )
    return Malformed(f'the root is {name}, not an Envelope of SOAP')


def _describe(version: SoapVersion, tag: str) -> str:
    namespace, name = _split_tag(tag)
    return f'a second {name}' if namespace == version.namespace else f'the element {name}'


def _split_tag(tag: str) -> tuple[str, str]:
    """Return the namespace, '' for none, and the local name of a tag in lxml's notation `{namespace}name`."""
    namespace, _, name = tag.rpartition('}')
    return namespace[1:], name


def _describe_extra(version: SoapVersion, tag: str) -> str:
    if tag == version.body:
        return 'the Envelope has two Bodies'
    if tag == version.header:
        return 'the Header stands after the Body'
    return f'the Envelope has {_describe(version, tag)} after its Body, where nothing may stand'


_UNLIMITED = parser.XmlLimits(elements=1 << 62, attributes=1 << 62, per_element=1 << 30, namespaces=1 << 62)


class PrebuiltEnvelope:
    """A complete SOAP envelope that a service created itself, as opposed to body content that must be wrapped in an
    envelope."""

    __slots__ = ('data', 'version')

    def __init__(self, data: bytes, version: SoapVersion) -> None:
        self.data = data
        self.version = version


def to_body_content(value: Any) -> SerializedElement | PrebuiltEnvelope:
    """Convert an element or document to the content of an envelope. If it is an envelope itself, a PrebuiltEnvelope is
    returned. The function checks that the content cannot break the envelope around it. Raises Malformed."""
    if type(value) is SerializedElement or type(value) is PrebuiltEnvelope:
        return value
    if parser.is_element(value):
        data = parser.serialize_document(value)
        version = soap_version(value)
        return SerializedElement(data) if version is None else PrebuiltEnvelope(data, version)
    return _from_document(value)


def _from_document(value: Any) -> SerializedElement | PrebuiltEnvelope:
    if isinstance(value, str):  # text has no encoding any more, although it may declare one
        try:
            value = strip_xml_declaration(value.lstrip('\ufeff').strip()).encode('utf-8')
        except UnicodeEncodeError:
            raise Malformed('it has a lone surrogate, which has no form in XML') from None
    if not isinstance(value, bytes):
        raise Malformed(f'a value of type {type(value).__name__} is no XML')
    data = to_utf8(value)
    content = strip_xml_declaration(data)
    version = soap_version(parser.parse_document(content, budget=_UNLIMITED))
    if version is None:
        return SerializedElement(content)
    return PrebuiltEnvelope(value if data is value else content, version)


def strip_xml_declaration(text: AnyStr) -> AnyStr:
    """Remove the XML declaration of a document."""
    opening, closing = ('<?xml', '?>') if isinstance(text, str) else (b'<?xml', b'?>')
    end = text.find(closing) if text.startswith(opening) else -1
    return text if end < 0 else text[end + 2 :]
