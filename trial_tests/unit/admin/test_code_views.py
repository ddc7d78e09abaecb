"""Source with colors, and differences of versions."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.admin.line_diff import MAX_LINES, diff_files
from zatotx.admin.python_highlighter import MAX_SIZE, highlight

SOURCE = '''class A(Service):
    """ Two
    lines """

    def handle(self):  # a comment
        return f'{len(x.len)}' + "é" * 0x10
'''


class HighlighterTests(SynchronousTestCase):
    def test_every_character_is_kept(self) -> None:
        """Whatever the classes are, the parts of a line together are the line."""
        for source in (SOURCE, '', '\n\n', 'x = """open', 'def f(:\n\ty\n', 'a\r\nb', 'x = 1\\\n + 2',
                       '\N{PILE OF POO} = 1'):  # fmt: skip
            lines = [''.join(text for _, text in line) for line in highlight(source)]
            self.assertEqual(lines, source.splitlines(), source)

    def test_classes(self) -> None:
        """Keywords, names that are defined, builtins, numbers, comments and strings over several lines are told apart;
        attributes called like builtins are not builtins."""
        found = [(kind, text) for line in highlight(SOURCE) for kind, text in line if kind]
        for expected in (('keyword', 'class'), ('definition', 'A'), ('definition', 'handle'), ('builtin', 'self'),
                         ('string', '""" Two'), ('string', '    lines """'), ('comment', '# a comment'),
                         ('number', '0x10'), ('string', '"é"')):  # fmt: skip
            self.assertIn(expected, found)
        attributes = [(kind, text) for line in highlight('x.len\n') for kind, text in line]
        self.assertEqual(attributes, [('', 'x.len')])

    def test_large(self) -> None:
        """A very large file has no colors, which would take long."""
        lines = highlight('x = 1\n' * (MAX_SIZE // 5))
        self.assertEqual(lines[0], [('', 'x = 1')])


class DiffTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """Changed lines have the numbers of both versions, with some lines around them and a gap between changes."""
        old = [f'line {number}' for number in range(1, 31)]
        new = [*old[:4], 'changed', *old[5:24], *old[25:]]
        (file,) = diff_files({'a.py': '\n'.join(old).encode()}, {'a.py': '\n'.join(new).encode()})
        shown = [(line.kind, line.old_number, line.new_number, line.text) for line in file.lines]
        self.assertIn(('old', 5, 0, 'line 5'), shown)
        self.assertIn(('new', 0, 5, 'changed'), shown)
        self.assertIn(('old', 25, 0, 'line 25'), shown)
        self.assertIn(('same', 26, 25, 'line 26'), shown)
        self.assertEqual([line.kind for line in file.lines].count('gap'), 1)
        self.assertEqual((file.added, file.removed), (1, 2))

    def test_files(self) -> None:
        """Files of a package that were added, removed or changed; equal ones are not shown."""
        found = diff_files({'a': b'1', 'b': b'2', 'c': b'\xff'}, {'b': b'2', 'c': b'\xfe', 'd': b'4'})
        self.assertEqual([(file.path, file.added, file.removed) for file in found],
                         [('a', 0, 1), ('c', 0, 0), ('d', 1, 0)])
        self.assertIn('UTF-8', found[1].note)
        (large,) = diff_files({'a': b'x\n' * (MAX_LINES + 1)}, {'a': b''})
        self.assertIn('download', large.note)
