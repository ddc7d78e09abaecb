"""Who holds the reactor: measures every stall, and names the service and line of those that matter.

The reactor's thread beats every 50 ms; what a beat comes late is a stall's length. A thread of its own looks as often
where the reactor's thread is, if the last beat is not quite new. A stall of 100 ms is thus seen at least once while it
lasts; code that does not let other threads run (a C function that keeps the GIL) is seen at the moment it returns.
Both together cost an idle node 0.4 % of a core, most of it for waking up.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from time import monotonic, sleep, time
from typing import Any, NamedTuple

from zatotx.metrics.counters import STALLS, Histogram
from zatotx.metrics.gc_pauses import GcPauses
from zatotx.metrics.gil_monitor import GilMonitor
from zatotx.metrics.stack_location import StackLocation, location_of

_BEAT = 0.05  # seconds, as all below
_LOOK = 0.05
_OVERDUE = 0.025  # a beat younger than this needs no look
_LIMIT = 0.1  # a stall this long is reported
_LONG = 1.0  # one this long is reported before it ends: it may never end
_PACE = 1.0  # between two reports
_MOST = 16  # places that wait to be reported
_KEPT = 20  # reports that are remembered

COLLECTOR = StackLocation('', 'the garbage collector')


class Watchdog:
    """Start and stop it in the reactor's thread; `stalls` may be read anywhere."""

    def __init__(self, reactor: Any, deployed: Callable[[str], str], report: Callable[[str], None]) -> None:
        """`reactor`: IReactorTime. `deployed`: what `files_below` gives. `report` takes one sentence, in a thread of
        its own while the reactor is stalled: it must not need the reactor."""
        self.stalls = Histogram(STALLS)
        self.pauses = GcPauses()
        self.reports = StallReports(report)
        self._reactor = reactor
        self._deployed = deployed
        self._running = False
        self._thread = 0  # the reactor's
        self._last = 0.0  # when it beat
        self._due = 0.0
        self._call: Any = None
        self._ended: deque[tuple[float, float]] = deque(maxlen=64)  # (the beat before the stall, its length)
        self._seen: tuple[float, Counter[StackLocation]] = (0.0, Counter())  # (the beat before a stall, where it was)
        self._hogs: GilMonitor | None = None
        self._told = 0.0  # the beat before the stall that was reported while it lasted

    def start(self) -> None:
        """Begin to measure."""
        self._thread = threading.get_ident()
        self._running = True
        self._last = self._due = monotonic()
        self.pauses.start()
        self._beat()
        threading.Thread(target=self._watch, name='watchdog', daemon=True).start()

    def stop(self) -> None:
        """Measure no more; idempotent."""
        self._running = False
        self.pauses.stop()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _beat(self) -> None:
        now = monotonic()
        self.stalls.observe(max(0.0, now - self._due))
        held = now - self._last  # a stall that began right after the last beat; at most a beat too much
        if held >= _LIMIT:
            self._ended.append((self._last, held))
        self._last, self._due = now, now + _BEAT
        self._call = self._reactor.callLater(_BEAT, self._beat)

    def _watch(self) -> None:
        hogs = self._hogs = GilMonitor(self._thread, self._deployed)
        while self._running:
            due = monotonic() + _LOOK
            sleep(_LOOK)  # half the cost of waiting for an event; the thread outlives `stop` by as much
            now, last = monotonic(), self._last
            hogs.woke(due, now)
            while self._ended:  # before the next stall is looked at, which may have begun already
                self._finish(*self._ended.popleft())
            if now - last >= _OVERDUE:
                self._look(now - last, last)
            self.reports.speak(now)

    def _look(self, held: float, last: float) -> None:
        frame = sys._current_frames().get(self._thread)
        place = None if frame is None else location_of(frame, self._deployed)
        if place is None or self._last != last:  # it goes on already: where it is now says nothing
            return
        if self._seen[0] != last:
            self._seen = (last, Counter())
        self._seen[1][place] += 1
        if held >= _LONG and self._told != last:
            self._told = last
            self.reports.add(self._culprit(place, last, held), held, lasting=True)

    def _culprit(self, place: Any, last: float, held: float) -> Any:
        """The place, or the collector: whichever line made the object too many is not to blame."""
        return COLLECTOR if self.pauses.between(last, last + held) >= held / 2 else place

    def _finish(self, last: float, held: float) -> None:
        if self._culprit(None, last, held) is COLLECTOR:
            self.reports.add(COLLECTOR, held, lasting=False)
            return
        for place in self._hogs.between(last, last + held) if self._hogs else ():
            self.reports.add(place, held, lasting=False)
        if self._seen[0] == last:
            for place, share in stack_shares(self._seen[1]):
                if share * held >= _LIMIT / 2:
                    self.reports.add(place, share * held, lasting=False)


def stack_shares(seen: Counter[StackLocation]) -> list[tuple[StackLocation, float]]:
    """Which part of a stall each service had, at the place where it was seen most: several may have run one after the
    other before the reactor came to its next beat."""
    services: dict[str, Counter[StackLocation]] = {}
    for place, times in seen.items():
        services.setdefault(place.service, Counter())[place] += times
    return [(places.most_common(1)[0][0], places.total() / seen.total()) for places in services.values()]


class ReportedStall(NamedTuple):
    """A report that was made."""

    when: float  # unix time
    sentence: str
    service: str  # '' where none was at work


class StallReports:
    """What waits to be said, one sentence a second, each place once with its longest stall. The last ones that were
    said are kept: any thread may read `said`."""

    def __init__(self, report: Callable[[str], None], clock: Callable[[], float] = time) -> None:
        """`clock` gives unix time."""
        self.said: deque[ReportedStall] = deque(maxlen=_KEPT)
        self._report = report
        self._clock = clock
        self._waiting: OrderedDict[StackLocation, tuple[int, float, bool]] = (
            OrderedDict()
        )  # -> (times, longest, lasting)
        self._quiet_until = 0.0

    def add(self, place: StackLocation, held: float, *, lasting: bool) -> None:
        """A stall of `held` seconds; `lasting`: so far."""
        times, longest, was_lasting = self._waiting.get(place, (0, 0.0, False))
        if was_lasting and not lasting:
            times -= 1  # the same one, now over
        if place in self._waiting or len(self._waiting) < _MOST:
            self._waiting[place] = (times + 1, max(longest, held), lasting)

    def speak(self, now: float) -> None:
        """Say the next one where its time has come."""
        if self._waiting and now >= self._quiet_until:
            self._quiet_until = now + _PACE
            place, (times, longest, lasting) = self._waiting.popitem(last=False)
            text = stall_message(place, times, longest, lasting)
            self.said.append(ReportedStall(self._clock(), text, place.service))
            self._report(text)


def stall_message(place: StackLocation, times: int, longest: float, lasting: bool) -> str:
    """A stall for people."""
    if place == COLLECTOR:
        return f'the garbage collector held everything for {longest:.2f} s{_often(times)}'
    who = f'service {place.service!r}' if place.service else 'something other than a service'
    verb = 'has been holding' if lasting else 'held'
    where = f'{place.where}{_often(times)}'
    return f'{who} {verb} the reactor for {longest:.2f} s at {where}: nothing else was served meanwhile'


def _often(times: int) -> str:
    return f' ({times} times, this is the longest)' if times > 1 else ''
