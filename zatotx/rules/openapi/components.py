"""The shared parts of an OpenAPI document: schemas by name, security schemes, headers and error answers. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zatotx.rules.openapi import xml as openapi_xml
from zatotx.rules.openapi.json_example import REF, Schema
from zatotx.rules.openapi.model import SecuritySchemes, TypeShape
from zatotx.wire.xml.writer import error

CID = 'X-Zato-CID'
ERROR = 'ZatoError'
_UNSAFE = re.compile(r'[^A-Za-z0-9._-]')
_EXAMPLE_CID = '8f14e45fceea167a5a36dedd'

# Security definitions by their type. A kind of login that comes later adds a line; one that has none is told of in
# words only.
SCHEMES: dict[str, Callable[[SecuritySchemes], dict[str, Any]]] = {
    'basic_auth': lambda guarded: {
        'type': 'http',
        'scheme': 'basic',
        'description': f'{guarded.name}: HTTP Basic' + (f', realm {guarded.realm!r}' if guarded.realm else ''),
    },
    'apikey': lambda guarded: {
        'type': 'apiKey',
        'in': guarded.place,
        'name': guarded.field,
        'description': f'{guarded.name}: a key, {guarded.field!r} in the {guarded.place}',
    },
    'jwt': lambda guarded: {
        'type': 'http',
        'scheme': 'bearer',
        'bearerFormat': 'JWT',
        'description': f'{guarded.name}: a JSON Web Token',
    },
    'mtls': lambda guarded: {'type': 'mutualTLS', 'description': f'{guarded.name}: a client certificate'},
}

# status -> (name of the answer, what it says, the details it may have)
FAULTS: dict[int, tuple[str, str, str]] = {
    400: ('BadRequest', 'The request or its input is wrong; every mistake is named by its path',
          '$.items[1].qty: expected int, got str'),
    401: ('Unauthorized', 'The credentials are missing or wrong', 'You are not authorized to access this resource'),
    403: ('Forbidden', 'Whoever logs in lacks the role that is needed here',
          'You are not allowed to access this resource'),
    404: ('NotFound', 'There is nothing of that name', 'URL not found'),
    405: ('MethodNotAllowed', 'The path takes other methods, which Allow names', 'Method `PUT` is not allowed here'),
    409: ('Conflict', 'The state of the resource does not allow this', 'The state of the resource does not allow this'),
    413: ('TooLarge', 'The body is larger than the server takes', 'The body is larger than allowed here'),
    415: ('UnsupportedMediaType', 'The body is in a coding or format that is not taken here',
          'Bodies are taken as gzip, as deflate, or without Content-Encoding'),
    429: ('TooManyRequests', 'Too many attempts; Retry-After says when to come back', 'Too many requests'),
    500: ('InternalError', 'The service failed; the log of the server says why under the cid', 'Internal server error'),
    502: ('BadGateway', 'Another system, which the request needs, gave no usable answer',
          'Another system gave no usable answer'),
    503: ('Unavailable', 'It cannot be served now; Retry-After says when to come back', 'The server is starting'),
    504: ('TimedOut', 'The service gave no answer in time', 'The request timed out'),
}  # fmt: skip
_BEFORE_CHANNELS = (405,)  # of a path, whatever its channels speak
_FIELDS = {401: ('WWW-Authenticate',), 405: ('Allow',), 429: ('Retry-After',), 503: ('Retry-After',)}


def safe_component_name(name: str) -> str:
    """A name in the form that components have (OpenAPI 3.1, §4.8.7)."""
    return _UNSAFE.sub('_', name) or '_'


class ComponentNames:
    """Gives each thing a name of its own."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, wanted: str) -> str:
        """`wanted`, with a number where it is taken."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f'{wanted}_{number}'
        self._taken.add(name)
        return name


class Components:
    """Collects schemas: those that are the same through and through share one name, others get one of their own, which
    is their title too: generators of clients name classes by it."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._names = ComponentNames()
        self._known: dict[str, str] = {}  # a schema and all it refers to, as text -> its name here
        self._names.new(ERROR)
        self._names.new(openapi_xml.ERROR)
        self.schemas[ERROR] = error_schema()

    def take(self, shape: TypeShape) -> Any:
        """The schema with its references by their names here."""
        local = dict.fromkeys(_reachable(shape.schema, shape.components))
        names = {name: self._name(name, shape.components) for name in local}
        for name, here in names.items():
            if here not in self.schemas:
                self.schemas[here] = {**rename_references(shape.components[name], names), 'title': here}
        return rename_references(shape.schema, names)

    def _name(self, name: str, components: Mapping[str, Schema]) -> str:
        below = {one: components[one] for one in _reachable({'$ref': f'{REF}{name}'}, components)}
        key = json.dumps([name, below], sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = self._names.new(safe_component_name(name))
        return self._known[key]


def _reachable(schema: Schema, components: Mapping[str, Schema]) -> list[str]:
    """The names of all components that a schema leads to."""
    found: dict[str, None] = {}
    waiting: list[Any] = [schema]
    while waiting:
        for name in _refs(waiting.pop()):
            if name not in found:
                found[name] = None
                waiting.append(components[name])
    return list(found)


def _refs(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            if key == '$ref' and isinstance(below, str):
                yield below.removeprefix(REF)
            else:
                yield from _refs(below)
    elif isinstance(value, (list, tuple)):
        for below in value:
            yield from _refs(below)


def rename_references(value: Any, names: Mapping[str, str]) -> Any:
    """A schema whose references go by other names; those of a discriminator's mapping too."""
    if isinstance(value, Mapping):
        return {key: rename_references(below, names) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [rename_references(below, names) for below in value]
    if isinstance(value, str) and value.startswith(REF):
        name = value.removeprefix(REF)
        return f'{REF}{names.get(name, name)}'
    return value


def error_schema() -> Schema:
    """The body of every error answer."""
    return {
        'type': 'object',
        'title': ERROR,
        'description': 'Why a request failed.',
        'properties': {
            'zato_env': {
                'type': 'object',
                'properties': {
                    'result': {'const': 'ZATO_ERROR'},
                    'cid': {'type': 'string', 'description': 'What the log of the server knows the request by'},
                    'details': {'type': 'string'},
                },
                'required': ['result', 'cid', 'details'],
            }
        },
        'required': ['zato_env'],
    }


def headers() -> dict[str, Any]:
    """The fields that answers have."""
    text = {'type': 'string'}
    return {
        CID: {'description': 'The id of the request, its caller\'s own where one was sent', 'schema': text},
        'Retry-After': {'description': 'Seconds until it may go well', 'schema': {'type': 'integer'}},
        'WWW-Authenticate': {'description': 'How to log in', 'schema': text},
        'Allow': {'description': 'The methods there are', 'schema': text},
    }


def response_headers(status: int) -> dict[str, Any]:
    """References to the fields that an answer of this status has."""
    return {name: {'$ref': f'#/components/headers/{name}'} for name in (CID, *_FIELDS.get(status, ()))}


def error_responses() -> dict[str, Any]:
    """The error answers by name."""
    return {name: _fault(status, says, details) for status, (name, says, details) in FAULTS.items()}


def xml_error_responses() -> dict[str, Any]:
    """The same for channels of XML."""
    out = {}
    for status, (_, says, details) in FAULTS.items():
        if status not in _BEFORE_CHANNELS:
            media = {'schema': {'$ref': f'{REF}{openapi_xml.ERROR}'},
                     'example': error(_EXAMPLE_CID, details).decode('utf-8')}  # fmt: skip
            content = {openapi_xml.XML: media}
            out[error_response_name(status, xml=True)] = {'description': says, 'headers': response_headers(status),
                                                 'content': content}  # fmt: skip
    return out


def error_response_name(status: int, *, xml: bool = False) -> str:
    """What the error answer of a status is called."""
    return FAULTS[status][0] + ('Xml' if xml and status not in _BEFORE_CHANNELS else '')


def _fault(status: int, says: str, details: str) -> dict[str, Any]:
    example = {'zato_env': {'result': 'ZATO_ERROR', 'cid': _EXAMPLE_CID, 'details': details}}
    return {
        'description': says,
        'headers': response_headers(status),
        'content': {'application/json': {'schema': {'$ref': f'{REF}{ERROR}'}, 'example': example}},
    }
