"""Every element type in input and output, and the types implied by names."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.service.compat.bunch import Bunch
from zatotx.service.io import elements as e
from zatotx.service.io import record_elements as r
from zatotx.service.io.validation_error import ValidationError

DAY, MOMENT = dt.date(2026, 2, 1), dt.datetime(2026, 2, 1, 10, 20, 30)
ID = uuid.UUID('5b8f2a52-3c0e-4a1f-9d55-0f6f3b6b9b10')


class Case:
    """A conversion: the value given to an element, and the result."""

    def __init__(self, element: Any, value: Any, expected: Any) -> None:
        self.element, self.value, self.expected = element, value, expected


TAKEN = [
    Case(e.AsIs('a'), {'x': [1]}, {'x': [1]}), Case(e.Opaque('a'), None, None),
    Case(e.Text('a'), 'ż', 'ż'), Case(e.Text('a'), 12, '12'), Case(e.Unicode('a'), b'x', 'x'),
    Case(e.Secret('a'), 'top', 'top'),
    Case(e.UTC('a'), '2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00'),
    Case(e.Int('a'), 5, 5),
    Case(e.Int('a'), ' -5 ', -5),
    Case(e.Integer('a'), 5.0, 5),
    Case(e.Int('a'), 10**30, 10**30),
    Case(e.Float('a'), '1.5', 1.5), Case(e.Float('a'), 2, 2.0),
    Case(e.Bool('a'), True, True), Case(e.Boolean('a'), 'Yes', True), Case(e.Bool('a'), 'on', True),
    Case(e.Bool('a'), 1, True),
    Case(e.Bool('a'), 'off', False),
    Case(e.Bool('a'), 'F', False),
    Case(e.Bool('a'), 0, False),
    Case(e.Decimal('a'), '1.10', decimal.Decimal('1.10')), Case(e.Decimal('a'), 3, decimal.Decimal(3)),
    Case(e.UUID('a'), str(ID), ID), Case(e.UUID('a'), ID, ID),
    Case(e.Date('a'), '2026-02-01', DAY), Case(e.Date('a'), MOMENT, DAY),
    Case(e.DateTime('a'), '2026-02-01T10:20:30', MOMENT),
    Case(e.DateTime('a', date_time_format='%d.%m.%Y %H'), '01.02.2026 10', dt.datetime(2026, 2, 1, 10)),
    Case(e.DateTime('a', date_time_format='DD/MM/YYYY'), '01/02/2026', dt.datetime(2026, 2, 1)),
    Case(e.CSV('a'), 'a,b', ['a', 'b']), Case(e.CSV('a'), ['a', 1], ['a', 1]), Case(e.CSV('a'), '', []),
    Case(e.List('a'), [1, 'x'], [1, 'x']), Case(e.List('a'), (1,), [1]),
    Case(r.Dict('a'), {'x': 1}, {'x': 1}),
    Case(r.Dict('a', 'x', e.Int('y'), '-z'), {'x': 1, 'y': '2', 'w': 3}, {'x': 1, 'y': 2, 'z': ''}),
    Case(r.Nested('a', 'b', r.Nested('c', e.Int('d'))), {'b': 1, 'c': {'d': '4'}}, {'b': 1, 'c': {'d': 4}}),
    Case(r.ListOfDicts('a'), [{'x': 1}], [{'x': 1}]),
    Case(r.DictList('a', e.Int('qty')), [{'qty': '1'}, {'qty': 2}], [{'qty': 1}, {'qty': 2}]),
]  # fmt: skip
GIVEN = [
    Case(e.AsIs('a'), {'x': 1}, {'x': 1}),
    Case(e.Text('a'), 5, '5'),
    Case(e.Int('a'), '5', 5),
    Case(e.Bool('a'), 'yes', True),
    Case(e.Float('a'), decimal.Decimal('1.5'), 1.5), Case(e.Decimal('a'), decimal.Decimal('1.10'), '1.10'),
    Case(e.UUID('a'), ID, str(ID)), Case(e.Date('a'), MOMENT, '2026-02-01'),
    Case(e.DateTime('a'), MOMENT, '2026-02-01T10:20:30'),
    Case(e.DateTime('a', date_time_format='YYYY/MM'), MOMENT, '2026/02'),
    Case(e.Date('a', date_time_format='%d.%m.'), DAY, '01.02.'),
    Case(e.UTC('a'), dt.datetime(2026, 2, 1, tzinfo=dt.UTC), '2026-02-01T00:00:00'),
    Case(e.CSV('a'), ['a', 2], 'a,2'), Case(e.CSV('a'), 'a,b', 'a,b'), Case(e.List('a'), {3}, [3]),
    Case(r.Dict('a'), Bunch(x=1), {'x': 1}), Case(r.Dict('a', 'x'), {'x': 1, 'y': 2}, {'x': 1}),
    Case(r.ListOfDicts('a', e.Int('n')), [{'n': '1', 'm': 2}], [{'n': 1}]),
]  # fmt: skip
REFUSED = [
    Case(e.Int('a'), 'x', 'expected int, got str'), Case(e.Int('a'), 5.5, 'expected int, got float'),
    Case(e.Int('a'), True, 'expected int, got bool'), Case(e.Int('a'), [], 'expected int, got array'),
    Case(e.Int('a'), '1_000', 'expected int, got str'), Case(e.Int('a'), '٣', 'expected int, got str'),
    Case(e.Int('a'), '9' * 5000, 'expected int, got str'), Case(e.Int('a'), None, 'expected int, got null'),
    Case(e.Float('a'), 'nan', 'expected float, got str'), Case(e.Float('a'), 10**400, 'expected float, got int'),
    Case(e.Float('a'), {}, 'expected float, got object'), Case(e.Bool('a'), 'maybe', 'expected bool, got str'),
    Case(e.Bool('a'), 2, 'expected bool, got int'), Case(e.Text('a'), [], 'expected str, got array'),
    Case(e.Text('a'), b'\xff', 'expected str, got bytes'),
    Case(e.Decimal('a'), 'x', 'expected decimal, got str'),
    Case(e.Decimal('a'), 'Infinity', 'expected decimal, got str'),
    Case(e.Decimal('a'), True, 'expected decimal, got bool'),
    Case(e.UUID('a'), 'x', 'expected uuid, got str'), Case(e.UUID('a'), 1, 'expected uuid, got int'),
    Case(e.Date('a'), 'yesterday', 'expected date, got str'), Case(e.DateTime('a'), 1, 'expected datetime, got int'),
    Case(e.DateTime('a', date_time_format='DD/MM/YYYY'), 'x', 'expected datetime, got str'),
    Case(e.CSV('a'), 1, 'expected str, got int'), Case(e.List('a'), 'x', 'expected array, got str'),
    Case(e.List('a'), {}, 'expected array, got object'), Case(r.Dict('a'), [], 'expected object, got array'),
    Case(r.Nested('a', 'b'), 'x', 'expected object, got str'),
    Case(r.ListOfDicts('a'), {}, 'expected array, got object'),
]  # fmt: skip


class ElementTests(SynchronousTestCase):
    def test_taken(self) -> None:
        """Input has the declared type."""
        for case in TAKEN:
            found = case.element.take(case.value)
            self.assertEqual((repr(case.element), found), (repr(case.element), case.expected))
            self.assertIs(type(found) is bool, type(case.expected) is bool)

    def test_given(self) -> None:
        """Output has the form used in messages."""
        for case in GIVEN:
            self.assertEqual((repr(case.element), case.element.give(case.value)), (repr(case.element), case.expected))

    def test_refused(self) -> None:
        """Values that cannot be converted are reported by their type, never by value."""
        for case in REFUSED:
            wrong = self.assertRaises(ValidationError, case.element.take, case.value)
            self.assertEqual((repr(case.element), wrong.errors), (repr(case.element), [('', case.expected)]))

    def test_mistakes_below_are_all_named(self) -> None:
        """A list of objects reports each invalid and each missing element with its index."""
        element = r.ListOfDicts('items', e.Int('qty'), 'sku')
        wrong = self.assertRaises(
            ValidationError, element.take, [{'qty': 1, 'sku': 'a'}, {'sku': 'b'}, 5, {'qty': 'x'}]
        )
        self.assertEqual(wrong.errors, [
            ('[1].qty', 'missing'), ('[2]', 'expected object, got int'), ('[3].qty', 'expected int, got str'),
            ('[3].sku', 'missing'),
        ])  # fmt: skip

    def test_text_beside_the_body(self) -> None:
        """A query value for a list is a list of one item; a CSV is split; a repeated scalar is a mistake."""
        self.assertEqual(e.List('a').take_text('x'), ['x'])
        self.assertEqual(e.List('a').take_text(['x', 'y']), ['x', 'y'])
        self.assertEqual(e.CSV('a').take_text('x,y'), ['x', 'y'])
        self.assertRaises(ValidationError, e.Int('a').take_text, ['1', '2'])
        self.assertRaises(ValidationError, r.ListOfDicts('a').take_text, 'x')

    def test_nested_keys_are_attributes(self) -> None:
        """Objects with declared keys can be read by attribute."""
        taken = r.Nested('a', 'b').take({'b': 1})
        self.assertEqual(taken.b, 1)

    def test_a_minus_means_optional(self) -> None:
        """A leading minus marks names and elements as optional."""
        self.assertEqual([e.Int('a').required, e.Int('-a').required, e.Int('-a').name], [True, False, 'a'])


class NameTests(SynchronousTestCase):
    def test_int_by_name(self) -> None:
        """The name id and Zato's configured suffixes imply an int."""
        for name in ('id', 'cust_id', 'pool_size', 'read_timeout', 'retry_count', 'x_size_min', 'x_size_max'):
            self.assertEqual(r.to_element(name).take('7'), 7)
            self.assertRaises(ValidationError, r.to_element(name).take, 'x')

    def test_bool_by_name(self) -> None:
        """Names with a prefix such as is_ imply a bool."""
        for name in ('is_active', 'needs_ack', 'should_retry', 'by_name', 'has_more', 'may_fail'):
            self.assertIs(r.to_element(name).take('yes'), True)
            self.assertRaises(ValidationError, r.to_element(name).take, 'x')

    def test_other_names_pass(self) -> None:
        """Other names imply no type; dates are output as text."""
        for value in ('x', 1, [1], {'a': 1}, True):
            self.assertEqual(r.to_element('identity').take(value), value)
        self.assertEqual(r.to_element('when').give(MOMENT), '2026-02-01T10:20:30')

    def test_as_is_switches_conventions_off(self) -> None:
        """AsIs('cust_id') accepts an id that is text."""
        self.assertEqual(r.to_element(e.AsIs('cust_id')).take('A-1'), 'A-1')

    def test_conventions_never_break_an_answer(self) -> None:
        """In output, a number in text becomes a number, other text is unchanged."""
        self.assertEqual([r.to_element('cust_id').give('5'), r.to_element('cust_id').give('A-1')], [5, 'A-1'])
        self.assertEqual([r.to_element('is_x').give('no'), r.to_element('is_x').give('dunno')], [False, 'dunno'])
