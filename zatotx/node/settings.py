"""A node's settings: config/server.toml, read whole, every mistake named at once."""

from __future__ import annotations

import tomllib
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


class Http(_Section, frozen=True, kw_only=True):
    """Limits and deadlines of the HTTP engine; seconds and bytes."""

    listen: list[str] = ['tcp:port=17010:interface=127.0.0.1']
    head_timeout: _Seconds = 10
    body_timeout: _Seconds = 30
    idle_timeout: _Seconds = 60
    write_timeout: _Seconds = 60
    max_head: _Count = 32768
    max_fields: _Count = 100
    max_field: _Count = 8190
    max_target: _Count = 8192
    max_body: _Count = 20 * 1024 * 1024
    spool_above: _Count = 1024 * 1024


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
    http: Http = Http()
    odb: Odb
    kvdb: Kvdb
    threads: Threads = Threads()
    hot_deploy: HotDeploy = HotDeploy()
    log: Log = Log()
    shutdown: Shutdown = Shutdown()
    user_config: dict[str, str] = {}  # name -> INI file, as self.user_config.<name>


def load(path: Path) -> Settings:
    """Read the settings file. Raises StartError with one sentence that names every mistake."""
    try:
        document = tomllib.loads(path.read_text('utf-8'))
    except FileNotFoundError:
        raise StartError(f'{path} is missing: is {path.parent.parent} a server that quickstart made?') from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StartError(f'{path} cannot be read: {error}') from None
    settings, mistakes = parse(document)
    if settings is None:
        raise StartError(f'{path}: {"; ".join(mistakes)}')
    return settings


def parse(document: dict[str, Any]) -> tuple[Settings | None, list[str]]:
    """Settings from a parsed file, or every mistake as `section.key: what is wrong`."""
    mistakes: list[str] = []
    sections = {}
    known = {field.name: field for field in msgspec.structs.fields(Settings)}
    mistakes += [f'{name}: no such section (known: {", ".join(known)})' for name in document if name not in known]
    for name, field in known.items():
        if name in document:
            sections[name] = _section(name, field.type, document[name], mistakes)
        elif field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT:
            mistakes.append(f'{name}: the section is missing')
    return (None, mistakes) if mistakes else (Settings(**sections), [])


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
