"""Pages that newcomers follow: each command runs here as it stands there, and prints what the page says."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.walkthrough import Command, File, agrees, follow, in_time, steps

ROOT = Path(__file__).resolve().parents[2]


class PageTests(SynchronousTestCase):
    def test_the_tutorial(self) -> None:
        """From nothing to a service with a test, a login and metrics, and back by a version."""
        follow(self, (ROOT / 'docs' / 'tutorial.md').read_text('utf-8'), is_whole=True)

    def test_the_first_service_of_the_readme(self) -> None:
        """In the environment that `make run` leaves."""
        page = (ROOT / 'README.md').read_text('utf-8')
        first = page[page.index('## The first service'):page.index('## Read on')]
        first = first.replace('. .venv/bin/activate', 'true')
        made = '```console\n$ zatotx quickstart create run/qs\n$ zatotx start run/qs\n```\n'
        follow(self, made + first, 'run/qs', is_whole=True)


class WalkthroughTests(SynchronousTestCase):
    def test_steps(self) -> None:
        """Commands with what they print, commands of several lines, files; other blocks are for reading."""
        page = '```sh\nno step\n```\n```console\n$ one\n> more\nsaid\n$ two\n```\n```python\n# a/b.py\nx = 1\n```\n'
        self.assertEqual(list(steps(page)), [
            Command('one\nmore', 'said\n'), Command('two', ''), File('a/b.py', '# a/b.py\nx = 1\n'),
        ])

    def test_agreement(self) -> None:
        """`…` is anything within a line, or any lines; all else is meant to the letter."""
        for said, promised, expected in (
            ('a\n', 'a\n', True), ('a\n', 'b\n', False), ('a 12 b\n', 'a … b\n', True), ('a\nb\nc\n', '…\nc\n', True),
            ('c\n', '…\nc\n', True), ('a\nb\n', 'a\n', False), ('a.b\n', 'axb\n', False), ('a\nb\n', 'a\n…\n', True),
        ):  # fmt: skip
            self.assertIs(agrees(said, promised), expected, (said, promised))

    def test_a_busy_machine(self) -> None:
        """Notes that something takes its time are no part of what a page promises."""
        self.assertEqual(in_time('[1/2] Redis\n    Redis: in progress …\na … b\n'), '[1/2] Redis\na … b\n')
