"""Reads and writes SOAP faults, in the forms of versions 1.1 (§4.4) and 1.2 (part 1, §5.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from zatotx.wire.soap import envelope
from zatotx.wire.soap.envelope import NS_11, NS_12, SOAP_11, SOAP_12, Element, SoapVersion
from zatotx.wire.xml.parser import text_of
from zatotx.wire.xml.writer import escape_attribute, replace_invalid_characters

# The codes of SOAP 1.2. The first two are called Client and Server in 1.1.
SENDER, RECEIVER = 'Sender', 'Receiver'
VERSION_MISMATCH, MUST_UNDERSTAND, UNKNOWN_ENCODING = 'VersionMismatch', 'MustUnderstand', 'DataEncodingUnknown'
CODES = frozenset((SENDER, RECEIVER, VERSION_MISMATCH, MUST_UNDERSTAND, UNKNOWN_ENCODING))
_IN_11 = {SENDER: 'Client', RECEIVER: 'Server', UNKNOWN_ENCODING: 'Client'}
_FROM_11 = {'Client': SENDER, 'Server': RECEIVER}


class FaultElement(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a fault, independent of the SOAP version."""

    code: str = RECEIVER  # one of CODES; '' if a peer uses a code of its own
    reason: str = ''
    subcodes: tuple[str, ...] = ()  # '{namespace}name', the most general first
    actor: str = ''  # URI of the reporting node: faultactor, Role
    node: str = ''  # 1.2: URI of the node
    lang: str = 'en'  # of the reason; not available in 1.1
    detail: tuple[bytes | Element, ...] = ()  # elements, or XML as accepted by `envelope.write`


def write_fault(version: SoapVersion, fault: FaultElement, headers: Iterable[bytes | Element] = ()) -> bytes:
    """Return an envelope that contains a fault."""
    written = _fault_11(fault) if version is SOAP_11 else _fault_12(fault)
    return envelope.write_envelope(version, written, headers=headers)


def read_fault(element: Element) -> FaultElement | None:
    """Parse a fault element, which is usually `Envelope.payload`. Returns None for other elements. Missing or unknown
    parts are '' or ()."""
    if element.tag == SOAP_11.fault:
        return _read_11(element)
    return _read_12(element) if element.tag == SOAP_12.fault else None


def not_understood_headers(tags: Iterable[str]) -> list[bytes]:
    """Return the NotUnderstood headers of SOAP 1.2 that accompany a MustUnderstand fault (§5.4.8)."""
    return [_header_block('NotUnderstood', tag) for tag in tags]


def upgrade_header() -> bytes:
    """Return the Upgrade header of SOAP 1.2 that accompanies a VersionMismatch fault (§5.4.7). The header lists the
    supported versions, with the preferred version first."""
    versions = b''.join(_header_block('SupportedEnvelope', version.envelope) for version in (SOAP_12, SOAP_11))
    return b'<env:Upgrade xmlns:env="%s">%s</env:Upgrade>' % (NS_12.encode('ascii'), versions)


def escape_text(value: str) -> bytes:
    """Escape text for XML content and attributes, and replace characters that XML cannot represent with U+FFFD."""
    return escape_attribute(replace_invalid_characters(value)).encode('utf-8')


def _fault_11(fault: FaultElement) -> bytes:
    tag = fault.subcodes[-1] if fault.subcodes else f'{{{NS_11}}}{_IN_11.get(fault.code, fault.code)}'
    pieces = [
        b'<SOAP-ENV:Fault>', _qualified_name_element(b'faultcode', tag, SOAP_11),
        b'<faultstring>', escape_text(fault.reason), b'</faultstring>',
    ]  # fmt: skip
    if fault.actor:
        pieces += [b'<faultactor>', escape_text(fault.actor), b'</faultactor>']
    if fault.detail:
        pieces += [b'<detail>', *map(envelope.to_xml, fault.detail), b'</detail>']
    return b''.join([*pieces, b'</SOAP-ENV:Fault>'])


def _fault_12(fault: FaultElement) -> bytes:
    pieces = [b'<env:Fault><env:Code>', _qualified_name_element(b'env:Value', f'{{{NS_12}}}{fault.code}', SOAP_12)]
    for subcode in fault.subcodes:
        pieces += [b'<env:Subcode>', _qualified_name_element(b'env:Value', subcode, SOAP_12)]
    pieces += [b'</env:Subcode>' for _ in fault.subcodes]
    pieces += [
        b'</env:Code><env:Reason><env:Text xml:lang="',
        escape_text(fault.lang),
        b'">',
        escape_text(fault.reason),
        b'</env:Text></env:Reason>',
    ]
    if fault.node:
        pieces += [b'<env:Node>', escape_text(fault.node), b'</env:Node>']
    if fault.actor:
        pieces += [b'<env:Role>', escape_text(fault.actor), b'</env:Role>']
    if fault.detail:
        pieces += [b'<env:Detail>', *map(envelope.to_xml, fault.detail), b'</env:Detail>']
    return b''.join([*pieces, b'</env:Fault>'])


def _qualified_name_element(element: bytes, tag: str, version: SoapVersion) -> bytes:
    """Return an element whose text is a qualified name."""
    namespace, name = _split_tag(tag)
    if namespace == version.namespace:
        return b'<%s>%s:%s</%s>' % (element, version.prefix.encode('ascii'), escape_text(name), element)
    if not namespace:
        return b'<%s>%s</%s>' % (element, escape_text(name), element)
    return b'<%s xmlns:f="%s">f:%s</%s>' % (element, escape_text(namespace), escape_text(name), element)


def _header_block(element: str, tag: str) -> bytes:
    """Return a header block of SOAP 1.2, or a part of one, with a `qname` attribute."""
    namespace, name = _split_tag(tag)
    if not namespace:
        return b'<env:%s xmlns:env="%s" qname="%s"/>' % (element.encode(), NS_12.encode(), escape_text(name))
    return b'<env:%s xmlns:env="%s" xmlns:q="%s" qname="q:%s"/>' % (
        element.encode(), NS_12.encode(), escape_text(namespace), escape_text(name),
    )  # fmt: skip


def _split_tag(tag: str) -> tuple[str, str]:
    """Split '{namespace}name'."""
    namespace, brace, name = tag.rpartition('}')
    return (namespace.removeprefix('{'), name) if brace else ('', tag)


def _read_11(element: Element) -> FaultElement:
    parts = {child.tag: child for child in _children_of(element)}
    code, subcodes = _code_11(parts.get('faultcode'))
    return FaultElement(
        code=code,
        subcodes=subcodes,
        reason=_text_of(parts.get('faultstring')),
        actor=_text_of(parts.get('faultactor')),
        lang='',
        detail=tuple(_children_of(parts.get('detail'))),
    )


def _code_11(element: Element | None) -> tuple[str, tuple[str, ...]]:
    """Return code and subcodes of a faultcode. `Client.Authentication` is a specialization of Client."""
    tag = _tag_of(element)
    if not tag:
        return '', ()
    namespace, name = _split_tag(tag)
    if namespace not in ('', NS_11):
        return '', (tag,)
    general, dot, _ = name.partition('.')
    code = _FROM_11.get(general, general)
    if code not in CODES:
        return '', (tag,)
    return code, (tag,) if dot else ()


def _read_12(element: Element) -> FaultElement:
    parts = {child.tag: child for child in _children_of(element)}
    code, *subcodes = _codes_12(parts.get(f'{{{NS_12}}}Code')) or ['']
    namespace, name = _split_tag(code)
    is_known = namespace == NS_12 and name in CODES
    reason = _reason_12(parts.get(f'{{{NS_12}}}Reason'))
    return FaultElement(
        code=name if is_known else '',
        subcodes=tuple(subcodes if is_known or not code else [code, *subcodes]),
        reason=_text_of(reason),
        lang='' if reason is None else reason.get('{http://www.w3.org/XML/1998/namespace}lang', ''),
        node=_text_of(parts.get(f'{{{NS_12}}}Node')),
        actor=_text_of(parts.get(f'{{{NS_12}}}Role')),
        detail=tuple(_children_of(parts.get(f'{{{NS_12}}}Detail'))),
    )


def _codes_12(element: Element | None) -> Sequence[str]:
    """Return the values of a Code and its nested Subcodes."""
    values: list[str] = []
    while element is not None:
        parts = {child.tag: child for child in _children_of(element)}
        values.append(_tag_of(parts.get(f'{{{NS_12}}}Value')))
        element = parts.get(f'{{{NS_12}}}Subcode')
    return [tag for tag in values if tag]


def _reason_12(element: Element | None) -> Element | None:
    """Return the English text of a reason, else the first one."""
    texts = list(_children_of(element))
    english = (text for text in texts if text.get('{http://www.w3.org/XML/1998/namespace}lang', '').startswith('en'))
    return next(english, texts[0] if texts else None)


def _children_of(element: Element | None) -> Iterator[Any]:
    return iter(()) if element is None else element.iterchildren()


def _text_of(element: Element | None) -> str:
    return '' if element is None else text_of(element).strip()


def _tag_of(element: Element | None) -> str:
    """Return the qualified name in an element's text as '{namespace}name'; drop an undeclared prefix."""
    qualified_name = _text_of(element)
    prefix, colon, name = qualified_name.rpartition(':')
    namespace = element.nsmap.get(prefix) if element is not None and colon else None
    return f'{{{namespace}}}{name}' if namespace else name
