"""Commands that the installed kinds add to `zatotx`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import click

import zatotx


@cache
def kind_commands() -> Mapping[str, click.Command]:
    """Return the commands of the enabled kinds by name, in alphabetical order. Costs a few file reads if no kind
    declares any, since `zatotx --help` and completion must be quick; otherwise the kinds are found and loaded."""
    if not any(map(_declares_commands, _declaration_files())):
        return {}
    from zatotx.connectors.kind_registry import find_kinds

    declared = [(name, found.load(path)) for found in find_kinds() if found.enabled
                for name, path in found.kind.commands.items()]  # fmt: skip
    return dict(sorted(declared, key=lambda entry: entry[0]))


def _declaration_files() -> Iterable[Path]:
    """Yield the modules in which twisted.plugin looks for kinds."""
    packages = [Path(zatotx.__file__).parent, *(Path(directory or '.', 'zatotx') for directory in sys.path)]
    for package in dict.fromkeys(packages):
        yield from package.glob('plugins/*/__init__.py')


def _declares_commands(file: Path) -> bool:
    try:
        return 'commands=' in file.read_text('utf-8')
    except OSError:  # it is reported where the kinds are loaded
        return False
