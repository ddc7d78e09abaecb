"""The route table of a node. It contains the channels of a configuration snapshot, and the built-in endpoints under
/zato/, which always exist and accept any method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from zatotx.interfaces.meters import IChannelMeter
from zatotx.model.message import ChannelSpec
from zatotx.model.soap_message import SoapChannelSpec
from zatotx.plugins.http.schema.http_channel_base import HttpChannel, normalize_url_pattern
from zatotx.plugins.http.schema.rest_channel import RestChannel
from zatotx.plugins.http.schema.soap_channel import SoapChannel
from zatotx.plugins.http.server.access_log import escape_text
from zatotx.plugins.http.server.request_context import NO_METER, ChannelTarget, IResponseFilters
from zatotx.plugins.http.server.soap_routing import group_by_action
from zatotx.rules.routing.route_pattern import parse_pattern
from zatotx.rules.routing.route_table import ANY, InvalidRoutes, MatchedRoute, MethodNotRouted, Route, RouteTable
from zatotx.rules.security import roles
from zatotx.schema.snapshot import StoredObject
from zatotx.wire.soap.soap_action import operation_name, unquote_action

PREFIX = '/zato/'
ADMIN, PUBAPI = 'admin.invoke', 'pubapi'  # names of the Basic auth definitions that every new cluster has
# Roles whose security definitions have access too.
_ADMINS, _API, _MONITORS = (roles.ADMIN,), (roles.API,), (roles.ADMIN, roles.MONITOR)
WSDL = '/zato/wsdl'  # of a service; `?wsdl` at a SOAP channel's path leads there too
OPEN, BASIC, OFF = 'open', 'basic', 'off'  # who may read the OpenAPI document
REST, SOAP = 'channel_rest', 'channel_soap'  # object types
KIND = 'http-soap'  # Zato's name for the channels of this kind
MeterFactory = Callable[[str], IChannelMeter]
FiltersFactory = Callable[[HttpChannel], IResponseFilters | None]


def _endpoint(
    name: str,
    service: str = '',
    security: str | None = None,
    *,
    roles: tuple[str, ...] = (),
    always_open: bool = False,
    internal_only: bool = False,
    soap: SoapChannelSpec | None = None,
) -> ChannelSpec:
    return ChannelSpec(
        name=name,
        kind='http-soap',
        service=service,
        data_format='json' if soap is None else 'soap',
        soap=soap,
        security=security,
        roles=roles,
        is_builtin_endpoint=True,
        serves_while_draining=always_open,
        internal_only=internal_only,
        merge_url_params=service == '',
    )


# Path -> endpoint. An endpoint without a service invokes the service that its path names.
BUILTIN_ENDPOINTS: dict[str, ChannelSpec] = {
    '/zato/ping': _endpoint('zato.ping', 'zato.ping', always_open=True),
    '/zato/live': _endpoint('zato.live', 'zato.health.live', always_open=True),
    '/zato/ready': _endpoint('zato.ready', 'zato.health.ready', always_open=True),
    '/zato/metrics': _endpoint('zato.metrics', 'zato.metrics.get', ADMIN, roles=_MONITORS, always_open=True),
    '/zato/api/invoke/{service}': _endpoint('zato.api.invoke', security=ADMIN, roles=_ADMINS),
    '/zato/json/{service}': _endpoint('zato.json', security=PUBAPI, roles=_API, internal_only=True),
    '/zato/soap': _endpoint('zato.soap', security=PUBAPI, roles=_API, internal_only=True, soap=SoapChannelSpec()),
    WSDL: _endpoint('zato.wsdl', 'zato.wsdl.get'),
    '/zato/cache/{key}': _endpoint('zato.cache.entry', 'zato.cache.entry', ADMIN, roles=_ADMINS),
    '/zato/cache/{operation}/{selection}': _endpoint('zato.cache.list', 'zato.cache.select', ADMIN, roles=_ADMINS),
    '/zato/cache/{operation}/{selection}/{text}': _endpoint(
        'zato.cache.select', 'zato.cache.select', ADMIN, roles=_ADMINS
    ),
    # The web admin: its users log in at the first, and the second takes their sessions and serves zato.* services only.
    '/zato/admin/login': _endpoint('zato.admin.login', 'zato.admin.login'),
    '/zato/admin/invoke/{service}': _endpoint('zato.admin.invoke', roles=roles.ADMIN_USER_ROLES, internal_only=True),
    '/zato/admin/invoke': _endpoint('admin.invoke.json', 'zato.service.invoke', ADMIN, roles=_ADMINS),
}
NODE_ENDPOINTS = ('/zato/ping', '/zato/live', '/zato/ready', '/zato/metrics', '/zato/api/invoke/{service}')


def enabled_endpoints(openapi: str = BASIC, *, docs: bool = True, wsdl: bool = True) -> dict[str, ChannelSpec]:
    """Return the built-in endpoints that the settings enable: the BUILTIN_ENDPOINTS, and optionally the WSDL, the
    OpenAPI document and the documentation page that displays it. The page contains no data of the cluster, so it needs
    no credentials; a form in the page asks for the credentials of the document. If the browser asked for them instead,
    it would also send them with requests that other sites trigger."""
    endpoints = {path: spec for path, spec in BUILTIN_ENDPOINTS.items() if wsdl or path != WSDL}
    if openapi != OFF:
        security, allowed_roles = (ADMIN, _ADMINS) if openapi == BASIC else (None, ())
        endpoints['/zato/openapi.json'] = _endpoint('zato.openapi', 'zato.openapi.get', security, roles=allowed_roles)
        if docs:
            endpoints['/zato/docs'] = _endpoint('zato.docs', 'zato.docs.get')
            endpoints['/zato/docs/{file}'] = _endpoint('zato.docs.file', 'zato.docs.get')
    return endpoints


def node_endpoints() -> dict[str, ChannelSpec]:
    """Return the built-in endpoints of a node that serves no clients, which are health, metrics, and the API for
    administrators."""
    return {path: BUILTIN_ENDPOINTS[path] for path in NODE_ENDPOINTS}


class ChannelTable(msgspec.Struct, frozen=True):
    """A route table with all routes of a node."""

    rest: RouteTable  # routes to a Target
    soap: RouteTable  # routes to a Target or to what zatotx.plugins.http.server.soap_routing tells apart
    has_soap: bool = False  # whether there is a SOAP channel, apart from built-in endpoints

    def find(self, method: str, path: bytes, *, soap_first: bool = False) -> MatchedRoute | MethodNotRouted | None:
        """Find a route among the REST channels, else among the SOAP channels; in the opposite order with `soap_first`.
        Raises what RouteTable.find raises."""
        first, second = (self.soap, self.rest) if soap_first else (self.rest, self.soap)
        match = first.find(method, path)
        if isinstance(match, MatchedRoute):
            return match
        other = second.find(method, path)
        if match is None or isinstance(other, MatchedRoute):
            return other
        return match if other is None else MethodNotRouted(tuple(sorted({*match.allow, *other.allow})))


def build_table(
    channels: Sequence[StoredObject],
    builtin_endpoints: Mapping[str, ChannelSpec] = BUILTIN_ENDPOINTS,
    make_meter: MeterFactory = lambda name: NO_METER,
    make_filters: FiltersFactory = lambda channel: None,
) -> tuple[ChannelTable, list[str]]:
    """Build a route table of channels and built-in endpoints. Returns the table, and a message about each channel that
    is omitted because it is invalid. `make_meter` returns the meter for the name of a channel, and `make_filters`
    returns the response filters of a channel. Slow with many channels: call it in a thread."""
    endpoints = [
        (path, ChannelTarget(spec, escape_text(spec.name), meter=make_meter(spec.name)))
        for path, spec in builtin_endpoints.items()
    ]
    routes = [Route(path, ANY, target) for path, target in endpoints if target.spec.soap is None]
    rest_channels = [stored.value for stored in channels if stored.type == REST]
    methods_by_path = _methods(rest_channels)
    routes += [_route(channel, make_meter, make_filters, methods_by_path) for channel in rest_channels]
    soap_routes, soap_errors = group_by_action(
        [(stored.value.url_path, _soap_target(stored.value, make_meter, make_filters)) for stored in channels
         if stored.type == SOAP],
        [(path, target) for path, target in endpoints if target.spec.soap is not None],
        next((target for path, target in endpoints if path == WSDL), None),
    )
    has_soap = any(stored.type == SOAP for stored in channels)
    rest, errors = _rest_table(routes)
    return ChannelTable(rest, RouteTable.build(soap_routes), has_soap), errors + soap_errors


def _rest_table(routes: Sequence[Route]) -> tuple[RouteTable, list[str]]:
    try:
        return RouteTable.build(routes), []
    except InvalidRoutes:
        valid_routes, errors = _split_invalid(routes)
        return RouteTable.build(valid_routes), errors


def _methods(channels: Sequence[RestChannel]) -> Mapping[str, tuple[str, ...]]:
    """Return the methods of each path that several channels share, if one of them accepts any method."""
    methods: dict[str, list[str]] = {}
    for channel in channels:
        methods.setdefault(normalize_url_pattern(channel.url_path, match_slash=channel.match_slash), []).append(
            channel.method or ANY
        )
    shared = {path: values for path, values in methods.items() if ANY in values and len(values) > 1}
    return {path: tuple(sorted(filter(None, values))) for path, values in shared.items()}


def _route(
    channel: RestChannel,
    make_meter: MeterFactory,
    make_filters: FiltersFactory,
    methods_by_path: Mapping[str, tuple[str, ...]],
) -> Route:
    """Build the route of one REST channel."""
    others: tuple[str, ...] = ()
    if methods_by_path:
        others = methods_by_path.get(normalize_url_pattern(channel.url_path, match_slash=channel.match_slash), ())
    spec = _spec(channel, data_format=channel.data_format, params_pri=channel.params_pri,
                 merge_url_params=channel.merge_url_params_req, excluded_methods=others)  # fmt: skip
    target = ChannelTarget(
        spec,
        escape_text(channel.name),
        channel.is_active,
        not channel.method,
        make_meter(channel.name),
        make_filters(channel),
    )
    return Route(channel.url_path, channel.method or ANY, target, match_slash=channel.match_slash)


def _soap_target(channel: SoapChannel, make_meter: MeterFactory, make_filters: FiltersFactory) -> ChannelTarget:
    """Build the target of one SOAP channel."""
    action = unquote_action(channel.soap_action)
    soap = SoapChannelSpec(
        action=action,
        version=channel.soap_version,
        operation=operation_name(action, channel.service, channel.operation),
        namespace=channel.namespace,
        rpc=channel.style == 'rpc',
        one_way=channel.one_way,
        fault_status=channel.fault_status or 0,
    )
    return ChannelTarget(
        _spec(channel, data_format='soap', soap=soap),
        escape_text(channel.name),
        channel.is_active,
        True,
        make_meter(channel.name),
        make_filters(channel),
    )


def _spec(channel: HttpChannel, **own: Any) -> ChannelSpec:
    """Build a ChannelSpec from the fields of all channels and those of a channel type, in `own`."""
    return ChannelSpec(
        name=channel.name,
        kind=KIND,
        service=channel.service,
        security=channel.security,
        groups=tuple(channel.groups),
        roles=tuple(channel.roles),
        rate_limits=tuple(channel.rate_limits),
        timeout=channel.timeout,
        max_in_flight=channel.max_in_flight or 0,
        queue=channel.queue,
        queue_timeout=channel.queue_timeout,
        **own,
    )


def _split_invalid(routes: Sequence[Route]) -> tuple[list[Route], list[str]]:
    valid_routes: list[Route] = []
    errors: list[str] = []
    names: dict[Any, str] = {}
    for route in routes:
        name = route.target.spec.name
        pattern, pattern_errors = parse_pattern(route.pattern, match_slash=route.match_slash)
        first = names.setdefault((pattern.segments, route.method.upper()), name)
        if pattern_errors:
            errors.append(f'REST channel {name!r} is left out: its url_path {route.pattern!r} is no pattern: '
                            + '; '.join(pattern_errors))  # fmt: skip
        elif first != name:
            errors.append(f'REST channel {name!r} is left out: {first!r} has the same paths and the same method')
        else:
            valid_routes.append(route)
    return valid_routes, errors
