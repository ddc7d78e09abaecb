"""Properties of JSON: values round-trip, and accepted texts are those that another strict parser accepts."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.corpora import json_cases
from trial_tests.support.properties import holds
from zatotx.wire.json_codec import Malformed, decode, encode

TEXT = st.text(st.characters(exclude_categories=['Cs']), max_size=8)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=25,
)
CASES = sorted(text for prefix in ('y_', 'n_', 'i_') for text in json_cases(prefix).values() if len(text) < 200)

DAMAGE = st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=2)), max_size=4)
PIECES = ('{', '}', '[', ']', ',', ':', '"a"', '"\\u00e9"', '"\\ud800"', '1', '-0', '1e5', '1e999', '01', 'true',
          'null', 'NaN', ' ', '\n')  # fmt: skip


def constant(name: str) -> Any:
    raise ValueError(f'{name} is not JSON')


def by_the_book(text: bytes) -> Any:
    """Parses with Python's own parser in strict mode. Raises ValueError."""
    return json.loads(text.decode('utf-8'), parse_constant=constant)


class ValueTests(SynchronousTestCase):
    @holds(value=VALUES)
    def test_round_trip(self, value: Any) -> None:
        """Values round-trip through our parser and another one."""
        text = encode(value)
        self.assertEqual(decode(text), value)
        self.assertEqual(by_the_book(text), value)
        self.assertEqual(decode(bytearray(text)), value)
        self.assertEqual(encode(decode(text)), text)

    @holds(value=VALUES, indent=st.none() | st.integers(0, 3), ascii_=st.booleans())
    def test_other_writers(self, value: Any, indent: int | None, ascii_: bool) -> None:
        """White space, line ends and escapes do not matter."""
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_).encode()
        self.assertEqual(decode(text), value)


class TextTests(SynchronousTestCase):
    def check(self, text: bytes) -> None:
        try:
            value = decode(text)
        except Malformed as error:
            self.assertEqual(len(str(error).splitlines()), 1)
            self.refused_for_a_reason(text)
        else:
            expected = by_the_book(text)
            self.assertEqual(encode(value), encode(expected))

    def refused_for_a_reason(self, text: bytes) -> None:
        """Returns whether the other parser rejects the text too, or it has a feature that only we reject."""
        try:
            value = by_the_book(text)
        except (ValueError, RecursionError):
            return
        self.assertTrue(any(map(self.is_ours, flat(value))) or text.startswith(b'\xef\xbb\xbf'), text)

    def is_ours(self, value: Any) -> bool:
        """Returns whether it has a lone surrogate, or a number beyond our range of floats and integers."""
        if isinstance(value, str):
            return any('\ud800' <= character <= '\udfff' for character in value)
        return math.isinf(value) if isinstance(value, float) else isinstance(value, int) and abs(value) >= 2**63

    @holds(text=st.binary(max_size=60))
    def test_any_bytes(self, text: bytes) -> None:
        """Random bytes are decoded or raise Malformed with one line."""
        self.check(text)

    @holds(text=st.lists(st.sampled_from(PIECES), max_size=12).map(lambda parts: ''.join(parts).encode()))
    def test_pieces_of_json(self, text: bytes) -> None:
        """Random sequences of JSON tokens are decoded or raise Malformed."""
        self.check(text)

    @holds(case=st.sampled_from(CASES), changes=DAMAGE)
    def test_damaged_cases(self, case: bytes, changes: list[tuple[int, bytes]]) -> None:
        """Modified cases of JSONTestSuite are decoded or raise Malformed."""
        for at, octets in changes:
            case = case[:at] + octets + case[at + 1 :]
        self.check(case)


def flat(value: Any) -> list[Any]:
    """Yields all scalar values inside a value, including keys."""
    if isinstance(value, dict):
        return [each for pair in value.items() for part in pair for each in flat(part)]
    if isinstance(value, list):
        return [each for item in value for each in flat(item)]
    return [value]
