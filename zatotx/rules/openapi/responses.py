"""The answers of an operation in an OpenAPI document: which statuses, and in which content types. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.rules.openapi.components import Components, error_response_name, response_headers
from zatotx.rules.openapi.json_example import NoExample, Schema, make_example
from zatotx.rules.openapi.model import Channel
from zatotx.rules.openapi.request import BINARY, BYTES, JSON, WITH_BODY
from zatotx.rules.openapi.xml import XML, answered, text
from zatotx.wire.http.sse import CONTENT_TYPE as EVENTS

TEXT = 'text/plain'
_SAYS = 'What the service answers'
_ALWAYS = (400, 404, 405, 500, 503, 504)
_NO_CONTENT = (204, 205, 304)
_STRING: Schema = {'type': 'string'}
_ANYTHING: Schema = {}


def build_responses(channel: Channel, method: str, components: Components) -> dict[str, Any]:
    """The answers of one operation by their statuses; the schemas they need are taken into `components`."""
    service, xml = channel.service, channel.data_format == 'xml'
    good = {200, *(status for status in service.statuses if 200 <= status < 400)}
    if channel.etag and method in ('GET', 'HEAD'):
        good.add(304)
    content = _content(channel, components)
    out = {str(status): _good(status, content) for status in sorted(good)}
    for status in sorted(error_statuses(channel, method)):
        out[str(status)] = {'$ref': f'#/components/responses/{error_response_name(status, xml=xml)}'}
    return out


def error_statuses(channel: Channel, method: str) -> set[int]:
    """The statuses of errors: those of the server, of the channel's limits and login, and of the service."""
    found = {*_ALWAYS, *channel.service.faults}
    if channel.security:
        found |= {401, 429}
    if channel.has_roles:
        found.add(403)
    if channel.is_limited:
        found.add(429)
    return found | {413, 415} if method in WITH_BODY else found


def _good(status: int, content: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {'description': _SAYS, 'headers': response_headers(status)}
    return out if status in _NO_CONTENT else {**out, 'content': content}


def _content(channel: Channel, components: Components) -> dict[str, Any]:
    """By content type: what the service names itself, and what its payload is written as."""
    service = channel.service
    named = {one: {'schema': _schema_of(one)} for one in service.content_types}
    if service.has_own_type:
        return named
    return {**_of_payload(channel, components), **named}


def _of_payload(channel: Channel, components: Components) -> dict[str, Any]:
    service, xml = channel.service, channel.data_format == 'xml'
    usual = XML if xml else JSON
    if service.output is None:
        free = {} if channel.data_format else {TEXT: {'schema': _STRING}, BYTES: {'schema': BINARY}}
        return {usual: {'schema': _ANYTHING}, **free}
    output = answered(service, service.output) if xml else service.output
    media = {'schema': components.take(output)}
    try:
        media['example'] = text(output) if xml else make_example(output.schema, output.components)
    except NoExample:
        return {usual: media}
    return {usual: media}


def _schema_of(content_type: str) -> Schema:
    if content_type == EVENTS.partition(';')[0]:  # each of which is an object to who reads them
        return _ANYTHING
    if content_type.startswith('text/') or content_type.endswith('xml'):
        return _STRING
    return _ANYTHING if content_type.endswith(('json', '*')) else BINARY


__all__ = ['build_responses', 'error_statuses']
