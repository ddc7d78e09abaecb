"""Accounts for the memory that one process uses for request bodies and their decoded content, and limits it. Pure: no
I/O.

Every body has a `MemoryReservation`, which grows with it and is closed at the end of its request. Three limits keep
unauthenticated callers from using the memory that authenticated callers need, and from blocking complete requests:

- bodies of unauthenticated callers that are still being received: a quarter of the limit;
- these and all other memory of unauthenticated callers: half of it;
- everything: the limit.

Close to the first limit, bodies are spooled to files much earlier than usual (`spool_threshold`).
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

MIB = 1024 * 1024
DEFAULT_LIMIT = 384 * MIB  # half of it suffices to parse an XML document with the default maximum of elements
MIN_LIMIT = 64 * MIB
MAX_UNACCOUNTED = (
    4 * 1024
)  # bytes of a body without a charge: the numbers of connections and requests are limited elsewhere
EARLY_SPOOL_SIZE, MIN_SPOOL_SIZE = (
    64 * 1024,
    MAX_UNACCOUNTED,
)  # bytes in memory above which a body is spooled under memory pressure
OUT_OF_BUDGET = 'The server holds as many bytes of requests in memory as it may: try again later'

RECEIVING, UNAUTHENTICATED, AUTHENTICATED = range(
    3
)  # unauthenticated and incomplete; unauthenticated and complete; authenticated


class MemoryBudget:
    """The memory budget of one process. Thread-safe.

    `rejected` counts rejected requests. `grown(size, held)` is called, outside the lock, with each increase and the new
    total.
    """

    __slots__ = ('_bounds', '_grown', '_lock', '_used', 'limit', 'rejected')

    def __init__(self, limit: int = DEFAULT_LIMIT, on_growth: Callable[[int, int], None] | None = None) -> None:
        self.limit = limit
        self.rejected = 0
        self._bounds = (limit // 4, limit // 2, limit)
        self._grown = on_growth
        self._used = [0, 0, 0]
        self._lock = Lock()

    @property
    def used(self) -> int:
        """Bytes in use."""
        return sum(self._used)

    @property
    def is_under_pressure(self) -> bool:
        """Whether bodies are spooled earlier than usual: half of the receive limit or three quarters of the total are
        in use."""
        return 2 * self._used[RECEIVING] >= self._bounds[RECEIVING] or 4 * sum(self._used) >= 3 * self.limit

    def spool_threshold(self, default: int) -> int:
        """Return the body size in bytes above which to spool; `default` without memory pressure."""
        if not self.is_under_pressure:
            return default
        scarce = 8 * self._used[RECEIVING] >= 7 * self._bounds[RECEIVING]
        return min(default, MIN_SPOOL_SIZE if scarce else EARLY_SPOOL_SIZE)

    def _has_capacity(self, size: int, caller: int) -> bool:
        receiving, unknown, known = self._used
        available = self.limit - receiving - unknown - known
        if caller != AUTHENTICATED:
            available = min(available, self._bounds[UNAUTHENTICATED] - receiving - unknown)
            if caller == RECEIVING:
                available = min(available, self._bounds[RECEIVING] - receiving)
        return size <= available


class MemoryReservation:
    """The memory reserved for one request. A request counts as unauthenticated until its caller is authenticated.

    Thread-safe. After `close` nothing can be added.
    """

    __slots__ = ('_budget', '_caller', '_open', 'size')

    def __init__(self, budget: MemoryBudget, caller: int = RECEIVING) -> None:
        self._budget = budget
        self._caller = caller
        self._open = True
        self.size = 0

    def reserve(self, size: int) -> bool:
        """Reserve memory; return whether it is available."""
        budget = self._budget
        with budget._lock:
            if not self._open:
                return False
            if not budget._has_capacity(size, self._caller):
                budget.rejected += 1
                return False
            budget._used[self._caller] += size
            self.size += size
        if budget._grown is not None:
            budget._grown(size, budget.used)
        return True

    def release(self, size: int) -> None:
        """Release part of the memory."""
        with self._budget._lock:
            if self._open:
                self._budget._used[self._caller] -= size
                self.size -= size

    def mark_received(self) -> None:
        """Mark the body as complete."""
        self._move(UNAUTHENTICATED)

    def mark_authenticated(self) -> None:
        """Mark the caller as authenticated."""
        self._move(AUTHENTICATED)

    def close(self) -> None:
        """Release all memory at the end of the request. Idempotent."""
        with self._budget._lock:
            if self._open:
                self._open = False
                self._budget._used[self._caller] -= self.size
                self.size = 0

    def _move(self, caller: int) -> None:
        budget = self._budget
        with budget._lock:
            if self._open and caller > self._caller:
                budget._used[self._caller] -= self.size
                budget._used[caller] += self.size
                self._caller = caller


# Decides when to run the garbage collector and trim the heap, by bytes instead of objects. Pure.
#
# Python counts objects: a request leaves a few dozen, whether its body has a hundred bytes or a million. If a service
# creates a reference cycle, its body stays in memory until the next collection, so a collection is due after a number
# of bytes.

COLLECT_AFTER = 32 * MIB  # received bytes between two collections
FULL_COLLECT_AFTER = (
    64 * MIB
)  # accumulated bytes in use during collections after which the oldest generation is collected too

MIDDLE, OLDEST = 1, 2  # generations of gc.collect


class CollectionTrigger:
    """Decides when a garbage collection is needed. Objects that survive a collection move to an older generation, and
    are freed only by a collection of the oldest generation. Therefore the bytes of surviving objects are counted as
    well."""

    __slots__ = ('_received', '_survived')

    def __init__(self) -> None:
        self._received = 0
        self._survived = 0

    def next_generation(self, size: int, used: int) -> int | None:
        """Return the generation to collect after receiving `size` more bytes, or None. `used`: bytes in use."""
        self._received += size
        if self._received < COLLECT_AFTER:
            return None
        self._received = 0
        self._survived += used
        if self._survived < FULL_COLLECT_AFTER:
            return MIDDLE
        self._survived = used
        return OLDEST


MIN_GAIN, USELESS_GAIN = (
    32 * MIB,
    8 * MIB,
)  # minimum gain in bytes to start a trim, and below which a trim counts as useless
MAX_BACKOFF = 64  # maximum number of checks between useless trims


class TrimTrigger:
    """Decides when malloc should return free memory to the system. Freed memory stays resident after a peak; trimming
    takes time and is useless while the memory is in use."""

    __slots__ = ('_backoff', '_checks_left', '_min_resident', '_peak', '_resident')

    def __init__(self) -> None:
        self._min_resident = 0  # minimum resident size
        self._resident = 0  # after the last trim
        self._peak = 0  # maximum bytes in use since then
        self._checks_left = 0  # number of checks until the next unconditional trim
        self._backoff = 1  # number of checks to wait after a useless trim

    def should_trim(self, resident: int, used: int) -> bool:
        """Return whether to trim. Call it every few seconds with the resident size of the process and the bytes in
        use."""
        self._min_resident = min(self._min_resident or resident, resident)
        self._resident = min(self._resident or resident, resident)
        self._peak = max(self._peak, used)
        self._checks_left = max(0, self._checks_left - 1)
        if resident - self._min_resident < MIN_GAIN:
            self._peak = used
            return False
        return self._peak - used >= MIN_GAIN or resident - self._resident >= MIN_GAIN or not self._checks_left

    def record_trim(self, before: int, after: int, used: int) -> None:
        """Record the resident size before and after a trim."""
        self._backoff = 1 if before - after >= USELESS_GAIN else min(2 * self._backoff, MAX_BACKOFF)
        self._checks_left = self._backoff
        self._resident, self._peak = after, used
