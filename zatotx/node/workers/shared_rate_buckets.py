"""Buckets of rate limits that the workers of a server share: a table in a file that all of them have mapped.

A bucket lies in one of a few places, by a hash of its name; one that finds no free place takes that of the bucket which
is full again soonest. A worker works on a place while it holds the lock of that part of the file. The kernel gives the
locks of a dead process back; for one that is stopped with a lock in its hand nobody waits longer than some
milliseconds, once a second: what is counted without the lock may be lost to what somebody else counts.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from time import monotonic

from zope.interface import implementer

from zatotx.interfaces.rates import IBuckets
from zatotx.rules.limits.gcra import Rate

PLACES = 8  # of one lot, among which a bucket has its own
LOTS = 8_192
_FILE = 'rates'
_PLACE = Struct('=Qq')  # hash of the name, and the moment until which the bucket is used up, in nanoseconds
_LOT = Struct('=' + 'Qq' * PLACES)
_PATIENCE = 0.005  # seconds for the lock of a lot, which is held for some microseconds
_PAUSE = 1.0  # seconds without locking a lot whose lock did not come in time


@implementer(IBuckets)
class SharedBuckets:
    """As rules.gcra.Buckets, on the clock that all processes of a machine have in common."""

    def __init__(self, work: Path, patience: float = _PATIENCE) -> None:
        """`patience`: seconds to wait for a lock. Raises OSError where there is no table: `make_table` makes it."""
        self._fd = os.open(work / _FILE, os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(self._fd, LOTS * _LOT.size)
        self._patience = patience
        self._unlocked: dict[int, float] = {}  # lot -> until when it is not waited for

    def charge(self, name: str, rate: Rate, now: int) -> int:
        digest = _digest(name)
        lot = digest % LOTS
        locked = self._lock(lot)
        try:
            place, until = self._find(digest, lot)
            ahead = max(0, until - now)
            if ahead + rate.interval <= rate.tolerance:
                _PLACE.pack_into(self._map, place, digest, now + ahead + rate.interval)
        finally:
            if locked:
                self._unlock(lot)
        return ahead

    def give_back(self, name: str, rate: Rate) -> None:
        digest = _digest(name)
        lot = digest % LOTS
        locked = self._lock(lot)
        try:
            place, until = self._find(digest, lot)
            if until:
                _PLACE.pack_into(self._map, place, digest, until - rate.interval)
        finally:
            if locked:
                self._unlock(lot)

    def close(self) -> None:
        """Give the memory back."""
        self._map.close()
        os.close(self._fd)

    def _find(self, digest: int, lot: int) -> tuple[int, int]:
        """The place of a bucket in its lot, and until when it is used up; 0 where it is not there yet."""
        start = lot * _LOT.size
        numbers = _LOT.unpack_from(self._map, start)
        digests, moments = numbers[::2], numbers[1::2]
        if digest in digests:
            found = digests.index(digest)
            return start + found * _PLACE.size, moments[found]
        return start + moments.index(min(moments)) * _PLACE.size, 0

    def _lock(self, lot: int) -> bool:
        if self._try(lot):
            return True
        now = monotonic()
        if self._unlocked.get(lot, 0.0) > now:
            return False
        while monotonic() < now + self._patience:
            os.sched_yield()  # whoever holds it may need this very processor
            if self._try(lot):
                return True
        self._unlocked[lot] = now + _PAUSE
        return False

    def _try(self, lot: int) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, lot)
        except OSError:
            return False
        return True

    def _unlock(self, lot: int) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, lot)


def create_buckets_file(work: Path) -> None:
    """An empty table. The workers of an earlier parent keep theirs."""
    (work / _FILE).unlink(missing_ok=True)
    fd = os.open(work / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.ftruncate(fd, LOTS * _LOT.size)
    os.close(fd)


@lru_cache(maxsize=4096)
def _digest(name: str) -> int:
    """Of its own in all processes, and never 0, which stands for a free place."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), 'little') or 1
