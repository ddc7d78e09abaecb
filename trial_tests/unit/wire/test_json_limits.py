"""Tests of the limits of JSON texts: counts without decoding, depth, and the estimate of memory."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire import json_codec
from zatotx.wire.json_codec import decode_object, estimate_memory, exceeds_depth, has_more_keys
from zatotx.wire.malformed import Malformed


class CountTests(SynchronousTestCase):
    def test_keys(self) -> None:
        """Commas and opening brackets outside of strings are counted, wherever slices end."""
        self.assertEqual(json_codec._SLICE_SIZE, 65_536)
        for size in (65_536, 1, 2, 3, 7):
            self.patch(json_codec, '_SLICE_SIZE', size)
            for text, count in (
                (b'[1,2,3]', 3), (b'{"a":[{}]}', 3), (b'["[,{"]', 1), (b'["\\",[,"]', 1), (b'["\\\\",[]]', 3),
                (b'["a\\\\\\",[,", 1]', 2), (b'["",",",""]', 3), (b'"[[["', 0), (b'[[[]]]', 3),
            ):  # fmt: skip
                for most in range(6):
                    self.assertEqual(has_more_keys(text, most), count > most, (size, text, most))

    def test_slices(self) -> None:
        """No slice ends between a backslash and what it escapes; nothing is left out."""
        self.patch(json_codec, '_SLICE_SIZE', 4)
        for text, pieces in ((b'abcdefgh', [b'abcd', b'efgh']), (b'abc\\efgh', [b'abc\\e', b'fgh']),
                             (b'abc\\\\\\fgh', [b'abc\\\\\\f', b'gh']), (b'', []), (b'abc\\', [b'abc\\'])):
            self.assertEqual(list(json_codec._slices(text)), pieces)

    def test_depth(self) -> None:
        """Objects and lists count alike; scalars and empty texts have no depth."""
        values: tuple[tuple[Any, int], ...] = ((1, 0), ([], 1), ({}, 1), ([[]], 2), ({'a': [{}]}, 3), ([1, [2]], 2),
                                               ([[], [[]], []], 3), ({'a': 1, 'b': {'c': []}}, 3), ('[[[', 0))
        for value, depth in values:
            text = json.dumps(value).encode()
            for most in range(5):
                self.assertEqual(exceeds_depth(text + b' ' * 9, value, most), depth > most, (value, most))

    def test_memory(self) -> None:
        """Strings take their bytes, four times that beside a wide character; every comma and bracket 64 bytes."""
        for text, size in ((b'""', 2), (b'[1,2]', 5 + 128), (b'{"a":[]}', 8 + 128), ('"\u20ac"'.encode(), 20)):
            self.assertEqual(estimate_memory(text), size)

    def test_unique_members(self) -> None:
        """Objects with unique names are decoded; other values and repeated names are rejected."""
        self.assertEqual(decode_object(b'{"a":{"b":1},"c":[{"b":1},{"b":2}]}'),
                         {'a': {'b': 1}, 'c': [{'b': 1}, {'b': 2}]})  # fmt: skip
        for text, why in ((b'[]', 'the text is no JSON object'), (b'"a"', 'the text is no JSON object'),
                          (b'{"a":1,"\\u0061":1}', 'a member stands twice'),
                          (b'[', 'ends too early'), (b'{"a":[{"b":1,"b":1}]}', 'a member stands twice')):  # fmt: skip
            self.assertIn(why, str(self.assertRaises(Malformed, decode_object, text)))
