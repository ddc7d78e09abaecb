"""Checks the versions of Python, libraries and environment components, and of the libraries that connector kinds
require.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata

from zatotx import __version__
from zatotx.cli.checks.check_definition import BROKEN, ENVIRONMENT, EVERY_COMPONENT, NODE, WARNING, Check, CheckContext
from zatotx.cli.environment.component_types import WEB_ADMIN
from zatotx.cli.environment.environment_layout import Component, read_info

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)  # the tested versions
_REQUIREMENT = re.compile(r'(?P<name>[A-Za-z0-9._-]+)\s*(\[[^\]]*\])?\s*(?P<bounds>[^;]*)(;(?P<marker>.*))?')


def check_installed_python(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that zatotx has been tested on the installed version of Python."""
    yield from check_python_version(tuple(int(piece) for piece in platform.python_version_tuple()[:2]))


def check_python_version(version: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Check that zatotx has been tested on a version of Python."""
    version_text = '.'.join(map(str, version))
    supported = f'{".".join(map(str, OLDEST_PYTHON))} to {".".join(map(str, NEWEST_PYTHON))}'
    if version < OLDEST_PYTHON:
        yield BROKEN, f'Python {version_text} is too old for zatotx: install {supported}'
    elif version > NEWEST_PYTHON:
        yield WARNING, f'zatotx is not tested on Python {version_text}: install {supported}'


def check_libraries(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that the libraries that zatotx requires are installed, and new enough."""
    yield from find_outdated_libraries(metadata.requires('zatotx') or (), find_installed_version)


def find_outdated_libraries(
    requirements: Iterable[str], version: Callable[[str], str | None]
) -> Iterator[tuple[str, str]]:
    """Yield each requirement that is not met. Requirements of extras are ignored, because the kinds check them.
    `version` returns the installed version of a library, or None if the library is not installed."""
    for text in requirements:
        found = _REQUIREMENT.match(text)
        if found is None or 'extra' in (found['marker'] or ''):
            continue
        lower_bounds = [bound.strip()[2:] for bound in found['bounds'].split(',') if bound.strip().startswith('>=')]
        installed_version, name = version(found['name']), found['name']
        specifier = f"'{name}{found['bounds'].strip()}'"
        if installed_version is None:
            if not found['marker']:
                yield BROKEN, f'{name} is not installed: pip install {specifier}'
        elif any(version_numbers(installed_version) < version_numbers(bound) for bound in lower_bounds):
            yield BROKEN, f'{name} {installed_version} is too old: pip install --upgrade {specifier}'


def find_installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version. For '26.10.0rc1' the result is (26, 10, 0)."""
    found = re.match(r'\d+(\.\d+)*', version)
    return tuple(int(piece) for piece in found[0].split('.')) if found else ()


def check_creating_version(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a component was not created by a newer version of zatotx."""
    version = str(read_info(part.path).get('version', ''))
    if version_numbers(version) > version_numbers(__version__):
        yield WARNING, (f'it was created by zatotx {version}, but {__version__} is installed: '
                        f'upgrade zatotx to {version} or newer')  # fmt: skip


def check_server_settings(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that server.toml contains only known settings with valid values."""
    from zatotx.connectors.kind_registry import check_selected_kinds, find_kinds, kind_settings_errors
    from zatotx.model.errors import StartError
    from zatotx.node.settings import load_settings

    found = find_kinds()
    try:
        loaded = load_settings(part.settings_path, [one.kind.name for one in found])
        check_selected_kinds(found, loaded.main.connector_kinds)
    except StartError as error:
        yield BROKEN, str(error)
        return
    for problem in kind_settings_errors(found, loaded.kinds):
        yield BROKEN, f'{part.settings_path}: {problem}'


def check_admin_settings(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that admin.toml exists and contains only known settings with valid values."""
    from zatotx.admin.settings import load_settings
    from zatotx.model.errors import StartError

    try:
        load_settings(part.settings_path)
    except StartError as error:
        yield BROKEN, str(error).rstrip('.')


CHECKS = (
    Check('settings', 'server.toml or connector.toml contains unknown settings or invalid values', NODE,
          check_server_settings),
    Check('settings', 'admin.toml is missing, or contains unknown settings or invalid values', WEB_ADMIN,
          check_admin_settings),
    Check('versions', 'Python is older or newer than the tested versions', ENVIRONMENT, check_installed_python),
    Check('versions', 'a library is missing or older than setup.cfg requires', ENVIRONMENT, check_libraries),
    Check('versions', 'a component was created by a newer version of zatotx', EVERY_COMPONENT, check_creating_version),
)
