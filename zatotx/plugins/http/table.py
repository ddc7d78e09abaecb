"""From the configuration to a RouteTable: the REST channels of a snapshot and the broker's own doors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from zatotx.interfaces.meters import Uncounted
from zatotx.model.message import ChannelSpec
from zatotx.plugins.http.access_log import plain
from zatotx.plugins.http.builtin import DOORS
from zatotx.rules.route_pattern import parse
from zatotx.rules.routing import ANY, BadRoutes, Route, RouteTable
from zatotx.schema.snapshot import Stored

KIND = 'http-soap'  # Zato's word for the channels of this kind
Meter = Callable[[str], Any]


class Target(msgspec.Struct, frozen=True):
    """Where a route leads."""

    spec: ChannelSpec
    label: str  # the channel's name as the access log writes it
    is_active: bool = True
    meter: Any = Uncounted()  # IChannelMeter: what its requests are counted by


def build_table(
    channels: Sequence[Stored], doors: Mapping[str, ChannelSpec] = DOORS, meter: Meter = lambda name: Uncounted()
) -> tuple[RouteTable, list[str]]:
    """The table of these channels and the doors, and a sentence about each channel that had to be left out: one that
    cannot be reached must not keep the others from being served. `meter` gives that of a channel, by its name. Takes
    its time with many: for threads."""
    routes = [
        Route(path, ANY, Target(spec, plain(spec.name), meter=meter(spec.name))) for path, spec in doors.items()
    ]
    routes += [_route(stored.value, meter) for stored in channels]
    try:
        return RouteTable.build(routes), []
    except BadRoutes:
        sound, mistakes = _sorted_out(routes)
        return RouteTable.build(sound), mistakes


def _route(channel: Any, meter: Meter) -> Route:
    """The route of one REST channel (schema.RestChannel)."""
    spec = ChannelSpec(
        name=channel.name,
        kind=KIND,
        service=channel.service,
        data_format=channel.data_format,
        security=channel.security,
        groups=tuple(channel.groups),
        roles=tuple(channel.roles),
        timeout=channel.timeout,
        max_in_flight=channel.max_in_flight or 0,
        queue=channel.queue,
        queue_timeout=channel.queue_timeout,
        params_pri=channel.params_pri,
        merge_url_params=channel.merge_url_params_req,
    )
    target = Target(spec, plain(channel.name), channel.is_active, meter(channel.name))
    return Route(channel.url_path, channel.method or ANY, target, match_slash=channel.match_slash)


def _sorted_out(routes: Sequence[Route]) -> tuple[list[Route], list[str]]:
    sound: list[Route] = []
    mistakes: list[str] = []
    taken: dict[Any, str] = {}
    for route in routes:
        name = route.target.spec.name
        pattern, wrong = parse(route.pattern, match_slash=route.match_slash)
        first = taken.setdefault((pattern.segments, route.method.upper()), name)
        if wrong:
            mistakes.append(f'REST channel {name!r} is left out: its url_path {route.pattern!r} is no pattern: '
                            + '; '.join(wrong))  # fmt: skip
        elif first != name:
            mistakes.append(f'REST channel {name!r} is left out: {first!r} has the same paths and the same method')
        else:
            sound.append(route)
    return sound, mistakes
