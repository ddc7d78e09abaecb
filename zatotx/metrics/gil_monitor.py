"""Detects threads that hold the GIL for too long and thereby block the reactor. An example is a synchronous service in
C code that does not release the GIL, such as a sum over millions of numbers or a pathological regular expression.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from zatotx.metrics.stack_location import StackLocation, locate_frame

_MIN_CPU_TIME = 0.1  # seconds of CPU time that a thread must have used; otherwise the process was stopped or had no CPU
# A thread that waits for the GIL wakes up every 0.2 ms (sys.getswitchinterval), on a busy machine less often. If this
# thread woke up less than once in so many seconds, the process was stopped, or had no CPU.
_MAX_GIL_WAIT = 0.05
_KEPT = 16
UNKNOWN_THREAD = StackLocation('', 'code of another thread, which did not let go of the interpreter')
_MAX_REPORTED = 3  # services reported per stall
# Files of functions in which a thread waits without holding the GIL.
_WAITING_FILES = frozenset(
    {'threading.py', 'queue.py', 'socket.py', 'selectors.py', 'ssl.py', 'subprocess.py', 'threads.py'}
)


class GilMonitor:
    """Checks which thread holds the GIL each time the watchdog's thread wakes up. A check that finds nothing takes two
    microseconds."""

    def __init__(self, reactor_thread: int, deployed_name: Callable[[str], str]) -> None:
        """`reactor_thread`: the ident of the reactor's thread. `deployed_name`: the result of `files_below`."""
        self._reactor = reactor_thread
        self._deployed = deployed_name
        self._clock = time.pthread_getcpuclockid(reactor_thread)
        self._cpu_times = self._read_cpu_times()
        self._switches = _voluntary_switches()
        self._pauses: deque[tuple[float, float]] = deque(maxlen=_KEPT)  # intervals without CPU
        self._found: deque[tuple[float, float, tuple[StackLocation, ...]]] = deque(maxlen=_KEPT)

    def check(self, due: float, now: float) -> None:
        """Check for a stall: the caller was due to wake up at `due` and woke up `now`, both on `time.monotonic`."""
        previous, self._cpu_times = self._cpu_times, self._read_cpu_times()
        process_time, reactor_time = self._cpu_times[0] - previous[0], self._cpu_times[1] - previous[1]
        earlier, self._switches = self._switches, _voluntary_switches()
        delay = now - due
        if delay < _MIN_CPU_TIME / 2:
            return
        if not is_waiting_for_gil(self._switches - earlier, delay):
            self._pauses.append((due, now))
        elif process_time >= _MIN_CPU_TIME and reactor_time < process_time / 2:
            # The thread may have continued before the check, so only a part of the time is required.
            locations = tuple(sorted(set(self._busy_services(process_time / 4))))[:_MAX_REPORTED] or (UNKNOWN_THREAD,)
            self._found.append((due, now, locations))

    def paused(self, begin: float, end: float) -> float:
        """Return for how many seconds of an interval the process was stopped or had no CPU."""
        return sum(max(0.0, min(ended, end) - max(started, begin)) for started, ended in tuple(self._pauses))

    def holders_between(self, begin: float, end: float) -> tuple[StackLocation, ...]:
        """Return the locations of the threads that held the GIL for at least half of an interval."""
        for started, ended, locations in tuple(self._found):
            if min(ended, end) - max(started, begin) >= (end - begin) / 2:
                return locations
        return ()

    def _read_cpu_times(self) -> tuple[float, float]:
        """Return the CPU time of the process and of the reactor's thread."""
        return time.process_time(), time.clock_gettime(self._clock)

    def _busy_services(self, min_cpu_time: float) -> Iterator[StackLocation]:
        own_ident = threading.get_ident()
        natives = {thread.ident: thread.native_id for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            if (
                ident not in (self._reactor, own_ident)
                and not _is_waiting(frame)
                and _thread_cpu_time(natives.get(ident)) >= min_cpu_time
            ):
                location = locate_frame(frame, self._deployed)
                if location is not None and location.service:
                    yield location


def is_waiting_for_gil(switches: int, delay: float) -> bool:
    """Return whether a thread that woke up `delay` seconds too late was waiting for the GIL. `switches` is the number
    of its voluntary context switches since it went to sleep, including the sleep itself. CPU times are not used,
    because on a virtual machine they include time that other machines took."""
    return switches - 1 >= delay / _MAX_GIL_WAIT


def _voluntary_switches() -> int:
    """Return the number of voluntary context switches of the calling thread."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def _thread_cpu_time(native: int | None) -> float:
    """Return the CPU time of a thread in seconds: a thread with less than the length of a stall cannot have caused it.
    Read from /proc, because the clock of a thread that ends must not be queried. Infinity if unknown."""
    try:
        return int(Path(f'/proc/self/task/{native}/schedstat').read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return float('inf')


def _is_waiting(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).name in _WAITING_FILES
