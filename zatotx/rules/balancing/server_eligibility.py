"""Determines which servers of a backend can receive requests. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

MIN_SLOW_START_SHARE = 0.1  # of its weight, with which a server starts


class ServerEligibilityAttributes(Protocol):
    """The attributes of a server that determine whether it may receive requests."""

    is_backup: bool
    is_ready: bool  # its administrative state is `ready`, and its configured weight is more than 0
    is_down: bool  # probes fail
    is_ejected: bool  # traffic to it failed


S = TypeVar('S', bound=ServerEligibilityAttributes)


def select_eligible_servers(servers: Iterable[S]) -> Sequence[S]:
    """Return the servers that can receive requests. These are the servers that are up; if none is up, the backup
    servers that are up; if there are none either, the servers that were ejected only because of failed requests. If all
    servers are ejected, the cause is probably outside of the servers, so it would not help to reject every request."""
    ready = [server for server in servers if server.is_ready and not server.is_down]
    healthy = [server for server in ready if not server.is_ejected]
    for group in (healthy, ready):
        for is_backup in (False, True):
            found = [server for server in group if server.is_backup == is_backup]
            if found:
                return found
    return []


def slow_start_weight(weight: float, elapsed: float, duration: float) -> float:
    """Return the effective weight of a server that came up `elapsed` seconds ago. The weight grows linearly during
    `duration` seconds, so that a server with empty caches is not overloaded."""
    if duration <= 0 or elapsed >= duration:
        return weight
    return weight * max(MIN_SLOW_START_SHARE, elapsed / duration)
