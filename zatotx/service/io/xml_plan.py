"""Which shape each declaration has in XML, worked out once a service."""

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

DICT = 'dict'  # what Zato calls each of a list of dicts that goes out
SCALAR = ScalarShape()
_OR_NULL = ScalarShape(nothing=None)
_TEXTS = (e.Text, e.CSV)


def input_shape(io: IO, namespace: str) -> XmlShape:
    """The shape of what a service takes, in a namespace: an object of its fields, or its model."""
    declared = io.input
    if declared is None:
        return ANYTHING
    if isinstance(declared, TypedInput):
        return model_shape(declared.model, namespace)
    return ObjectShape({f.name: element_shape(f.element, io.use_text) for f in declared.fields}, namespace=namespace)


def output_shape(declared: Output) -> XmlShape:
    """The shape of what a service gives: of one record, or of the model."""
    if isinstance(declared, ElementsOutput):
        return ObjectShape(_named((f.name, element_shape(f.element)) for f in declared.fields))
    return model_shape(declared.model)


def element_shape(element: Element, use_text: bool = True) -> XmlShape:
    """The shape of one element (feature map 3.5). A name without a type takes whatever there is."""
    if isinstance(element, ListOfDicts):
        return ItemsShape(_of_record(element.item, pairs=True), DICT)
    if isinstance(element, e.List):
        return ItemsShape(ANYTHING)
    if isinstance(element, Record):
        return _of_record(element, pairs=isinstance(element, Dict))
    if isinstance(element, (PlainElement, e.AsIs)):
        return ANYTHING if use_text else UntouchedShape()
    return TEXT if isinstance(element, _TEXTS) else SCALAR


def _of_record(record: Record, *, pairs: bool) -> XmlShape:
    fields = _named((f.name, element_shape(f.element)) for f in record.fields)
    if pairs:
        return ObjectShape(fields, pairs=True) if fields else PairsShape(ANYTHING)
    return ObjectShape(fields, closed=not fields)


def _named(fields: Iterable[tuple[str, XmlShape]]) -> dict[str, XmlShape]:
    return {name: shape if is_name(name) else UnnamedShape() for name, shape in fields}


def model_shape(model: Any, namespace: str = '') -> XmlShape:
    """The shape of a type that msgspec knows."""
    return _Models(namespace).shape(mi.type_info(model))


class _Models:
    """Shapes of the types of one model, which may hold each other."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._known: dict[
            int, ObjectShape
        ] = {}  # by the identity of what msgspec says of a model, which is one for each

    def shape(self, info: mi.Type) -> XmlShape:
        """Of one type."""
        made = _MAKERS.get(type(info))
        return SCALAR if made is None else made(self, info)

    def object(self, info: Any) -> XmlShape:
        """Of a Struct, a dataclass or a TypedDict."""
        if id(info) in self._known:
            return self._known[id(info)]
        closed = getattr(info, 'forbid_unknown_fields', False)
        made = self._known[id(info)] = ObjectShape({}, namespace=self._namespace, closed=closed)
        made.fields.update(_named((field.encode_name, self.shape(field.type)) for field in info.fields))
        # Readers of WSDL take a null record for one of nothing but nulls.
        made.left_out = frozenset(field.encode_name for field in info.fields if field.default is None)
        if (tag := getattr(info, 'tag', None)) is not None:
            made.fields[info.tag_field] = TEXT if isinstance(tag, str) else IntTagShape()
        return made

    def struct(self, info: mi.StructType) -> XmlShape:
        """Of a Struct, which may be written as a list."""
        return (
            RowShape(tuple(self.shape(field.type) for field in info.fields)) if info.array_like else self.object(info)
        )

    def named_tuple(self, info: mi.NamedTupleType) -> XmlShape:
        """Of a NamedTuple."""
        return RowShape(tuple(self.shape(field.type) for field in info.fields))

    def row(self, info: mi.TupleType) -> XmlShape:
        """Of a tuple of so many places."""
        return RowShape(tuple(self.shape(item) for item in info.item_types))

    def items(self, info: mi.CollectionType) -> XmlShape:
        """Of a list, a set and the like."""
        return ItemsShape(self.shape(info.item_type))

    def pairs(self, info: mi.DictType) -> XmlShape:
        """Of a dict."""
        return PairsShape(self.shape(info.value_type))

    def inner(self, info: mi.Metadata) -> XmlShape:
        """Of a type that something more is said about."""
        return self.shape(info.type)

    def union(self, info: mi.UnionType) -> XmlShape:
        """Of what is None or something else, or one of several."""
        kinds = [one for one in info.types if not isinstance(one, mi.NoneType)]
        shapes = [self.shape(one) for one in kinds]
        if len(shapes) == 1:
            only = shapes[0]
            return evolve(only, nothing=None) if isinstance(only, ScalarShape) and info.includes_none else only
        scalars = [shape for shape in shapes if isinstance(shape, ScalarShape | type(TEXT))]
        return UnionShape(
            scalar=(TEXT if TEXT in scalars else _OR_NULL if info.includes_none else SCALAR) if scalars else ANYTHING,
            lists=next((shape for shape in shapes if isinstance(shape, ItemsShape | RowShape)), None),
            objects={str(getattr(kind, 'tag', None) or ''): shape
                     for kind, shape in zip(kinds, shapes, strict=True) if isinstance(shape, ObjectShape | PairsShape)},
            tag_field=next((found for kind in kinds if (found := getattr(kind, 'tag_field', None))), ''),
        )  # fmt: skip


def _one_of(values: Iterable[Any]) -> XmlShape:
    return TEXT if all(isinstance(value, str) for value in values) else SCALAR


_MAKERS: dict[type[mi.Type], Callable[[_Models, Any], XmlShape]] = {
    mi.AnyType: lambda models, info: ANYTHING,
    mi.CustomType: lambda models, info: ANYTHING,
    mi.RawType: lambda models, info: ANYTHING,
    mi.IntType: lambda models, info: NumeralShape(of=int),
    mi.FloatType: lambda models, info: NumeralShape(of=float),
    mi.StrType: lambda models, info: TEXT,
    mi.EnumType: lambda models, info: _one_of(one.value for one in info.cls),
    mi.LiteralType: lambda models, info: _one_of(info.values),
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
