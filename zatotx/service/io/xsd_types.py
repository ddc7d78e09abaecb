"""Which XML Schema type each declaration has: what `xml_plan` says of its form, in the words of a WSDL.

Where a declaration says no type, a text is said: WSDL has no word for "anything" that its clients can fill in.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import msgspec.inspect as mi

from zatotx.service.io import elements as e
from zatotx.service.io.description import ElementsOutput, Input, Output, TypedInput
from zatotx.service.io.elements import Element as Declared
from zatotx.service.io.elements import TimedElement
from zatotx.service.io.records import Dict, Field, ListOfDicts, Record
from zatotx.service.io.xml_output import ITEM_LIST
from zatotx.service.io.xml_plan import DICT
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
    type_name,
)

# The first class that an element is an instance of counts.
_ELEMENTS: tuple[tuple[type[Declared], str], ...] = (
    (e.Int, 'long'), (e.Float, 'double'), (e.Bool, 'boolean'), (e.Decimal, 'decimal'),
)  # fmt: skip
_PAIRS = XsdSequence(
    (XsdElement(ITEM, XsdSequence((XsdElement(KEY, STRING), XsdElement(VALUE, STRING, nillable=True))), many=True),)
)
_ZATO_ENV = XsdElement('zato_env', XsdSequence((XsdElement('cid', STRING), XsdElement('result', STRING))))
_SCALARS: Mapping[type[mi.Type], str] = {
    mi.BoolType: 'boolean', mi.FloatType: 'double', mi.DecimalType: 'decimal', mi.DateTimeType: 'dateTime',
    mi.DateType: 'date', mi.TimeType: 'time', mi.TimeDeltaType: 'duration', mi.BytesType: 'base64Binary',
    mi.ByteArrayType: 'base64Binary', mi.IntType: 'long',
}  # fmt: skip


class XsdTypes:
    """The types that the messages of one namespace name. `suffix`: what their names end in."""

    def __init__(self, suffix: str = '') -> None:
        self._suffix = suffix
        self.named: dict[str, XsdSequence] = {}
        self._names: dict[Hashable, str] = {}  # by the model

    def taken(self, declared: Input) -> XsdType:
        """What a declaration of input takes."""
        if isinstance(declared, TypedInput):
            return self.of_model(mi.type_info(declared.model))
        return XsdSequence(tuple(_of_field(field) for field in declared.fields))

    def given(self, declared: Output) -> XsdType:
        """What a declaration of output gives, with all that stands around its fields within the root."""
        if not isinstance(declared, ElementsOutput):
            return self.of_model(mi.type_info(declared.model))
        record = XsdSequence(tuple(_of_output(field, declared) for field in declared.fields))
        if not declared.element:
            return record
        if not declared.repeated:
            return XsdSequence((_ZATO_ENV, XsdElement(ITEM, record)))
        return XsdSequence((_ZATO_ENV, XsdElement(ITEM_LIST, XsdSequence((XsdElement(ITEM, record, many=True),)))))

    def of_model(self, info: mi.Type) -> XsdType:
        """Of a type that msgspec knows."""
        if isinstance(info, mi.Metadata):
            return self.of_model(info.type)
        if isinstance(info, mi.StructType | mi.DataclassType | mi.TypedDictType):
            return AnyType() if getattr(info, 'array_like', False) else self._object(info)
        if isinstance(info, mi.ListType | mi.SetType | mi.FrozenSetType | mi.VarTupleType):
            return XsdSequence((XsdElement(ITEM, self.of_model(info.item_type), many=True),))
        if isinstance(info, mi.DictType):
            pair = (XsdElement(KEY, STRING), XsdElement(VALUE, self.of_model(info.value_type)))
            return XsdSequence((XsdElement(ITEM, XsdSequence(pair), many=True),))
        return self._union(info) if isinstance(info, mi.UnionType) else _scalar(info)

    def _object(self, info: Any) -> NamedType:
        model = _model_of(info)
        name = self._names.get(model)
        if name is None:
            name = self._names[model] = self._free(type_name(info.cls.__name__))
            self.named[name] = XsdSequence(())  # it may hold itself
            self.named[name] = XsdSequence(tuple(self._fields(info)))
        return NamedType(name)

    def _fields(self, info: Any) -> Iterable[XsdElement]:
        if (tag := getattr(info, 'tag', None)) is not None:
            yield XsdElement(info.tag_field, Enumeration((str(tag),)))
        for field in info.fields:
            yield XsdElement(field.encode_name, self.of_model(field.type), required=field.required,
                          nillable=_may_be_none(field.type))

    def keep(self, wanted: str, type_: XsdSequence) -> NamedType:
        """Give a type a name."""
        name = self._free(type_name(wanted))
        self.named[name] = type_
        return NamedType(name)

    def _free(self, wanted: str) -> str:
        wanted = name = wanted + self._suffix
        number = 1
        while name in self.named:
            number += 1
            name = f'{wanted}{number}'
        return name

    def _union(self, info: mi.UnionType) -> XsdType:
        kinds = [one for one in info.types if not isinstance(one, mi.NoneType)]
        if len(kinds) == 1:
            return self.of_model(kinds[0])
        return STRING if all(_is_scalar(one) for one in kinds) else AnyType()


def _model_of(info: Any) -> Hashable:
    """What makes two descriptions those of one model: its class, and of a generic one what is in its fields."""
    cls: Hashable = info.cls
    return (cls, repr(info.fields)) if getattr(cls, '__parameters__', ()) else cls


def _of_field(field: Field) -> XsdElement:
    return XsdElement(field.name, _of_element(field.element), required=field.required,
                   nillable=field.element.takes_null and not field.required)


def _of_output(field: Field, declared: ElementsOutput) -> XsdElement:
    """One that was not set goes out as its default, or not at all; what stands in for a number may be an empty text."""
    left_out = bool(declared.skip_empty) and field.name not in declared.force_empty
    type_ = _in_pairs(field.element) or _of_element(field.element)
    return XsdElement(field.name, type_, required=field.required and not left_out, nillable=True)


def _in_pairs(element: Declared) -> XsdType | None:
    """What goes out as keys and values, though it may come with an element for each key: Zato's dicts."""
    if isinstance(element, ListOfDicts):
        return XsdSequence((XsdElement(DICT, _PAIRS, many=True),))
    return _PAIRS if isinstance(element, Dict) else None


def _of_element(element: Declared) -> XsdType:
    if isinstance(element, ListOfDicts):
        return XsdSequence((XsdElement(DICT, _of_record(element.item), many=True),))
    if isinstance(element, e.List):
        return XsdSequence((XsdElement(ITEM, STRING, many=True),))
    if isinstance(element, Record):
        return _of_record(element)
    if isinstance(element, TimedElement):
        return STRING if element.date_time_format else XsdScalar('date' if isinstance(element, e.Date) else 'dateTime')
    return XsdScalar(next((name for kind, name in _ELEMENTS if isinstance(element, kind)), 'string'))


def _of_record(record: Record) -> XsdType:
    return XsdSequence(tuple(_of_field(field) for field in record.fields)) if record.fields else AnyType()


def _scalar(info: mi.Type) -> XsdType:
    if isinstance(info, mi.EnumType):
        values = [one.value for one in info.cls]
    elif isinstance(info, mi.LiteralType):
        values = list(info.values)
    else:
        return XsdScalar(_SCALARS.get(type(info), 'string'))
    return Enumeration(tuple(values)) if all(isinstance(one, str) for one in values) else STRING


def _is_scalar(info: mi.Type) -> bool:
    inner = info.type if isinstance(info, mi.Metadata) else info
    return isinstance(inner, (*_SCALARS, mi.StrType, mi.EnumType, mi.LiteralType, mi.UUIDType))


def _may_be_none(info: mi.Type) -> bool:
    inner = info.type if isinstance(info, mi.Metadata) else info
    return isinstance(inner, mi.UnionType) and inner.includes_none


__all__ = ['XsdTypes']
