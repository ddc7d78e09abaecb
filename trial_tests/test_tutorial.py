"""Pages that newcomers follow: each command runs here as it stands there, and prints what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, free_offset, remove
from trial_tests.support.walkthrough import Command, File, Walker, agrees, in_time, steps

ROOT = Path(__file__).resolve().parent.parent


class PageTests(SynchronousTestCase):
    def follow(self, page: str, environment: str) -> None:
        """Follow it on ports of our own; `environment` is what the page calls its environment."""
        offset = free_offset()
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.addCleanup(remove, Broker(directory / environment, offset))

        def adapt(text: str) -> str:
            create = f'quickstart create {environment}'
            text = text.replace(create, f'{create} --port-offset {offset}')
            return re.sub(r'(?<=127\.0\.0\.1:)(170\d\d)', lambda port: str(int(port[1]) + offset), text)

        Walker(directory, adapt, {'PYTHONDONTWRITEBYTECODE': '1'}).follow(page)

    def test_the_tutorial(self) -> None:
        """From nothing to a service with a test, a login and metrics, and back by a version."""
        self.follow((ROOT / 'docs' / 'tutorial.md').read_text('utf-8'), 'env')


    def test_the_first_service_of_the_readme(self) -> None:
        """In the environment that `make run` leaves."""
        page = (ROOT / 'README.md').read_text('utf-8')
        first = page[page.index('## The first service'):page.index('## Read on')]
        first = first.replace('. .venv/bin/activate', 'true')
        made = '```console\n$ zatotx quickstart create run/qs\n$ zatotx start run/qs\n```\n'
        self.follow(made + first, 'run/qs')


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
        self.assertEqual(in_time('[1/2] Redis\n    Redis: still at it …\na … b\n'), '[1/2] Redis\na … b\n')
