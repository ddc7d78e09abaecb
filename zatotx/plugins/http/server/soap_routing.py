"""Routes SOAP requests. The path selects a group of channels, and the SOAP action selects one channel of the group.

SOAP channels have a route table of their own. A request with a SOAPAction, or of type application/soap+xml, is looked
up there first, any other one among the REST channels first: so both may have the same path, at no cost for REST.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from zatotx.plugins.http.server.error_responses import (
    METHOD_NOT_ALLOWED,
    MISSING_SOAP_ACTION,
    UNKNOWN_SOAP_ACTION,
    ErrorResult,
)
from zatotx.plugins.http.server.request_context import ChannelMatch, ChannelTarget
from zatotx.rules.routing.route_pattern import parse_pattern
from zatotx.rules.routing.route_table import ANY, MatchedRoute, Route
from zatotx.wire.http1.request_parser import RequestHead
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.soap_action import requested_soap_version, soap_action

ParameterNames = tuple[str, ...]
_WSDL = (b'wsdl', b'singlewsdl')


class ActionGroup(msgspec.Struct, frozen=True):
    """The SOAP channels of one path, by action. Each channel has its own names for the path parameters. The action ''
    matches requests without an action."""

    actions: Mapping[str, tuple[ChannelTarget, ParameterNames]]


class SoapEndpoint(msgspec.Struct, frozen=True):
    """A built-in endpoint in which the SOAP action is the name of the service (`/zato/soap`)."""

    target: ChannelTarget


class WsdlEndpoint(msgspec.Struct, frozen=True):
    """The built-in endpoint that returns the WSDL of a path's channels. It is requested with `?wsdl`."""

    url_path: str
    target: ChannelTarget


def is_wsdl_request(head: RequestHead) -> bool:
    """Return whether a request asks for the WSDL of its path, in one of the forms that tools use."""
    return head.method in ('GET', 'HEAD') and head.query.partition(b'=')[0].lower() in _WSDL


def group_by_action(
    targets: Iterable[tuple[str, ChannelTarget]],
    endpoints: Iterable[tuple[str, ChannelTarget]],
    wsdl_target: ChannelTarget | None = None,
) -> tuple[list[Route], list[str]]:
    """Group SOAP channels, given as (url_path, target), and built-in endpoints into routes by path. Returns the routes,
    and a message about each channel that is omitted. `wsdl_target` is the target of WSDL requests, or None to disable
    WSDL."""
    by_path: dict[Any, dict[str, tuple[ChannelTarget, ParameterNames]]] = {}
    paths: dict[Any, str] = {}
    errors: list[str] = []
    for url_path, target in targets:
        pattern, pattern_errors = parse_pattern(url_path)
        if pattern_errors:
            errors.append(f'SOAP channel {target.spec.name!r} is left out: its url_path {url_path!r} is no pattern: '
                            + '; '.join(pattern_errors))  # fmt: skip
            continue
        paths.setdefault(pattern.segments, url_path)
        soap = target.spec.soap
        actions = by_path.setdefault(pattern.segments, {})
        first = actions.setdefault('' if soap is None else soap.action, (target, pattern.names))
        if first[0] is not target:
            errors.append(f'SOAP channel {target.spec.name!r} is left out: {first[0].spec.name!r} has the same '
                            'url_path and the same soap_action')  # fmt: skip
    routes = [Route(paths[segments], 'POST', ActionGroup(actions)) for segments, actions in by_path.items()]
    if wsdl_target is not None:
        routes += [Route(url_path, 'GET', WsdlEndpoint(url_path, wsdl_target)) for url_path in paths.values()]
    return [*routes, *(Route(path, ANY, SoapEndpoint(target)) for path, target in endpoints)], errors


def match_action(match: MatchedRoute, head: RequestHead, path: str, request_text: str) -> ChannelMatch | ErrorResult:
    """Return the channel that matches a request to a SOAP path. `path` and `request_text` are the decoded texts for log
    messages."""
    version = requested_soap_version(head.headers)
    try:
        action = soap_action(head.headers)
    except Malformed as error:
        return ErrorResult(400, f'{error}', soap_version=version)
    group = match.target
    if isinstance(group, WsdlEndpoint):
        if not is_wsdl_request(head):
            return ErrorResult(
                405, METHOD_NOT_ALLOWED.format(method=head.method), ((b'Allow', b'POST'),), soap_version=version
            )
        service, wsdl_params = group.target.spec.service, {'path': group.url_path}
        return ChannelMatch(group.target, service, wsdl_params, path, request_text, forked=True)
    if isinstance(group, SoapEndpoint):
        if not action:
            return ErrorResult(400, MISSING_SOAP_ACTION, soap_version=version)
        return ChannelMatch(group.target, action, {}, path, request_text, forked=True)
    channel = group.actions.get(action)
    if channel is None:
        if not action:
            return ErrorResult(400, MISSING_SOAP_ACTION, soap_version=version)
        return ErrorResult(404, UNKNOWN_SOAP_ACTION.format(action=action), soap_version=version)
    target, names = channel
    params = match.params
    if tuple(params) != names:
        params = dict(zip(names, params.values(), strict=True))
    return ChannelMatch(target, target.spec.service, params, path, request_text, forked=True)


def same_action(head: RequestHead, other_head: RequestHead) -> bool:
    """Return whether two request heads have the same SOAP action. The function also returns True if neither is a SOAP
    request."""
    first, second = head.headers, other_head.headers
    return (first.get(b'soapaction') == second.get(b'soapaction')
            and first.get(b'content-type') == second.get(b'content-type'))  # fmt: skip
