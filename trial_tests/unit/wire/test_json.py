"""Tests of the JSON codec: JSONTestSuite, error messages, and supported values."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.corpora import json_cases
from trial_tests.support.properties import holds
from zatotx.wire.json_codec import Malformed, decode, encode

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


class CorpusTests(SynchronousTestCase):
    def test_all_are_here(self) -> None:
        """The corpus is complete."""
        self.assertEqual([len(json_cases(prefix)) for prefix in ('y_', 'n_', 'i_')], [95, 188, 35])

    def test_what_must_be_accepted(self) -> None:
        """Every y_ text is decoded, and its value can be encoded again."""
        for name, text in json_cases('y_').items():
            self.assertEqual(decode(encode(decode(text))), decode(text), name)

    def test_what_must_be_refused(self) -> None:
        """Every n_ text raises Malformed."""
        for text in json_cases('n_').values():
            self.assertRaises(Malformed, decode, text)

    def test_what_may_be_either(self) -> None:
        """Every i_ text is decoded or raises Malformed, and the accepted ones are known."""
        accepted = set()
        for name, text in json_cases('i_').items():
            try:
                decode(text)
            except Malformed:
                continue
            accepted.add(name)
        self.assertEqual(accepted, {
            'i_number_double_huge_neg_exp', 'i_number_real_underflow', 'i_number_too_big_neg_int',
            'i_number_too_big_pos_int', 'i_number_very_big_negative_int', 'i_structure_500_nested_arrays',
        })  # fmt: skip


class MalformedTests(SynchronousTestCase):
    def test_words(self) -> None:
        """The message is one phrase, with the position of the byte if known."""
        for text, phrase in (
            (b'', 'there is no text'),
            (b'[1,', 'the text ends too early (byte 3)'),
            (b'{"a": 1} x', 'trailing characters (byte 10)'),
            (b'[NaN]', 'invalid character (byte 1)'),
            (b'{1: 2}', 'object keys must be strings (byte 1)'),
            (b'["\xc3\xa9", "\xff"]', 'invalid UTF-8 (byte 8)'),
            (b'["\xed\xa0\x80"]', 'invalid UTF-8 (byte 2)'),
            (b'["\\ud800\\u0041"]', 'invalid utf-16 surrogate pair (byte 14)'),
            (b'1e400', 'number out of range'),
            (b'{"a":[1e400]}', 'number out of range'),
            (b'[' * 100_000, 'the nesting is too deep'),
            (b'{"a":' * 100_000, 'the nesting is too deep'),
            ('"\ud800"', 'a lone surrogate (character 1)'),
        ):
            self.assertEqual(str(self.assertRaises(Malformed, decode, text)), phrase)

    def test_numbers_of_absurd_length(self) -> None:
        """A number of a million digits is rejected or decoded quickly, without another exception."""
        self.assertRaises(Malformed, decode, b'1' * 1_000_000)
        self.assertAlmostEqual(decode(b'0.' + b'1' * 1_000_000), 0.1111111, 5)

    def test_repeated_keys_and_nul(self) -> None:
        """The last of repeated keys wins; an escaped NUL is accepted, a raw one is rejected."""
        self.assertEqual(decode(b'{"a":1,"a":2,"b":"\\u0000"}'), {'a': 2, 'b': '\0'})
        self.assertRaises(Malformed, decode, b'"\0"')

    @holds(text=st.binary(max_size=40) | st.text('[]{}",:\\u0123dDeE+-.truefalsn ').map(str.encode))
    def test_any_bytes(self, text: bytes) -> None:
        """Any input is decoded or raises Malformed."""
        try:
            decode(text)
        except Malformed as malformed:
            self.assertTrue(str(malformed))


class Colour(Enum):
    RED = 'red'


class Level(IntEnum):
    HIGH = 3


class Point(msgspec.Struct):
    x: int


@dataclass
class Pair:
    a: str


class Text(str):
    """A subclass of str, as in ORMs and XML libraries."""

    __slots__ = ()


class Count(int):
    """A subclass of int."""


class Ratio(float):
    """A subclass of float."""


class Row(Mapping[str, int]):
    """A mapping other than dict."""

    def __getitem__(self, key: str) -> int:
        return {'a': 1}[key]

    def __iter__(self):  # type: ignore[no-untyped-def]  # as people write it
        return iter(('a',))

    def __len__(self) -> int:
        return 1


class EncodeTests(SynchronousTestCase):
    def test_types(self) -> None:
        """All types that services return are encoded."""
        for value, text in (
            ({'a': [1, 2.5, None, True, 'é']}, '{"a":[1,2.5,null,true,"é"]}'),
            (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), '"2026-01-02T03:04:05Z"'),
            (date(2026, 1, 2), '"2026-01-02"'),
            (Decimal('1.20'), '"1.20"'),
            (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
            (Point(1), '{"x":1}'),
            (Pair('b'), '{"a":"b"}'),
            ({1}, '[1]'),
            (frozenset(('a',)), '["a"]'),
            ((1, 2), '[1,2]'),
            (deque((1, 2)), '[1,2]'),
            ({'a': 1}.keys(), '["a"]'),
            (range(3), '[0,1,2]'),
            (OrderedDict(a=1), '{"a":1}'),
            (MappingProxyType({'a': 1}), '{"a":1}'),
            (Row(), '{"a":1}'),
            ([Count(2), Ratio(0.5)], '[2,0.5]'),
            (Text('t'), '"t"'),
            ({Text('k'): Text('v')}, '{"k":"v"}'),
            (Colour.RED, '"red"'),
            (Level.HIGH, '3'),
            (2**70, str(2**70)),
            (float('nan'), 'null'),
            (float('-inf'), 'null'),
            (b'ab', '"YWI="'),
        ):
            self.assertEqual(encode(value).decode(), text)

    def test_what_has_no_form(self) -> None:
        """Other objects raise a TypeError that names the type; invalid keys raise one that says so."""
        self.assertIn('object', str(self.assertRaises(TypeError, encode, {'a': object()})))
        self.assertRaises(TypeError, encode, iter([1]))
        self.assertRaises(TypeError, encode, {(1, 2): 3})
        self.assertRaises(TypeError, encode, {frozenset('a'): 3})
        self.assertRaises(TypeError, encode, {None: 3})

    def test_what_cannot_be_written(self) -> None:
        """Lone surrogates and recursive values raise ValueError."""
        self.assertRaises(ValueError, encode, ['\ud800'])
        self.assertRaises(ValueError, encode, {'\udfff': 1})
        endless: list[object] = []
        endless.append(endless)
        self.assertRaises(ValueError, encode, endless)

    @holds(value=JSON_VALUES)
    def test_there_and_back(self, value: object) -> None:
        """Every JSON value is decoded from its encoding unchanged."""
        self.assertEqual(decode(encode(value)), value)
