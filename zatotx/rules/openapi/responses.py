"""Describes the responses of an operation in an OpenAPI document: status codes and content types. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.rules.openapi.json_example import NoExample, Schema, make_example
from zatotx.rules.openapi.model import ChannelModel
from zatotx.rules.openapi.request import BINARY, BYTES, JSON, METHODS_WITH_BODY
from zatotx.rules.openapi.schema_registry import SchemaRegistry, error_response_name, response_headers
from zatotx.rules.openapi.xml_schemas import XML, example_document, response_schema
from zatotx.wire.http.sse import CONTENT_TYPE as EVENTS

TEXT = 'text/plain'
_DESCRIPTION = 'What the service answers'
_ALWAYS = (400, 404, 405, 500, 503, 504)
_NO_CONTENT = (204, 205, 304)
_STRING: Schema = {'type': 'string'}
_ANYTHING: Schema = {}


def build_responses(channel: ChannelModel, method: str, components: SchemaRegistry) -> dict[str, Any]:
    """Returns the responses of one operation by status; registers their schemas in `components`."""
    service, xml = channel.service, channel.data_format == 'xml'
    success_statuses = {200, *(status for status in service.statuses if 200 <= status < 400)}
    if channel.etag and method in ('GET', 'HEAD'):
        success_statuses.add(304)
    content = _content(channel, components)
    responses = {str(status): _success_response(status, content) for status in sorted(success_statuses)}
    for status in sorted(error_statuses(channel, method)):
        responses[str(status)] = {'$ref': f'#/components/responses/{error_response_name(status, xml=xml)}'}
    return responses


def error_statuses(channel: ChannelModel, method: str) -> set[int]:
    """Returns the status codes of errors of the server, of the channel's limits and authentication, and of the
    service."""
    statuses = {*_ALWAYS, *channel.service.error_statuses}
    if channel.security:
        statuses |= {401, 429}
    if channel.has_roles:
        statuses.add(403)
    if channel.is_limited:
        statuses.add(429)
    return statuses | {413, 415} if method in METHODS_WITH_BODY else statuses


def _success_response(status: int, content: Mapping[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {'description': _DESCRIPTION, 'headers': response_headers(status)}
    return response if status in _NO_CONTENT else {**response, 'content': content}


def _content(channel: ChannelModel, components: SchemaRegistry) -> dict[str, Any]:
    """Returns the content by content type: those that the service sets itself, and that of its encoded payload."""
    service = channel.service
    own_types = {content_type: {'schema': _schema_of(content_type)} for content_type in service.content_types}
    if service.has_own_type:
        return own_types
    return {**_payload_content(channel, components), **own_types}


def _payload_content(channel: ChannelModel, components: SchemaRegistry) -> dict[str, Any]:
    service, xml = channel.service, channel.data_format == 'xml'
    default_type = XML if xml else JSON
    if service.output is None:
        raw_types = {} if channel.data_format else {TEXT: {'schema': _STRING}, BYTES: {'schema': BINARY}}
        return {default_type: {'schema': _ANYTHING}, **raw_types}
    output = response_schema(service, service.output) if xml else service.output
    media = {'schema': components.register(output)}
    try:
        media['example'] = example_document(output) if xml else make_example(output.schema, output.components)
    except NoExample:
        return {default_type: media}
    return {default_type: media}


def _schema_of(content_type: str) -> Schema:
    if content_type == EVENTS.partition(';')[0]:  # every event is an object to clients
        return _ANYTHING
    if content_type.startswith('text/') or content_type.endswith('xml'):
        return _STRING
    return _ANYTHING if content_type.endswith(('json', '*')) else BINARY


__all__ = ['build_responses', 'error_statuses']
