"""From the configuration to a table of routes: the channels of a snapshot and the broker's own doors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from zatotx.interfaces.meters import NoMeter
from zatotx.model.message import ChannelSpec
from zatotx.model.soap import SoapSpec
from zatotx.plugins.http.schema.shared import shape
from zatotx.plugins.http.server.access_log import escape_text
from zatotx.plugins.http.server.builtin_routes import DOORS, WSDL
from zatotx.plugins.http.server.route_match import Target
from zatotx.plugins.http.soap.routing import group_by_action
from zatotx.rules.http.soap_names import operation_name
from zatotx.rules.routing.route_pattern import parse_pattern
from zatotx.rules.routing.route_table import ANY, BadRoutes, Match, MethodNotRouted, Route, RouteTable
from zatotx.schema.snapshot import Stored
from zatotx.wire.soap.action import unquote

REST, SOAP = 'channel_rest', 'channel_soap'  # object types
KIND = 'http-soap'  # Zato's word for the channels of this kind
Meter = Callable[[str], Any]
Dress = Callable[[Any], Any]  # a channel of the configuration -> its Dressing or None


class ChannelTable(msgspec.Struct, frozen=True):
    """All routes of a node at one moment."""

    rest: RouteTable  # to a Target
    soap: RouteTable  # to what zatotx.plugins.http.soap.routing tells apart
    has_soap: bool = False  # whether there is a SOAP channel, doors aside

    def find(self, method: str, path: bytes, *, soap_first: bool = False) -> Match | MethodNotRouted | None:
        """Of the REST channels, or else of SOAP's; the other way round where the request is one of SOAP. Raises as
        RouteTable.find does."""
        first, second = (self.soap, self.rest) if soap_first else (self.rest, self.soap)
        match = first.find(method, path)
        if isinstance(match, Match):
            return match
        other = second.find(method, path)
        if match is None or isinstance(other, Match):
            return other
        return match if other is None else MethodNotRouted(tuple(sorted({*match.allow, *other.allow})))


def build_table(
    channels: Sequence[Stored],
    doors: Mapping[str, ChannelSpec] = DOORS,
    meter: Meter = lambda name: NoMeter(),
    dress: Dress = lambda channel: None,
) -> tuple[ChannelTable, list[str]]:
    """The table of these channels and the doors, and a sentence about each channel that had to be left out: one that
    cannot be reached must not keep the others from being served. `meter` gives that of a channel, by its name,
    `dress` what it puts on its answers. Takes its time with many: for threads."""
    open_doors = [(path, Target(spec, escape_text(spec.name), meter=meter(spec.name))) for path, spec in doors.items()]
    routes = [Route(path, ANY, target) for path, target in open_doors if target.spec.soap is None]
    rest_channels = [stored.value for stored in channels if stored.type == REST]
    beside = _methods(rest_channels)
    routes += [_route(channel, meter, dress, beside) for channel in rest_channels]
    soap_routes, soap_mistakes = group_by_action(
        [(stored.value.url_path, _soap_target(stored.value, meter, dress)) for stored in channels
         if stored.type == SOAP],
        [(path, target) for path, target in open_doors if target.spec.soap is not None],
        next((target for path, target in open_doors if path == WSDL), None),
    )
    has_soap = any(stored.type == SOAP for stored in channels)
    rest, mistakes = _rest_table(routes)
    return ChannelTable(rest, RouteTable.build(soap_routes), has_soap), mistakes + soap_mistakes


def _rest_table(routes: Sequence[Route]) -> tuple[RouteTable, list[str]]:
    try:
        return RouteTable.build(routes), []
    except BadRoutes:
        sound, mistakes = _sorted_out(routes)
        return RouteTable.build(sound), mistakes


def _methods(channels: Sequence[Any]) -> Mapping[str, tuple[str, ...]]:
    """The methods of the paths that more than one channel has, where one of them takes any."""
    found: dict[str, list[str]] = {}
    for channel in channels:
        found.setdefault(shape(channel.url_path, match_slash=channel.match_slash), []).append(channel.method or ANY)
    return {path: tuple(sorted(filter(None, all_of))) for path, all_of in found.items() if ANY in all_of and all_of[1:]}


def _route(channel: Any, meter: Meter, dress: Dress, beside: Mapping[str, tuple[str, ...]]) -> Route:
    """The route of one REST channel (schema.RestChannel)."""
    others = beside.get(shape(channel.url_path, match_slash=channel.match_slash), ()) if beside else ()
    spec = _spec(channel, data_format=channel.data_format, params_pri=channel.params_pri,
                 merge_url_params=channel.merge_url_params_req, beside=others)  # fmt: skip
    target = Target(spec, escape_text(channel.name), channel.is_active, not channel.method, meter(channel.name),
                    dress(channel))  # fmt: skip
    return Route(channel.url_path, channel.method or ANY, target, match_slash=channel.match_slash)


def _soap_target(channel: Any, meter: Meter, dress: Dress) -> Target:
    """Where one SOAP channel leads (schema.SoapChannel)."""
    action = unquote(channel.soap_action)
    soap = SoapSpec(
        action=action,
        version=channel.soap_version,
        operation=operation_name(action, channel.service, channel.operation),
        namespace=channel.namespace,
        rpc=channel.style == 'rpc',
        one_way=channel.one_way,
        fault_status=channel.fault_status or 0,
    )
    return Target(_spec(channel, data_format='soap', soap=soap), escape_text(channel.name), channel.is_active, True,
                  meter(channel.name), dress(channel))  # fmt: skip


def _spec(channel: Any, **own: Any) -> ChannelSpec:
    """What all channels have (schema.shared.HttpChannel), and what is a kind's own."""
    return ChannelSpec(
        name=channel.name,
        kind=KIND,
        service=channel.service,
        security=channel.security,
        groups=tuple(channel.groups),
        roles=tuple(channel.roles),
        rates=tuple(channel.rate_limits),
        timeout=channel.timeout,
        max_in_flight=channel.max_in_flight or 0,
        queue=channel.queue,
        queue_timeout=channel.queue_timeout,
        **own,
    )


def _sorted_out(routes: Sequence[Route]) -> tuple[list[Route], list[str]]:
    sound: list[Route] = []
    mistakes: list[str] = []
    taken: dict[Any, str] = {}
    for route in routes:
        name = route.target.spec.name
        pattern, wrong = parse_pattern(route.pattern, match_slash=route.match_slash)
        first = taken.setdefault((pattern.segments, route.method.upper()), name)
        if wrong:
            mistakes.append(f'REST channel {name!r} is left out: its url_path {route.pattern!r} is no pattern: '
                            + '; '.join(wrong))  # fmt: skip
        elif first != name:
            mistakes.append(f'REST channel {name!r} is left out: {first!r} has the same paths and the same method')
        else:
            sound.append(route)
    return sound, mistakes
