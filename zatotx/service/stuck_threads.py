"""Reports threads in which a synchronous service continues to run after its timeout, because Python cannot kill
threads.

Each occupies a thread of the pool. It is reported in the log, repeatedly with growing intervals and with the line that
it executes, in the metrics, and as a finding of `zatotx doctor`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from zatotx.model.gc_disabled import gc_disabled
from zatotx.service.naming import DEPLOYED_PACKAGE, original_module_name

CHECK_INTERVAL = 1.0  # seconds between two checks, and from the deadline to the first report
_PAUSES = (10.0, 60.0, 600.0, 3600.0)  # seconds between reports; the last one repeats


class RunningThreadCall(Protocol):
    """The interface of a call that runs in a service thread.

    `thread` is the thread's identifier, 0 before the call begins and after it ends; `deadline` is in seconds on the
    reactor's clock; `label` returns service and correlation id.
    """

    thread: int
    deadline: float
    label: Callable[[], str]


@define
class _AbandonedCall:
    """A call that continues after its caller stopped waiting."""

    call: RunningThreadCall
    reports: int = 0
    next_report: float = 0.0  # seconds on the reactor's clock


@define(eq=False)
class StuckThreads:
    """Watches abandoned calls from `add` until they end. All methods except `count` may be used in the reactor's thread
    only."""

    clock: IReactorTime
    _abandoned: dict[int, _AbandonedCall] = field(factory=dict, init=False)  # by id of the call
    _next_check: IDelayedCall | None = field(default=None, init=False)
    _log = Logger()

    def add(self, call: RunningThreadCall) -> None:
        """Watch a call whose caller has timed out or disconnected while it still runs."""
        first_report = max(call.deadline, self.clock.seconds()) + CHECK_INTERVAL
        self._abandoned[id(call)] = _AbandonedCall(call, 0, first_report)
        if self._next_check is None:
            self._next_check = self.clock.callLater(CHECK_INTERVAL, self._check)

    def forget(self, call: RunningThreadCall) -> None:
        """Stop watching a call, which has ended."""
        self._abandoned.pop(id(call), None)
        if not self._abandoned and self._next_check is not None:
            self._next_check.cancel()
            self._next_check = None

    def count(self) -> int:
        """Return the number of threads that run past the deadline of their call. May be called from any thread."""
        return len({abandoned.call.thread for abandoned in self._abandoned.copy().values() if abandoned.reports} - {0})

    def findings(self) -> Iterator[str]:
        """Yield a finding for each stuck thread."""
        for abandoned in self._abandoned.values():
            if abandoned.reports and abandoned.call.thread:
                yield (f'{self._message(abandoned.call)}: mend the service, and restart the server to have the thread '
                       'back')  # fmt: skip

    def _check(self) -> None:
        now = self.clock.seconds()
        for abandoned in self._abandoned.values():
            if now >= abandoned.next_report and abandoned.call.thread:
                abandoned.next_report = now + _PAUSES[min(abandoned.reports, len(_PAUSES) - 1)]
                abandoned.reports += 1
                self._log.warn('{sentence}', sentence=self._message(abandoned.call))
        self._next_check = self.clock.callLater(CHECK_INTERVAL, self._check)

    def _message(self, call: RunningThreadCall) -> str:
        late = self.clock.seconds() - call.deadline
        return (f'{call.label()} still runs {late:.0f} s after its deadline, now at {thread_location(call.thread)}, '
                'and holds a service thread that nobody can take from it')  # fmt: skip


def thread_location(thread: int) -> str:
    """Return the line of deployed code that a thread executes, such as `crm.py:14`. If the thread executes other code,
    its innermost line is returned."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return 'an unknown place'
    with gc_disabled:
        return _deployed_location(frame)


def _deployed_location(frame: FrameType) -> str:
    current: FrameType | None = frame
    while current is not None:
        if str(current.f_globals.get('__name__', '')).startswith(f'{DEPLOYED_PACKAGE}.'):
            return _frame_location(current)
        current = current.f_back
    return _frame_location(frame)


def _frame_location(frame: FrameType) -> str:
    """Return path and line of a frame, the path relative to the top-level module."""
    path = frame.f_code.co_filename.split('/')
    depth = original_module_name(str(frame.f_globals.get('__name__', ''))).count('.') + 1 + (path[-1] == '__init__.py')
    return f'{"/".join(path[-depth:])}:{frame.f_lineno}'
