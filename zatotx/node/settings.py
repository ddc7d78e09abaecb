"""Parses and validates the settings of a node (config/server.toml or config/connector.toml), and reports all errors
together.

A string may refer to the environment (`${NAME}`) or to a file (`file:PATH`):
zatotx/rules/enmasse/reference_resolution.py.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from zatotx.model.errors import StartError
from zatotx.processes.private_files import make_private_file_reader
from zatotx.rules.channel_placement import CONNECTOR, SERVER
from zatotx.rules.enmasse.reference_resolution import ReferenceResolver, has_reference
from zatotx.rules.limits.concurrency_limit import DEFAULT_NODE_LIMIT, DEFAULT_SERVICE_LIMIT
from zatotx.rules.limits.memory_budget import DEFAULT_LIMIT, MIN_LIMIT
from zatotx.rules.redis.cache_size_limits import DEFAULT_MAX_BYTES, DEFAULT_MAX_ENTRIES
from zatotx.rules.resilience.process_supervision import START_TIMEOUT, TIMEOUT
from zatotx.schema.secrets import mask_setting
from zatotx.schema.service_config import MAX_IN_FLIGHT
from zatotx.wire.xml.document_limits import MAX_DEPTH, MAX_TEXT_SIZE

SETTINGS_FILES = {SERVER: 'server.toml', CONNECTOR: 'connector.toml'}  # in config/, by type of node

_Seconds = Annotated[float, Meta(gt=0, le=86400)]
_ServiceInFlight = Annotated[int, Meta(ge=1, le=MAX_IN_FLIGHT)]
_BodyMemory = Annotated[int, Meta(ge=MIN_LIMIT)]
_Count = Annotated[int, Meta(ge=1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    def __repr__(self) -> str:
        fields = ', '.join(
            f'{name}={mask_setting(name, value)!r}' for name, value in msgspec.structs.asdict(self).items()
        )
        return f'{type(self).__name__}({fields})'


class Main(_Section, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1)]  # name of this server, unique in the cluster
    cluster: Annotated[str, Meta(min_length=1)]  # name of the cluster; one cluster per database
    workers: Annotated[int, Meta(ge=1, le=64)] = 1  # number of processes that share the listening sockets
    connector_kinds: list[str] | None = None  # kinds for connectors that run here; default: all, in a server none
    heartbeat_timeout: Annotated[float, Meta(ge=3, le=86400)] = TIMEOUT  # seconds without one until a worker is killed
    start_timeout: Annotated[float, Meta(ge=10, le=86400)] = START_TIMEOUT  # seconds until a worker must be ready
    core_dumps: bool = False  # whether a crash may write a core dump, which contains keys and passwords


class Odb(_Section, frozen=True, kw_only=True):
    url: Annotated[str, Meta(min_length=1)]  # SQLAlchemy URL, in clear or encrypted as enc:…


class Kvdb(_Section, frozen=True, kw_only=True):
    url: Annotated[str, Meta(min_length=1)]  # redis://, rediss://, unix:// or redis+sentinel://, in clear or as enc:…
    timeout: _Seconds = 5  # seconds per command
    ca: str = ''  # CA file for rediss://, relative to the server's directory; '' = the system's CAs
    cert: str = ''  # file of a client certificate
    key: str = ''  # file of its private key, if it is not in the same file


class Cache(_Section, frozen=True, kw_only=True):
    max_entries: _Count = DEFAULT_MAX_ENTRIES  # maximum number of entries of each cache of services
    max_bytes: _Count = DEFAULT_MAX_BYTES  # maximum size of the keys and values of each cache


class Threads(_Section, frozen=True, kw_only=True):
    services: _Count = 20  # maximum number of `def` services that run at the same time
    workers: _Count = 4  # threads for password hashing, imports and spooling


class Limits(_Section, frozen=True, kw_only=True):
    in_flight: Annotated[int, Meta(ge=1, le=1_000_000)] = DEFAULT_NODE_LIMIT  # maximum concurrent requests of this node
    service_in_flight: _ServiceInFlight = DEFAULT_SERVICE_LIMIT  # default maximum per service
    work_in_flight: Annotated[int, Meta(ge=1, le=10_000)] = 100  # asynchronous invocations at once in one process
    body_memory: _BodyMemory = DEFAULT_LIMIT  # bytes of raw and parsed request bodies per process
    json_depth: Annotated[int, Meta(ge=1, le=500)] = 100  # maximum nesting of objects and lists in a body
    json_keys: _Count = 100_000  # maximum number of keys and list elements in a body
    form_fields: _Count = 1_000  # maximum number of form fields in a body
    xml_depth: Annotated[int, Meta(ge=1, le=MAX_DEPTH)] = 100  # maximum nesting of XML elements in a body
    xml_elements: _Count = 600_000  # maximum number of XML elements in a body
    xml_attributes: _Count = 250_000  # maximum number of XML attributes in a body
    xml_element_attributes: _Count = 256  # maximum number of attributes of one XML element
    xml_namespaces: _Count = 1_000  # maximum number of distinct namespace declarations in a body
    xml_text: Annotated[int, Meta(ge=1, le=MAX_TEXT_SIZE)] = MAX_TEXT_SIZE  # characters of one text in a body


class HotDeploy(_Section, frozen=True, kw_only=True):
    pickup_dir: str = 'pickup/incoming/services'  # directory whose files are deployed to the cluster


class Log(_Section, frozen=True, kw_only=True):
    level: str = 'info'  # default level of all categories and loggers
    levels: dict[str, str] = {}  # by category (kvdb, admin) or logger (crm, twisted.web)
    form: str = 'text'  # log format, 'text' or 'json'
    max_size: Annotated[int, Meta(ge=10_000)] = 20_000_000  # bytes after which a log file is rotated
    keep: Annotated[int, Meta(ge=1, le=10_000)] = 10  # number of rotated files to keep


class Shutdown(_Section, frozen=True, kw_only=True):
    grace: Annotated[float, Meta(ge=0, le=3600)] = 10  # seconds that running requests get to finish


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    main: Main
    odb: Odb
    kvdb: Kvdb
    cache: Cache = Cache()
    threads: Threads = Threads()
    limits: Limits = Limits()
    hot_deploy: HotDeploy = HotDeploy()
    log: Log = Log()
    shutdown: Shutdown = Shutdown()
    user_config: dict[str, str] = {}  # name -> INI file, available as self.user_config.<name>
    kinds: dict[str, dict[str, Any]] = {}  # the section of each kind, which the kind validates

    def __repr__(self) -> str:
        fields = ', '.join(
            f'{name}={mask_setting(name, value)!r}' for name, value in msgspec.structs.asdict(self).items()
        )
        return f'Settings({fields})'


def load_settings(path: Path, kinds: Collection[str]) -> Settings:
    """Load the settings file. The file may have a section for each of `kinds`. Raises StartError, whose message is one
    sentence that lists all errors."""
    try:
        document = tomllib.loads(path.read_text('utf-8'))
    except FileNotFoundError:
        raise StartError(f'{path} is missing: is {path.parent.parent} a component created by quickstart?') from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StartError(f'{path} cannot be read: {error}') from None
    document, unresolved = resolve_references(document, path.parent)
    settings, errors = parse_settings(document, kinds)
    if unresolved:  # other errors of the same values are consequences
        errors = [*(f'{position}: {text}' for position, text in unresolved),
                    *(error_text for error_text in errors if error_text.partition(': ')[0] not in dict(unresolved))]
        settings = None
    if settings is None:
        raise StartError(f'{path}: {"; ".join(errors)}')
    return settings


class ResolvedText(str):
    """A string that replaces a reference in the settings. Values from the environment are always text, so a
    ResolvedText may be converted to a number."""


def resolve_references(document: dict[str, Any], directory: Path) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the document with its references resolved, and a list of pairs (section.key, error) for the references
    that cannot be resolved."""
    sources = ReferenceResolver(environ=os.environ, read_file=make_private_file_reader(directory))
    unresolved: list[tuple[str, str]] = []
    result: dict[str, Any] = {}
    for position, section, key, value in _values(document):
        errors: list[str] = []
        new = sources.resolve(value, errors)
        new = ResolvedText(new) if isinstance(new, str) and has_reference(value) else new
        unresolved.extend((position, text) for text in errors)
        if section:
            result.setdefault(section, {})[key] = new
        else:
            result[key] = new
    return result, unresolved


def _values(document: dict[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    """Yield (section.key, section, key, value); for a value outside a section, or an empty section, ('name', '', name,
    value)."""
    for name, section in document.items():
        if isinstance(section, dict) and section:
            for key, value in section.items():
                yield f'{name}.{key}', name, key, value
        else:
            yield name, '', name, section


def parse_settings(document: dict[str, Any], kinds: Collection[str] = ()) -> tuple[Settings | None, list[str]]:
    """Validate a parsed settings file. Returns the settings, or None together with all errors in the form `section.key:
    error`."""
    known = {field.name: field for field in msgspec.structs.fields(Settings) if field.name != 'kinds'}
    errors = [
        f'{name}: no such section (known: {", ".join([*known, *kinds])})'
        for name in document if name not in known and name not in kinds
    ]
    sections: dict[str, Any] = {'kinds': {name: document[name] for name in kinds if name in document}}
    errors += [f'{name}: expected a section' for name, section in sections['kinds'].items()
                 if not isinstance(section, dict)]
    for name, field in known.items():
        if name in document:
            sections[name] = _section(name, field.type, document[name], errors)
        elif field.required:
            errors.append(f'{name}: the section is missing')
    return (None, errors) if errors else (Settings(**sections), [])


def _section(name: str, type_: Any, values: Any, errors: list[str]) -> Any:
    if not isinstance(values, dict):
        errors.append(f'{name}: expected a section')
        return None
    if not isinstance(type_, type):  # a mapping without a fixed set of keys
        return _convert(name, type_, values, errors)
    fields = {field.name: field for field in msgspec.structs.fields(type_)}
    errors += [f'{name}.{key}: no such setting (known: {", ".join(fields)})' for key in values if key not in fields]
    values_by_key = {
        key: _convert(f'{name}.{key}', field.type, values[key], errors)
        for key, field in fields.items() if key in values
    }
    for key, field in fields.items():
        if key not in values and field.required:
            errors.append(f'{name}.{key}: missing')
            return None
    return type_(**values_by_key)


def _convert(path: str, type_: Any, value: Any, errors: list[str]) -> Any:
    try:
        return msgspec.convert(str(value), type_, strict=False) if isinstance(value, ResolvedText) \
            else msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        errors.append(f'{path}: {error}')
        return None
