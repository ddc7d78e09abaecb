"""Builds the XML shapes of declared input and output, once per service. An XML shape is an object that reads and writes
the XML form of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec.inspect as mi
from attrs import evolve

from zatotx.service.io import elements as e
from zatotx.service.io.elements import Element
from zatotx.service.io.io_declaration import ElementsOutput, Output, ServiceIO, TypedInput
from zatotx.service.io.record_elements import Dict, ListOfDicts, Record, UntypedElement
from zatotx.service.io.xml_shapes import (
    ANY_SHAPE,
    TEXT_SHAPE,
    IntTagShape,
    ListShape,
    MappingShape,
    NumberShape,
    ObjectShape,
    RawElementShape,
    ScalarShape,
    TupleShape,
    UnionShape,
    UnwritableNameShape,
    XmlShape,
)
from zatotx.wire.xml.writer import is_xml_name

DICT = 'dict'  # Zato's name of the items in a list of dicts that is output
SCALAR = ScalarShape()
_OR_NULL = ScalarShape(empty_value=None)
_TEXTS = (e.Text, e.CSV)


def xml_input_shape(io: ServiceIO, namespace: str) -> XmlShape:
    """Return the XML shape of declared input in a namespace."""
    declared = io.input
    if declared is None:
        return ANY_SHAPE
    if isinstance(declared, TypedInput):
        return xml_model_shape(declared.model, namespace)
    return ObjectShape(
        {field.name: xml_element_shape(field.element, io.use_text) for field in declared.fields}, namespace=namespace
    )


def xml_output_shape(declared: Output) -> XmlShape:
    """Return the XML shape of declared output, which is a record or a model."""
    if isinstance(declared, ElementsOutput):
        return ObjectShape(_named((field.name, xml_element_shape(field.element)) for field in declared.fields))
    return xml_model_shape(declared.model)


def xml_element_shape(element: Element, use_text: bool = True) -> XmlShape:
    """Return the XML shape of one element. If the element has no type, the shape accepts any content."""
    if isinstance(element, ListOfDicts):
        return ListShape(_record_shape(element.item, pairs=True), DICT)
    if isinstance(element, e.List):
        return ListShape(ANY_SHAPE)
    if isinstance(element, Record):
        return _record_shape(element, pairs=isinstance(element, Dict))
    if isinstance(element, (UntypedElement, e.AsIs)):
        return ANY_SHAPE if use_text else RawElementShape()
    return TEXT_SHAPE if isinstance(element, _TEXTS) else SCALAR


def _record_shape(record: Record, *, pairs: bool) -> XmlShape:
    fields = _named((field.name, xml_element_shape(field.element)) for field in record.fields)
    if pairs:
        return ObjectShape(fields, pairs=True) if fields else MappingShape(ANY_SHAPE)
    return ObjectShape(fields, closed=not fields)


def _named(fields: Iterable[tuple[str, XmlShape]]) -> dict[str, XmlShape]:
    """Return the shapes by name; fields whose name is not a valid XML name cannot be written."""
    return {name: shape if is_xml_name(name) else UnwritableNameShape() for name, shape in fields}


def xml_model_shape(model: Any, namespace: str = '') -> XmlShape:
    """Return the XML shape of a type that msgspec supports."""
    return _Models(namespace).shape(mi.type_info(model))


class _Models:
    """Creates the shapes of the types of one model, which may contain each other."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._known: dict[int, ObjectShape] = {}  # by id of msgspec's type info, which is unique per model

    def shape(self, info: mi.Type) -> XmlShape:
        """Return the shape of a type."""
        make = _MAKERS.get(type(info))
        return SCALAR if make is None else make(self, info)

    def object(self, info: Any) -> XmlShape:
        """Return the shape of a Struct, a dataclass or a TypedDict."""
        if id(info) in self._known:
            return self._known[id(info)]
        closed = getattr(info, 'forbid_unknown_fields', False)
        shape = self._known[id(info)] = ObjectShape({}, namespace=self._namespace, closed=closed)
        shape.fields.update(_named((field.encode_name, self.shape(field.type)) for field in info.fields))
        # WSDL clients would read a null record as a record of nulls.
        shape.omitted_if_none = frozenset(field.encode_name for field in info.fields if field.default is None)
        if (tag := getattr(info, 'tag', None)) is not None:
            shape.fields[info.tag_field] = TEXT_SHAPE if isinstance(tag, str) else IntTagShape()
        return shape

    def struct(self, info: mi.StructType) -> XmlShape:
        """Return the shape of a Struct, which may be encoded as a list."""
        return (
            TupleShape(tuple(self.shape(field.type) for field in info.fields)) if info.array_like else self.object(info)
        )

    def named_tuple(self, info: mi.NamedTupleType) -> XmlShape:
        """Return the shape of a NamedTuple."""
        return TupleShape(tuple(self.shape(field.type) for field in info.fields))

    def row(self, info: mi.TupleType) -> XmlShape:
        """Return the shape of a tuple of fixed length."""
        return TupleShape(tuple(self.shape(item) for item in info.item_types))

    def items(self, info: mi.CollectionType) -> XmlShape:
        """Return the shape of a list, a set or a similar collection."""
        return ListShape(self.shape(info.item_type))

    def pairs(self, info: mi.DictType) -> XmlShape:
        """Return the shape of a dict."""
        return MappingShape(self.shape(info.value_type))

    def inner(self, info: mi.Metadata) -> XmlShape:
        """Return the shape of an annotated type."""
        return self.shape(info.type)

    def union(self, info: mi.UnionType) -> XmlShape:
        """Return the shape of an optional type or a union."""
        kinds = [member for member in info.types if not isinstance(member, mi.NoneType)]
        shapes = [self.shape(member) for member in kinds]
        if len(shapes) == 1:
            only = shapes[0]
            return evolve(only, empty_value=None) if isinstance(only, ScalarShape) and info.includes_none else only
        scalars = [shape for shape in shapes if isinstance(shape, ScalarShape | type(TEXT_SHAPE))]
        return UnionShape(
            scalar=(TEXT_SHAPE if TEXT_SHAPE in scalars else _OR_NULL if info.includes_none else SCALAR)
            if scalars
            else ANY_SHAPE,
            lists=next((shape for shape in shapes if isinstance(shape, ListShape | TupleShape)), None),
            objects={
                str(getattr(kind, 'tag', None) or ''): shape
                for kind, shape in zip(kinds, shapes, strict=True)
                if isinstance(shape, ObjectShape | MappingShape)
            },
            tag_field=next((tag_name for kind in kinds if (tag_name := getattr(kind, 'tag_field', None))), ''),
        )


def _values_shape(values: Iterable[Any]) -> XmlShape:
    return TEXT_SHAPE if all(isinstance(value, str) for value in values) else SCALAR


_MAKERS: dict[type[mi.Type], Callable[[_Models, Any], XmlShape]] = {
    mi.AnyType: lambda models, info: ANY_SHAPE,
    mi.CustomType: lambda models, info: ANY_SHAPE,
    mi.RawType: lambda models, info: ANY_SHAPE,
    mi.IntType: lambda models, info: NumberShape(convert=int),
    mi.FloatType: lambda models, info: NumberShape(convert=float),
    mi.StrType: lambda models, info: TEXT_SHAPE,
    mi.EnumType: lambda models, info: _values_shape(member.value for member in info.cls),
    mi.LiteralType: lambda models, info: _values_shape(info.values),
    mi.StructType: _Models.struct,
    mi.DataclassType: _Models.object,
    mi.TypedDictType: _Models.object,
    mi.NamedTupleType: _Models.named_tuple,
    mi.TupleType: _Models.row,
    mi.ListType: _Models.items,
    mi.SetType: _Models.items,
    mi.FrozenSetType: _Models.items,
    mi.VarTupleType: _Models.items,
    mi.DictType: _Models.pairs,
    mi.Metadata: _Models.inner,
    mi.UnionType: _Models.union,
}
