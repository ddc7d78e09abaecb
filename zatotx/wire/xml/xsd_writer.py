"""Represents XML Schema types as Python objects, and serializes them as an XSD 1.0 schema. No I/O.

Supports what service messages need: typed text, enumerations, sequences of elements, and named types, which may be
recursive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from attrs import frozen

from zatotx.wire.xml.writer import escape_attribute, is_xml_name

XSD = 'http://www.w3.org/2001/XMLSchema'
_INVALID_CHARACTER = re.compile('[^A-Za-z0-9_.-]')


class XsdType:
    """The base class of XML Schema types."""


@frozen
class XsdScalar(XsdType):
    """A built-in type of XML Schema, such as 'string', 'long' or 'dateTime'."""

    name: str


@frozen
class Enumeration(XsdType):
    """A string type with a fixed set of values (xsd:enumeration)."""

    values: tuple[str, ...]


@frozen
class AnyType(XsdType):
    """A type that allows any elements."""


@frozen
class NamedType(XsdType):
    """A reference to a type of the schema by name."""

    name: str


@frozen
class XsdElement:
    """An XML Schema element declaration: name, type, and minimum and maximum occurrences."""

    name: str
    type: XsdType
    required: bool = True
    is_repeated: bool = False
    nillable: bool = False


@frozen
class XsdSequence(XsdType):
    """A complex type that is a sequence of elements (xsd:sequence)."""

    elements: tuple[XsdElement, ...]


STRING = XsdScalar('string')


@frozen(kw_only=True)
class XsdSchema:
    """An XML schema for one namespace. `types` are its named types, and `elements` the elements of messages."""

    namespace: str
    types: Mapping[str, XsdSequence]
    elements: tuple[XsdElement, ...]
    qualified: bool = True  # whether nested elements are in the namespace too


def to_type_name(text: str) -> str:
    """Convert text to a valid name of an XML Schema type."""
    name = _INVALID_CHARACTER.sub('_', text)
    return name if name[:1].isalpha() or name[:1] == '_' else f'_{name}'


def write_schema(schema: XsdSchema) -> str:
    """Serialize a schema. The prefix `tns` is bound to the target namespace of the schema, and `xsd` to the namespace
    of XML Schema."""
    form = 'qualified' if schema.qualified else 'unqualified'
    namespace = escape_attribute(schema.namespace)
    pieces = [f'<xsd:schema xmlns:xsd="{XSD}" xmlns:tns="{namespace}" targetNamespace="{namespace}" '
              f'elementFormDefault="{form}">']  # fmt: skip
    for name, type_ in sorted(schema.types.items()):
        pieces.append(f'<xsd:complexType name="{escape_attribute(name)}">')
        pieces.extend(_sequence(type_.elements))
        pieces.append('</xsd:complexType>')
    for element in schema.elements:
        pieces.extend(_element(element, top=True))
    pieces.append('</xsd:schema>')
    return ''.join(pieces)


def xsd_type_reference(type_: XsdType) -> str:
    """Return the qualified name with which a type is referenced, or '' for an anonymous type."""
    if isinstance(type_, XsdScalar):
        return f'xsd:{type_.name}'
    return f'tns:{type_.name}' if isinstance(type_, NamedType) else ''


def _element(element: XsdElement, *, top: bool = False) -> Iterable[str]:
    attributes = [f'<xsd:element name="{escape_attribute(element.name)}"']
    type_reference = xsd_type_reference(element.type)
    if type_reference:
        attributes.append(f'type="{escape_attribute(type_reference)}"')
    if not top:
        attributes.extend(_occurrence_attributes(element))
    if element.nillable:
        attributes.append('nillable="true"')
    yield ' '.join(attributes) + ('/>' if type_reference else '>')
    if not type_reference:
        yield from _inline_type(element.type)
        yield '</xsd:element>'


def _occurrence_attributes(element: XsdElement) -> Iterable[str]:
    if not element.required or element.is_repeated:
        yield 'minOccurs="0"'
    if element.is_repeated:
        yield 'maxOccurs="unbounded"'


def _inline_type(type_: XsdType) -> Iterable[str]:
    """Write the anonymous type of an element inline."""
    if isinstance(type_, Enumeration):
        yield '<xsd:simpleType><xsd:restriction base="xsd:string">'
        for value in type_.values:
            yield f'<xsd:enumeration value="{escape_attribute(value)}"/>'
        yield '</xsd:restriction></xsd:simpleType>'
    else:
        yield '<xsd:complexType>'
        yield from _sequence(type_.elements if isinstance(type_, XsdSequence) else None)
        yield '</xsd:complexType>'


def _sequence(elements: tuple[XsdElement, ...] | None) -> Iterable[str]:
    """Write a sequence of elements; of any elements for None."""
    yield '<xsd:sequence>'
    if elements is None:
        yield '<xsd:any minOccurs="0" maxOccurs="unbounded" processContents="lax"/>'
    for element in elements or ():
        if is_xml_name(element.name):  # elements with invalid names do not occur in messages either
            yield from _element(element)
    yield '</xsd:sequence>'
