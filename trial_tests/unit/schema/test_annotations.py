"""zatotx.schema.annotations reads Structs as msgspec does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, inspect
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.odb import TYPES
from zatotx.schema.annotations import BOUNDS, inspect_annotation, struct_annotations, struct_defaults

KINDS = {
    inspect.StrType: 'text', inspect.BoolType: 'bool', inspect.IntType: 'int', inspect.FloatType: 'float',
    inspect.DateTimeType: 'datetime', inspect.ListType: 'list', inspect.VarTupleType: 'list',
    inspect.DictType: 'mapping', inspect.StructType: 'mapping',
}  # fmt: skip


class Nested(msgspec.Struct):
    value: int = 1


class Base(msgspec.Struct, kw_only=True):
    """The fields that a subclass inherits."""

    name: Annotated[str, Meta(min_length=1, description='Its name', extra={'secret': 'hashed'})]
    count: Annotated[int, Meta(ge=1)] | None = None


class Everything(Base, kw_only=True):
    """Each form of annotation that object types use, and some that they do not."""

    share: Annotated[float, Meta(gt=0, lt=9)] = 0.5
    other: int = 0
    when: datetime | None = None
    enabled: bool
    anything: Any = None
    choice: Literal['a', 'b'] = 'a'
    words: list[Annotated[str, Meta(max_length=3)]] = []
    sequence: Annotated[Sequence[str], Meta(max_length=2)] = ()
    pair: tuple[bool, str] = (False, '')
    several: tuple[str, ...] = ()
    mapping: Mapping[str, str] = {}
    plain: dict[str, Any] = msgspec.field(default_factory=lambda: {'a': 1})
    nested: Annotated[Nested | None, Meta(description='More')] = None
    text_or_list: str | list[str] = ''
    inner: Annotated[str, Meta(max_length=7)] | None = None


def by_msgspec(type_: inspect.Type) -> tuple[str, bool, type | None, dict[str, Any]]:
    """Returns the kind of a type, whether it is optional, its Struct, and its bounds."""
    if isinstance(type_, inspect.Metadata):
        return by_msgspec(type_.type)
    if isinstance(type_, inspect.UnionType):
        members = [by_msgspec(one) for one in type_.types if not isinstance(one, inspect.NoneType)]
        kinds = {kind for kind, *_ in members}
        struct = next((one[2] for one in members if one[2] is not None), None)
        return kinds.pop() if len(kinds) == 1 else 'any', len(members) < len(type_.types), struct, {
            name: value for *_, bounds in members for name, value in bounds.items()}  # fmt: skip
    bounds = {name: getattr(type_, name, None) for name in BOUNDS}
    return (KINDS.get(type(type_), 'any'), False, type_.cls if isinstance(type_, inspect.StructType) else None,
            {name: value for name, value in bounds.items() if value is not None})  # fmt: skip


def structs() -> Iterator[type]:
    """Yields the Structs of all installed object types, and Everything."""
    yield Everything
    yield from (each.struct for each in TYPES)


class AnnotationTests(SynchronousTestCase):
    def test_fields(self) -> None:
        """Names, kinds, bounds and defaults of all Structs are those that msgspec finds."""
        for struct in structs():
            described = inspect.type_info(struct)
            assert isinstance(described, inspect.StructType)
            annotations, defaults = struct_annotations(struct), struct_defaults(struct)
            self.assertEqual(list(defaults), [each.name for each in described.fields])
            for each in described.fields:
                found = inspect_annotation(annotations[each.name])
                bounds = {name: value for name, value in found.meta.items() if name in BOUNDS}
                where = f'{struct.__name__}.{each.name}'
                self.assertEqual((found.kind, found.is_optional, found.struct, bounds), by_msgspec(each.type), where)
                default = each.default if each.default_factory is msgspec.NODEFAULT else each.default_factory()
                self.assertEqual(defaults[each.name], default, where)
                self.assertEqual(defaults[each.name] is msgspec.NODEFAULT, each.required, where)

    def test_metadata(self) -> None:
        """Descriptions and extra values are found, also in fields of a base class; defaults are made anew."""
        meta = inspect_annotation(struct_annotations(Everything)['name']).meta
        self.assertEqual(meta, {'description': 'Its name', 'min_length': 1, 'secret': 'hashed'})
        self.assertIsNot(struct_defaults(Everything)['plain'], struct_defaults(Everything)['plain'])
