"""Which servers of a backend may take a request. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

MIN_SLOW_START_SHARE = 0.1  # of its weight, with which a server starts


class ServerCondition(Protocol):
    """The condition of a server."""

    is_backup: bool
    is_ready: bool  # its administrative state is `ready`, and its configured weight is more than 0
    is_down: bool  # probes fail
    is_ejected: bool  # traffic to it failed


S = TypeVar('S', bound=ServerCondition)


def select_available(servers: Iterable[S]) -> Sequence[S]:
    """Return the servers that take requests: those that are up; if there is none, the backup servers that are up; if
    there is none either, those that are ejected only because of traffic. If all servers are ejected, the reason is
    more likely outside of them, and turning every request away would help nobody."""
    ready = [server for server in servers if server.is_ready and not server.is_down]
    healthy = [server for server in ready if not server.is_ejected]
    for group in (healthy, ready):
        for is_backup in (False, True):
            found = [server for server in group if server.is_backup == is_backup]
            if found:
                return found
    return []


def slow_start_weight(weight: float, elapsed: float, duration: float) -> float:
    """Return the effective weight of a server that came up `elapsed` seconds ago: it grows linearly, so that a server
    with empty caches is not flooded."""
    if duration <= 0 or elapsed >= duration:
        return weight
    return weight * max(MIN_SLOW_START_SHARE, elapsed / duration)
