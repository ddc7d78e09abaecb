"""Maps declared input and output to XML Schema types for WSDL, matching the forms of `xml_plan`.

An element declared without a type is a string: WSDL clients cannot fill in elements of any type.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import msgspec.inspect as mi

from zatotx.service.io import elements as e
from zatotx.service.io.elements import DateTimeElement
from zatotx.service.io.elements import Element as Declared
from zatotx.service.io.records import Dict, Field, ListOfDicts, Record
from zatotx.service.io.service_io import ElementsOutput, Input, Output, TypedInput
from zatotx.service.io.xml_output import ITEM_LIST
from zatotx.service.io.xml_shape_builder import DICT
from zatotx.wire.xml.writer import ITEM, KEY, VALUE
from zatotx.wire.xml.xsd import (
    STRING,
    AnyType,
    Enumeration,
    NamedType,
    XsdElement,
    XsdScalar,
    XsdSequence,
    XsdType,
    to_type_name,
)

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
    """The named types of the messages in one namespace. `suffix` is appended to their names."""

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
        for field in info.fields:
            yield XsdElement(field.encode_name, self.model_type(field.type), required=field.required,
                          nillable=_may_be_none(field.type))

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


def _field_element(field: Field) -> XsdElement:
    return XsdElement(field.name, _element_type(field.element), required=field.required,
                   nillable=field.element.takes_null and not field.required)


def _output_element(field: Field, declared: ElementsOutput) -> XsdElement:
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
    if isinstance(element, DateTimeElement):
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


__all__ = ['XsdTypes']
