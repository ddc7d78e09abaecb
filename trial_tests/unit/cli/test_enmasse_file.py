"""Enmasse files: strict YAML with limits, and errors with line numbers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.cli.enmasse_file import parse_yaml
from zatotx.cli.errors import CommandError

BOMB = b'a: &a [x, x, x, x, x, x, x, x, x, x]\n' + b''.join(
    b'%c: &%c [%s]\n' % (letter, letter, b', '.join([b'*%c' % (letter - 1)] * 10)) for letter in range(98, 106)
)


class YamlTests(SynchronousTestCase):
    """parse() returns the document or raises one sentence."""

    def refused(self, content: bytes) -> str:
        text: str = self.assertRaises(CommandError, parse_yaml, 'x.yaml', content).format_message()
        self.assertTrue(text.startswith('x.yaml'), text)
        self.assertEqual(len(text.splitlines()), 1, text)
        return text

    def test_values(self) -> None:
        """Text, numbers, lists, anchors and merges work as in YAML; an empty file is an empty document."""
        document = b'a: [1, x, null]\nb: &b {c: 1}\nd: *b\ne: {<<: *b, f: 2}\n'
        expected = {'a': [1, 'x', None], 'b': {'c': 1}, 'd': {'c': 1}, 'e': {'c': 1, 'f': 2}}
        self.assertEqual(parse_yaml('x.yaml', document), expected)
        self.assertEqual(parse_yaml('x.yaml', b'# nothing\n'), {})

    def test_only_what_json_has(self) -> None:
        """Dates stay text; infinities, binary values and sets are rejected."""
        self.assertEqual(parse_yaml('x.yaml', b'a: 2026-01-01\nb: 1.5'), {'a': '2026-01-01', 'b': 1.5})
        for value in (b'.nan', b'-.inf', b'!!binary aGk=', b'!!set {a}', b'!!timestamp 2026-01-01'):
            self.assertIn('line 1', self.refused(b'a: ' + value))

    def test_duplicate_keys(self) -> None:
        """A duplicate key is an error with its line number."""
        self.assertEqual(self.refused(b'a: 1\nb: 2\na: 3\n'), 'x.yaml, line 3: duplicate key a.')
        self.assertIn('line 2', self.refused(b'a:\n  - {n: 1, n: 1}\n'))

    def test_keys_are_text(self) -> None:
        """Numbers, dates, booleans and lists are rejected as keys."""
        for key in (b'1', b'true', b'1.5', b'[a]', b'null'):
            self.assertIn('a key must be text', self.refused(b'? ' + key + b'\n: x\n'))

    def test_bombs(self) -> None:
        """Aliases that expand to too many values, or contain themselves, are rejected quickly."""
        self.assertIn('aliases', self.refused(BOMB))
        self.assertIn('contains it', self.refused(b'a: &a [*a]\n'))

    def test_depth(self) -> None:
        """Nesting that would overflow the C stack is an error, and does not crash the process."""
        for content in (b'[' * 100_000, b'{a: ' * 100_000, b'- ' * 100_000 + b'x'):
            self.assertIn('nested more than', self.refused(content))

    def test_malformed(self) -> None:
        """Syntax errors are reported with the line number, and bytes that are not text are rejected."""
        self.assertIn('line 2', self.refused(b'a: [1\nb: 2\n'))
        self.assertIn('line 2', self.refused(b'a: 1\n--- \nb: 2\n'))
        for content in (b'a: \xff\xfe', b'a: "\x00"', b'\xff\xfea\x00'):
            self.refused(content)

    def test_tags_make_no_objects(self) -> None:
        """Python tags are rejected."""
        self.assertIn('python/object', self.refused(b'a: !!python/object:os.system {}'))

    def test_not_a_mapping(self) -> None:
        """The error says what is expected."""
        for content in (b'- 1\n', b'text\n', b'7\n'):
            self.assertIn('mapping of sections', self.refused(content))
