"""Which SOAP channel a request is for: its path says which there are, its action which of them it means.

SOAP channels have a table of their own. A request that names an action, or is application/soap+xml, is looked for there
first, any other one among the REST channels first: so both may have the same path, and REST pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from zatotx.plugins.http.server.error_responses import NO_ACTION, NO_SUCH_ACTION, NOT_SO
from zatotx.plugins.http.server.route_match import ErrorResult, RouteMatch, Target
from zatotx.rules.routing.route_pattern import parse_pattern
from zatotx.rules.routing.route_table import ANY, Match, Route
from zatotx.wire.http1.request_parser import RequestHead
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.action import action_of, requested_version

Names = tuple[str, ...]
_WSDL = (b'wsdl', b'singlewsdl')


class ActionGroup(msgspec.Struct, frozen=True):
    """The SOAP channels of one path: by action, each with what it calls the parameters in the path. '' = requests that
    name none."""

    actions: Mapping[str, tuple[Target, Names]]


class SoapEndpoint(msgspec.Struct, frozen=True):
    """Where the action names the service (`/zato/soap`)."""

    target: Target


class WsdlEndpoint(msgspec.Struct, frozen=True):
    """What tells of the channels of a path, where it is asked with `?wsdl`."""

    url_path: str
    target: Target


def asks_for_wsdl(head: RequestHead) -> bool:
    """Whether a request is for the WSDL of its path, in one of the ways that tools ask for it."""
    return head.method in ('GET', 'HEAD') and head.query.partition(b'=')[0].lower() in _WSDL


def group_by_action(
    targets: Iterable[tuple[str, Target]], doors: Iterable[tuple[str, Target]], wsdl: Target | None = None
) -> tuple[list[Route], list[str]]:
    """The routes of SOAP channels, given as (url_path, target), and of doors; a sentence about each channel that had
    to be left out. `wsdl`: who tells of them, None = nobody."""
    by_path: dict[Any, dict[str, tuple[Target, Names]]] = {}
    paths: dict[Any, str] = {}
    mistakes: list[str] = []
    for url_path, target in targets:
        pattern, wrong = parse_pattern(url_path)
        if wrong:
            mistakes.append(f'SOAP channel {target.spec.name!r} is left out: its url_path {url_path!r} is no pattern: '
                            + '; '.join(wrong))  # fmt: skip
            continue
        paths.setdefault(pattern.segments, url_path)
        soap = target.spec.soap
        actions = by_path.setdefault(pattern.segments, {})
        first = actions.setdefault('' if soap is None else soap.action, (target, pattern.names))
        if first[0] is not target:
            mistakes.append(f'SOAP channel {target.spec.name!r} is left out: {first[0].spec.name!r} has the same '
                            'url_path and the same soap_action')  # fmt: skip
    routes = [Route(paths[segments], 'POST', ActionGroup(actions)) for segments, actions in by_path.items()]
    if wsdl is not None:
        routes += [Route(url_path, 'GET', WsdlEndpoint(url_path, wsdl)) for url_path in paths.values()]
    return [*routes, *(Route(path, ANY, SoapEndpoint(target)) for path, target in doors)], mistakes


def match_action(match: Match, head: RequestHead, path: str, request: str) -> RouteMatch | ErrorResult:
    """The channel of a request that came to a path of SOAP. `path`, `request`: as text, as the log has it."""
    version = requested_version(head.headers)
    try:
        action = action_of(head.headers)
    except Malformed as error:
        return ErrorResult(400, f'{error}', soap=version)
    found = match.target
    if isinstance(found, WsdlEndpoint):
        if not asks_for_wsdl(head):
            return ErrorResult(405, NOT_SO.format(method=head.method), ((b'Allow', b'POST'),), soap=version)
        return RouteMatch(found.target, found.target.spec.service, {'path': found.url_path}, path, request, forked=True)
    if isinstance(found, SoapEndpoint):
        if not action:
            return ErrorResult(400, NO_ACTION, soap=version)
        return RouteMatch(found.target, action, {}, path, request, forked=True)
    chosen = found.actions.get(action)
    if chosen is None:
        if not action:
            return ErrorResult(400, NO_ACTION, soap=version)
        return ErrorResult(404, NO_SUCH_ACTION.format(action=action), soap=version)
    target, names = chosen
    params = match.params
    if tuple(params) != names:
        params = dict(zip(names, params.values(), strict=True))
    return RouteMatch(target, target.spec.service, params, path, request, forked=True)


def same_action(one: RequestHead, other: RequestHead) -> bool:
    """Whether two heads name the same action, and mean SOAP or not in the same way."""
    before, now = one.headers, other.headers
    return (before.get(b'soapaction') == now.get(b'soapaction')
            and before.get(b'content-type') == now.get(b'content-type'))  # fmt: skip
