"""Slow down whoever keeps failing: a leaky count of failures by network, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from math import ceil

FIRST_DELAY, LONGEST_DELAY = 0.5, 8.0  # seconds
_MAPPED = ('::ffff:', '0:0:0:0:0:ffff:')  # what an IPv4 address follows in an IPv4-mapped IPv6 address


def unmapped(address: str) -> str:
    """The IPv4 address of an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2), `::ffff:192.0.2.7`, as a listener on `::`
    sees IPv4 clients. Any other address is returned as it is."""
    if ':' in address and '.' in address:
        prefix, _, tail = address.rpartition(':')
        if f'{prefix.lower()}:' in _MAPPED:
            return tail
    return address


def network_of(address: str) -> str:
    """What is counted together: an IPv4 address alone, an IPv6 address by its /64, which one customer owns whole. An
    IPv4-mapped IPv6 address counts as the IPv4 address that it stands for."""
    if ':' not in address:
        return address
    plain = unmapped(address)
    if ':' not in plain:
        return plain
    head, gap, _ = plain.partition('::')
    groups = head.split(':') if head else []
    if gap and len(groups) < 4:
        groups += ['0'] * (4 - len(groups))
    return ':'.join(groups[:4])


class LoginThrottle:
    """Counts failures and says how long the next attempt of a network has to wait.

    A network may fail `limit` times at once; its count drains evenly, `limit` in `window` seconds. Each failure over
    the limit doubles the delay, from 0.5 up to 8 seconds. At most `most` networks are remembered: the one that failed
    longest ago is forgotten first. `now` is any clock in seconds that never goes back. `slowed` maps the networks over
    their limit to the time at which they are within it again; while it is empty nobody has to be asked about.
    """

    __slots__ = ('_failures', '_limit', '_most', '_window', 'slowed')

    def __init__(self, limit: int = 20, window: float = 60.0, *, most: int = 10_000) -> None:
        self._limit = limit
        self._window = window
        self._most = most
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()  # network -> (count, when)
        self.slowed: dict[str, float] = {}  # in the order of their last failures; always this same dict

    def __len__(self) -> int:
        return len(self._failures)

    def failed(self, network: str, now: float) -> None:
        """One more failure of this network. Its count stops at twice the limit, so that it is clear again a window
        after it falls under the limit, however long it went on."""
        self._set(network, min(self._count(network, now) + 1.0, 2.0 * self._limit), now)
        if len(self._failures) > self._most:
            forgotten, _ = self._failures.popitem(last=False)
            self.slowed.pop(forgotten, None)

    def forgive(self, network: str, now: float) -> None:
        """Take one failure back: what was counted as one has turned out to be right."""
        if network in self._failures:
            self._set(network, max(0.0, self._count(network, now) - 1.0), now)

    def delay(self, network: str, now: float) -> float:
        """Seconds its next attempt has to wait: 0 while it is within the limit."""
        if not self.slowed:
            return 0.0
        longest_ago = next(iter(self.slowed))
        if self.slowed[longest_ago] <= now:
            del self.slowed[longest_ago]
        if network not in self.slowed:
            return 0.0
        over = self._count(network, now) - self._limit
        if over <= 0.0:
            del self.slowed[network]
            return 0.0
        return min(LONGEST_DELAY, FIRST_DELAY * float(2 ** (ceil(over) - 1)))

    def _set(self, network: str, count: float, now: float) -> None:
        self._failures[network] = (count, now)
        self._failures.move_to_end(network)
        self.slowed.pop(network, None)
        if count > self._limit:
            self.slowed[network] = now + (count - self._limit) * self._window / self._limit

    def _count(self, network: str, now: float) -> float:
        count, when = self._failures.get(network, (0.0, now))
        return max(0.0, count - (now - when) * self._limit / self._window)
