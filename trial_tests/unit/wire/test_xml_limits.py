"""Tests of the limits of XML documents that are counted in bytes: counts, windows and estimates."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.malformed import Malformed
from zatotx.wire.xml import document_limits
from zatotx.wire.xml.document_limits import (
    MAX_DEPTH,
    MAX_NAME_SIZE,
    MAX_TEXT_SIZE,
    WINDOW,
    XmlLimits,
    check_document_limits,
    count_occurrences,
    estimate_tree_size,
    has_more_elements,
    may_exceed_attributes,
)


class CountTests(SynchronousTestCase):
    def test_usual_limits(self) -> None:
        """The defaults are those of the documentation, and libxml2's own are known."""
        self.assertEqual(msgspec.structs.asdict(XmlLimits()), {
            'depth': 100, 'elements': 600_000, 'attributes': 250_000, 'per_element': 256, 'namespaces': 1_000,
            'text': 10_000_000,
        })  # fmt: skip
        self.assertEqual((MAX_DEPTH, MAX_TEXT_SIZE, MAX_NAME_SIZE, WINDOW), (250, 10_000_000, 50_000, 65_536))

    def test_occurrences(self) -> None:
        """Occurrences are counted once wherever windows end; the count stops soon after the maximum."""
        self.patch(document_limits, 'WINDOW', 4)
        for text in (b'</', b'<'):
            for spaces in range(6):
                for number in range(5):
                    data = b' ' * spaces + b'</a>x' * number
                    self.assertEqual(count_occurrences(data, text), number)
                    self.assertEqual(count_occurrences(data, text, number), number)
        self.assertEqual(count_occurrences(b'<<<<' * 9, b'<', 5), 8)
        self.assertEqual(count_occurrences(b'<<<<' * 9, b'<', 8), 12)
        self.assertEqual(count_occurrences(b'<<<<', b'<', 1), 4)

    def test_elements(self) -> None:
        """Elements have one or two opening brackets; other nodes one."""
        for data, number in ((b'', 0), (b'<a/>', 1), (b'<a></a>', 1), (b'<a><b/></a>', 2), (b'<a><b/><b></b></a>', 3),
                             (b'<a><!-- --><?p?></a>', 3), (b'<a/><a/><a/>', 3)):  # fmt: skip
            for most in range(5):
                self.assertEqual(has_more_elements(data, most), number > most, (data, most))

    def test_attributes_of_one_tag(self) -> None:
        """A tag may have more attributes if there are more equals signs or ends between two brackets."""
        for data, number in ((b'<a b="" c=""/>', 3), (b'<a b=""><c d="" e="" f=""/></a>', 4), (b'<a b=""/>', 2),
                             (b'<a>====</a>', 5)):  # fmt: skip
            signs = data.count(b'=')
            for most in range(6):
                self.assertEqual(may_exceed_attributes(data, most), signs > most and number > most, (data, most))

    def test_windows(self) -> None:
        """No window ends inside a tag, and nothing is left out."""
        self.patch(document_limits, 'WINDOW', 8)
        for data in (b'', b'x', b'<a/>', b'<a b="" c="" d="" e=""/><b/>', b'<a/>' * 9, b'<abcdefg' * 2, b'x' * 30):
            windows = list(document_limits._windows(data))
            self.assertEqual(b''.join(windows), data)
            for window in windows[1:]:
                self.assertTrue(window.startswith(b'<'))
            self.assertTrue(all(len(window) >= 8 for window in windows[:-1]))
        self.assertEqual(list(document_limits._windows(b'<a/>' * 5)), [b'<a/>' * 2, b'<a/>' * 2, b'<a/>'])
        self.assertTrue(may_exceed_attributes(b'<a/><a b="" c="" d=""/><a/>', 2))
        for most in range(9):
            data = b'<a b="=" c=""/>t==<a d="">===</a>===>'
            # 3: before the last `>`
            self.assertEqual(document_limits._has_more_attributes(data, most), most < 4 + 3, most)

    def test_namespaces(self) -> None:
        """Distinct declarations are counted, in batches."""
        self.patch(document_limits, '_BATCH_SIZE', 2)
        data = b'<a xmlns="a" xmlns:b = \'b\'/>' + b'<a xmlns="a"/>' * 9 + b'<a xmlns:c="a"/>xmlns'
        for most in range(5):
            self.assertEqual(document_limits._has_more_namespaces(data, most), most < 3, most)

    def test_estimates(self) -> None:
        """A tree takes its text, 130 bytes a bracket and 200 an attribute; what is rejected takes nothing."""
        data = b'<a b="" c=""><d/></a>'
        usual = XmlLimits()
        self.assertEqual(estimate_tree_size(data, usual), len(data) + 3 * 130 + 2 * 200)
        self.assertEqual(estimate_tree_size(data, XmlLimits(attributes=1)), len(data) + 3 * 130 + 200)
        self.assertEqual(estimate_tree_size(data, XmlLimits(elements=1)), 0)
        self.assertEqual(estimate_tree_size(data + b'<e/>', XmlLimits(elements=2)), len(data) + 4 + 4 * 130 + 400)

    def test_at_once(self) -> None:
        """Each limit is exact for small documents too."""
        for data, name, number in ((b'<a/>' * 3, 'elements', 3), (b'<a b="" c=""/>', 'attributes', 2),
                                   (b'<a xmlns="" xmlns:b=""/>', 'namespaces', 2)):  # fmt: skip
            check_document_limits(data, XmlLimits(**{name: number}))
            for less in range(number):
                said = str(self.assertRaises(Malformed, check_document_limits, data, XmlLimits(**{name: less})))
                self.assertIn(f'more than {less} {name.removesuffix("s")}', said)


class NameTests(SynchronousTestCase):
    def setUp(self) -> None:
        for name, value in (('_STEP', 64), ('_PROBE', 8), ('MAX_NAME_SIZE', 20)):
            self.patch(document_limits, name, value)

    def long(self, data: str) -> bool:
        return document_limits._has_longer_name(data.encode())

    def test_where_names_are(self) -> None:
        """Long names are found where they are part of a tag, and not in texts, values, comments or sections."""
        name = 'n' * 150
        for data in (f'<{name}/>', f'<a {name}=""/>', f'<a></{name}>', f'<a b="c" {name}', f'<a b=">" {name}=""/>'):
            self.assertTrue(self.long(data), data)
        for data in (f'<a>{name}</a>', f'<a b="{name}"/>', f"<a b='{name}'/>", f'<!-- --><{name}/>', name,
                     f'<a b="" c="{name}"/>', f'<a/>{name}', f'<{"n" * 60}/>'):  # fmt: skip
            self.assertFalse(self.long(data), data)

    def test_exact_size(self) -> None:
        """A name is long if it has more bytes than libxml2 reads, on both sides of the position."""
        for before in (1, 10, 20, 30, 63):
            start = '<a b="' + 'x' * (64 - before - 8) + '" ' if before < 50 else '<'
            start = start[: 64 - before] if before > 50 else start
            for size in range(before + 8, before + 40):
                data = start + 'n' * size + '="">' + ' ' * 64
                self.assertEqual(self.long(data), size > 20, (before, size))

    def test_many_quotes(self) -> None:
        """In a tag with very many values names are left to the parser."""
        self.patch(document_limits, '_MAX_QUOTES', 4)
        for values, found in ((2, True), (3, False)):
            self.assertEqual(self.long('<a ' + 'b="" ' * values + 'n' * 150), found)
