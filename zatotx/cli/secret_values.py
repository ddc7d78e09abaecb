"""Values of options that should not stand on the command line, which everybody on the machine can read in the list of
processes: `-` reads them from standard input, `@FILE` from a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from zatotx.cli.errors import CommandError
from zatotx.cli.output import print_step

ENCRYPTED = 'enc:'  # what begins so says nothing to those who have no key

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def secret_option(name: str, what: str, parameter: str) -> Decorator:
    """An option `--NAME` for a secret, passed to the command as `parameter`, for `read_secret`."""
    where = '- reads it from standard input, @FILE from a file. Best left out: it is asked for, or read from a pipe.'
    return click.option(f'--{name}', parameter, default=None, metavar='-|@FILE', help=f'{what}: {where}')


def read_secret(given: str | None, option: str, prompt: str, *, confirm: bool = False) -> str:
    """A secret: of the option, of a pipe, or of a person at a terminal. One that stands on the command line is taken,
    with a warning on stderr. Raises Failure for a file that cannot be read."""
    if given is None:
        if sys.stdin.isatty():
            answer: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
            return answer
        given = '-'
    if not is_indirect(given) and not given.startswith(ENCRYPTED):
        print_step(f'Warning: what stands after --{option} can be read by everybody on this machine in the list of '
             f'processes: leave --{option} out to be asked, or write --{option} - or --{option} @FILE.')  # fmt: skip
    return without_line_end(read_value(given, option))


def read_value(given: str, option: str) -> str:
    """The text that the value of an option stands for. Raises Failure for a file that cannot be read."""
    if given == '-':
        return sys.stdin.read()
    if not is_indirect(given):
        return given
    path = Path(given[1:]).expanduser()
    try:
        return path.read_bytes().decode('utf-8')
    except OSError as error:
        raise CommandError(f'--{option}: {path} cannot be read: {error.strerror}.') from None
    except UnicodeDecodeError:
        raise CommandError(f'--{option}: {path} is no UTF-8 text.') from None


def is_indirect(given: str) -> bool:
    """Whether a value of an option says where the text is, rather than being it."""
    return given == '-' or given.startswith('@')


def without_line_end(text: str) -> str:
    """The text without its last line end."""
    return text.removesuffix('\n').removesuffix('\r') if text.endswith('\n') else text
