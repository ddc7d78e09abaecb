"""Generates a manual page for each command from its help output, in build/man/man1/, with the man(7) macros.

    python docs/man.py [DIRECTORY]
    man -l build/man/man1/zatotx-start.1
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
from reference import walk

from zatotx import __version__
from zatotx.cli.main import cli

STATUSES = (('0', 'Success.'), ('1', 'The command failed: one sentence on stderr says why and what to do.'),
            ('2', 'Wrong usage of the command line.'))  # fmt: skip


def page(path: str, command: click.Command, context: click.Context, date: str) -> str:
    """The manual page of one command."""
    title = path.replace(' ', '-')
    lines = [
        f'.TH {quoted(title.upper())} 1 {quoted(date)} {quoted("zatotx " + __version__)} "zatotx manual"',
        '.SH NAME', f'{escaped(title)} \\- {escaped(summary(command))}',
        '.SH SYNOPSIS', f'.B {escaped(path)}', escaped(' '.join(command.collect_usage_pieces(context))),
        '.SH DESCRIPTION', *description(command.help or ''),
    ]  # fmt: skip
    for head, records in (('OPTIONS', options(command, context)), ('COMMANDS', commands(command, context))):
        if records:
            lines += [f'.SH {head}', *(line for name, text in records for line in entry(name, text))]
    lines += ['.SH EXIT STATUS', *(line for code, text in STATUSES for line in entry(code, text))]
    lines += ['.SH EXAMPLES', '.nf', *(escaped(line) for line in examples(command)), '.fi']
    others = related(title, command, context)
    if others:
        ends = [','] * (len(others) - 1) + ['']
        lines += ['.SH SEE ALSO', *(f'.BR {escaped(one)} (1){end}' for one, end in zip(others, ends, strict=True))]
    return '\n'.join(lines) + '\n'


def summary(command: click.Command) -> str:
    """The one-line summary for the NAME section, which starts in lowercase."""
    text = command.get_short_help_str(1000).rstrip('.')
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def description(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text; those that click marks with a backspace character are not filled."""
    for number, paragraph in enumerate(part for part in text.split('\f')[0].split('\n\n') if part.strip()):
        if number:
            yield '.PP'
        if paragraph.lstrip().startswith('\b'):
            yield from ('.nf', *map(escaped, paragraph.lstrip().removeprefix('\b').strip('\n').splitlines()), '.fi')
        else:
            yield escaped(' '.join(paragraph.split()))


def options(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    records = (param.get_help_record(context) for param in command.get_params(context))
    return [record for record in records if record is not None and record[1]]


def commands(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    """The subcommands of a group: names and summaries."""
    if not isinstance(command, click.Group):
        return []
    found = ((name, command.get_command(context, name)) for name in command.list_commands(context))
    return [(name, child.get_short_help_str(1000)) for name, child in found if child is not None]


def examples(command: click.Command) -> list[str]:
    """The lines below `Examples:` in the epilog of a command."""
    text = (command.epilog or '').partition('Examples:\n')[2].partition('\n\n')[0]
    return [line.strip() for line in text.splitlines()]


def related(title: str, command: click.Command, context: click.Context) -> list[str]:
    """The manual pages of the parent command and of the subcommands."""
    above = [context.parent.command_path.replace(' ', '-')] if context.parent is not None else []
    return [*above, *(f'{title}-{name}' for name, _ in commands(command, context))]


def entry(name: str, text: str) -> list[str]:
    return ['.TP', f'.B {escaped(name)}', escaped(' '.join(text.split()))]


def escaped(text: str) -> str:
    """Escape text for roff, including a control character at the start of a line."""
    plain = text.replace('\\', '\\e').replace('-', '\\-')
    return '\\&' + plain if plain[:1] in ('.', "'") else plain


def quoted(text: str) -> str:
    return '"' + text.replace('"', "'") + '"'


def main(directory: Path) -> None:
    """Write one file per command."""
    moment = int(os.environ.get('SOURCE_DATE_EPOCH', datetime.now(UTC).timestamp()))  # for reproducible builds
    date = datetime.fromtimestamp(moment, UTC).strftime('%Y-%m-%d')
    directory.mkdir(parents=True, exist_ok=True)
    for path, command, context in walk(cli, click.Context(cli, info_name='zatotx', **cli.context_settings)):
        (directory / f'{path.replace(" ", "-")}.1').write_text(page(path, command, context, date), 'utf-8')


if __name__ == '__main__':
    main(Path(sys.argv[1] if len(sys.argv) > 1 else 'build/man/man1'))
