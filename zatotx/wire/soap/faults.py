"""Faults of SOAP 1.1 (§4.4) and 1.2 (part 1, §5.4): one value for both, written in either shape and read from both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from zatotx.wire.soap import envelope
from zatotx.wire.soap.envelope import NS_11, NS_12, SOAP_11, SOAP_12, Element, Version
from zatotx.wire.xml.parser import text_of
from zatotx.wire.xml.writer import attribute, is_representable

# The codes in 1.2's words. 1.1 calls the first two Client and Server.
SENDER, RECEIVER = 'Sender', 'Receiver'
VERSION_MISMATCH, MUST_UNDERSTAND, UNKNOWN_ENCODING = 'VersionMismatch', 'MustUnderstand', 'DataEncodingUnknown'
CODES = frozenset((SENDER, RECEIVER, VERSION_MISMATCH, MUST_UNDERSTAND, UNKNOWN_ENCODING))
_IN_11 = {SENDER: 'Client', RECEIVER: 'Server', UNKNOWN_ENCODING: 'Client'}
_FROM_11 = {'Client': SENDER, 'Server': RECEIVER}


class FaultElement(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, and whose fault it is."""

    code: str = RECEIVER  # one of CODES; read from a peer that uses a code of its own, ''
    reason: str = ''
    subcodes: tuple[str, ...] = ()  # '{namespace}name', the most general first
    actor: str = ''  # URI of who says so: faultactor, Role
    node: str = ''  # 1.2: URI of the node
    lang: str = 'en'  # of the reason; 1.1 does not say
    detail: tuple[bytes | Element, ...] = ()  # elements, or XML as `soap.write` takes it


def write_fault(version: Version, fault: FaultElement, headers: Iterable[bytes | Element] = ()) -> bytes:
    """A whole envelope that holds the fault."""
    written = _fault_11(fault) if version is SOAP_11 else _fault_12(fault)
    return envelope.write(version, written, headers=headers)


def read_fault(element: Element) -> FaultElement | None:
    """The fault that an element is, usually `Envelope.payload`; None where it is none. What a peer left out or wrote
    in no known way is '' or ()."""
    if element.tag == SOAP_11.fault:
        return _read_11(element)
    return _read_12(element) if element.tag == SOAP_12.fault else None


def not_understood(tags: Iterable[str]) -> list[bytes]:
    """1.2's headers beside a MustUnderstand fault (§5.4.8): the headers that were not understood."""
    return [_named('NotUnderstood', tag) for tag in tags]


def upgrade() -> bytes:
    """1.2's header beside a VersionMismatch (§5.4.7): what is understood here, the best first."""
    versions = b''.join(_named('SupportedEnvelope', version.envelope) for version in (SOAP_12, SOAP_11))
    return b'<env:Upgrade xmlns:env="%s">%s</env:Upgrade>' % (NS_12.encode('ascii'), versions)


def text(value: str) -> bytes:
    """Text as it may stand in XML, in quotation marks too. What XML has no form for becomes U+FFFD."""
    return attribute(is_representable(value)).encode('utf-8')


def _fault_11(fault: FaultElement) -> bytes:
    tag = fault.subcodes[-1] if fault.subcodes else f'{{{NS_11}}}{_IN_11.get(fault.code, fault.code)}'
    pieces = [
        b'<SOAP-ENV:Fault>', _qualified(b'faultcode', tag, SOAP_11),
        b'<faultstring>', text(fault.reason), b'</faultstring>',
    ]  # fmt: skip
    if fault.actor:
        pieces += [b'<faultactor>', text(fault.actor), b'</faultactor>']
    if fault.detail:
        pieces += [b'<detail>', *map(envelope.as_xml, fault.detail), b'</detail>']
    return b''.join([*pieces, b'</SOAP-ENV:Fault>'])


def _fault_12(fault: FaultElement) -> bytes:
    pieces = [b'<env:Fault><env:Code>', _qualified(b'env:Value', f'{{{NS_12}}}{fault.code}', SOAP_12)]
    for subcode in fault.subcodes:
        pieces += [b'<env:Subcode>', _qualified(b'env:Value', subcode, SOAP_12)]
    pieces += [b'</env:Subcode>' for _ in fault.subcodes]
    pieces += [b'</env:Code><env:Reason><env:Text xml:lang="', text(fault.lang), b'">', text(fault.reason),
               b'</env:Text></env:Reason>']  # fmt: skip
    if fault.node:
        pieces += [b'<env:Node>', text(fault.node), b'</env:Node>']
    if fault.actor:
        pieces += [b'<env:Role>', text(fault.actor), b'</env:Role>']
    if fault.detail:
        pieces += [b'<env:Detail>', *map(envelope.as_xml, fault.detail), b'</env:Detail>']
    return b''.join([*pieces, b'</env:Fault>'])


def _qualified(element: bytes, tag: str, version: Version) -> bytes:
    """An element whose text is a qualified name."""
    namespace, name = _split(tag)
    if namespace == version.namespace:
        return b'<%s>%s:%s</%s>' % (element, version.prefix.encode('ascii'), text(name), element)
    if not namespace:
        return b'<%s>%s</%s>' % (element, text(name), element)
    return b'<%s xmlns:f="%s">f:%s</%s>' % (element, text(namespace), text(name), element)


def _named(element: str, tag: str) -> bytes:
    """1.2's header block, or part of one, with the attribute `qname`."""
    namespace, name = _split(tag)
    if not namespace:
        return b'<env:%s xmlns:env="%s" qname="%s"/>' % (element.encode(), NS_12.encode(), text(name))
    return b'<env:%s xmlns:env="%s" xmlns:q="%s" qname="q:%s"/>' % (
        element.encode(), NS_12.encode(), text(namespace), text(name),
    )  # fmt: skip


def _split(tag: str) -> tuple[str, str]:
    """Namespace and name, of whatever somebody calls one."""
    namespace, brace, name = tag.rpartition('}')
    return (namespace.removeprefix('{'), name) if brace else ('', tag)


def _read_11(element: Element) -> FaultElement:
    parts = {child.tag: child for child in _children(element)}
    code, subcodes = _code_11(parts.get('faultcode'))
    return FaultElement(
        code=code,
        subcodes=subcodes,
        reason=_text_of(parts.get('faultstring')),
        actor=_text_of(parts.get('faultactor')),
        lang='',
        detail=tuple(_children(parts.get('detail'))),
    )


def _code_11(element: Element | None) -> tuple[str, tuple[str, ...]]:
    """Code and subcodes of a faultcode. `Client.Authentication` is Client, more exactly."""
    tag = _tag_of(element)
    if not tag:
        return '', ()
    namespace, name = _split(tag)
    if namespace not in ('', NS_11):
        return '', (tag,)
    general, dot, _ = name.partition('.')
    code = _FROM_11.get(general, general)
    if code not in CODES:
        return '', (tag,)
    return code, (tag,) if dot else ()


def _read_12(element: Element) -> FaultElement:
    parts = {child.tag: child for child in _children(element)}
    code, *subcodes = _codes_12(parts.get(f'{{{NS_12}}}Code')) or ['']
    namespace, name = _split(code)
    known = namespace == NS_12 and name in CODES
    reason = _reason_12(parts.get(f'{{{NS_12}}}Reason'))
    return FaultElement(
        code=name if known else '',
        subcodes=tuple(subcodes if known or not code else [code, *subcodes]),
        reason=_text_of(reason),
        lang='' if reason is None else reason.get('{http://www.w3.org/XML/1998/namespace}lang', ''),
        node=_text_of(parts.get(f'{{{NS_12}}}Node')),
        actor=_text_of(parts.get(f'{{{NS_12}}}Role')),
        detail=tuple(_children(parts.get(f'{{{NS_12}}}Detail'))),
    )


def _codes_12(element: Element | None) -> Sequence[str]:
    """The values of a Code and of the Subcodes in it."""
    found: list[str] = []
    while element is not None:
        parts = {child.tag: child for child in _children(element)}
        found.append(_tag_of(parts.get(f'{{{NS_12}}}Value')))
        element = parts.get(f'{{{NS_12}}}Subcode')
    return [tag for tag in found if tag]


def _reason_12(element: Element | None) -> Element | None:
    """The English text of a reason, else the first one."""
    texts = list(_children(element))
    english = (one for one in texts if one.get('{http://www.w3.org/XML/1998/namespace}lang', '').startswith('en'))
    return next(english, texts[0] if texts else None)


def _children(element: Element | None) -> Iterator[Any]:
    return iter(()) if element is None else element.iterchildren()


def _text_of(element: Element | None) -> str:
    return '' if element is None else text_of(element).strip()


def _tag_of(element: Element | None) -> str:
    """The qualified name that an element's text is, '{namespace}name'; a prefix that nobody declared is dropped."""
    given = _text_of(element)
    prefix, colon, name = given.rpartition(':')
    namespace = element.nsmap.get(prefix) if element is not None and colon else None
    return f'{{{namespace}}}{name}' if namespace else name
