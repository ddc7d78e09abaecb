"""XML Schema types as values, and as the text of a schema (XSD 1.0). Pure.

Only what messages of services need: texts with a type, enumerations, sequences of elements, and types by name, which
may hold themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from attrs import frozen

from zatotx.wire.xml.writer import attribute, is_name

XSD = 'http://www.w3.org/2001/XMLSchema'
_NO_NAME = re.compile('[^A-Za-z0-9_.-]')


class XsdType:
    """What an element may hold."""


@frozen
class XsdScalar(XsdType):
    """A text of one of XML Schema's own types: 'string', 'long', 'dateTime' …"""

    name: str


@frozen
class Enumeration(XsdType):
    """One of these texts."""

    values: tuple[str, ...]


@frozen
class AnyType(XsdType):
    """Any elements, or none."""


@frozen
class NamedType(XsdType):
    """A type of the schema's own, by its name."""

    name: str


@frozen
class XsdElement:
    """One element, and how often it may be there."""

    name: str
    type: XsdType
    required: bool = True
    many: bool = False
    nillable: bool = False


@frozen
class XsdSequence(XsdType):
    """Elements, one after the other."""

    elements: tuple[XsdElement, ...]


STRING = XsdScalar('string')


@frozen(kw_only=True)
class XsdSchema:
    """The schema of one namespace. `types`: those with names; `elements`: what messages are made of."""

    namespace: str
    types: Mapping[str, XsdSequence]
    elements: tuple[XsdElement, ...]
    qualified: bool = True  # whether elements within elements are in the namespace too


def type_name(text: str) -> str:
    """The text as a name that a type may have."""
    name = _NO_NAME.sub('_', text)
    return name if name[:1].isalpha() or name[:1] == '_' else f'_{name}'


def schema_text(schema: XsdSchema) -> str:
    """The schema, whose own prefix is `tns` and XML Schema's is `xsd`."""
    form = 'qualified' if schema.qualified else 'unqualified'
    namespace = attribute(schema.namespace)
    pieces = [f'<xsd:schema xmlns:xsd="{XSD}" xmlns:tns="{namespace}" targetNamespace="{namespace}" '
              f'elementFormDefault="{form}">']  # fmt: skip
    for name, type_ in sorted(schema.types.items()):
        pieces.append(f'<xsd:complexType name="{attribute(name)}">')
        pieces.extend(_sequence(type_.elements))
        pieces.append('</xsd:complexType>')
    for element in schema.elements:
        pieces.extend(_element(element, top=True))
    pieces.append('</xsd:schema>')
    return ''.join(pieces)


def reference(type_: XsdType) -> str:
    """How a type is named where it is used; '' for one that has no name."""
    if isinstance(type_, XsdScalar):
        return f'xsd:{type_.name}'
    return f'tns:{type_.name}' if isinstance(type_, NamedType) else ''


def _element(element: XsdElement, *, top: bool = False) -> Iterable[str]:
    words = [f'<xsd:element name="{attribute(element.name)}"']
    named = reference(element.type)
    if named:
        words.append(f'type="{attribute(named)}"')
    if not top:
        words.extend(_often(element))
    if element.nillable:
        words.append('nillable="true"')
    yield ' '.join(words) + ('/>' if named else '>')
    if not named:
        yield from _inside(element.type)
        yield '</xsd:element>'


def _often(element: XsdElement) -> Iterable[str]:
    if not element.required or element.many:
        yield 'minOccurs="0"'
    if element.many:
        yield 'maxOccurs="unbounded"'


def _inside(type_: XsdType) -> Iterable[str]:
    """The type of an element, written where the element is."""
    if isinstance(type_, Enumeration):
        yield '<xsd:simpleType><xsd:restriction base="xsd:string">'
        for value in type_.values:
            yield f'<xsd:enumeration value="{attribute(value)}"/>'
        yield '</xsd:restriction></xsd:simpleType>'
    else:
        yield '<xsd:complexType>'
        yield from _sequence(type_.elements if isinstance(type_, XsdSequence) else None)
        yield '</xsd:complexType>'


def _sequence(elements: tuple[XsdElement, ...] | None) -> Iterable[str]:
    """A sequence of elements; of any, for None."""
    yield '<xsd:sequence>'
    if elements is None:
        yield '<xsd:any minOccurs="0" maxOccurs="unbounded" processContents="lax"/>'
    for element in elements or ():
        if is_name(element.name):  # any other is in no message either
            yield from _element(element)
    yield '</xsd:sequence>'
