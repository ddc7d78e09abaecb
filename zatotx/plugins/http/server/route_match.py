"""Routing results: the target of a route, and the error responses of routing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.interfaces.meters import NullMeter
from zatotx.model.message import ChannelSpec


class ChannelTarget(msgspec.Struct, frozen=True):
    """The channel that a route leads to."""

    spec: ChannelSpec
    label: str  # the channel's name as the access log writes it
    is_active: bool = True
    any_method: bool = False  # of a channel that names no method
    meter: Any = NullMeter()  # IChannelMeter of its requests
    response_filters: Any = None  # ResponseFilters for its responses


class ErrorResult(msgspec.Struct, frozen=True):
    """An error response that needs no dispatcher; it has no cid yet."""

    status: int
    details: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    soap_version: str = ''  # SOAP version of the fault; '' = Zato's error in JSON


class RouteMatch(msgspec.Struct, frozen=True):
    """The channel found for a method and a target, and with SOAP for an action."""

    target: ChannelTarget
    service: str
    params: Mapping[str, str]
    path: str
    request_text: str  # method and target for the log
    depends_on_action: bool = False  # whether another SOAP action may lead elsewhere
