"""Versions: of Python and libraries, of the parts of an environment; kinds that miss a library."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata

from zatotx import __version__
from zatotx.cli.checks.finding import BROKEN, ENVIRONMENT, EVERY_PART, WARNING, Check, CheckContext
from zatotx.cli.environment.layout import SERVER, Component, read_info

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)  # what is tested
_REQUIREMENT = re.compile(r'(?P<name>[A-Za-z0-9._-]+)\s*(\[[^\]]*\])?\s*(?P<bounds>[^;]*)(;(?P<marker>.*))?')


def python(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Python is one that zatotx is tested on."""
    yield from check_python(tuple(int(piece) for piece in platform.python_version_tuple()[:2]))


def check_python(version: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """What is to be said of a version of Python."""
    named = '.'.join(map(str, version))
    wanted = f'{".".join(map(str, OLDEST_PYTHON))} to {".".join(map(str, NEWEST_PYTHON))}'
    if version < OLDEST_PYTHON:
        yield BROKEN, f'this is Python {named}, too old for zatotx: install one of {wanted}'
    elif version > NEWEST_PYTHON:
        yield WARNING, f'this is Python {named}, on which zatotx is not tested: install one of {wanted}'


def libraries(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """What zatotx requires is installed, and new enough."""
    yield from outdated(metadata.requires('zatotx') or (), installed)


def outdated(requirements: Iterable[str], version: Callable[[str], str | None]) -> Iterator[tuple[str, str]]:
    """Each requirement that is not met; those of extras are left to the kinds that need them. `version`: name ->
    installed version, None where there is none."""
    for text in requirements:
        found = _REQUIREMENT.match(text)
        if found is None or 'extra' in (found['marker'] or ''):
            continue
        wanted = [bound.strip()[2:] for bound in found['bounds'].split(',') if bound.strip().startswith('>=')]
        has, name = version(found['name']), found['name']
        wants = f"'{name}{found['bounds'].strip()}'"
        if has is None:
            if not found['marker']:
                yield BROKEN, f'{name} is not installed: pip install {wants}'
        elif any(numbers(has) < numbers(bound) for bound in wanted):
            yield BROKEN, f'{name} {has} is too old: pip install --upgrade {wants}'


def installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version; '26.10.0rc1' -> (26, 10, 0)."""
    found = re.match(r'\d+(\.\d+)*', version)
    return tuple(int(piece) for piece in found[0].split('.')) if found else ()


def created_by(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """A part was not made by a newer zatotx than this one."""
    version = str(read_info(part.path).get('version', ''))
    if numbers(version) > numbers(__version__):
        yield WARNING, (f'it was made by zatotx {version}, this is {__version__}: '
                        f"'pip install --upgrade zatotx' to {version} or newer")  # fmt: skip


def kinds(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Every kind that is found here has the libraries it needs."""
    from zatotx.connectors.kind_registry import describe_kinds, find_kinds

    for name, facts in describe_kinds(find_kinds()).items():
        if not facts['enabled']:
            yield WARNING, f'the kind {name} is switched off here: {facts["why"]}'


def settings_known(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """server.toml says nothing that a server does not know."""
    from zatotx.connectors.kind_registry import find_kinds, settings_errors
    from zatotx.model.errors import StartError
    from zatotx.node.settings import load

    found = find_kinds()
    try:
        loaded = load(part.path / 'config' / 'server.toml', [one.kind.name for one in found])
    except StartError as error:
        yield BROKEN, str(error)
        return
    for mistake in settings_errors(found, loaded.kinds):
        yield BROKEN, f'{part.path}/config/server.toml: {mistake}'


CHECKS = (
    Check('settings', 'server.toml holds what a server does not know, or values out of bounds', SERVER, settings_known),
    Check('versions', 'Python is older or newer than what is tested', ENVIRONMENT, python),
    Check('versions', 'a library is missing or older than what setup.cfg asks for', ENVIRONMENT, libraries),
    Check('versions', 'a part was made by a newer zatotx', EVERY_PART, created_by),
    Check('kinds', 'a kind misses a library', ENVIRONMENT, kinds),
)
