"""Builds the WSDL model of SOAP channels, which consists of operations and the schemas of their messages."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import msgspec.inspect as mi
from attrs import define, field, frozen

from zatotx.interfaces.services import IServiceEntry
from zatotx.model.errors import Conflict
from zatotx.service.io import elements as e
from zatotx.service.io.elements import BaseDateElement
from zatotx.service.io.elements import Element as Declared
from zatotx.service.io.io_declaration import ElementsOutput, Input, Output, ServiceIO, TypedInput
from zatotx.service.io.record_elements import DeclaredField, Dict, ListOfDicts, Record
from zatotx.service.io.xml_codec import ITEM_LIST
from zatotx.service.io.xml_shape_builder import DICT
from zatotx.wire.soap.soap_action import operation_message_namespace, operation_name, response_name, unquote_action
from zatotx.wire.soap.wsdl_writer import DOCUMENT, RPC, WsdlOperation
from zatotx.wire.xml.writer import ITEM, KEY, VALUE, is_xml_name
from zatotx.wire.xml.xsd_writer import (
    STRING,
    AnyType,
    Enumeration,
    NamedType,
    XsdElement,
    XsdScalar,
    XsdSchema,
    XsdSequence,
    XsdType,
    to_type_name,
)
from zatotx.wire.xml.xsd_writer import XsdSequence as Elements

# Maps declared input and output to XML Schema types for WSDL, matching the forms of `xml_plan`.
#
# An element declared without a type is a string: WSDL clients cannot fill in elements of any type.

# The first class that matches applies.
_ELEMENTS: tuple[tuple[type[Declared], str], ...] = (
    (e.Int, 'long'), (e.Float, 'double'), (e.Bool, 'boolean'), (e.Decimal, 'decimal'),
)  # fmt: skip
_PAIRS = XsdSequence(
    (
        XsdElement(
            ITEM, XsdSequence((XsdElement(KEY, STRING), XsdElement(VALUE, STRING, nillable=True))), is_repeated=True
        ),
    )
)
_ZATO_ENV = XsdElement('zato_env', XsdSequence((XsdElement('cid', STRING), XsdElement('result', STRING))))
_SCALARS: Mapping[type[mi.Type], str] = {
    mi.BoolType: 'boolean', mi.FloatType: 'double', mi.DecimalType: 'decimal', mi.DateTimeType: 'dateTime',
    mi.DateType: 'date', mi.TimeType: 'time', mi.TimeDeltaType: 'duration', mi.BytesType: 'base64Binary',
    mi.ByteArrayType: 'base64Binary', mi.IntType: 'long',
}  # fmt: skip


class XsdTypes:
    """Creates the named XSD types for the messages of one namespace. `suffix` is appended to the names of the types."""

    def __init__(self, suffix: str = '') -> None:
        self._suffix = suffix
        self.named: dict[str, XsdSequence] = {}
        self._names: dict[Hashable, str] = {}  # model -> name

    def input_type(self, declared: Input) -> XsdType:
        """Return the type of declared input."""
        if isinstance(declared, TypedInput):
            return self.model_type(mi.type_info(declared.model))
        return XsdSequence(tuple(_field_element(field) for field in declared.fields))

    def output_type(self, declared: Output) -> XsdType:
        """Return the type of declared output, including the elements that wrap its fields."""
        if not isinstance(declared, ElementsOutput):
            return self.model_type(mi.type_info(declared.model))
        record = XsdSequence(tuple(_output_element(field, declared) for field in declared.fields))
        if not declared.element:
            return record
        if not declared.repeated:
            return XsdSequence((_ZATO_ENV, XsdElement(ITEM, record)))
        return XsdSequence(
            (_ZATO_ENV, XsdElement(ITEM_LIST, XsdSequence((XsdElement(ITEM, record, is_repeated=True),))))
        )

    def model_type(self, info: mi.Type) -> XsdType:
        """Return the type for a type that msgspec supports."""
        if isinstance(info, mi.Metadata):
            return self.model_type(info.type)
        if isinstance(info, mi.StructType | mi.DataclassType | mi.TypedDictType):
            return AnyType() if getattr(info, 'array_like', False) else self._object(info)
        if isinstance(info, mi.ListType | mi.SetType | mi.FrozenSetType | mi.VarTupleType):
            return XsdSequence((XsdElement(ITEM, self.model_type(info.item_type), is_repeated=True),))
        if isinstance(info, mi.DictType):
            pair = (XsdElement(KEY, STRING), XsdElement(VALUE, self.model_type(info.value_type)))
            return XsdSequence((XsdElement(ITEM, XsdSequence(pair), is_repeated=True),))
        return self._union(info) if isinstance(info, mi.UnionType) else _scalar(info)

    def _object(self, info: Any) -> NamedType:
        model = _model_of(info)
        name = self._names.get(model)
        if name is None:
            name = self._names[model] = self._unused_name(to_type_name(info.cls.__name__))
            self.named[name] = XsdSequence(())  # defined first, as the type may contain itself
            self.named[name] = XsdSequence(tuple(self._fields(info)))
        return NamedType(name)

    def _fields(self, info: Any) -> Iterable[XsdElement]:
        if (tag := getattr(info, 'tag', None)) is not None:
            yield XsdElement(info.tag_field, Enumeration((str(tag),)))
        for member in info.fields:
            yield XsdElement(member.encode_name, self.model_type(member.type), required=member.required,
                             nillable=_may_be_none(member.type))

    def define_type(self, proposed: str, type_: XsdSequence) -> NamedType:
        """Define a named type."""
        name = self._unused_name(to_type_name(proposed))
        self.named[name] = type_
        return NamedType(name)

    def _unused_name(self, proposed: str) -> str:
        proposed += self._suffix
        name = proposed
        number = 1
        while name in self.named:
            number += 1
            name = f'{proposed}{number}'
        return name

    def _union(self, info: mi.UnionType) -> XsdType:
        kinds = [member for member in info.types if not isinstance(member, mi.NoneType)]
        if len(kinds) == 1:
            return self.model_type(kinds[0])
        return STRING if all(_is_scalar(member) for member in kinds) else AnyType()


def _model_of(info: Any) -> Hashable:
    """Return a key that identifies the model of a description: its class, for a generic one with its field types."""
    cls: Hashable = info.cls
    return (cls, repr(info.fields)) if getattr(cls, '__parameters__', ()) else cls


def _field_element(field: DeclaredField) -> XsdElement:
    return XsdElement(field.name, _element_type(field.element), required=field.required,
                   nillable=field.element.takes_null and not field.required)


def _output_element(field: DeclaredField, declared: ElementsOutput) -> XsdElement:
    """Return the element of an output field, which may be missing or empty if the service did not set it."""
    may_be_missing = bool(declared.skip_empty) and field.name not in declared.force_empty
    type_ = _pairs_type(field.element) or _element_type(field.element)
    return XsdElement(field.name, type_, required=field.required and not may_be_missing, nillable=True)


def _pairs_type(element: Declared) -> XsdType | None:
    """Return the type of dicts, which are output as keys and values as in Zato; None for other elements."""
    if isinstance(element, ListOfDicts):
        return XsdSequence((XsdElement(DICT, _PAIRS, is_repeated=True),))
    return _PAIRS if isinstance(element, Dict) else None


def _element_type(element: Declared) -> XsdType:
    if isinstance(element, ListOfDicts):
        return XsdSequence((XsdElement(DICT, _record_type(element.item), is_repeated=True),))
    if isinstance(element, e.List):
        return XsdSequence((XsdElement(ITEM, STRING, is_repeated=True),))
    if isinstance(element, Record):
        return _record_type(element)
    if isinstance(element, BaseDateElement):
        return STRING if element.date_time_format else XsdScalar('date' if isinstance(element, e.Date) else 'dateTime')
    return XsdScalar(next((name for kind, name in _ELEMENTS if isinstance(element, kind)), 'string'))


def _record_type(record: Record) -> XsdType:
    return XsdSequence(tuple(_field_element(field) for field in record.fields)) if record.fields else AnyType()


def _scalar(info: mi.Type) -> XsdType:
    if isinstance(info, mi.EnumType):
        values = [member.value for member in info.cls]
    elif isinstance(info, mi.LiteralType):
        values = list(info.values)
    else:
        return XsdScalar(_SCALARS.get(type(info), 'string'))
    return Enumeration(tuple(values)) if all(isinstance(value, str) for value in values) else STRING


def _is_scalar(info: mi.Type) -> bool:
    inner = info.type if isinstance(info, mi.Metadata) else info
    return isinstance(inner, (*_SCALARS, mi.StrType, mi.EnumType, mi.LiteralType, mi.UUIDType))


def _may_be_none(info: mi.Type) -> bool:
    inner = info.type if isinstance(info, mi.Metadata) else info
    return isinstance(inner, mi.UnionType) and inner.includes_none


_RPC = 'Rpc'  # suffix of the names of types with unqualified elements


@frozen
class WsdlChannelInput:
    """An active SOAP channel (plugins.http.schema.SoapChannel) and its service, from which WSDL is generated."""

    channel: Any
    entry: IServiceEntry
    doc: str


@define
class _Namespace:
    """The types and elements of one namespace, qualified or unqualified."""

    namespace: str
    qualified: bool
    types: XsdTypes
    elements: dict[str, tuple[XsdElement, str]] = field(factory=dict)  # element and the channel that defines it

    def element(self, name: str, type_: XsdType, channel: str) -> None:
        """Define an element of a message. Raises Conflict if another channel defines a different one of that name."""
        new = XsdElement(name, type_)
        existing, other_channel = self.elements.setdefault(name, (new, channel))
        if existing != new:
            raise Conflict(
                None, f'SOAP channels {other_channel!r} and {channel!r} have different elements called {name!r} '
                      f'in the namespace {self.namespace!r}: give one another namespace, or its SimpleIO another '
                      'response_elem'
            )  # fmt: skip

    def schema(self) -> XsdSchema:
        return XsdSchema(namespace=self.namespace, types=self.types.named, qualified=self.qualified,
                      elements=tuple(element for element, _ in self.elements.values()))


class UrlWsdlBuilder:
    """Builds the WSDL description of one URL from the operations of its channels."""

    def __init__(self) -> None:
        self.operations: list[WsdlOperation] = []
        self._namespaces: dict[tuple[str, bool], _Namespace] = {}

    def add_channel(self, offered: WsdlChannelInput) -> None:
        """Add the operation of a channel. Raises Conflict."""
        channel, entry = offered.channel, offered.entry
        io: ServiceIO = entry.metadata.io
        action = unquote_action(channel.soap_action)
        name = operation_name(action, entry.name, channel.operation)
        rpc = channel.style == RPC
        response_namespace = operation_message_namespace(channel.namespace, entry.name, io.namespace)
        request_namespace = response_namespace if rpc or not io.namespace else io.namespace
        request, response = io.request_elem or name, '' if channel.one_way else io.element or response_name(name)
        request_types = self._namespace(request_namespace, rpc)
        response_types = self._namespace(response_namespace, rpc)
        input_type = AnyType() if io.input is None else request_types.types.input_type(io.input)
        output_type = AnyType() if io.output is None else response_types.types.output_type(io.output)
        operation = WsdlOperation(
            name=self._unused_name(name), action=action, namespace=response_namespace, doc=offered.doc,
            style=channel.style,
            request_element=request, request_namespace=request_namespace, response_element=response,
            input_parts=_message_parts(input_type, name, request_types.types) if rpc else (),
            output_parts=_message_parts(output_type, name, response_types.types) if rpc else (),
        )  # fmt: skip
        if channel.style == DOCUMENT:
            request_types.element(request, input_type, channel.name)
            if response:
                response_types.element(response, output_type, channel.name)
        self.operations.append(operation)

    def schemas(self) -> Sequence[XsdSchema]:
        """Return the schemas of all messages."""
        return [namespace.schema() for namespace in self._namespaces.values()]

    def _namespace(self, namespace: str, rpc: bool) -> _Namespace:
        key = namespace, not rpc
        if key not in self._namespaces:
            self._namespaces[key] = _Namespace(*key, XsdTypes(_RPC if rpc else ''))
        return self._namespaces[key]

    def _unused_name(self, proposed: str) -> str:
        used = {operation.name for operation in self.operations}
        name, number = proposed, 1
        while name in used:
            number += 1
            name = f'{proposed}{number}'
        return name


def _message_parts(message_type: XsdType, operation: str, types: XsdTypes) -> tuple[XsdElement, ...]:
    """Return the parts of an RPC message, each with a named type."""
    resolved = types.named[message_type.name] if isinstance(message_type, NamedType) else message_type
    elements: Iterable[XsdElement] = resolved.elements if isinstance(resolved, Elements) else ()
    return tuple(
        XsdElement(element.name, _named_type(element, operation, types))
        for element in elements
        if is_xml_name(element.name)
    )


def _named_type(part: XsdElement, operation: str, types: XsdTypes) -> XsdType:
    if isinstance(part.type, Elements):
        return types.define_type(f'{operation}_{part.name}', part.type)
    if isinstance(part.type, Enumeration):
        return STRING
    return XsdScalar('anyType') if isinstance(part.type, AnyType) else part.type
