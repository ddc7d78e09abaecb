"""Pages that people follow with their hands, followed by a test.

A page's fenced blocks are its steps, in order:

- ```` ```console ````: lines that begin with `$ ` are commands (`> ` goes on with one); what follows is what they
  print, where `…` stands for anything, a line of its own for any lines;
- ```` ```python ````, ```` ```yaml ```` and the like whose first line is a comment with a path (`# crm.py`): a file.

Other blocks are for reading.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trial_tests.support.broker import SCRIPTS, Broker, free_offset, remove

_BLOCK = re.compile(r'^```(\w+)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r'# ([\w./-]+\.\w+)\n')
_SECONDS = 120


class File(msgspec.Struct, frozen=True):
    """A file to be written, by its path below the directory one works in."""

    path: str
    text: str


class Command(msgspec.Struct, frozen=True):
    """A command, and what it is said to print ('' = nothing is said)."""

    line: str
    prints: str


def steps(page: str) -> Iterator[File | Command]:
    """What a page asks for, in order."""
    for language, text in _BLOCK.findall(page):
        if language == 'console':
            yield from _commands(text)
        elif named := _NAMED.match(text):
            yield File(named[1], text)


def _commands(text: str) -> Iterator[Command]:
    line, prints = '', ''
    for each in text.splitlines():
        if each.startswith('$ '):
            if line:
                yield Command(line, prints)
            line, prints = each[2:], ''
        elif each.startswith('> '):
            line += '\n' + each[2:]
        else:
            prints += each + '\n'
    if line:
        yield Command(line, prints)


def agrees(said: str, promised: str) -> bool:
    """Whether a command printed what its page promises."""
    pattern = ''.join(
        r'(?:.*\n)*?' if line.strip() == '…' else '.*'.join(map(re.escape, line.split('…'))) + r'\n'
        for line in promised.splitlines()
    )
    return re.fullmatch(pattern, said if said.endswith('\n') else said + '\n') is not None


class Walker:
    """Follows a page in a directory. `adapt` changes each text of the page before it is used: ports, say."""

    def __init__(self, directory: Path, adapt: Callable[[str], str], variables: Mapping[str, str]) -> None:
        self._directory = directory
        self._adapt = adapt
        path = f'{SCRIPTS}{os.pathsep}{os.environ["PATH"]}'
        self._variables = {**os.environ, 'PATH': path, 'LC_ALL': 'C.UTF-8', **variables}

    def follow(self, page: str) -> None:
        """Do all that the page says. Raises AssertionError at the first command that fails or prints something else."""
        for step in steps(self._adapt(page)):
            if isinstance(step, File):
                file = self._directory / step.path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(step.text, 'utf-8')
            else:
                self._run(step)

    def _run(self, command: Command) -> None:
        done = subprocess.run(
            ['bash', '-c', command.line], cwd=self._directory, env=self._variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        if command.prints and not agrees(in_time(done.stdout), command.prints):
            raise AssertionError(f'$ {command.line}\n{done.stdout}\n-- is not what the page says:\n{command.prints}')
        if done.returncode and not command.prints:
            raise AssertionError(f'$ {command.line}\nended with {done.returncode}:\n{done.stdout}')


def follow(test: Any, page: str, environment: str = 'env', *, is_whole: bool = False) -> None:
    """Follow a page in a directory of a test's own, on ports of our own; `environment` is what the page calls its
    environment, which is gone when the test ends. To save time it has only servers and Redis, unless it `is_whole`."""
    offset = free_offset()
    directory = Path(test.mktemp()).absolute()
    directory.mkdir()
    test.addCleanup(remove, Broker(directory / environment, offset))

    def adapt(text: str) -> str:
        create = f'quickstart create {environment}'
        options = '' if is_whole else ' --no-load-balancer --no-web-admin --connectors 0'
        text = text.replace(create, f'{create} --port-offset {offset}{options}')
        ports = r'(127\.0\.0\.1:|ssl:port=)(170\d\d|11223|8183)'
        return re.sub(ports, lambda port: f'{port[1]}{int(port[2]) + offset}', text)

    Walker(directory, adapt, {'PYTHONDONTWRITEBYTECODE': '1'}).follow(page)


def in_time(said: str) -> str:
    """What a command prints where it need not say that it is still at it: on a busy machine it may."""
    return ''.join(line for line in said.splitlines(keepends=True) if not line.endswith(' …\n'))
