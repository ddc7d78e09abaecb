"""When the garbage collector runs because of bytes, not of objects. Pure.

Python counts objects: a request leaves a few dozen behind, whether its body had a hundred bytes or a million. Where a
service leaves a reference cycle, its body stays until the next collection; so a collection is due after so many bytes.
"""

from __future__ import annotations

MIB = 1024 * 1024
EVERY = 32 * MIB  # bytes that come in from one collection to the next
SURVIVED = 64 * MIB  # bytes that collections found in use, after which the oldest objects are looked at too

MIDDLE, OLDEST = 1, 2  # generations, as gc.collect counts them


class CollectionTrigger:
    """Counts bytes. What is in use while a collection runs becomes old, and only a collection of the oldest objects
    frees it once it is garbage: how much that may be is counted as well."""

    __slots__ = ('_came', '_survived')

    def __init__(self) -> None:
        self._came = 0
        self._survived = 0

    def due(self, size: int, held: int) -> int | None:
        """The generation to collect now, after so many bytes more, `held` of which and of others are in use; None
        mostly."""
        self._came += size
        if self._came < EVERY:
            return None
        self._came = 0
        self._survived += held
        if self._survived < SURVIVED:
            return MIDDLE
        self._survived = held
        return OLDEST


WORTH, LITTLE = 32 * MIB, 8 * MIB  # bytes that are worth a trim, and that make the next one wait no longer
MOST_VAIN = 64  # looks from one trim in vain to the next, at most


class TrimTrigger:
    """Decides when malloc is to give memory back to the system. After a peak what was freed stays resident; asking for
    it takes some time, and is in vain while the memory is in use."""

    __slots__ = ('_floor', '_peak', '_resident', '_vain', '_wait')

    def __init__(self) -> None:
        self._floor = 0  # the least that was resident
        self._resident = 0  # after the last trim
        self._peak = 0  # the most that bodies held since then
        self._wait = 0  # looks that are left until it is tried again for nothing but time
        self._vain = 1  # of them, after a trim that gave little

    def due(self, resident: int, held: int) -> bool:
        """To be asked every few seconds, with the resident size of the process and what bodies hold."""
        self._floor = min(self._floor or resident, resident)
        self._resident = min(self._resident or resident, resident)
        self._peak = max(self._peak, held)
        self._wait = max(0, self._wait - 1)
        if resident - self._floor < WORTH:
            self._peak = held
            return False
        return self._peak - held >= WORTH or resident - self._resident >= WORTH or not self._wait

    def trimmed(self, before: int, after: int, held: int) -> None:
        """It was done: how much was resident."""
        self._vain = 1 if before - after >= LITTLE else min(2 * self._vain, MOST_VAIN)
        self._wait = self._vain
        self._resident, self._peak = after, held
