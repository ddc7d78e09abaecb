"""The data model from which an OpenAPI document is built: channels, and the input and output of their services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from zatotx.rules.openapi.json_example import Schema

# Patterns of decimal numbers, and of those in the range of a float.
DECIMAL = r'^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,6})?$'
FLOAT = r'^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?$'


class JsonSchemaWithComponents(msgspec.Struct, frozen=True):
    """A JSON Schema and the components that it refers to, by name."""

    schema: Schema
    components: Mapping[str, Schema] = {}


class InputField(msgspec.Struct, frozen=True):
    """One field of a service's input: its name, schema, and whether it is required."""

    name: str  # as sent by clients
    schema: Schema
    required: bool
    text_schema: Schema  # the schema in path, query and form
    empty_means_absent: bool = False  # empty text means that the value is absent


class ExampleInput(msgspec.Struct, frozen=True):
    """An example of a service's input, in the form that the service receives."""

    body: Any  # None = no body
    text: Mapping[str, Any]  # values in path, query and form: text, or a list of texts
    json: bool  # the body can carry values other than text (JSON or XML)


class ServiceInput(msgspec.Struct, frozen=True, kw_only=True):
    """The input of a service. It is either an object, described by `fields`, or another value such as a list or a
    union, described by the schema `whole`."""

    whole: JsonSchemaWithComponents
    fields: tuple[InputField, ...] = ()
    params_only: bool = False  # read from path and query only, whatever the method
    accepts: Callable[[ExampleInput], bool]  # whether the service's input validation accepts an example


class ServiceModel(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a service in an OpenAPI document."""

    name: str
    doc: str = ''
    verbs: tuple[str, ...] = ()  # the VERBs of its handle_VERB methods
    input: ServiceInput | None = None  # None = not declared
    output: JsonSchemaWithComponents | None = None  # the whole response, including its element; None = not declared
    element: str = ''  # the response element of classic SimpleIO
    request_elem: str = ''  # the request element of its input, and the XML namespace of both
    namespace: str = ''
    files: Mapping[str, bool] | None = None  # name of an uploaded file -> whether it is required; None = reads no files
    content_types: tuple[str, ...] = ()  # content types of its responses, if it sets them
    has_own_type: bool = False  # it always sets its content type
    statuses: tuple[int, ...] = ()  # status codes of its responses other than 200
    error_statuses: tuple[int, ...] = ()  # status codes of the errors that it raises


class ChannelSecurityDefinition(msgspec.Struct, frozen=True):
    """A security definition that a channel accepts."""

    name: str
    type: str  # 'basic_auth' …
    scheme: Mapping[str, Any] | None = None  # its security scheme object; None = descriptions mention it instead


class ChannelModel(msgspec.Struct, frozen=True, kw_only=True):
    """An active channel with a URL, and the model of its service."""

    name: str
    path: str  # a pattern of rules.routing.route_pattern
    service: ServiceModel
    method: str = ''  # '' = any
    match_slash: bool = False
    data_format: str = ''  # 'json', 'xml', 'form', 'file', '' = raw
    merges_url_params: bool = True  # path and query parameters are part of the input
    security: tuple[ChannelSecurityDefinition, ...] = ()  # alternatives; () = no authentication
    has_roles: bool = False  # authenticated callers need a role
    is_limited: bool = False  # has a rate limit
    etag: bool = False
    server: str = ''  # its server URL, if it differs from the document's
