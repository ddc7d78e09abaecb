"""JSON Schemas of models (Structs, dataclasses, lists and unions of them).

msgspec writes them, but for dates that may come without an offset it says no more than «text». Which of the texts are
such is found by walking the types beside their schemas. What it takes beside or short of its schemas is put right:
decimals may be numbers, sets may hold a value twice, durations have neither years nor months, base64 is complete.
"""

from __future__ import annotations

import datetime as dt
import inspect
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from zatotx.rules.openapi.json_example import REF, Schema
from zatotx.rules.openapi.model import DECIMAL
from zatotx.service.io.typed_models import is_list_type, model_fields
from zatotx.service.naming import plain_name

_ANYTHING = {'description': 'Of a type that no schema tells of'}
_NAIVE = {dt.datetime: '2026-01-31T12:00:00', dt.time: '12:00:00'}
_FORMATS = {dt.datetime: 'date-time', dt.time: 'time'}
_OF_DAY = r'T([0-9]{1,6}H([0-9]{1,6}M)?(S)?|[0-9]{1,6}M(S)?|S)'.replace('S', r'[0-9]{1,6}(\.[0-9]{1,6})?S')
_DECIMAL = {'type': ['string', 'number'], 'pattern': DECIMAL}
_DURATION = {'description': 'An ISO 8601 duration', 'examples': ['P1DT12H']}
_DURATIONS = f'^[-+]?P([0-9]{{1,6}}D({_OF_DAY})?|{_OF_DAY})$'
_BASE64 = r'^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'
_NUMBER_KEYS = {'propertyNames': {'pattern': '^(0|-?[1-9][0-9]*)$'}}


def model_schema(model: Any) -> tuple[Schema, dict[str, Schema]]:
    """The schema of a model, and by name all it refers to. What msgspec has no schema for (a class of the author's
    that is no model) may be anything."""
    classes = list(dict.fromkeys(_models(model, set())))
    (schema, *refs), components = msgspec.json.schema_components(
        (model, *classes), schema_hook=lambda _: _ANYTHING, ref_template=f'{REF}{{name}}'
    )
    out: dict[str, Schema] = {name: _of_the_author(one) for name, one in components.items()}
    for cls, ref in zip(classes, refs, strict=True):
        name = ref.get('$ref', '').removeprefix(REF)
        if name in out:
            out[name] = _with_dates(out[name], cls)
    return exact(with_markers(schema, model)), {name: exact(one) for name, one in out.items()}


def exact(schema: Any) -> Any:
    """A schema of msgspec's that says what it takes, at any depth."""
    if isinstance(schema, list):
        return [exact(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    out = {key: below if key in _VALUES else exact(below) for key, below in schema.items() if key != 'uniqueItems'}
    if 'properties' in out:
        out['properties'] = {name: exact(below) for name, below in schema['properties'].items()}
    if out.get('type') == 'string':
        form = out.get('format')
        if form == 'decimal':
            out |= _DECIMAL
        elif form == 'duration':  # the format is RFC 3339's, which has neither signs nor fractions
            del out['format']
            out = {**_DURATION, **out, 'pattern': _DURATIONS}
        if 'contentEncoding' in out:
            out['pattern'] = _BASE64
    return out


_VALUES = frozenset(('default', 'examples', 'enum', 'const', 'required', 'properties'))  # what is no schema in a schema


def _models(declared: Any, seen: set[Any]) -> Iterator[Any]:
    """Every model a type holds, at any depth."""
    fields = model_fields(declared) if isinstance(declared, type) else None
    if fields is not None:
        if declared in seen:
            return
        seen.add(declared)
        yield declared
        for one in fields:
            yield from _models(one.type, seen)
    for argument in typing.get_args(declared):
        yield from _models(argument, seen)


def _with_dates(component: Schema, cls: Any) -> Schema:
    properties = component.get('properties')
    if not isinstance(properties, Mapping):
        return component
    types = {one.key: one.type for one in model_fields(cls) or ()}
    return {**component, 'properties': {
        name: with_markers(below, types[name]) if name in types else below for name, below in properties.items()
    }}  # fmt: skip


def with_markers(schema: Schema, declared: Any, naive: bool = False) -> Schema:
    """The schema with the form of every date in it."""
    origin, args = typing.get_origin(declared), typing.get_args(declared)
    if origin is typing.Annotated:
        bare = any(isinstance(one, msgspec.Meta) and one.tz is False for one in args[1:])
        return with_markers(schema, args[0], naive or bare)
    if declared in _FORMATS:
        return _as_moment(schema, declared, naive)
    if 'anyOf' in schema:  # of all that are text there is one at most
        texts = [one for one in args if _moment_of(one)]
        return {**schema, 'anyOf': [with_markers(one, texts[0], naive) if texts and _is_text(one) else one
                                    for one in schema['anyOf']]}  # fmt: skip
    if args and is_list_type(declared) and isinstance(schema.get('items'), Mapping):
        return {**schema, 'items': with_markers(schema['items'], args[0], naive)}
    if len(args) == 2 and isinstance(schema.get('additionalProperties'), Mapping):
        keys = _NUMBER_KEYS if args[0] is int else {}
        return {**schema, **keys, 'additionalProperties': with_markers(schema['additionalProperties'], args[1], naive)}
    return schema


def _as_moment(schema: Schema, declared: Any, naive: bool) -> Schema:
    if not _is_text(schema):
        return schema
    if naive:
        return {'description': 'Without offset', **schema, 'examples': schema.get('examples') or [_NAIVE[declared]]}
    return {**schema, 'format': _FORMATS[declared]}


def _is_text(schema: Schema) -> bool:
    return schema.get('type') == 'string' and 'format' not in schema


def _moment_of(declared: Any) -> bool:
    if typing.get_origin(declared) is typing.Annotated:
        return _moment_of(typing.get_args(declared)[0])
    return declared in _FORMATS


def _of_the_author(component: Schema) -> Schema:
    """Titles without the module of this very version, which msgspec adds where two classes are called the same;
    docstrings without their indents."""
    out = dict(component)
    if '.' in out.get('title', ''):
        out['title'] = plain_name(out['title'])
    if 'description' in out:
        out['description'] = inspect.cleandoc(out['description']).strip()
    return out


__all__ = ['model_schema', 'with_markers']
