"""Who keeps the interpreter's lock in another thread than the reactor's: a `def` service in C code that does not let go
of it (a sum over millions, a regular expression gone wild) stops everything as surely as one on the reactor.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from zatotx.metrics.stack_location import StackLocation, location_of

_LEAST = 0.1  # seconds of processor time that somebody must have used: else the process was stopped, or got none
_KEPT = 16
SOMEBODY = StackLocation('', 'code of another thread, which did not let go of the interpreter')
_MOST = 3  # services that are named for one stall
# Where a thread stands that waits, and holds nothing.
_WAITING = frozenset({'threading.py', 'queue.py', 'socket.py', 'selectors.py', 'ssl.py', 'subprocess.py', 'threads.py'})


class GilMonitor:
    """Asked by the watchdog's thread each time it wakes. A look at nothing unusual costs two microseconds."""

    def __init__(self, reactor: int, deployed: Callable[[str], str]) -> None:
        """`reactor`: the ident of its thread. `deployed`: what `files_below` gives."""
        self._reactor = reactor
        self._deployed = deployed
        self._clock = time.pthread_getcpuclockid(reactor)
        self._used = self._read()
        self._found: deque[tuple[float, float, tuple[StackLocation, ...]]] = deque(maxlen=_KEPT)

    def woke(self, due: float, now: float) -> None:
        """The caller was to wake at `due`, and woke `now`, both on `time.monotonic`."""
        before, self._used = self._used, self._read()
        whole, reactor = self._used[0] - before[0], self._used[1] - before[1]
        if now - due >= _LEAST / 2 and whole >= _LEAST and reactor < whole / 2:
            # Where it went on before we could look, at least this much is known.
            places = tuple(sorted(set(self._at_work(whole / 4))))[:_MOST] or (SOMEBODY,)
            self._found.append((due, now, places))

    def between(self, begin: float, end: float) -> tuple[StackLocation, ...]:
        """Who held the lock for at least half of that time."""
        for began, ended, places in tuple(self._found):
            if min(ended, end) - max(began, begin) >= (end - begin) / 2:
                return places
        return ()

    def _read(self) -> tuple[float, float]:
        """Processor time of the process and of the reactor's thread."""
        return time.process_time(), time.clock_gettime(self._clock)

    def _at_work(self, least: float) -> Iterator[StackLocation]:
        me = threading.get_ident()
        natives = {thread.ident: thread.native_id for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            if ident not in (self._reactor, me) and not _waits(frame) and _used(natives.get(ident)) >= least:
                place = location_of(frame, self._deployed)
                if place is not None and place.service:
                    yield place


def _used(native: int | None) -> float:
    """Seconds of processor time of a thread in its whole life: who had less than a stall took cannot have been it. Read
    as a file, since the clock of a thread that ends this moment may not be asked. Unknown: as much as can be."""
    try:
        return int(Path(f'/proc/self/task/{native}/schedstat').read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return float('inf')


def _waits(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).name in _WAITING
