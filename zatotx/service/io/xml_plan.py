"""Maps declared input and output to their XML shapes, once per service."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec.inspect as mi
from attrs import evolve

from zatotx.service.io import elements as e
from zatotx.service.io.description import IO, ElementsOutput, Output, TypedInput
from zatotx.service.io.elements import Element
from zatotx.service.io.records import Dict, ListOfDicts, PlainElement, Record
from zatotx.service.io.xml_shapes import (
    ANYTHING,
    TEXT,
    IntTagShape,
    ItemsShape,
    NumeralShape,
    ObjectShape,
    PairsShape,
    RowShape,
    ScalarShape,
    UnionShape,
    UnnamedShape,
    UntouchedShape,
    XmlShape,
)
from zatotx.wire.xml.writer import is_name

DICT = 'dict'  # Zato's name of the items in a list of dicts that is output
SCALAR = ScalarShape()
_OR_NULL = ScalarShape(nothing=None)
_TEXTS = (e.Text, e.CSV)


def input_shape(io: IO, namespace: str) -> XmlShape:
    """Return the shape of declared input in a namespace: an object with its fields, or the model."""
    declared = io.input
    if declared is None:
        return ANYTHING
    if isinstance(declared, TypedInput):
        return model_shape(declared.model, namespace)
    return ObjectShape(
        {field.name: element_shape(field.element, io.use_text) for field in declared.fields}, namespace=namespace
    )


def output_shape(declared: Output) -> XmlShape:
    """Return the shape of declared output: of one record, or of the model."""
    if isinstance(declared, ElementsOutput):
        return ObjectShape(_named((field.name, element_shape(field.element)) for field in declared.fields))
    return model_shape(declared.model)


def element_shape(element: Element, use_text: bool = True) -> XmlShape:
    """Return the shape of one element (feature map 3.5). A name without a type accepts any content."""
    if isinstance(element, ListOfDicts):
        return ItemsShape(_record_shape(element.item, pairs=True), DICT)
    if isinstance(element, e.List):
        return ItemsShape(ANYTHING)
    if isinstance(element, Record):
        return _record_shape(element, pairs=isinstance(element, Dict))
    if isinstance(element, (PlainElement, e.AsIs)):
        return ANYTHING if use_text else UntouchedShape()
    return TEXT if isinstance(element, _TEXTS) else SCALAR


def _record_shape(record: Record, *, pairs: bool) -> XmlShape:
    fields = _named((field.name, element_shape(field.element)) for field in record.fields)
    if pairs:
        return ObjectShape(fields, pairs=True) if fields else PairsShape(ANYTHING)
    return ObjectShape(fields, closed=not fields)


def _named(fields: Iterable[tuple[str, XmlShape]]) -> dict[str, XmlShape]:
    """Return the shapes by name; fields whose name is not a valid XML name cannot be written."""
    return {name: shape if is_name(name) else UnnamedShape() for name, shape in fields}


def model_shape(model: Any, namespace: str = '') -> XmlShape:
    """Return the shape of a type that msgspec supports."""
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
        shape.left_out = frozenset(field.encode_name for field in info.fields if field.default is None)
        if (tag := getattr(info, 'tag', None)) is not None:
            shape.fields[info.tag_field] = TEXT if isinstance(tag, str) else IntTagShape()
        return shape

    def struct(self, info: mi.StructType) -> XmlShape:
        """Return the shape of a Struct, which may be encoded as a list."""
        return (
            RowShape(tuple(self.shape(field.type) for field in info.fields)) if info.array_like else self.object(info)
        )

    def named_tuple(self, info: mi.NamedTupleType) -> XmlShape:
        """Return the shape of a NamedTuple."""
        return RowShape(tuple(self.shape(field.type) for field in info.fields))

    def row(self, info: mi.TupleType) -> XmlShape:
        """Return the shape of a tuple of fixed length."""
        return RowShape(tuple(self.shape(item) for item in info.item_types))

    def items(self, info: mi.CollectionType) -> XmlShape:
        """Return the shape of a list, a set or a similar collection."""
        return ItemsShape(self.shape(info.item_type))

    def pairs(self, info: mi.DictType) -> XmlShape:
        """Return the shape of a dict."""
        return PairsShape(self.shape(info.value_type))

    def inner(self, info: mi.Metadata) -> XmlShape:
        """Return the shape of an annotated type."""
        return self.shape(info.type)

    def union(self, info: mi.UnionType) -> XmlShape:
        """Return the shape of an optional type or a union."""
        kinds = [member for member in info.types if not isinstance(member, mi.NoneType)]
        shapes = [self.shape(member) for member in kinds]
        if len(shapes) == 1:
            only = shapes[0]
            return evolve(only, nothing=None) if isinstance(only, ScalarShape) and info.includes_none else only
        scalars = [shape for shape in shapes if isinstance(shape, ScalarShape | type(TEXT))]
        return UnionShape(
            scalar=(TEXT if TEXT in scalars else _OR_NULL if info.includes_none else SCALAR) if scalars else ANYTHING,
            lists=next((shape for shape in shapes if isinstance(shape, ItemsShape | RowShape)), None),
            objects={str(getattr(kind, 'tag', None) or ''): shape
                     for kind, shape in zip(kinds, shapes, strict=True) if isinstance(shape, ObjectShape | PairsShape)},
            tag_field=next((tag_name for kind in kinds if (tag_name := getattr(kind, 'tag_field', None))), ''),
        )  # fmt: skip


def _values_shape(values: Iterable[Any]) -> XmlShape:
    return TEXT if all(isinstance(value, str) for value in values) else SCALAR


_MAKERS: dict[type[mi.Type], Callable[[_Models, Any], XmlShape]] = {
    mi.AnyType: lambda models, info: ANYTHING,
    mi.CustomType: lambda models, info: ANYTHING,
    mi.RawType: lambda models, info: ANYTHING,
    mi.IntType: lambda models, info: NumeralShape(of=int),
    mi.FloatType: lambda models, info: NumeralShape(of=float),
    mi.StrType: lambda models, info: TEXT,
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
