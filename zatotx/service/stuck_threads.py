"""Threads that nobody waits for any more: a `def` service that goes on after its deadline cannot be ended, only told
of.

Each holds a thread of the pool. It is told of in the log, again after growing pauses, with the line it is at; in the
metrics; and in what `zatotx doctor` finds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from zatotx.model.gc_disabled import uncollected
from zatotx.service.naming import DEPLOYED, plain_name

LOOK = 1.0  # seconds between two looks, and from the deadline to the first word
_PAUSES = (10.0, 60.0, 600.0, 3600.0)  # seconds from one word to the next; the last one from then on


class RunningCall(Protocol):
    """A call in a thread. `thread` is 0 before it begins and once it has ended; `deadline` is in seconds on the
    reactor's clock; `label` names service and cid."""

    thread: int
    deadline: float
    label: Callable[[], str]


@define
class _Left:
    """One call that was left behind."""

    call: RunningCall
    told: int = 0
    next_word: float = 0.0  # seconds on the reactor's clock


@define(eq=False)
class StuckThreads:
    """Watches calls that were given up, from `add` until they end. Reactor's thread only, but for `count`."""

    clock: IReactorTime
    _left: dict[int, _Left] = field(factory=dict, init=False)  # by id of the call
    _next_look: IDelayedCall | None = field(default=None, init=False)
    _log = Logger()

    def add(self, call: RunningCall) -> None:
        """Its caller has its answer, or has gone, and it still runs."""
        first = max(call.deadline, self.clock.seconds()) + LOOK
        self._left[id(call)] = _Left(call, 0, first)
        if self._next_look is None:
            self._next_look = self.clock.callLater(LOOK, self._look)

    def forget(self, call: RunningCall) -> None:
        """It has ended."""
        self._left.pop(id(call), None)
        if not self._left and self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    def count(self) -> int:
        """Threads that are held after the deadline of what they do. Any thread may ask."""
        return len({left.call.thread for left in self._left.copy().values() if left.told} - {0})

    def findings(self) -> Iterator[str]:
        """A sentence for each, for people."""
        for left in self._left.values():
            if left.told and left.call.thread:
                yield (f'{self._sentence(left.call)}: mend the service, and restart the server to have the thread '
                       'back')  # fmt: skip

    def _look(self) -> None:
        now = self.clock.seconds()
        for left in self._left.values():
            if now >= left.next_word and left.call.thread:
                left.next_word = now + _PAUSES[min(left.told, len(_PAUSES) - 1)]
                left.told += 1
                self._log.warn('{sentence}', sentence=self._sentence(left.call))
        self._next_look = self.clock.callLater(LOOK, self._look)

    def _sentence(self, call: RunningCall) -> str:
        late = self.clock.seconds() - call.deadline
        return (f'{call.label()} still runs {late:.0f} s after its deadline, now at {thread_location(call.thread)}, '
                'and holds a service thread that nobody can take from it')  # fmt: skip


def thread_location(thread: int) -> str:
    """The line of deployed code that a thread is at (`crm.py:14`), else the line it is at."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return 'an unknown place'
    with uncollected:
        return _where(frame)


def _where(frame: FrameType) -> str:
    at: FrameType | None = frame
    while at is not None:
        if str(at.f_globals.get('__name__', '')).startswith(f'{DEPLOYED}.'):
            return _place(at)
        at = at.f_back
    return _place(frame)


def _place(frame: FrameType) -> str:
    path = frame.f_code.co_filename.split('/')
    deep = plain_name(str(frame.f_globals.get('__name__', ''))).count('.') + 1 + (path[-1] == '__init__.py')
    return f'{"/".join(path[-deep:])}:{frame.f_lineno}'
