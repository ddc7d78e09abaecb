"""Options for secret values. Secrets should not be on the command line, where every user of the machine can read them
in the process list. The value `-` reads the secret from standard input, and `@FILE` reads it from a file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from zatotx.cli.command_output import print_note
from zatotx.cli.errors import CommandError

ENCRYPTED = 'enc:'  # values with this prefix are useless without the key

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def make_secret_option(name: str, what: str, parameter: str) -> Decorator:
    """Return a click option `--NAME` for a secret, passed to the command as `parameter`, to be read with
    `read_secret`."""
    where = '- reads it from standard input, @FILE from a file. Default: prompt for it, or read it from a pipe.'
    return click.option(f'--{name}', parameter, default=None, metavar='-|@FILE', help=f'{what}: {where}')


def read_secret(given: str | None, option: str, prompt: str, *, confirm: bool = False) -> str:
    """Read a secret from the option, from a pipe, or from a prompt on a terminal. A secret on the command line is
    accepted, with a warning on stderr. Raises CommandError if a file cannot be read."""
    if given is None:
        if sys.stdin.isatty():
            answer: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
            return answer
        given = '-'
    if not refers_to_stdin_or_file(given) and not given.startswith(ENCRYPTED):
        print_note(f'Warning: the value of --{option} can be read by every user of this machine in the process list: '
             f'omit --{option} to be prompted, or use --{option} - or --{option} @FILE.')  # fmt: skip
    return without_line_end(read_value(given, option))


def read_value(given: str, option: str) -> str:
    """Return the text to which the value of an option refers. The text is read from standard input or from a file, or
    is the value itself. Raises CommandError if a file cannot be read."""
    if given == '-':
        return sys.stdin.read()
    if not refers_to_stdin_or_file(given):
        return given
    path = Path(given[1:]).expanduser()
    try:
        return path.read_bytes().decode('utf-8')
    except OSError as error:
        raise CommandError(f'--{option}: {path} cannot be read: {error.strerror}.') from None
    except UnicodeDecodeError:
        raise CommandError(f'--{option}: {path} is not UTF-8 text.') from None


def refers_to_stdin_or_file(given: str) -> bool:
    """Return whether the value of an option refers to standard input or a file."""
    return given == '-' or given.startswith('@')


def without_line_end(text: str) -> str:
    """Return the text without its final line ending."""
    return text.removesuffix('\n').removesuffix('\r') if text.endswith('\n') else text
