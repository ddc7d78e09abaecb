"""Users' code outside of a request (imports, hooks of deployment) in a thread of its own, which may be given up.

A thread that is given up goes on, as no thread can be killed; what it brings is dropped. One that computes without end
is told to end, by an exception raised in it, so that it does not take half the interpreter from the reactor for good.
One that waits in C is left alone: it costs nothing, and CPython up to 3.12 slows all threads down while such an
exception waits for its thread.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zatotx.model.errors import BadRequest
from zatotx.model.gc_disabled import uncollected
from zatotx.service.deployment.package import SourcePackage

DEADLINE = 30.0  # seconds
_WINDOW = 1.0  # seconds before the deadline (or half of it), over which it is seen whether the thread computes
_BUSY = 10  # ticks (of 10 ms) a second of one that does, on a machine however busy


class _GivenUp(SystemExit):
    """Raised in a thread that was given up."""


@define(eq=False)
class ImportThread:
    """One run of a function. `source`: whose code it is; `doing`: what is done with it, for sentences."""

    reactor: Any
    function: Callable[[], Any]
    source: SourcePackage
    doing: str
    deadline: float
    _result: Deferred[Any] = field(init=False)
    _thread: threading.Thread = field(init=False)
    _timer: Any = field(init=False)

    def start(self) -> Deferred[Any]:
        """Fires with what the function gives; fails with what it raises, or BadRequest where it was given up."""
        self._result = Deferred(lambda _: self._timer.cancel())
        name = f'{self.doing} of {self.source.file}'
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._timer = self.reactor.callLater(self.deadline - self._window, self._suspect)
        self._thread.start()
        return self._result

    @property
    def _window(self) -> float:
        return min(_WINDOW, self.deadline / 2)

    def _run(self) -> None:
        try:
            outcome = self.function()
        except BaseException:
            outcome = Failure()
        self.reactor.callFromThread(self._finish, outcome)

    def _finish(self, outcome: Any) -> None:
        if not self._result.called:
            self._timer.cancel()
            self._result.callback(outcome)

    def _suspect(self) -> None:
        self._timer = self.reactor.callLater(self._window, self._give_up, cpu_ticks(self._thread))

    def _give_up(self, before: int) -> None:
        place = stack_location(self._thread, self.source)
        if cpu_ticks(self._thread) - before >= _BUSY * self._window and self._thread.is_alive():
            identity = ctypes.c_ulong(self._thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(_GivenUp))
        self._result.errback(BadRequest(f'{place}: {self.doing} did not end within {self.deadline:g} s'))


def in_import_thread(
    reactor: Any, function: Callable[[], Any], source: SourcePackage, *, doing: str, deadline: float = DEADLINE
) -> Deferred[Any]:
    """Run `function` in a daemon thread named for what it does. Fails with BadRequest naming the user's file and line
    where it has not ended after `deadline` seconds."""
    return ImportThread(reactor, function, source, doing, deadline).start()


def cpu_ticks(thread: threading.Thread) -> int:
    """Processor time the thread has used, in ticks (10 ms on Linux); 0 where the system does not say."""
    try:
        text = Path(f'/proc/self/task/{thread.native_id}/stat').read_text('ascii', 'replace')
    except OSError:
        return 0
    fields = text.rpartition(')')[2].split()  # the name before may have blanks; see proc(5)
    return int(fields[11]) + int(fields[12])


def stack_location(thread: threading.Thread, source: SourcePackage) -> str:
    """`crm.py:12`, where in the user's files that thread is now; the file alone where it is elsewhere."""
    with uncollected:
        for frame in _outwards(sys._current_frames().get(thread.ident or 0)):
            path = Path(frame.f_code.co_filename)
            for root in path.parents:
                if root.name == source.sha256:
                    return f'{path.relative_to(root).as_posix()}:{frame.f_lineno}'
    return source.file


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
