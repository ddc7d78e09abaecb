"""WSDL 1.1 as text, out of operations as values: a port for SOAP 1.1 and one for 1.2, document/literal and RPC/literal.
Pure.

Facts: WSDL 1.1 (W3C Note), its SOAP 1.1 binding (§3) and that for SOAP 1.2 (W3C Submission), WS-I Basic Profile 1.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from zatotx.wire.xml import xsd
from zatotx.wire.xml.writer import attribute, escaped, is_representable
from zatotx.wire.xml.xsd import XSD, XsdElement, XsdSchema, schema_text

NAMESPACE = 'http://schemas.xmlsoap.org/wsdl/'
BINDINGS = {'1.1': 'http://schemas.xmlsoap.org/wsdl/soap/', '1.2': 'http://schemas.xmlsoap.org/wsdl/soap12/'}
_PREFIXES = {'1.1': 'soap', '1.2': 'soap12'}
_HTTP = 'http://schemas.xmlsoap.org/soap/http'
DOCUMENT, RPC = 'document', 'rpc'


@frozen(kw_only=True)
class WsdlOperation:
    """What a caller may do. Messages are elements of the schema, or of RPC parts with a type each."""

    name: str
    action: str
    namespace: str  # of the answer, and of the request unless that has its own
    request_namespace: str = ''
    doc: str = ''
    style: str = DOCUMENT
    request: str = ''  # the name of the request's element
    response: str = ''  # of the answer's, '' = one-way
    taken: tuple[XsdElement, ...] = ()  # parts of RPC
    given: tuple[XsdElement, ...] = ()


@frozen(kw_only=True)
class WsdlDescription:
    """What is at one URL."""

    name: str
    namespace: str
    url: str
    versions: Sequence[str]  # ports in this order
    operations: Sequence[WsdlOperation]
    schemas: Sequence[XsdSchema]


def wsdl_text(told: WsdlDescription) -> bytes:
    """The document."""
    styles = [style for style in (DOCUMENT, RPC) if any(one.style == style for one in told.operations)]
    several = len(styles) > 1
    prefixes = {namespace: f'n{number}' for number, namespace in enumerate(_namespaces(told))}
    pieces = [_head(told, prefixes), '<types>', *(schema_text(schema) for schema in told.schemas), '</types>']
    for operation in told.operations:
        pieces.extend(_messages(operation, prefixes))
    for style in styles:
        of_style = [one for one in told.operations if one.style == style]
        name = _named(told.name, style, several)
        pieces.extend(_port_type(name, of_style))
        for version in told.versions:
            pieces.extend(_binding(name, of_style, version))
    pieces.append(f'<service name="{attribute(told.name)}">')
    for version in told.versions:
        for style in styles:
            pieces.append(_port(_named(told.name, style, several), version, told.url))
    pieces.append('</service></definitions>')
    return ''.join(pieces).encode('utf-8')


def _namespaces(told: WsdlDescription) -> list[str]:
    return list(dict.fromkeys(schema.namespace for schema in told.schemas))


def _named(name: str, style: str, several: bool) -> str:
    return f'{name}Rpc' if several and style == RPC else name


def _head(told: WsdlDescription, prefixes: dict[str, str]) -> str:
    spaces = {'xmlns': NAMESPACE, 'xmlns:xsd': XSD, 'xmlns:here': told.namespace, 'targetNamespace': told.namespace}
    spaces.update((f'xmlns:{_PREFIXES[version]}', BINDINGS[version]) for version in told.versions)
    spaces.update((f'xmlns:{prefix}', namespace) for namespace, prefix in prefixes.items())
    words = ' '.join(f'{name}="{attribute(value)}"' for name, value in spaces.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<definitions name="{attribute(told.name)}" {words}>'


def _messages(operation: WsdlOperation, prefixes: dict[str, str]) -> Iterator[str]:
    asked = prefixes[operation.request_namespace or operation.namespace]
    yield from _message(operation, 'Request', operation.request, operation.taken, asked)
    if operation.response:
        yield from _message(operation, 'Response', operation.response, operation.given, prefixes[operation.namespace])


def _message(
    operation: WsdlOperation, kind: str, element: str, parts: Sequence[XsdElement], prefix: str
) -> Iterator[str]:
    yield f'<message name="{attribute(operation.name)}{kind}">'
    if operation.style == DOCUMENT:
        yield f'<part name="parameters" element="{prefix}:{attribute(element)}"/>'
    else:
        for part in parts:
            named = xsd.reference(part.type).replace('tns:', f'{prefix}:')
            yield f'<part name="{attribute(part.name)}" type="{attribute(named)}"/>'
    yield '</message>'


def _port_type(name: str, operations: Sequence[WsdlOperation]) -> Iterator[str]:
    yield f'<portType name="{attribute(name)}PortType">'
    for operation in operations:
        called = attribute(operation.name)
        yield f'<operation name="{called}">'
        if operation.doc:
            yield f'<documentation>{escaped(is_representable(operation.doc))}</documentation>'
        yield f'<input message="here:{called}Request"/>'
        if operation.response:
            yield f'<output message="here:{called}Response"/>'
        yield '</operation>'
    yield '</portType>'


def _binding(name: str, operations: Sequence[WsdlOperation], version: str) -> Iterator[str]:
    soap, called = _PREFIXES[version], attribute(name)
    yield f'<binding name="{called}{_mark(version)}" type="here:{called}PortType">'
    yield f'<{soap}:binding style="{operations[0].style}" transport="{_HTTP}"/>'
    for operation in operations:
        space = f' namespace="{attribute(operation.namespace)}"' if operation.style == RPC else ''
        body = f'<{soap}:body use="literal"{space}/>'
        yield f'<operation name="{attribute(operation.name)}">'
        yield f'<{soap}:operation soapAction="{attribute(operation.action)}" style="{operation.style}"/>'
        yield f'<input>{body}</input>'
        if operation.response:
            yield f'<output>{body}</output>'
        yield '</operation>'
    yield '</binding>'


def _port(name: str, version: str, url: str) -> str:
    called = attribute(name)
    return (f'<port name="{called}{_mark(version)}" binding="here:{called}{_mark(version)}">'
            f'<{_PREFIXES[version]}:address location="{attribute(url)}"/></port>')


def _mark(version: str) -> str:
    return 'Soap' + version.replace('.', '')
