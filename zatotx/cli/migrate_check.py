"""`zatotx migrate check`: reports the features in a directory of Zato services and enmasse files that do not work with
zatotx."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from zatotx.cli.command_output import make_format_option, print_json, progress_if_slow
from zatotx.cli.errors import CommandError

if TYPE_CHECKING:
    from zatotx.rules.enmasse.reference_resolution import DocumentReferenceError
    from zatotx.schema.snapshot import StoredObject

_SKIPPED = frozenset({'__pycache__', 'node_modules', 'site-packages'})  # directories, besides those that begin with '.'


class FileProblem(NamedTuple):
    """A problem that was found in a file. Line 0 stands for the whole file."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f'{self.file}:{self.line}: {self.text}' if self.line else f'{self.file}: {self.text}'


@click.group(epilog='\b\nExamples:\n  zatotx migrate check ~/zato-project')
def migrate() -> None:
    """Move from Zato to zatotx."""


@migrate.command(
    short_help='Report what does not work with zatotx.',
    epilog='\b\nExamples:\n  zatotx migrate check ~/zato-project\n  zatotx migrate check ~/zato-project --format json',
)
@click.argument('directory', metavar='DIR', type=click.Path(), help='A directory with services and enmasse files.')
@make_format_option()
def check(directory: str, form: str) -> None:
    """Report what in the services (*.py) and enmasse files (*.yaml, *.yml, *.json) of DIR does not work with zatotx.

    Services are parsed, not run: imports of Zato's modules, attributes of self, and kinds of outgoing connections are
    compared with what zatotx has. YAML files are enmasse files if one of their keys is a section of zatotx or Zato.
    Nothing is changed. Returns 1 if there is a problem.
    """
    root = Path(directory)
    if not root.is_dir():
        raise CommandError(f'{directory} is not a directory: give the one that has your services and enmasse files.')
    with progress_if_slow('Checking'):
        checked, problems = _check_files(root)
    if form == 'json':
        print_json({'files': checked, 'problems': [problem._asdict() for problem in problems]})
    else:
        for problem in problems:
            click.echo(str(problem))
        click.echo(_summary(checked, problems))
    if problems:
        click.get_current_context().exit(1)


def _summary(checked: int, problems: list[FileProblem]) -> str:
    files = f'{checked} file{"" if checked == 1 else "s"}'
    if not checked:
        return 'There are no services and no enmasse files.'
    if not problems:
        return f'Checked {files}: everything that they use is in zatotx.'
    return f'Checked {files}: {len(problems)} problem{"" if len(problems) == 1 else "s"}.'


def _check_files(root: Path) -> tuple[int, list[FileProblem]]:
    """Return the number of services and enmasse files below a directory, and their problems."""
    outgoing = _outgoing_names()
    checked, problems = 0, []
    for path in _files_below(root):
        name = str(path.relative_to(root))
        try:
            content = path.read_bytes()
        except OSError as error:
            found: list[FileProblem] | None = [FileProblem(name, 0, f'it cannot be read: {error.strerror}')]
        else:
            check_file = _check_service if path.suffix == '.py' else _check_configuration
            found = check_file(name, content, outgoing)
        if found is not None:
            checked += 1
            problems += found
    return checked, problems


def _files_below(root: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in _SKIPPED and not name.startswith('.'))
        for file in sorted(files):
            if file.endswith(('.py', '.yaml', '.yml', '.json')):
                yield Path(directory, file)


def _check_service(name: str, content: bytes, outgoing: frozenset[str]) -> list[FileProblem]:
    from zatotx.service.compat.migration_check import check_source

    try:
        source = content.decode('utf-8-sig')
    except UnicodeDecodeError:
        return [FileProblem(name, 0, 'it is not UTF-8 text')]
    return [FileProblem(name, problem.line, problem.text) for problem in check_source(source, outgoing)]


def _check_configuration(name: str, content: bytes, _outgoing: frozenset[str]) -> list[FileProblem] | None:
    """Return the problems of an enmasse file; None if it is none."""
    from zatotx.cli.environment.odb_and_redis_access import all_object_types
    from zatotx.rules.enmasse.import_plan import plan_import
    from zatotx.schema.snapshot import Snapshot

    types = all_object_types()
    try:
        document = _parse(name, content)
    except CommandError as error:
        return None if name.endswith('.json') else [FileProblem(name, 0, str(error).removeprefix(name).lstrip(':, '))]
    if not any(section in types.sections for section in document):
        return None
    snapshot = Snapshot(objects=_services_of(document))
    plan = plan_import(document, types, snapshot, replace=False, verify=lambda _hash, _secret: False)
    return [FileProblem(name, 0, str(error)) for error in plan.errors if not _is_of_reference(error, document)]


def _is_of_reference(error: DocumentReferenceError, document: Mapping[str, Any]) -> bool:
    """Return whether an error is about a field with a reference such as ${NAME}, whose value only an import knows."""
    from zatotx.rules.enmasse.reference_resolution import has_unresolved_reference, item_label

    items = document.get(error.section)
    field = error.field.partition('.')[0].partition('[')[0]
    return isinstance(items, list) and any(
        isinstance(item, dict)
        and item_label(item, number) == error.object
        and has_unresolved_reference(item.get(field))
        for number, item in enumerate(items, 1)
    )


def _services_of(document: Mapping[str, Any]) -> Iterator[StoredObject]:
    """Yield the services that the objects of a document name: they are deployed from their own files."""
    from zatotx.schema.service_config import ServiceConfig
    from zatotx.schema.snapshot import StoredObject

    items = (item for section in document.values() if isinstance(section, list) for item in section)
    names = {item.get('service') for item in items if isinstance(item, dict)}
    for number, name in enumerate(sorted(name for name in names if name and isinstance(name, str)), 1):
        yield StoredObject(number, 'service', ServiceConfig(name=name), 0)


def _parse(name: str, content: bytes) -> dict[str, Any]:
    from zatotx.cli.enmasse_file import parse_yaml

    if not name.endswith('.json'):
        return parse_yaml(name, content)
    try:
        document = json.loads(content)
    except ValueError as error:
        raise CommandError(f'{name}: {error}') from None
    return document if isinstance(document, dict) else {}


def _outgoing_names() -> frozenset[str]:
    """Return the names of `self.out.<name>` of all kinds, the disabled ones too."""
    from zatotx.connectors.kind_registry import find_kinds
    from zatotx.testing.scripted_calls import KIND_ALIASES

    kinds = [found for found in find_kinds() if found.kind.doubles]
    names = {name for found in kinds for name in found.load(found.kind.doubles)}
    return frozenset(names | {alias for alias, name in KIND_ALIASES.items() if name in names})
