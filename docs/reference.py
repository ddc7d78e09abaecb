"""Writes docs/reference/: what the command line and the schema say of themselves.

    python docs/reference.py            write the pages
    python docs/reference.py --check    say which are stale, exit 1 if any is
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from inspect import getsource
from pathlib import Path
from typing import get_type_hints

import click
from msgspec import NODEFAULT
from msgspec.structs import FieldInfo, fields

from zatotx.cli.checks.finding import ENVIRONMENT, EVERY_PART
from zatotx.cli.checks.running import CHECKS
from zatotx.cli.environment.layout import REDIS, SERVER
from zatotx.cli.environment.odb_access import object_types
from zatotx.cli.main import cli
from zatotx.connectors.kind_registry import find_kinds, metric_definitions
from zatotx.metrics.definitions import FAMILIES, register
from zatotx.node.settings import Settings
from zatotx.schema.type_docs import table

PAGES = Path(__file__).parent / 'reference'
NOTE = 'Written by `make docs`: change the code it is made of, not this page.\n'


def command_line() -> str:
    """One section a command, its help as it is printed."""
    texts = ['# The `zatotx` command\n', NOTE]
    for path, command, context in walk(cli, click.Context(cli, info_name='zatotx', **cli.context_settings)):
        texts.append(f'## {path}\n')
        texts.append(f'```\n{command.get_help(context).rstrip()}\n```\n')
    return '\n'.join(texts)


def walk(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """A command and all below it."""
    context.terminal_width = 100
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from walk(child, click.Context(child, parent=context, info_name=name))


def objects() -> str:
    """One table an object type, by its section in an enmasse file."""
    texts = ['# Configuration objects\n', NOTE, 'What an enmasse file may hold, section by section.\n']
    for object_type in object_types():
        if object_type.section:
            tag = f', `type: {object_type.tag}`' if object_type.tag else ''
            texts.append(f'## {object_type.title or object_type.key}\n\nSection `{object_type.section}`{tag}.\n')
            texts.append(table(object_type))
    return '\n'.join(texts)


def metrics() -> str:
    """One table of all that /zato/metrics may hold."""
    texts = ['# Metrics\n', NOTE,
             'What `/zato/metrics` of a server holds; see [observing](../observing.md). A histogram has `_bucket`,\n'
             '`_sum` and `_count` behind its name. With several workers a figure is that of all of them.\n',
             '| metric | type | labels | what it says |', '| --- | --- | --- | --- |']
    register(metric_definitions(find_kinds()))
    for family in FAMILIES.values():
        labels = ', '.join(f'`{label}`' for label in family.labels)
        texts.append(f'| `{family.shown}` | {family.kind} | {labels} | {family.text} |')
    return '\n'.join(texts) + '\n'


def checks() -> str:
    """One table of what `zatotx doctor` looks at."""
    texts = ['# What doctor looks at\n', NOTE,
             'The checks of `zatotx doctor` ([doctor](../doctor.md)), by subject, and what makes each find\n'
             'something.\n',
             '| subject | of | finds something where |', '| --- | --- | --- |']
    whose = {ENVIRONMENT: 'an environment', EVERY_PART: 'every part', SERVER: 'a server', REDIS: 'the embedded Redis'}
    texts += [f'| {check.subject} | {whose[check.of]} | {check.says} |' for check in CHECKS]
    return '\n'.join(texts) + '\n'


def settings() -> str:
    """One table a section of server.toml, each setting with what its source says behind it."""
    texts = ['# Settings of a server\n', NOTE,
             '`config/server.toml`, read when a server starts; `[log]` also on SIGHUP. Relative paths are\n'
             "relative to the server's directory. `${NAME}` and `file:PATH` refer to the environment and to files\n"
             '([secrets](../secrets.md)). What is not known here is refused by name.\n']
    hints = get_type_hints(Settings)
    sections = {'main': hints['main']}
    sections |= {found.kind.name: found.load(found.kind.settings_type) for found in find_kinds()
                 if found.kind.settings_type}
    sections |= {name: one for name, one in hints.items() if hasattr(one, '__struct_fields__')}
    for name, section in sections.items():
        texts.append(f'## `[{name}]`\n\n| setting | default | what it is |\n| --- | --- | --- |')
        said = comments(section)
        texts += [f'| `{one.name}` | {default(one)} | {said[one.name]} |' for one in fields(section)]
        texts.append('')
    texts.append('## `[user_config]`\n\nINI files of your own: `app = "config/app.ini"` is `self.user_config.app` in\n'
                 'every service.\n')
    return '\n'.join(texts)


def comments(section: type) -> dict[str, str]:
    """Field -> the comment on its line. Raises KeyError later where a setting has none."""
    lines = [line.strip().partition('  # ') for line in getsource(section).splitlines()]
    return {code.partition(':')[0]: said.replace('|', '\\|') for code, _, said in lines if said}


def default(field: FieldInfo) -> str:
    """As it would stand in the file; nothing where it must stand there."""
    if field.default is NODEFAULT:
        return ''
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f'`{json.dumps(value)}`' if value != {} else '(none)'


def main(check: bool) -> int:
    stale = []
    pages = {'cli.md': command_line(), 'objects.md': objects(), 'metrics.md': metrics(), 'checks.md': checks(),
             'settings.md': settings()}
    for name, text in pages.items():
        page = PAGES / name
        if page.exists() and page.read_text('utf-8') == text:
            continue
        stale.append(name)
        if not check:
            PAGES.mkdir(exist_ok=True)
            page.write_text(text, 'utf-8')
            print(f'Wrote {page}')
    if check and stale:
        print(f"Stale: {', '.join(stale)} in docs/reference/: run 'make docs'.", file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main('--check' in sys.argv[1:]))
