"""Tests of nested mappings: error paths, lenient conversion, documentation, export, comparison."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.enmasse.import_plan import export_document, plan_import
from zatotx.rules.enmasse.object_diff import describe_changes
from zatotx.schema import object_type_docs
from zatotx.schema.meta import ObjectType, ZatoApi, field, fields_of
from zatotx.schema.references import SnapshotReferences
from zatotx.schema.secrets import ConfigObject
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.schema.validation import parse_request_fields, validate, validate_edit


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """A nested Struct."""

    steps: Annotated[int, field('How many', ge=1)]
    pause: Annotated[float, field('Seconds between them', ge=0)] = 0.5
    on: Annotated[list[str], field('Where')] = msgspec.field(default_factory=list)
    way: Annotated[str, field('Which way', choices=('up', 'down'))] = 'up'


class Walk(ConfigObject, frozen=True, kw_only=True):
    """An object with an optional nested mapping."""

    name: Annotated[str, field('Its name')]
    pace: Annotated[Pace | None, field('How fast it goes; none = as it comes')] = None
    least: Annotated[Pace, field('The slowest')] = Pace(steps=1)


class Inner(msgspec.Struct):
    """A nested Struct with fields that are not allowed there."""

    key: Annotated[str, field('A key', secret='encrypted')] = ''
    to: Annotated[str, field('A walk', ref='walk')] = ''


class Outer(msgspec.Struct):
    """An object with such a Struct."""

    name: str
    inner: Inner | None = None


WALK = ObjectType(key='walk', struct=Walk, section='walk', zato=ZatoApi(prefix='walk', zato_names={'pace': 'the_pace'}))
TYPES = ObjectTypeRegistry((WALK,))
NOTHING = SnapshotReferences(Snapshot(), TYPES)


def errors(document: dict[str, Any]) -> dict[str, str]:
    """Returns the errors as path -> error."""
    return dict(validate(WALK, document)[1])


class ValidateTests(SynchronousTestCase):
    def test_a_mapping_is_its_struct(self) -> None:
        """A mapping is converted to its Struct with defaults; None and Structs are accepted where allowed."""
        value, found = validate(WALK, {'name': 'w', 'pace': {'steps': 3, 'on': ['a']}})
        self.assertEqual(found, [])
        self.assertEqual(value, Walk(name='w', pace=Pace(steps=3, on=['a'])))
        self.assertEqual(validate(WALK, {'name': 'w', 'pace': None})[0], Walk(name='w'))
        self.assertEqual(validate_edit(WALK, value, {'name': 'v'})[0], Walk(name='v', pace=Pace(steps=3, on=['a'])))

    def test_every_mistake_is_named_by_its_path(self) -> None:
        """All errors have their path: unknown, missing, wrong type, out of bounds, invalid choice."""
        found = errors({
            'name': 'w',
            'pace': {'paus': 1, 'pause': -1, 'on': ['a', 3], 'way': 'left'},
            'least': {'steps': 'many'},
        })  # fmt: skip
        self.assertEqual(found, {
            'pace.paus': 'unknown, did you mean pause?',
            'pace.steps': 'missing',
            'pace.pause': 'expected float >= 0.0',
            'pace.on[1]': 'expected str, got int',
            'pace.way': "must be one of: up, down, got 'left'",
            'least.steps': 'expected int, got str',
        })  # fmt: skip

    def test_what_is_no_mapping(self) -> None:
        """A value that is not a mapping is an error of the field itself."""
        self.assertEqual(errors({'name': 'w', 'pace': 3, 'least': None}), {
            'pace': 'expected object | null, got int',
            'least': 'expected object, got null',
        })  # fmt: skip

    def test_no_secret_and_no_reference_hides_in_one(self) -> None:
        """Nested secrets and references are rejected, because their stored form differs."""

        error = self.assertRaises(
            ValueError, ObjectTypeRegistry, (WALK, ObjectType(key='o', struct=Outer, section='o'))
        )
        for path in ('o.inner.key', 'o.inner.to'):
            self.assertIn(path, str(error))


class DoorTests(SynchronousTestCase):
    def test_text_becomes_what_the_field_inside_is(self) -> None:
        """Nested text is converted, also if the whole mapping is JSON text; invalid text is left for validation."""
        wanted = {'pace': {'steps': 3, 'pause': 0.5, 'on': ['a', 'b'], 'odd': '1'}}
        given = {'steps': '3', 'pause': '0.5', 'on': 'a, b', 'odd': '1'}
        for pace in (given, msgspec.json.encode(given).decode()):
            for name in ('pace', 'the_pace'):
                self.assertEqual(parse_request_fields(WALK, {name: pace}, NOTHING), wanted)
        self.assertEqual(parse_request_fields(WALK, {'pace': ''}, NOTHING), {'pace': None})
        for text in ('{', '[1]', 'fast'):
            self.assertEqual(parse_request_fields(WALK, {'pace': text}, NOTHING), {'pace': text})

    def test_an_import_takes_text_too(self) -> None:
        """Text substituted for `${NAME}` is converted."""
        plan = plan_import({'walk': [{'name': 'w', 'pace': {'steps': '3'}}]}, TYPES, Snapshot(), replace=False,
                           verify=lambda hashed, clear: False)  # fmt: skip
        self.assertEqual(plan.errors, ())
        self.assertEqual(plan.operations[0].fields['pace'], Pace(steps=3))


class OutsideTests(SynchronousTestCase):
    walk = Walk(name='w', pace=Pace(steps=3, way='down'))

    def test_described(self) -> None:
        """Nested fields follow their field in the table, by path."""
        table = object_type_docs.make_field_table(WALK)
        self.assertIn('| `pace` | mapping | none | How fast it goes; none = as it comes |\n| `pace.steps` | int >= 1 |',
                      table)  # fmt: skip
        self.assertIn('| `least.way` | up, down | up | Which way |', table)
        self.assertEqual({f.name: f.kind for f in fields_of(WALK)}['pace'], 'mapping')

    def test_exported_and_imported_again(self) -> None:
        """An export omits defaults and imports without a difference."""
        snapshot = Snapshot(1, [StoredObject(1, 'walk', self.walk, 1)])
        document = export_document(snapshot, TYPES)
        self.assertEqual(document, {'walk': [{'name': 'w', 'pace': {'steps': 3, 'way': 'down'}}]})
        for replace in (False, True):
            plan = plan_import(document, TYPES, snapshot, replace=replace, verify=lambda hashed, clear: False)
            self.assertEqual((plan.operations, plan.errors, plan.unchanged), ((), (), 1))

    def test_compared(self) -> None:
        """Mappings are compared by their values."""
        self.assertEqual(
            describe_changes(WALK, None, self.walk), ["+ walk 'w'", "    pace: {'steps': 3, 'way': 'down'}"]
        )
        slower = msgspec.structs.replace(self.walk, pace=Pace(steps=3, on=['sand']), least=Pace(steps=1, way='down'))
        changed = ("pace.on: [] → ['sand']", "pace.way: 'down' → 'up'", "least.way: 'up' → 'down'")
        self.assertEqual(describe_changes(WALK, self.walk, slower), [f"~ walk 'w': {line}" for line in changed])
        other = msgspec.structs.replace(self.walk, pace=None)
        self.assertEqual(
            describe_changes(WALK, self.walk, other), ["~ walk 'w': pace: {'steps': 3, 'way': 'down'} → None"]
        )
