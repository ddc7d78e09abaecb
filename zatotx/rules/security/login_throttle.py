"""Delays logins from networks with many failed logins. Each network has a leaky bucket, and the memory is bounded."""

from __future__ import annotations

from collections import OrderedDict
from math import ceil

FIRST_DELAY, MAX_DELAY = 0.5, 8.0  # seconds
_MAPPED = ('::ffff:', '0:0:0:0:0:ffff:')  # prefixes of an IPv4 address in an IPv4-mapped IPv6 address


def unmap_ipv4(address: str) -> str:
    """Convert an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2), such as `::ffff:192.0.2.7`, to the IPv4 address. A
    listener on `::` receives IPv4 clients with such addresses. Returns other addresses unchanged."""
    if ':' in address and '.' in address:
        prefix, _, tail = address.rpartition(':')
        if f'{prefix.lower()}:' in _MAPPED:
            return tail
    return address


def client_network(address: str) -> str:
    """Return the network by which failed logins of a client address are counted: the IPv4 address, or the /64 network
    of an IPv6 address, which belongs to one customer. IPv4-mapped IPv6 addresses count as IPv4."""
    if ':' not in address:
        return address
    plain = unmap_ipv4(address)
    if ':' not in plain:
        return plain
    head, gap, _ = plain.partition('::')
    groups = head.split(':') if head else []
    if gap and len(groups) < 4:
        groups += ['0'] * (4 - len(groups))
    return ':'.join(groups[:4])


class LoginThrottle:
    """Counts the failed logins of each network, and calculates the delay of the next login from the network.

    A network may fail `limit` times at once; its count drains at a constant rate, `limit` per `window` seconds. Each
    failure above the limit doubles the delay, from 0.5 up to 8 seconds. At most `max_networks` networks are stored;
    the one whose last failure is oldest is dropped first. `now` is in seconds on a monotonic clock. `delayed_until`
    maps the networks above their limit to the time at which they are below it again; while it is empty no check is
    necessary.
    """

    __slots__ = ('_failures', '_limit', '_max_networks', '_window', 'delayed_until')

    def __init__(self, limit: int = 20, window: float = 60.0, *, max_networks: int = 10_000) -> None:
        self._limit = limit
        self._window = window
        self._max_networks = max_networks
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()  # network -> (count, time)
        self.delayed_until: dict[str, float] = {}  # in the order of their last failures; the dict is never replaced

    def __len__(self) -> int:
        return len(self._failures)

    def record_failure(self, network: str, now: float) -> None:
        """Count a failure. The count stops at twice the limit, so that it is cleared one window after it falls below
        the limit."""
        self._set(network, min(self._count(network, now) + 1.0, 2.0 * self._limit), now)
        if len(self._failures) > self._max_networks:
            dropped, _ = self._failures.popitem(last=False)
            self.delayed_until.pop(dropped, None)

    def revoke_failure(self, network: str, now: float) -> None:
        """Revoke one failure that turned out to be a success."""
        if network in self._failures:
            self._set(network, max(0.0, self._count(network, now) - 1.0), now)

    def delay(self, network: str, now: float) -> float:
        """Return the seconds that the next attempt must wait: 0 while the network is within the limit."""
        if not self.delayed_until:
            return 0.0
        oldest = next(iter(self.delayed_until))
        if self.delayed_until[oldest] <= now:
            del self.delayed_until[oldest]
        if network not in self.delayed_until:
            return 0.0
        excess = self._count(network, now) - self._limit
        if excess <= 0.0:
            del self.delayed_until[network]
            return 0.0
        return min(MAX_DELAY, FIRST_DELAY * float(2 ** (ceil(excess) - 1)))

    def _set(self, network: str, count: float, now: float) -> None:
        self._failures[network] = (count, now)
        self._failures.move_to_end(network)
        self.delayed_until.pop(network, None)
        if count > self._limit:
            self.delayed_until[network] = now + (count - self._limit) * self._window / self._limit

    def _count(self, network: str, now: float) -> float:
        count, when = self._failures.get(network, (0.0, now))
        return max(0.0, count - (now - when) * self._limit / self._window)
