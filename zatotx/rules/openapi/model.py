"""What an OpenAPI document is made of: channels and what their services take and give, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from zatotx.rules.openapi.json_example import Schema

# The texts of decimal numbers, and of those that a float can hold.
DECIMAL = r'^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,6})?$'
FLOAT = r'^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?$'


class TypeShape(msgspec.Struct, frozen=True):
    """A JSON Schema and, by name, the ones its references lead to."""

    schema: Schema
    components: Mapping[str, Schema] = {}


class FieldShape(msgspec.Struct, frozen=True):
    """One field of an input."""

    name: str  # on the wire
    schema: Schema
    required: bool
    text: Schema  # as path, query and form bring it
    may_be_empty: bool = False  # an empty text stands for an absent value


class ExampleInput(msgspec.Struct, frozen=True):
    """An input as it would reach a service."""

    body: Any  # None = there is none
    text: Mapping[str, Any]  # of path, query and form: text, or a list of texts
    json: bool  # a channel whose bodies hold what is no text: of JSON, and XML


class InputShape(msgspec.Struct, frozen=True, kw_only=True):
    """What a service takes: an object of `fields`, or `whole` where it is no object (a list, a union)."""

    whole: TypeShape
    fields: tuple[FieldShape, ...] = ()
    params_only: bool = False  # of path and query only, whatever the method
    accepts: Callable[[ExampleInput], bool]  # whether the service's own reader takes this


class ServiceShape(msgspec.Struct, frozen=True, kw_only=True):
    """A service as a document tells of it."""

    name: str
    doc: str = ''
    verbs: tuple[str, ...] = ()  # its handle_VERBs
    input: InputShape | None = None  # None = not declared
    output: TypeShape | None = None  # the whole answer, its element included; None = not declared
    element: str = ''  # that element, of classic SimpleIO
    request_elem: str = ''  # what its input stands in, and in which namespace both do, in XML
    namespace: str = ''
    files: Mapping[str, bool] | None = None  # name of an upload that it reads -> whether it must be there; None = none
    content_types: tuple[str, ...] = ()  # of its answers, where it names them itself
    has_own_type: bool = False  # it never answers in another one
    statuses: tuple[int, ...] = ()  # of its answers, beside 200
    faults: tuple[int, ...] = ()  # of errors that are its own


class SecuritySchemes(msgspec.Struct, frozen=True):
    """A security definition that a channel accepts."""

    name: str
    type: str  # 'basic_auth' …
    realm: str = ''
    place: str = ''  # of a key: 'header', 'query'
    field: str = ''  # and what it is called there


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """An active channel with a URL, and its service."""

    name: str
    path: str  # a pattern of rules.route_pattern
    service: ServiceShape
    method: str = ''  # '' = any
    match_slash: bool = False
    data_format: str = ''  # 'json', 'xml', 'form', 'file', '' = raw
    merged: bool = True  # path and query join the input
    security: tuple[SecuritySchemes, ...] = ()  # any of them; none = open
    has_roles: bool = False  # not everybody who logs in is let in
    is_limited: bool = False  # by a rate
    etag: bool = False
    server: str = ''  # where clients reach it, if not where the document says
