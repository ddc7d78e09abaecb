"""Where the head of a request leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.interfaces.meters import NoMeter
from zatotx.model.message import ChannelSpec


class Target(msgspec.Struct, frozen=True):
    """Where a route leads."""

    spec: ChannelSpec
    label: str  # the channel's name as the access log writes it
    is_active: bool = True
    any_method: bool = False  # a channel that names none
    meter: Any = NoMeter()  # IChannelMeter: what its requests are counted by
    dressing: Any = None  # Dressing: what it puts on its answers


class ErrorResult(msgspec.Struct, frozen=True):
    """An answer that needs no exchange, before it has its cid."""

    status: int
    details: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    soap: str = ''  # the version of the fault it is; '' = it is Zato's error in JSON


class RouteMatch(msgspec.Struct, frozen=True):
    """Where a method and a target lead; with SOAP, and the action."""

    target: Target
    service: str
    params: Mapping[str, str]
    path: str
    request: str  # method and target for the log
    forked: bool = False  # another action may lead elsewhere
