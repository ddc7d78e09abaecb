"""Slow down whoever keeps failing: a leaky count of failures by address, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from math import ceil

FIRST_DELAY, LONGEST_DELAY = 0.5, 8.0  # seconds


def network_of(address: str) -> str:
    """What is counted together: an IPv4 address alone, an IPv6 address by its /64, which one customer owns whole."""
    if ':' not in address:
        return address
    head, gap, _ = address.partition('::')
    groups = head.split(':') if head else []
    if gap and len(groups) < 4:
        groups += ['0'] * (4 - len(groups))
    return ':'.join(groups[:4])


class Throttle:
    """Counts failures and says how long the next try of an address has to wait.

    An address may fail `limit` times at once; its count drains evenly, `limit` in `window` seconds. Each failure over
    the limit doubles the delay, from 0.5 up to 8 seconds. At most `most` addresses are remembered: the one that failed
    longest ago is forgotten first. `now` is any clock in seconds that never goes back.
    """

    __slots__ = ('_failures', '_limit', '_most', '_window')

    def __init__(self, limit: int = 20, window: float = 60.0, *, most: int = 10_000) -> None:
        self._limit = limit
        self._window = window
        self._most = most
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()  # network -> (count, when)

    def __len__(self) -> int:
        return len(self._failures)

    def failed(self, address: str, now: float) -> None:
        """One more failure of this address. Its count stops at twice the limit, so that it is clear again a window
        after it falls under the limit, however long it went on."""
        network = network_of(address)
        count = min(self._count(network, now) + 1.0, 2.0 * self._limit)
        self._failures[network] = (count, now)
        self._failures.move_to_end(network)
        if len(self._failures) > self._most:
            self._failures.popitem(last=False)

    def delay(self, address: str, now: float) -> float:
        """Seconds its next try has to wait: 0 while it is within the limit."""
        if not self._failures:
            return 0.0
        over = self._count(network_of(address), now) - self._limit
        if over <= 0.0:
            return 0.0
        return min(LONGEST_DELAY, FIRST_DELAY * float(2 ** (ceil(over) - 1)))

    def _count(self, network: str, now: float) -> float:
        count, when = self._failures.get(network, (0.0, now))
        return max(0.0, count - (now - when) * self._limit / self._window)
