"""An OpenAPI 3.1 document of HTTP channels and the services behind them. Pure.

Channels that OpenAPI has no words for (a method it does not know) are left out, with a sentence each in
`x-zatotx-left-out`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from zatotx.rules.openapi.components import (
    SCHEMES,
    ComponentNames,
    Components,
    error_responses,
    headers,
    safe_component_name,
    xml_error_responses,
)
from zatotx.rules.openapi.model import Channel, SecuritySchemes, TypeShape
from zatotx.rules.openapi.request import NOTHING, Param, Request, describe_request
from zatotx.rules.openapi.responses import build_responses
from zatotx.rules.openapi.xml import ERROR as XML_ERROR
from zatotx.rules.openapi.xml import error_schema as xml_error_schema
from zatotx.rules.routing.route_pattern import RoutePattern, parse_pattern

VERSION = '3.1.0'
METHODS = ('GET', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'HEAD', 'PATCH', 'TRACE')
LEFT_OUT = 'x-zatotx-left-out'
OTHERS = 'others'  # the tag of channels whose names have no prefix
_LITERAL = "/:@!$&'()*+,;=-._~"
_SLASHES = 'May hold slashes.'
_ANY_METHOD = 'Every method leads here.'


class DocumentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a document is of."""

    title: str
    version: str
    server: str = '/'
    description: str = ''


def build_document(about: DocumentInfo, channels: Iterable[Channel]) -> dict[str, Any]:
    """The document of these channels, in a form that JSON and YAML can take. Takes long with many: for threads."""
    writer = _Writer()
    for channel in sorted(channels, key=lambda one: (not one.method, one.name)):
        writer.add(channel)
    out: dict[str, Any] = {
        'openapi': VERSION,
        'info': {'title': about.title, 'version': about.version, 'description': about.description},
        'servers': [{'url': about.server}],
        'tags': [{'name': name} for name in sorted(writer.tags)],
        'paths': {path: writer.paths[path] for path in sorted(writer.paths)},
        'components': {
            'schemas': {name: writer.components.schemas[name] for name in sorted(writer.components.schemas)},
            'headers': headers(),
            'responses': {**error_responses(), **(xml_error_responses() if writer.has_xml else {})},
            'securitySchemes': writer.schemes,
        },
    }
    if writer.left_out:
        out[LEFT_OUT] = writer.left_out
    return out


class _Writer:
    """Adds channel after channel; those with a method of their own come first."""

    def __init__(self) -> None:
        self.paths: dict[str, dict[str, Any]] = {}
        self.tags: set[str] = set()
        self.components = Components()
        self.schemes: dict[str, Any] = {}
        self.left_out: list[str] = []
        self.has_xml = False
        self._templates: dict[tuple[Any, ...], str] = {}  # the form of a path -> how it is written here
        self._ids = ComponentNames()
        self._scheme_names: dict[SecuritySchemes, str] = {}
        self._free_schemes = ComponentNames()

    def add(self, channel: Channel) -> None:
        pattern, _ = parse_pattern(channel.path, match_slash=channel.match_slash)
        template = self._templates.setdefault(_form(pattern), path_template(channel.path))
        item = self.paths.get(template, {})
        methods, why = methods_of(channel, item)
        if why:
            self.left_out.append(f'{channel.name}: {why}')
        for method in methods:
            self.paths.setdefault(template, {})[method.lower()] = self._operation(channel, method, template)

    def _operation(self, channel: Channel, method: str, template: str) -> dict[str, Any]:
        asked = describe_request(channel, method)
        taken = TypeShape({'all': [param.schema for param in asked.params]}, asked.components)
        schemas = self.components.take(taken)['all']
        tag = operation_tag(channel.name)
        self.tags.add(tag)
        out: dict[str, Any] = {
            'operationId': self._ids.new(safe_component_name(channel.name)),
            'tags': [tag],
            **_told(channel),
        }
        out['parameters'] = [
            _parameter(param, schema, called)
            for param, schema, called in zip(asked.params, schemas, _called(asked.params, template), strict=True)
        ]
        if asked.bodies:
            out['requestBody'] = self._bodies(asked)
        if channel.data_format == 'xml' and not self.has_xml:
            self.has_xml = True
            self.components.schemas[XML_ERROR] = xml_error_schema()
        out['responses'] = build_responses(channel, method, self.components)
        out['security'] = self._security(channel.security)
        if channel.server:
            out['servers'] = [{'url': channel.server}]
        return out

    def _bodies(self, asked: Request) -> dict[str, Any]:
        content = {}
        for body in asked.bodies:
            media = {'schema': self.components.take(TypeShape(body.schema, asked.components))}
            content[body.content_type] = media if body.example is NOTHING else {**media, 'example': body.example}
        return {'required': all(body.required for body in asked.bodies), 'content': content}

    def _security(self, accepted: Iterable[SecuritySchemes]) -> list[dict[str, list[str]]]:
        """Any of those that there is a scheme for."""
        return [{self._scheme(guarded): []} for guarded in accepted if guarded.type in SCHEMES]

    def _scheme(self, guarded: SecuritySchemes) -> str:
        name = self._scheme_names.get(guarded)
        if name is None:
            name = self._scheme_names[guarded] = self._free_schemes.new(safe_component_name(guarded.name))
            self.schemes[name] = SCHEMES[guarded.type](guarded)
        return name


def methods_of(channel: Channel, taken: Mapping[str, Any]) -> tuple[list[str], str]:
    """The methods a channel is told of with, and why there is none. One without a method of its own answers to all
    that its path's other channels leave it: it is told of once, or with the verbs that its service has."""
    verbs, method = channel.service.verbs, channel.method
    if method:
        if method not in METHODS:
            return [], f'OpenAPI has no method {method}'
        if verbs and method not in verbs and not (method == 'HEAD' and 'GET' in verbs):
            return [], f'its service {channel.service.name} has no handle_{method}'
        return [method], ''
    free = [one for one in METHODS if one.lower() not in taken and one != 'TRACE']  # which is for those who ask for it
    if verbs:
        found = [one for one in verbs if one in free]
        return found, '' if found else 'other channels have all its methods'
    wanted = (usual_method(channel), 'GET', 'POST', 'PUT', 'PATCH', 'DELETE')
    found = [next((one for one in wanted if one in free), '')]
    return (found, '') if found[0] else ([], 'other channels have all its methods')


def usual_method(channel: Channel) -> str:
    """GET where nothing is left to be said in a body, else POST."""
    declared = channel.service.input
    if declared is None:
        return 'POST'
    pattern, _ = parse_pattern(channel.path, match_slash=channel.match_slash)
    if not declared.fields:
        return 'POST'
    return 'GET' if channel.merged and all(field.name in pattern.names for field in declared.fields) else 'POST'


def path_template(path: str) -> str:
    """A pattern as OpenAPI writes paths: literal text percent-encoded, names in braces."""
    pieces = path.replace('{', '\0{').replace('}', '}\0').split('\0')
    return ''.join(
        '{' + one[1:-1].partition(':')[0] + '}' if one.startswith('{') else quote(one, safe=_LITERAL) for one in pieces
    )


def operation_tag(name: str) -> str:
    """What comes before the first dot of a channel's name."""
    prefix, dot, _ = name.partition('.')
    return prefix if dot and prefix else OTHERS


def _form(pattern: RoutePattern) -> tuple[Any, ...]:
    """A path without the names of its holes: two that differ in those alone are one to OpenAPI."""
    return tuple(one if isinstance(one, str) else (one.prefix, one.middles, one.suffix) for one in pattern.segments)


def _called(params: Iterable[Param], template: str) -> list[str]:
    """The names of parameters in this path, which may have been written first for another channel."""
    pattern, _ = parse_pattern(template)
    names = iter(pattern.names)
    return [next(names, param.name) if param.place == 'path' else param.name for param in params]


def _parameter(param: Param, schema: Any, called: str) -> dict[str, Any]:
    out: dict[str, Any] = {'name': called, 'in': param.place, 'required': param.required, 'schema': schema}
    words = [f'`{param.name}` of the service.'] if called != param.name else []
    words += [_SLASHES] if param.spans else []
    if words:
        out['description'] = ' '.join(words)
    if param.example is not NOTHING:
        out['example'] = param.example
    if param.may_be_empty:
        out['allowEmptyValue'] = True
    return out


def _told(channel: Channel) -> dict[str, str]:
    """Summary and description, from the service's docstring."""
    summary, _, rest = channel.service.doc.partition('\n')
    words = [rest.strip()] if rest.strip() else []
    if not channel.method:
        words.append(_ANY_METHOD)
    told = [f'{one.name!r} ({one.type})' for one in channel.security if one.type not in SCHEMES]
    if told:
        words.append(f'Protected by {" or ".join(told)}.')
    out = {'summary': summary.strip() or channel.service.name}
    return {**out, 'description': '\n\n'.join(words)} if words else out


__all__ = ['DocumentInfo', 'build_document', 'methods_of', 'operation_tag', 'path_template', 'usual_method']
