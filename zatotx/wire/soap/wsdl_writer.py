"""Generates WSDL 1.1 documents. A document has one port for SOAP 1.1 and one for SOAP 1.2, and uses document/literal or
RPC/literal. No I/O.

Sources: WSDL 1.1 (W3C Note), its SOAP 1.1 binding (§3) and the SOAP 1.2 binding (W3C Submission), WS-I Basic Profile
1.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from zatotx.wire.xml import xsd_writer
from zatotx.wire.xml.writer import escape_attribute, escape_text, replace_invalid_characters
from zatotx.wire.xml.xsd_writer import XSD, XsdElement, XsdSchema, write_schema

NAMESPACE = 'http://schemas.xmlsoap.org/wsdl/'
SOAP_NAMESPACES = {'1.1': 'http://schemas.xmlsoap.org/wsdl/soap/', '1.2': 'http://schemas.xmlsoap.org/wsdl/soap12/'}
_PREFIXES = {'1.1': 'soap', '1.2': 'soap12'}
_HTTP_TRANSPORT = 'http://schemas.xmlsoap.org/soap/http'
DOCUMENT, RPC = 'document', 'rpc'


@frozen(kw_only=True)
class WsdlOperation:
    """An operation of a WSDL document. Its messages are elements of the schema or, for RPC, typed parts."""

    name: str
    action: str
    namespace: str  # of the response, and of the request unless that has its own
    request_namespace: str = ''
    doc: str = ''
    style: str = DOCUMENT
    request_element: str = ''  # name of the request element
    response_element: str = ''  # name of the response element, '' = one-way
    input_parts: tuple[XsdElement, ...] = ()  # parts of RPC messages
    output_parts: tuple[XsdElement, ...] = ()


@frozen(kw_only=True)
class WsdlDescription:
    """The content of a WSDL document for one service URL: its operations and its schema."""

    name: str
    namespace: str
    url: str
    versions: Sequence[str]  # ports in this order
    operations: Sequence[WsdlOperation]
    schemas: Sequence[XsdSchema]


def write_wsdl(description: WsdlDescription) -> bytes:
    """Generate a WSDL document from a description."""
    styles = [style for style in (DOCUMENT, RPC) if any(each.style == style for each in description.operations)]
    has_both_styles = len(styles) > 1
    prefixes = {namespace: f'n{number}' for number, namespace in enumerate(_namespaces(description))}
    schemas = map(write_schema, description.schemas)
    pieces = [_definitions_start(description, prefixes), '<types>', *schemas, '</types>']
    for operation in description.operations:
        pieces.extend(_messages(operation, prefixes))
    for style in styles:
        matching = [each for each in description.operations if each.style == style]
        name = _styled_name(description.name, style, has_both_styles)
        pieces.extend(_port_type(name, matching))
        for version in description.versions:
            pieces.extend(_binding(name, matching, version))
    pieces.append(f'<service name="{escape_attribute(description.name)}">')
    for version in description.versions:
        for style in styles:
            pieces.append(_port(_styled_name(description.name, style, has_both_styles), version, description.url))
    pieces.append('</service></definitions>')
    return ''.join(pieces).encode('utf-8')


def _namespaces(description: WsdlDescription) -> list[str]:
    return list(dict.fromkeys(schema.namespace for schema in description.schemas))


def _styled_name(name: str, style: str, has_both_styles: bool) -> str:
    return f'{name}Rpc' if has_both_styles and style == RPC else name


def _definitions_start(description: WsdlDescription, prefixes: dict[str, str]) -> str:
    declarations = {
        'xmlns': NAMESPACE, 'xmlns:xsd': XSD, 'xmlns:here': description.namespace,
        'targetNamespace': description.namespace,
    }  # fmt: skip
    declarations.update((f'xmlns:{_PREFIXES[version]}', SOAP_NAMESPACES[version]) for version in description.versions)
    declarations.update((f'xmlns:{prefix}', namespace) for namespace, prefix in prefixes.items())
    attributes = ' '.join(f'{name}="{escape_attribute(value)}"' for name, value in declarations.items())
    name = escape_attribute(description.name)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<definitions name="{name}" {attributes}>'


def _messages(operation: WsdlOperation, prefixes: dict[str, str]) -> Iterator[str]:
    request_prefix = prefixes[operation.request_namespace or operation.namespace]
    yield from _message(operation, 'Request', operation.request_element, operation.input_parts, request_prefix)
    if operation.response_element:
        yield from _message(
            operation, 'Response', operation.response_element, operation.output_parts, prefixes[operation.namespace]
        )


def _message(
    operation: WsdlOperation, kind: str, element: str, parts: Sequence[XsdElement], prefix: str
) -> Iterator[str]:
    yield f'<message name="{escape_attribute(operation.name)}{kind}">'
    if operation.style == DOCUMENT:
        yield f'<part name="parameters" element="{prefix}:{escape_attribute(element)}"/>'
    else:
        for part in parts:
            type_name = xsd_writer.xsd_type_reference(part.type).replace('tns:', f'{prefix}:')
            yield f'<part name="{escape_attribute(part.name)}" type="{escape_attribute(type_name)}"/>'
    yield '</message>'


def _port_type(name: str, operations: Sequence[WsdlOperation]) -> Iterator[str]:
    yield f'<portType name="{escape_attribute(name)}PortType">'
    for operation in operations:
        operation_name = escape_attribute(operation.name)
        yield f'<operation name="{operation_name}">'
        if operation.doc:
            yield f'<documentation>{escape_text(replace_invalid_characters(operation.doc))}</documentation>'
        yield f'<input message="here:{operation_name}Request"/>'
        if operation.response_element:
            yield f'<output message="here:{operation_name}Response"/>'
        yield '</operation>'
    yield '</portType>'


def _binding(name: str, operations: Sequence[WsdlOperation], version: str) -> Iterator[str]:
    soap, binding_name = _PREFIXES[version], escape_attribute(name)
    yield f'<binding name="{binding_name}{_version_suffix(version)}" type="here:{binding_name}PortType">'
    yield f'<{soap}:binding style="{operations[0].style}" transport="{_HTTP_TRANSPORT}"/>'
    for operation in operations:
        space = f' namespace="{escape_attribute(operation.namespace)}"' if operation.style == RPC else ''
        body = f'<{soap}:body use="literal"{space}/>'
        yield f'<operation name="{escape_attribute(operation.name)}">'
        yield f'<{soap}:operation soapAction="{escape_attribute(operation.action)}" style="{operation.style}"/>'
        yield f'<input>{body}</input>'
        if operation.response_element:
            yield f'<output>{body}</output>'
        yield '</operation>'
    yield '</binding>'


def _port(name: str, version: str, url: str) -> str:
    port_name = escape_attribute(name)
    return (f'<port name="{port_name}{_version_suffix(version)}" binding="here:{port_name}{_version_suffix(version)}">'
            f'<{_PREFIXES[version]}:address location="{escape_attribute(url)}"/></port>')


def _version_suffix(version: str) -> str:
    return 'Soap' + version.replace('.', '')
