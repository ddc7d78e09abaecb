"""Parses the text of lb.toml. The result is the configuration, or all errors with their line numbers."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec

from zatotx.lb.config.line_index import find_line, index_lines
from zatotx.lb.config.model import (
    ERROR_503,
    ClientTimeouts,
    ConfigTable,
    Configuration,
    ErrorBody,
    ServerTimeouts,
)
from zatotx.lb.config.validation import ConfigurationError, find_errors
from zatotx.processes.private_files import make_private_file_reader
from zatotx.rules.enmasse.reference_resolution import ReferenceResolver

CONTENT_TYPES = {'.json': 'application/json', '.html': 'text/html; charset=utf-8', '.xml': 'application/xml',
                 '.txt': 'text/plain; charset=utf-8'}  # fmt: skip
MAX_ERROR_BODY = 1_048_576  # bytes
_TIMEOUT_TABLES = {'frontends': ClientTimeouts, 'backends': ServerTimeouts}


class ParsedConfiguration(NamedTuple):
    """The result of parsing a configuration. If there are errors, `configuration` is None."""

    configuration: Configuration | None
    errors: list[str]  # one sentence each, in the order of their lines


def parse_configuration(source: str, directory: Path) -> ParsedConfiguration:
    """Parse the text of lb.toml. `directory` is the load balancer's directory, which contains the files that are named
    in the text. Blocks while these small files are read."""
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        return ParsedConfiguration(None, [f'lb.toml is not valid TOML: {error}.'])
    errors: list[ConfigurationError] = []
    resolver = ReferenceResolver(environ=os.environ, read_file=make_private_file_reader(directory))
    document = _resolve(document, (), resolver, errors)
    _distribute_timeouts(document, errors)
    configuration: Configuration | None = _convert_struct(Configuration, document, (), errors)
    if configuration is not None:
        errors += find_errors(configuration, directory)
        bodies = _read_error_bodies(configuration.error_files, directory, errors)
        configuration = msgspec.structs.replace(configuration, error_bodies=bodies)
    if not errors:
        return ParsedConfiguration(configuration, [])
    lines = index_lines(source)
    placed = sorted((find_line(lines, error.path), error) for error in errors)
    return ParsedConfiguration(None, [
        f'Line {line}: {".".join(error.path)}: {error.text}.' if error.path else f'Line {line}: {error.text}.'
        for line, error in placed
    ])  # fmt: skip


def _resolve(value: Any, path: tuple[str, ...], resolver: ReferenceResolver, errors: list[ConfigurationError]) -> Any:
    """Return a value with the references in its texts replaced: environment variables and files."""
    if isinstance(value, dict):
        return {key: _resolve(item, (*path, key), resolver, errors) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, (*path, str(number)), resolver, errors) for number, item in enumerate(value)]
    found: list[str] = []
    resolved = resolver.resolve(value, found)
    errors += [ConfigurationError(path, text.rstrip('.')) for text in found]
    return resolved


def _distribute_timeouts(document: dict[str, Any], errors: list[ConfigurationError]) -> None:
    """Move [timeouts] to the frontends and backends, where each value applies that they do not set themselves."""
    defaults = document.pop('timeouts', {})
    if not isinstance(defaults, dict):
        errors.append(ConfigurationError(('timeouts',), 'expected a table'))
        return
    valid = {}
    known = {name: struct for struct in _TIMEOUT_TABLES.values() for name in struct.__struct_fields__}
    for name, value in defaults.items():
        if name not in known:
            errors.append(ConfigurationError(('timeouts', name), f'no such setting; known are {", ".join(known)}'))
        else:
            before = len(errors)
            _convert_value(_types_of(known[name])[name], value, ('timeouts', name), errors)
            if len(errors) == before:
                valid[name] = value
    for table, struct in _TIMEOUT_TABLES.items():
        values = {name: value for name, value in valid.items() if name in struct.__struct_fields__}
        parts = document.get(table)
        for part in parts.values() if isinstance(parts, dict) else ():
            if isinstance(part, dict) and isinstance(part.setdefault('timeouts', {}), dict):
                part['timeouts'] = {**values, **part['timeouts']}
    backends = document.get('backends')
    for backend in backends.values() if isinstance(backends, dict) else ():
        if isinstance(backend, dict) and backend.get('mode') == 'tcp' and isinstance(backend.get('check', {}), dict):
            backend['check'] = {'type': 'tcp', **backend.get('check', {})}


def _types_of(struct: type[Any]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(struct)}


def _convert_struct(struct: type[Any], values: Any, path: tuple[str, ...], errors: list[ConfigurationError]) -> Any:
    """Return the struct, or None after adding the errors of all fields."""
    if not isinstance(values, dict):
        errors.append(ConfigurationError(path, 'expected a table'))
        return None
    fields = {field.name: field for field in msgspec.structs.fields(struct) if field.name != 'error_bodies'}
    before = len(errors)
    known = (*fields, 'timeouts') if struct is Configuration else fields  # see _distribute_timeouts
    for name in values:
        if name not in fields:
            errors.append(ConfigurationError((*path, name), f'no such setting; known are {", ".join(known)}'))
    converted = {}
    for name, field in fields.items():
        if name in values:
            converted[name] = _convert_value(field.type, values[name], (*path, name), errors)
        elif field.required:
            errors.append(ConfigurationError(path, f'{name} is missing'))
    return struct(**converted) if len(errors) == before else None


def _convert_value(type_: Any, value: Any, path: tuple[str, ...], errors: list[ConfigurationError]) -> Any:
    plain = _strip(type_)
    if isinstance(plain, type) and issubclass(plain, ConfigTable):
        return _convert_struct(plain, value, path, errors)
    origin, arguments = get_origin(plain), get_args(plain)
    if origin is dict and _is_struct(arguments[1]):
        if not isinstance(value, dict):
            errors.append(ConfigurationError(path, 'expected a table of tables'))
            return None
        return {str(_convert_leaf(arguments[0], name, path, errors)): _convert_value(
            arguments[1], item, (*path, name), errors) for name, item in value.items()}  # fmt: skip
    if origin is tuple and _is_struct(arguments[0]):
        if not isinstance(value, list):
            errors.append(ConfigurationError(path, 'expected an array of tables'))
            return None
        return tuple(_convert_value(arguments[0], item, (*path, str(number)), errors)
                     for number, item in enumerate(value))
    return _convert_leaf(type_, value, path, errors)


def _strip(type_: Any) -> Any:
    """Return a type without its constraints, and without None."""
    if get_origin(type_) is Annotated:
        return get_args(type_)[0]
    if get_origin(type_) in (Union, UnionType):
        [type_] = [argument for argument in get_args(type_) if argument is not NoneType]
    return type_


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, ConfigTable)


def _convert_leaf(type_: Any, value: Any, path: tuple[str, ...], errors: list[ConfigurationError]) -> Any:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        errors.append(ConfigurationError(path, str(error)[:1].lower() + str(error)[1:].removesuffix('.')))
        return None


def _read_error_bodies(files: Mapping[str, str], directory: Path, errors: list[ConfigurationError]
                       ) -> dict[int, ErrorBody]:
    """Return the bodies by status; for 503 that of Zato, if the configuration names none."""
    bodies = {503: ERROR_503}
    for status, name in files.items():
        path = directory / name
        place = ('error_files', status)
        content_type = CONTENT_TYPES.get(path.suffix)
        if not status.isdecimal() or not 400 <= int(status) <= 599:
            errors.append(ConfigurationError(place, 'the key must be a status from 400 to 599'))
        elif content_type is None:
            suffixes = ', '.join(CONTENT_TYPES)
            errors.append(ConfigurationError(place, f'the name of the file must end in one of {suffixes}'))
        else:
            try:
                body = path.read_bytes()
            except OSError as error:
                errors.append(ConfigurationError(place, f'{path} cannot be read: {error.strerror}'))
                continue
            if len(body) > MAX_ERROR_BODY:
                errors.append(ConfigurationError(place, f'{path} has more than {MAX_ERROR_BODY} bytes'))
            bodies[int(status)] = ErrorBody(content_type, body)
    return bodies
