"""Output of commands: tables, JSON, notes, and progress messages. Progress messages are printed to stderr for steps
that take longer than a second."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import Any

import click

from zatotx.cli.completion_values import EnvironmentPath

PROGRESS_DELAY = 1.0  # seconds after which a progress message is printed

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def make_format_option() -> Decorator:
    """Return the click option `--format text|json`, passed to the command as `form`."""
    choice = click.Choice(['text', 'json'])
    return click.option('--format', 'form', type=choice, default='text', show_default=True, help='The output format.')


def make_path_argument(name: str = 'path') -> Decorator:
    """Return the click argument PATH, which is an environment or one of its components."""
    help_text = 'An environment, or one of its components, e.g. PATH/server1.'
    return click.argument(name, metavar='PATH', type=EnvironmentPath(readable=False), help=help_text)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with columns padded to their widest cell, except for the last column."""
    lines = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo('  '.join(padded).rstrip())


def print_note(text: str) -> None:
    """Print a note to stderr. Notes are not printed to stdout, because they are not part of the result."""
    click.echo(text, err=True)


@contextmanager
def progress_if_slow(text: str) -> Iterator[None]:
    """Context manager that prints `text` to stderr if its block runs for more than a second."""
    timer = Timer(PROGRESS_DELAY, print_note, (f'{text} …',))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
