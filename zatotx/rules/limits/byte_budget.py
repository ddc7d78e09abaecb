"""How many bytes of request bodies, and of what they are decoded to, one process holds in memory. Pure: no I/O.

Every body has a `BytesCharge`, which grows with it and is closed when its request is over. Three bounds hold, so that
callers without a login can neither take the memory that callers with one need, nor block requests that are complete:

- the bodies of unauthenticated callers that are still being received: a quarter of the limit;
- those and all else of unauthenticated callers: half of it;
- everything: the limit.

Before the first bound is reached, bodies move to files much earlier than usual (`spool_above`).
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

MIB = 1024 * 1024
LIMIT = 384 * MIB  # half of it takes an XML document of as many elements as are accepted by default, parsed
LEAST = 64 * MIB
UNCOUNTED = 4 * 1024  # bytes of a body that has no charge: connections and requests at once are limited elsewhere
EARLY, EARLIEST = 64 * 1024, UNCOUNTED  # bytes in memory above which a body is spooled under pressure
NO_MEMORY = 'The server holds as many bytes of requests in memory as it may: try again later'

RECEIVING, UNKNOWN, KNOWN = range(3)  # of an unauthenticated caller, incomplete; complete; of an authenticated caller


class ByteBudget:
    """The budget of one process. Any thread may use it.

    `refused` counts the requests that found no room. `grown` is called, outside of the lock, with the size of every
    growth and with what is held now.
    """

    __slots__ = ('_bounds', '_grown', '_held', '_lock', 'limit', 'refused')

    def __init__(self, limit: int = LIMIT, grown: Callable[[int, int], None] | None = None) -> None:
        self.limit = limit
        self.refused = 0
        self._bounds = (limit // 4, limit // 2, limit)
        self._grown = grown
        self._held = [0, 0, 0]
        self._lock = Lock()

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return sum(self._held)

    @property
    def pressed(self) -> bool:
        """Whether bodies move to files earlier than usual: half of what may be received is, or most of all is held."""
        return 2 * self._held[RECEIVING] >= self._bounds[RECEIVING] or 4 * sum(self._held) >= 3 * self.limit

    def spool_above(self, usual: int) -> int:
        """Bytes above which a body is to leave memory now, where it is `usual` without pressure."""
        if not self.pressed:
            return usual
        scarce = 8 * self._held[RECEIVING] >= 7 * self._bounds[RECEIVING]
        return min(usual, EARLIEST if scarce else EARLY)

    def _has_room(self, size: int, caller: int) -> bool:
        receiving, unknown, known = self._held
        room = self.limit - receiving - unknown - known
        if caller != KNOWN:
            room = min(room, self._bounds[UNKNOWN] - receiving - unknown)
            if caller == RECEIVING:
                room = min(room, self._bounds[RECEIVING] - receiving)
        return size <= room


class BytesCharge:
    """The memory of one request, of an unauthenticated caller at first.

    The reactor and a worker thread may use it at the same time: once it is closed nothing can be added.
    """

    __slots__ = ('_budget', '_caller', '_open', 'size')

    def __init__(self, budget: ByteBudget, caller: int = RECEIVING) -> None:
        self._budget = budget
        self._caller = caller
        self._open = True
        self.size = 0

    def add(self, size: int) -> bool:
        """Whether there is room for so many bytes more; they are held then."""
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
        """So many bytes are no longer in memory."""
        with self._budget._lock:
            if self._open:
                self._budget._held[self._caller] -= size
                self.size -= size

    def received(self) -> None:
        """The body is complete."""
        self._move(UNKNOWN)

    def known(self) -> None:
        """The caller is authenticated."""
        self._move(KNOWN)

    def close(self) -> None:
        """The request is over: give everything back. Idempotent."""
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
