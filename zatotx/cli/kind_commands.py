"""Finds the CLI commands that the installed kinds add to `zatotx`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import click

import zatotx

_UNKNOWN = '*'  # in place of a name


@cache
def kind_commands(group: str = '') -> Mapping[str, click.Command]:
    """Return the commands that enabled kinds add to `zatotx`, or to one of its command groups, sorted by name. If a
    command belongs to a group, its declaration begins with the name of the group, as in 'crypto zmq-key'. If no kind
    declares commands, only a few files are read, so that `zatotx --help` and completion are fast; otherwise the kinds
    are found and loaded."""
    if not any(_is_of_group(name, group) for file in _declaration_files() for name in _declared_names(file)):
        return {}
    from zatotx.connectors.kind_registry import find_kinds

    declared = [(name.rpartition(' ')[2], found.load(path)) for found in find_kinds() if found.enabled
                for name, path in found.kind.commands.items() if _is_of_group(name, group)]  # fmt: skip
    return dict(sorted(declared, key=lambda entry: entry[0]))


def _is_of_group(name: str, group: str) -> bool:
    return name == _UNKNOWN or name.rpartition(' ')[0] == group


def _declaration_files() -> Iterable[Path]:
    """Yield the modules in which twisted.plugin looks for kinds."""
    packages = [Path(zatotx.__file__).parent, *(Path(directory or '.', 'zatotx') for directory in sys.path)]
    for package in dict.fromkeys(packages):
        yield from package.glob('plugins/*/__init__.py')


def _declared_names(file: Path) -> Iterable[str]:
    """Yield the names of the commands that a module declares; _UNKNOWN for names that are not literals."""
    try:
        text = file.read_text('utf-8')
        if 'commands=' not in text:
            return
        tree = ast.parse(text)
    except (OSError, SyntaxError):  # it is reported where the kinds are loaded
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == 'commands':
            keys = node.value.keys if isinstance(node.value, ast.Dict) else [None]
            yield from (str(key.value) if isinstance(key, ast.Constant) else _UNKNOWN for key in keys)
