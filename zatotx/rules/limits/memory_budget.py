"""Limits the memory that one process uses for request bodies and their decoded content. Pure: no I/O.

Every body has a `MemoryReservation`, which grows with it and is closed at the end of its request. Three limits keep
unauthenticated callers from using the memory that authenticated callers need, and from blocking complete requests:

- bodies of unauthenticated callers that are still being received: a quarter of the limit;
- these and all other memory of unauthenticated callers: half of it;
- everything: the limit.

Close to the first limit, bodies are spooled to files much earlier than usual (`spool_above`).
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

    `refused` counts rejected requests. `grown(size, held)` is called, outside the lock, with each increase and the new
    total.
    """

    __slots__ = ('_bounds', '_grown', '_held', '_lock', 'limit', 'refused')

    def __init__(self, limit: int = DEFAULT_LIMIT, grown: Callable[[int, int], None] | None = None) -> None:
        self.limit = limit
        self.refused = 0
        self._bounds = (limit // 4, limit // 2, limit)
        self._grown = grown
        self._held = [0, 0, 0]
        self._lock = Lock()

    @property
    def held(self) -> int:
        """Bytes in use."""
        return sum(self._held)

    @property
    def pressed(self) -> bool:
        """Whether bodies are spooled earlier than usual: half of the receive limit or three quarters of the total are
        in use."""
        return 2 * self._held[RECEIVING] >= self._bounds[RECEIVING] or 4 * sum(self._held) >= 3 * self.limit

    def spool_above(self, usual: int) -> int:
        """Returns the body size in bytes above which to spool; `usual` without memory pressure."""
        if not self.pressed:
            return usual
        scarce = 8 * self._held[RECEIVING] >= 7 * self._bounds[RECEIVING]
        return min(usual, MIN_SPOOL_SIZE if scarce else EARLY_SPOOL_SIZE)

    def _has_room(self, size: int, caller: int) -> bool:
        receiving, unknown, known = self._held
        available = self.limit - receiving - unknown - known
        if caller != AUTHENTICATED:
            available = min(available, self._bounds[UNAUTHENTICATED] - receiving - unknown)
            if caller == RECEIVING:
                available = min(available, self._bounds[RECEIVING] - receiving)
        return size <= available


class MemoryReservation:
    """The memory of one request, initially of an unauthenticated caller.

    Thread-safe. After `close` nothing can be added.
    """

    __slots__ = ('_budget', '_caller', '_open', 'size')

    def __init__(self, budget: MemoryBudget, caller: int = RECEIVING) -> None:
        self._budget = budget
        self._caller = caller
        self._open = True
        self.size = 0

    def add(self, size: int) -> bool:
        """Reserves memory; returns whether it is available."""
        budget = self._budget
        with budget._lock:
            if not self._open:
                return False
            if not budget._has_room(size, self._caller):
                budget.refused += 1
                return False
            budget._held[self._caller] += size
            self.size += size
        if budget._grown is not None:
            budget._grown(size, budget.held)
        return True

    def give_back(self, size: int) -> None:
        """Releases part of the memory."""
        with self._budget._lock:
            if self._open:
                self._budget._held[self._caller] -= size
                self.size -= size

    def received(self) -> None:
        """Marks the body as complete."""
        self._move(UNAUTHENTICATED)

    def known(self) -> None:
        """Marks the caller as authenticated."""
        self._move(AUTHENTICATED)

    def close(self) -> None:
        """Releases all memory at the end of the request. Idempotent."""
        with self._budget._lock:
            if self._open:
                self._open = False
                self._budget._held[self._caller] -= self.size
                self.size = 0

    def _move(self, caller: int) -> None:
        budget = self._budget
        with budget._lock:
            if self._open and caller > self._caller:
                budget._held[self._caller] -= self.size
                budget._held[caller] += self.size
                self._caller = caller
