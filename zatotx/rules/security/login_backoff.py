"""Rejects logins for increasing periods after wrong passwords. The periods grow exponentially for each key, and the
memory is bounded."""

from __future__ import annotations

from collections import OrderedDict

FIRST_WAIT, MAX_WAIT = 1.0, 15.0  # seconds
FORGET_AFTER = 600.0  # seconds without a failure after which earlier ones do not count


class LoginBackoff:
    """Counts the failed logins of each key. A key identifies the target of password guessing, for example a network and
    a user name. Failures of one key do not affect other keys.

    After `free` failures each further one doubles the time in which logins are rejected without a comparison, from 1 to
    15 seconds. At most `max_keys` keys are stored; the one whose last failure is oldest is dropped first. `now` is in
    seconds on a monotonic clock.
    """

    __slots__ = ('_failures', '_free', '_max_keys')

    def __init__(self, free: int = 4, *, max_keys: int = 10_000) -> None:
        self._free = free
        self._max_keys = max_keys
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # key -> (count, time of the last one)

    def record_failure(self, key: str, now: float) -> None:
        """Count a failure."""
        self._failures[key] = self._count(key, now) + 1, now
        self._failures.move_to_end(key)
        if len(self._failures) > self._max_keys:
            self._failures.popitem(last=False)

    def record_success(self, key: str) -> None:
        """Forget the failures of a key."""
        self._failures.pop(key, None)

    def retry_after(self, key: str, now: float) -> float:
        """Return the seconds in which logins are rejected; 0 if one may be compared now."""
        count = self._count(key, now)
        if count < self._free:
            return 0.0
        wait: float = min(MAX_WAIT, FIRST_WAIT * 2.0 ** (count - self._free))
        return max(0.0, self._failures[key][1] + wait - now)

    def _count(self, key: str, now: float) -> int:
        count, last = self._failures.get(key, (0, now))
        return 0 if now - last >= FORGET_AFTER else count
