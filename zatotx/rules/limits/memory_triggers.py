"""Decides when to run the garbage collector and trim the heap, by bytes instead of objects. Pure.

Python counts objects: a request leaves a few dozen, whether its body has a hundred bytes or a million. If a service
creates a reference cycle, its body stays in memory until the next collection, so a collection is due after a number of
bytes.
"""

from __future__ import annotations

MIB = 1024 * 1024
COLLECT_AFTER = 32 * MIB  # received bytes between two collections
FULL_COLLECT_AFTER = (
    64 * MIB
)  # accumulated bytes in use during collections after which the oldest generation is collected too

MIDDLE, OLDEST = 1, 2  # generations of gc.collect


class CollectionTrigger:
    """Decides when a garbage collection is due. Objects that survive a collection age, and only a collection of the
    oldest generation frees them; so surviving bytes are counted as well."""

    __slots__ = ('_received', '_survived')

    def __init__(self) -> None:
        self._received = 0
        self._survived = 0

    def next_generation(self, size: int, used: int) -> int | None:
        """Returns the generation to collect after receiving `size` more bytes, or None. `used`: bytes in use."""
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
        """Returns whether to trim. Call it every few seconds with the resident size of the process and the bytes in
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
        """Records the resident size before and after a trim."""
        self._backoff = 1 if before - after >= USELESS_GAIN else min(2 * self._backoff, MAX_BACKOFF)
        self._checks_left = self._backoff
        self._resident, self._peak = after, used
