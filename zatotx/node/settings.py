"""A node's settings: config/server.toml, read whole, every mistake named at once."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from zatotx.model.faults import StartError

_Seconds = Annotated[float, Meta(gt=0, le=86400)]
_Count = Annotated[int, Meta(ge=1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Main(_Section, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1)]
    cluster: Annotated[str, Meta(min_length=1)]


class Odb(_Section, frozen=True, kw_only=True):
    url: Annotated[str, Meta(min_length=1)]


class Kvdb(_Section, frozen=True, kw_only=True):
    url: Annotated[str, Meta(min_length=1)]
    timeout: _Seconds = 5


class Threads(_Section, frozen=True, kw_only=True):
    services: _Count = 20  # `def` services at the same time
    workers: _Count = 4  # hashing, imports, spooling


class HotDeploy(_Section, frozen=True, kw_only=True):
    pickup_dir: str = 'pickup/incoming/services'


class Log(_Section, frozen=True, kw_only=True):
    level: str = 'info'


class Shutdown(_Section, frozen=True, kw_only=True):
    grace: Annotated[float, Meta(ge=0, le=3600)] = 10


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    main: Main
    odb: Odb
    kvdb: Kvdb
    threads: Threads = Threads()
    hot_deploy: HotDeploy = HotDeploy()
    log: Log = Log()
    shutdown: Shutdown = Shutdown()
    user_config: dict[str, str] = {}  # name -> INI file, as self.user_config.<name>
    kinds: dict[str, dict[str, Any]] = {}  # each kind's own section; the kind checks it


def load(path: Path, kinds: Collection[str]) -> Settings:
    """Read the settings file; `kinds` may have a section each. Raises StartError with one sentence that names every
    mistake."""
    try:
        document = tomllib.loads(path.read_text('utf-8'))
    except FileNotFoundError:
        raise StartError(f'{path} is missing: is {path.parent.parent} a server that quickstart made?') from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StartError(f'{path} cannot be read: {error}') from None
    settings, mistakes = parse(document, kinds)
    if settings is None:
        raise StartError(f'{path}: {"; ".join(mistakes)}')
    return settings


def parse(document: dict[str, Any], kinds: Collection[str] = ()) -> tuple[Settings | None, list[str]]:
    """Settings from a parsed file, or every mistake as `section.key: what is wrong`."""
    known = {field.name: field for field in msgspec.structs.fields(Settings) if field.name != 'kinds'}
    mistakes = [
        f'{name}: no such section (known: {", ".join([*known, *kinds])})'
        for name in document if name not in known and name not in kinds
    ]
    found: dict[str, Any] = {'kinds': {name: document[name] for name in kinds if name in document}}
    mistakes += [f'{name}: expected a section' for name, section in found['kinds'].items()
                 if not isinstance(section, dict)]
    for name, field in known.items():
        if name in document:
            found[name] = _section(name, field.type, document[name], mistakes)
        elif field.required:
            mistakes.append(f'{name}: the section is missing')
    return (None, mistakes) if mistakes else (Settings(**found), [])


def _section(name: str, type_: Any, values: Any, mistakes: list[str]) -> Any:
    if not isinstance(values, dict):
        mistakes.append(f'{name}: expected a section')
        return None
    if not isinstance(type_, type):  # a free mapping
        return _converted(name, type_, values, mistakes)
    fields = {field.name: field for field in msgspec.structs.fields(type_)}
    mistakes += [f'{name}.{key}: no such setting (known: {", ".join(fields)})' for key in values if key not in fields]
    found = {
        key: _converted(f'{name}.{key}', field.type, values[key], mistakes)
        for key, field in fields.items() if key in values
    }
    for key, field in fields.items():
        if key not in values and field.required:
            mistakes.append(f'{name}.{key}: missing')
            return None
    return type_(**found)


def _converted(path: str, type_: Any, value: Any, mistakes: list[str]) -> Any:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        mistakes.append(f'{path}: {error}')
        return None
