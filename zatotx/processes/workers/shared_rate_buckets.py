"""Rate-limit buckets that the workers of a server share. They are in a hash table in a memory-mapped file.

The hash of its name assigns a bucket to a lot of several places. If all are taken, the bucket that is full again
soonest is evicted. A worker accesses a lot while it holds the lock of that part of the file. The kernel releases the
locks of dead processes; a process that is frozen while it holds a lock delays the others by some milliseconds at most
once a second. Updates made without the lock may be lost.
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

from zatotx.interfaces.rate_limits import ILocalRateBuckets
from zatotx.rules.limits.rate_buckets import GcraRate

BUCKETS_PER_LOT = 8  # buckets per lot
LOTS = 8_192
_FILE = 'rates'
_PLACE = Struct('=Qq')  # hash of the name, and the time until which the bucket is used up, in nanoseconds
_LOT = Struct('=' + 'Qq' * BUCKETS_PER_LOT)
_LOCK_TIMEOUT = 0.005  # seconds to wait for the lock of a lot, which is held for microseconds
_PAUSE = 1.0  # seconds for which a lot is used without its lock after a timeout


@implementer(ILocalRateBuckets)
class SharedBuckets:
    """Implements ILocalRateBuckets for all workers of a server. The time is read from the monotonic clock that all
    processes of a machine share.
    """

    def __init__(self, work: Path, lock_timeout: float = _LOCK_TIMEOUT) -> None:
        """`lock_timeout`: seconds to wait for a lock. Raises OSError if `create_buckets_file` has not created the
        table."""
        self._fd = os.open(work / _FILE, os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(self._fd, LOTS * _LOT.size)
        self._lock_timeout = lock_timeout
        self._unlocked_until: dict[int, float] = {}  # lot -> time until which its lock is not waited for

    def charge(self, name: str, rate: GcraRate, now: int) -> int:
        digest = _digest(name)
        lot = digest % LOTS
        locked = self._lock(lot)
        try:
            offset, until = self._find(digest, lot)
            ahead = max(0, until - now)
            if ahead + rate.interval <= rate.tolerance:
                _PLACE.pack_into(self._map, offset, digest, now + ahead + rate.interval)
        finally:
            if locked:
                self._unlock(lot)
        return ahead

    def refund(self, name: str, rate: GcraRate) -> None:
        digest = _digest(name)
        lot = digest % LOTS
        locked = self._lock(lot)
        try:
            offset, until = self._find(digest, lot)
            if until:
                _PLACE.pack_into(self._map, offset, digest, until - rate.interval)
        finally:
            if locked:
                self._unlock(lot)

    def close(self) -> None:
        """Unmap and close the file."""
        self._map.close()
        os.close(self._fd)

    def _find(self, digest: int, lot: int) -> tuple[int, int]:
        """Return the offset of a bucket in the file, and until when it is used up; 0 for a new bucket."""
        start = lot * _LOT.size
        numbers = _LOT.unpack_from(self._map, start)
        digests, moments = numbers[::2], numbers[1::2]
        if digest in digests:
            found = digests.index(digest)
            return start + found * _PLACE.size, moments[found]
        return start + moments.index(min(moments)) * _PLACE.size, 0

    def _lock(self, lot: int) -> bool:
        if self._try_lock(lot):
            return True
        now = monotonic()
        if self._unlocked_until.get(lot, 0.0) > now:
            return False
        while monotonic() < now + self._lock_timeout:
            os.sched_yield()  # the holder may be waiting for this processor
            if self._try_lock(lot):
                return True
        self._unlocked_until[lot] = now + _PAUSE
        return False

    def _try_lock(self, lot: int) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, lot)
        except OSError:
            return False
        return True

    def _unlock(self, lot: int) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, lot)


def create_buckets_file(work: Path) -> None:
    """Create an empty table of rate-limit buckets. Workers of an earlier parent process keep using the old file."""
    (work / _FILE).unlink(missing_ok=True)
    fd = os.open(work / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.ftruncate(fd, LOTS * _LOT.size)
    os.close(fd)


@lru_cache(maxsize=4096)
def _digest(name: str) -> int:
    """Return the hash of a name, which is the same in all processes and never 0: 0 marks a free place."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), 'little') or 1
