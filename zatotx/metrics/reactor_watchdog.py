"""The watchdog of the reactor, which measures every stall of the reactor, and reports the service and the line that
caused a long stall.

A timer in the reactor is due every 50 ms; its delay is the length of a stall. A thread wakes up as often and samples
the stack of the reactor's thread if the timer is overdue. A stall of 100 ms is thus sampled at least once while it
lasts; code that blocks other threads (a C function that holds the GIL) is sampled when it returns. Together they take
0.4 % of a core of an idle node, mostly for waking up.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from time import monotonic, sleep, time
from typing import Any, NamedTuple

from twisted.internet.interfaces import IReactorTime

from zatotx.metrics.counters import PAUSE_BUCKETS, STALL_BUCKETS, Histogram
from zatotx.metrics.gil_monitor import GilMonitor
from zatotx.metrics.stack_location import StackLocation, locate_frame

_LONG_PAUSE = 0.05  # seconds; the last pauses of this length are kept
_PAUSES_KEPT = 64


class GcPauseMonitor:
    """Measures the pause of every garbage collection while it is started. Any thread may read `pauses`. A collection
    causes two callbacks, which take a microsecond."""

    def __init__(self) -> None:
        self.pauses = Histogram(PAUSE_BUCKETS)
        self._started = 0.0  # the start of the collection in progress
        self._long: deque[tuple[float, float]] = deque(maxlen=_PAUSES_KEPT)  # (end, length)

    def start(self) -> None:
        """Start to measure."""
        gc.callbacks.append(self._on_gc)

    def stop(self) -> None:
        """Stop measuring; idempotent."""
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)

    def seconds_between(self, begin: float, end: float) -> float:
        """Return the seconds that long collections took in an interval of `time.monotonic`. A collection in progress
        counts, because the caller may have waited for the GIL until its end, and runs before the end is recorded."""
        current_start = self._started
        spans = [(ended - length, ended) for ended, length in tuple(self._long)]
        if current_start and not any(abs(start - current_start) < 1e-6 for start, _ in spans):
            spans.append((current_start, end))
        return sum(max(0.0, min(ended, end) - max(start, begin)) for start, ended in spans)

    def _on_gc(self, phase: str, info: dict[str, Any]) -> None:
        now = monotonic()
        if phase == 'start':
            self._started = now
        elif self._started:
            length = now - self._started
            self.pauses.observe(length)
            if length >= _LONG_PAUSE:
                self._long.append((now, length))
            self._started = 0.0


_TIMER_INTERVAL = 0.05  # seconds, as all below
_SAMPLE_INTERVAL = 0.05
_OVERDUE = 0.025  # no sample is taken if the last timer call is more recent
_REPORTED_STALL = 0.1  # stalls of this length are reported
_LONG_STALL = 1.0  # stalls of this length are reported before they end, because they may never end
_REPORT_INTERVAL = 1.0  # between two reports
_MAX_WAITING = 16  # locations that wait to be reported
_KEPT = 20  # reports kept

GARBAGE_COLLECTOR = StackLocation('', 'the garbage collector')


class Watchdog:
    """Measures stalls of the reactor. It must be started and stopped in the reactor's thread; any thread may read
    `stalls`."""

    def __init__(
        self, reactor: IReactorTime, deployed_name: Callable[[str], str], report: Callable[[str], None]
    ) -> None:
        """`deployed_name`: the result of `files_below`. `report` receives one sentence,
        called in the watchdog's thread while the reactor may be stalled: it must not need the reactor."""
        self.stalls = Histogram(STALL_BUCKETS)
        self.pauses = GcPauseMonitor()
        self.reports = StallReporter(report)
        self._reactor = reactor
        self._deployed = deployed_name
        self._running = False
        self._thread = 0  # ident of the reactor's thread
        self._last_heartbeat = 0.0  # when the timer was last called
        self._next_check = 0.0
        self._timer: Any = None
        # (last timer call before the stall, length)
        self._finished_stalls: deque[tuple[float, float]] = deque(maxlen=64)
        # (last timer call before the stall, samples)
        self._samples: tuple[float, Counter[StackLocation]] = (0.0, Counter())
        self._gil_monitor: GilMonitor | None = None
        self._reported_heartbeat = 0.0  # the last timer call before a stall that was reported while it lasted

    def start(self) -> None:
        """Start to measure."""
        self._thread = threading.get_ident()
        self._running = True
        self._last_heartbeat = monotonic()
        self.pauses.start()
        # on a busy machine it takes long until a thread runs, for which this waits
        threading.Thread(target=self._watch, name='watchdog', daemon=True).start()
        self._last_heartbeat = self._next_check = monotonic()
        self._on_timer()

    def stop(self) -> None:
        """Stop measuring; idempotent."""
        self._running = False
        self.pauses.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        now = monotonic()
        self.stalls.observe(max(0.0, now - self._next_check))
        stall = (
            now - self._last_heartbeat
        )  # the stall began right after the last timer call, or up to one interval later
        if stall >= _REPORTED_STALL:
            self._finished_stalls.append((self._last_heartbeat, stall))
        self._last_heartbeat, self._next_check = now, now + _TIMER_INTERVAL
        self._timer = self._reactor.callLater(_TIMER_INTERVAL, self._on_timer)

    def _watch(self) -> None:
        gil_monitor = self._gil_monitor = GilMonitor(self._thread, self._deployed)
        now = monotonic()
        while self._running:
            due = now + _SAMPLE_INTERVAL
            # takes half as much CPU as waiting for an event; the thread outlives `stop` by this time
            sleep(_SAMPLE_INTERVAL)
            now, last = monotonic(), self._last_heartbeat
            gil_monitor.check(due, now)
            while self._finished_stalls:  # before the next stall is sampled, which may have begun
                self._finish(*self._finished_stalls.popleft())
            if now - last >= _OVERDUE:
                self._take_sample(now - last - gil_monitor.paused(last, now), last)
            self.reports.report_next(now)

    def _take_sample(self, stall: float, last: float) -> None:
        frame = sys._current_frames().get(self._thread)
        location = None if frame is None else locate_frame(frame, self._deployed)
        # the reactor has continued: its present location is meaningless
        if location is None or self._last_heartbeat != last:
            return
        if self._samples[0] != last:
            self._samples = (last, Counter())
        self._samples[1][location] += 1
        if stall >= _LONG_STALL and self._reported_heartbeat != last:
            self._reported_heartbeat = last
            self.reports.add(self._attribute(location, last, stall), stall, is_ongoing=True)

    def _attribute(self, location: Any, last: float, stall: float) -> Any:
        """Return the location, or the garbage collector if it took most of the stall: the line that happened to trigger
        it is not the cause."""
        return GARBAGE_COLLECTOR if self.pauses.seconds_between(last, last + stall) >= stall / 2 else location

    def _finish(self, last: float, stall: float) -> None:
        gil_monitor = self._gil_monitor
        # a sample from before the process was stopped says nothing about that time
        held = stall if gil_monitor is None else stall - gil_monitor.paused(last, last + stall)
        if held < _REPORTED_STALL:
            return
        if self._attribute(None, last, stall) is GARBAGE_COLLECTOR:
            self.reports.add(GARBAGE_COLLECTOR, held, is_ongoing=False)
            return
        for location in gil_monitor.holders_between(last, last + stall) if gil_monitor is not None else ():
            self.reports.add(location, held, is_ongoing=False)
        if self._samples[0] == last:
            for location, share in stall_shares_by_service(self._samples[1]):
                if share * held >= _REPORTED_STALL / 2:
                    self.reports.add(location, share * held, is_ongoing=False)


def stall_shares_by_service(samples: Counter[StackLocation]) -> list[tuple[StackLocation, float]]:
    """Return each service's share of a stall, with the location at which the service was sampled most often. Several
    services may have run during the stall, before the reactor called its next timer."""
    services: dict[str, Counter[StackLocation]] = {}
    for location, times in samples.items():
        services.setdefault(location.service, Counter())[location] += times
    return [(locations.most_common(1)[0][0], locations.total() / samples.total()) for locations in services.values()]


class ReportedStall(NamedTuple):
    """A reported stall: its time, the log message, and the service."""

    when: float  # Unix time
    message: str
    service: str  # '' if no service was running


class StallReporter:
    """Queues reports of stalls, and logs them at most once per second, as one message for each location with the
    longest stall there. The most recent reports are kept in `reported`, which any thread may read."""

    def __init__(self, report: Callable[[str], None], clock: Callable[[], float] = time) -> None:
        """`clock` returns Unix time."""
        self.reported: deque[ReportedStall] = deque(maxlen=_KEPT)
        self._report = report
        self._clock = clock
        self._waiting: OrderedDict[StackLocation, tuple[int, float, bool]] = (
            OrderedDict()
        )  # -> (number of stalls, longest, whether the last one is ongoing)
        self._quiet_until = 0.0

    def add(self, location: StackLocation, duration: float, *, is_ongoing: bool) -> None:
        """Add a stall of `duration` seconds; `is_ongoing` if it is ongoing."""
        times, longest, was_lasting = self._waiting.get(location, (0, 0.0, False))
        if was_lasting and not is_ongoing:
            times -= 1  # the ongoing stall, which has ended
        if location in self._waiting or len(self._waiting) < _MAX_WAITING:
            self._waiting[location] = (times + 1, max(longest, duration), is_ongoing)

    def report_next(self, now: float) -> None:
        """Make the next report if it is due."""
        if self._waiting and now >= self._quiet_until:
            self._quiet_until = now + _REPORT_INTERVAL
            location, (times, longest, lasting) = self._waiting.popitem(last=False)
            text = stall_message(location, times, longest, lasting)
            self.reported.append(ReportedStall(self._clock(), text, location.service))
            self._report(text)


def stall_message(location: StackLocation, count: int, longest: float, is_ongoing: bool) -> str:
    """Format the log message about a stall."""
    if location == GARBAGE_COLLECTOR:
        return f'the garbage collector stopped the process for {longest:.2f} s{_times_suffix(count)}'
    subject = f'service {location.service!r}' if location.service else 'something other than a service'
    verb = 'has been holding' if is_ongoing else 'held'
    where = f'{location.position}{_times_suffix(count)}'
    return f'{subject} {verb} the reactor for {longest:.2f} s at {where}: nothing else was processed meanwhile'


def _times_suffix(times: int) -> str:
    return f' ({times} times, this is the longest)' if times > 1 else ''
