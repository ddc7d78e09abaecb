"""Builds an OpenAPI 3.1 document that describes HTTP channels and their services. Pure: no I/O.

Channels that OpenAPI cannot describe (e.g. with an unknown method) are omitted, with a sentence each in
`x-zatotx-left-out`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from zatotx.rules.openapi.component_registry import (
    XML,
    XML_ERROR,
    ComponentRegistry,
    UniqueNames,
    error_response_name,
    header_components,
    json_error_responses,
    response_header_references,
    safe_component_name,
    xml_error_responses,
    xml_error_schema,
    xml_example_document,
    xml_response_schema,
)
from zatotx.rules.openapi.document_input import ChannelModel, ChannelSecurityDefinition, JsonSchemaWithComponents
from zatotx.rules.openapi.json_example import NoExample, Schema, make_example
from zatotx.rules.openapi.operation_request_description import (
    BINARY,
    BYTES,
    JSON,
    METHODS_WITH_BODY,
    NO_EXAMPLE,
    OperationParameter,
    OperationRequest,
    describe_operation_request,
)
from zatotx.rules.routing.route_pattern import RoutePattern, parse_pattern
from zatotx.wire.http.sse import CONTENT_TYPE as EVENTS

__all__ = [
    'DocumentInfo',
    'build_document',
    'build_responses',
    'default_method',
    'documented_error_statuses',
    'documented_methods',
    'operation_tag',
    'path_template',
]


TEXT = 'text/plain'
_DESCRIPTION = 'What the service answers'
_ALWAYS = (400, 404, 405, 500, 503, 504)
_NO_CONTENT = (204, 205, 304)
_STRING: Schema = {'type': 'string'}
_ANYTHING: Schema = {}


def build_responses(channel: ChannelModel, method: str, components: ComponentRegistry) -> dict[str, Any]:
    """Return the OpenAPI responses of one operation, by status code, and register their schemas in `components`."""
    service, xml = channel.service, channel.data_format == 'xml'
    success_statuses = {200, *(status for status in service.statuses if 200 <= status < 400)}
    if channel.etag and method in ('GET', 'HEAD'):
        success_statuses.add(304)
    content = _content(channel, components)
    responses = {str(status): _success_response(status, content) for status in sorted(success_statuses)}
    for status in sorted(documented_error_statuses(channel, method)):
        responses[str(status)] = {'$ref': f'#/components/responses/{error_response_name(status, xml=xml)}'}
    return responses


def documented_error_statuses(channel: ChannelModel, method: str) -> set[int]:
    """Return the status codes of the errors that an operation can return: errors of the server, of the channel's limits
    and authentication, and of the service."""
    statuses = {*_ALWAYS, *channel.service.error_statuses}
    if channel.security:
        statuses |= {401, 429}
    if channel.has_roles:
        statuses.add(403)
    if channel.is_limited:
        statuses.add(429)
    return statuses | {413, 415} if method in METHODS_WITH_BODY else statuses


def _success_response(status: int, content: Mapping[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {'description': _DESCRIPTION, 'headers': response_header_references(status)}
    return response if status in _NO_CONTENT else {**response, 'content': content}


def _content(channel: ChannelModel, components: ComponentRegistry) -> dict[str, Any]:
    """Return the content by content type: those that the service sets itself, and that of its encoded payload."""
    service = channel.service
    own_types = {content_type: {'schema': _schema_of(content_type)} for content_type in service.content_types}
    if service.has_own_type:
        return own_types
    return {**_payload_content(channel, components), **own_types}


def _payload_content(channel: ChannelModel, components: ComponentRegistry) -> dict[str, Any]:
    service, xml = channel.service, channel.data_format == 'xml'
    default_type = XML if xml else JSON
    if service.output is None:
        raw_types = {} if channel.data_format else {TEXT: {'schema': _STRING}, BYTES: {'schema': BINARY}}
        return {default_type: {'schema': _ANYTHING}, **raw_types}
    output = xml_response_schema(service, service.output) if xml else service.output
    media = {'schema': components.register(output)}
    try:
        media['example'] = xml_example_document(output) if xml else make_example(output.schema, output.components)
    except NoExample:
        return {default_type: media}
    return {default_type: media}


def _schema_of(content_type: str) -> Schema:
    if content_type == EVENTS.partition(';')[0]:  # every event is an object to clients
        return _ANYTHING
    if content_type.startswith('text/') or content_type.endswith('xml'):
        return _STRING
    return _ANYTHING if content_type.endswith(('json', '*')) else BINARY


VERSION = '3.1.0'
OPENAPI_METHODS = ('GET', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'HEAD', 'PATCH', 'TRACE')
OMITTED_CHANNELS = 'x-zatotx-left-out'
DEFAULT_TAG = 'others'  # the tag of channels whose names have no prefix
_LITERAL = "/:@!$&'()*+,;=-._~"
_SLASHES = 'May hold slashes.'
_ANY_METHOD = 'Every method leads here.'


class DocumentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The title, version and server URL of an OpenAPI document."""

    title: str
    version: str
    server: str = '/'
    description: str = ''


def build_document(info: DocumentInfo, channels: Iterable[ChannelModel]) -> dict[str, Any]:
    """Return the OpenAPI document of the channels as JSON- and YAML-compatible values. Slow for many channels: call it
    in a thread."""
    writer = _DocumentBuilder()
    for channel in sorted(channels, key=lambda candidate: (not candidate.method, candidate.name)):
        writer.add(channel)
    document: dict[str, Any] = {
        'openapi': VERSION,
        'info': {'title': info.title, 'version': info.version, 'description': info.description},
        'servers': [{'url': info.server}],
        'tags': [{'name': name} for name in sorted(writer.tags)],
        'paths': {path: writer.paths[path] for path in sorted(writer.paths)},
        'components': {
            'schemas': {name: writer.components.schemas[name] for name in sorted(writer.components.schemas)},
            'headers': header_components(),
            'responses': {**json_error_responses(), **(xml_error_responses() if writer.has_xml else {})},
            'securitySchemes': writer.schemes,
        },
    }
    if writer.left_out:
        document[OMITTED_CHANNELS] = writer.left_out
    return document


class _DocumentBuilder:
    """Adds channels to a document one by one; channels with a method must come first."""

    def __init__(self) -> None:
        self.paths: dict[str, dict[str, Any]] = {}
        self.tags: set[str] = set()
        self.components = ComponentRegistry()
        self.schemes: dict[str, Any] = {}
        self.left_out: list[str] = []
        self.has_xml = False
        self._templates: dict[tuple[Any, ...], str] = {}  # normalized path -> the template used for it
        self._ids = UniqueNames()
        self._scheme_names: dict[str, str] = {}  # by the name of the definition
        self._free_schemes = UniqueNames()

    def add(self, channel: ChannelModel) -> None:
        pattern, _ = parse_pattern(channel.path, match_slash=channel.match_slash)
        template = self._templates.setdefault(_normalized(pattern), path_template(channel.path))
        item = self.paths.get(template, {})
        methods, reason = documented_methods(channel, item)
        if reason:
            self.left_out.append(f'{channel.name}: {reason}')
        for method in methods:
            self.paths.setdefault(template, {})[method.lower()] = self._operation(channel, method, template)

    def _operation(self, channel: ChannelModel, method: str, template: str) -> dict[str, Any]:
        request = describe_operation_request(channel, method)
        parameter_shapes = JsonSchemaWithComponents(
            {'all': [param.schema for param in request.params]}, request.components
        )
        schemas = self.components.register(parameter_shapes)['all']
        tag = operation_tag(channel.name)
        self.tags.add(tag)
        operation: dict[str, Any] = {
            'operationId': self._ids.new(safe_component_name(channel.name)),
            'tags': [tag],
            **_descriptions(channel),
        }
        names = _parameter_names(request.params, template)
        operation['parameters'] = [
            _parameter(param, schema, name)
            for param, schema, name in zip(request.params, schemas, names, strict=True)
        ]
        if request.bodies:
            operation['requestBody'] = self._bodies(request)
        if channel.data_format == 'xml' and not self.has_xml:
            self.has_xml = True
            self.components.schemas[XML_ERROR] = xml_error_schema()
        operation['responses'] = build_responses(channel, method, self.components)
        operation['security'] = self._security(channel.security)
        if channel.server:
            operation['servers'] = [{'url': channel.server}]
        return operation

    def _bodies(self, request: OperationRequest) -> dict[str, Any]:
        content = {}
        for body in request.bodies:
            media = {'schema': self.components.register(JsonSchemaWithComponents(body.schema, request.components))}
            content[body.content_type] = media if body.example is NO_EXAMPLE else {**media, 'example': body.example}
        return {'required': all(body.required for body in request.bodies), 'content': content}

    def _security(self, accepted: Iterable[ChannelSecurityDefinition]) -> list[dict[str, list[str]]]:
        """Return the accepted alternatives that have a security scheme."""
        return [{self._scheme(definition): []} for definition in accepted if definition.scheme is not None]

    def _scheme(self, definition: ChannelSecurityDefinition) -> str:
        name = self._scheme_names.get(definition.name)
        if name is None:
            name = self._scheme_names[definition.name] = self._free_schemes.new(safe_component_name(definition.name))
            self.schemes[name] = definition.scheme
        return name


def documented_methods(channel: ChannelModel, path_item: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return the HTTP methods to document for a channel, and the reason if there are none. A channel without a
    configured method accepts the methods that no other channel on its path accepts. Such a channel is documented with
    the methods that its service handles, or with one default method if the service handles any method."""
    verbs, method = channel.service.verbs, channel.method
    if method:
        if method not in OPENAPI_METHODS:
            return [], f'OpenAPI has no method {method}'
        if verbs and method not in verbs and not (method == 'HEAD' and 'GET' in verbs):
            return [], f'its service {channel.service.name} has no handle_{method}'
        return [method], ''
    # TRACE is documented only if configured
    free_methods = [
        candidate for candidate in OPENAPI_METHODS if candidate.lower() not in path_item and candidate != 'TRACE'
    ]
    if verbs:
        methods = [candidate for candidate in verbs if candidate in free_methods]
        return methods, '' if methods else 'other channels have all its methods'
    preferred = (default_method(channel), 'GET', 'POST', 'PUT', 'PATCH', 'DELETE')
    methods = [next((candidate for candidate in preferred if candidate in free_methods), '')]
    return (methods, '') if methods[0] else ([], 'other channels have all its methods')


def default_method(channel: ChannelModel) -> str:
    """Return the default method of a channel: GET if all input of its service is in the path, otherwise POST."""
    declared = channel.service.input
    if declared is None:
        return 'POST'
    pattern, _ = parse_pattern(channel.path, match_slash=channel.match_slash)
    if not declared.fields:
        return 'POST'
    return (
        'GET' if channel.merges_url_params and all(field.name in pattern.names for field in declared.fields) else 'POST'
    )


def path_template(path: str) -> str:
    """Convert a route pattern to an OpenAPI path template, with percent-encoded literals and names in braces."""
    pieces = path.replace('{', '\0{').replace('}', '}\0').split('\0')
    return ''.join(
        '{' + piece[1:-1].partition(':')[0] + '}' if piece.startswith('{') else quote(piece, safe=_LITERAL)
        for piece in pieces
    )


def operation_tag(name: str) -> str:
    """Return the OpenAPI tag of a channel: the part of its name before the first dot."""
    prefix, dot, _ = name.partition('.')
    return prefix if dot and prefix else DEFAULT_TAG


def _normalized(pattern: RoutePattern) -> tuple[Any, ...]:
    """Return a pattern without the names of its placeholders: OpenAPI treats paths that differ only in these as
    identical."""
    return tuple(
        segment if isinstance(segment, str) else (segment.prefix, segment.separators, segment.suffix)
        for segment in pattern.segments
    )


def _parameter_names(params: Iterable[OperationParameter], template: str) -> list[str]:
    """Return the names of parameters in this path template, which may stem from another channel."""
    pattern, _ = parse_pattern(template)
    names = iter(pattern.names)
    return [next(names, param.name) if param.location == 'path' else param.name for param in params]


def _parameter(param: OperationParameter, schema: Any, name: str) -> dict[str, Any]:
    parameter: dict[str, Any] = {'name': name, 'in': param.location, 'required': param.required, 'schema': schema}
    sentences = [f'`{param.name}` of the service.'] if name != param.name else []
    sentences += [_SLASHES] if param.may_have_slashes else []
    if sentences:
        parameter['description'] = ' '.join(sentences)
    if param.example is not NO_EXAMPLE:
        parameter['example'] = param.example
    if param.may_be_empty:
        parameter['allowEmptyValue'] = True
    return parameter


def _descriptions(channel: ChannelModel) -> dict[str, str]:
    """Return summary and description from the service's docstring."""
    summary, _, rest = channel.service.doc.partition('\n')
    paragraphs = [rest.strip()] if rest.strip() else []
    if not channel.method:
        paragraphs.append(_ANY_METHOD)
    definitions = [
        f'{definition.name!r} ({definition.type})' for definition in channel.security if definition.scheme is None
    ]
    if definitions:
        paragraphs.append(f'Protected by {" or ".join(definitions)}.')
    summary_only = {'summary': summary.strip() or channel.service.name}
    return {**summary_only, 'description': '\n\n'.join(paragraphs)} if paragraphs else summary_only
