"""Runs users' code outside of requests, such as imports and deployment hooks. The code runs in dedicated threads, with
a timeout.

A thread that misses its deadline continues, as no thread can be killed, and its result is dropped. If it consumes CPU,
an exception is raised in it, so that it does not compete for the GIL forever. A thread that waits in C code is left
alone: it costs nothing, and CPython up to 3.12 slows down all threads while such an exception is pending.
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
from zatotx.model.gc_disabled import gc_disabled
from zatotx.service.deployment.source_package import SourcePackage
from zatotx.system.thread_pool import IThreadReactor

DEADLINE = 30.0  # seconds
_WINDOW = 1.0  # seconds before the deadline (at most half of it) in which the thread's CPU use is measured
_BUSY = 10  # CPU ticks (10 ms) a second of a computing thread, even on a busy machine


class _Abandoned(SystemExit):
    """Raised in a thread that missed its deadline."""


@define(eq=False)
class ImportThread:
    """One function call that runs in its own thread.

    `source` is the code that runs; `description` describes the work in error messages.
    """

    reactor: IThreadReactor
    function: Callable[[], Any]
    source: SourcePackage
    description: str
    deadline: float
    _result: Deferred[Any] = field(init=False)
    _thread: threading.Thread = field(init=False)
    _timer: Any = field(init=False)

    def start(self) -> Deferred[Any]:
        """Start the thread; fires with the function's result.

        Fails with the function's exception, or with BadRequest after the deadline.
        """
        self._result = Deferred(lambda _: self._timer.cancel())
        name = f'{self.description} of {self.source.file}'
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._timer = self.reactor.callLater(self.deadline - self._window, self._start_measuring)
        self._thread.start()
        return self._result

    @property
    def _window(self) -> float:
        """Seconds over which the CPU use is measured."""
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

    def _start_measuring(self) -> None:
        """Remember the CPU time of a thread that is about to miss its deadline."""
        self._timer = self.reactor.callLater(self._window, self._abandon, cpu_ticks(self._thread))

    def _abandon(self, ticks_before: int) -> None:
        """Fail the Deferred, and interrupt the thread if it consumes CPU."""
        location = user_code_location(self._thread, self.source)
        if cpu_ticks(self._thread) - ticks_before >= _BUSY * self._window and self._thread.is_alive():
            identity = ctypes.c_ulong(self._thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(_Abandoned))
        self._result.errback(BadRequest(f'{location}: {self.description} did not end within {self.deadline:g} s'))


def run_in_import_thread(
    reactor: IThreadReactor, function: Callable[[], Any], source: SourcePackage, *, description: str,
    deadline: float = DEADLINE,
) -> Deferred[Any]:
    """Run a function in a new daemon thread. The name of the thread contains `description`.

    Fails with BadRequest naming the user's file and line if it has not ended after `deadline` seconds.
    """
    return ImportThread(reactor, function, source, description, deadline).start()


def cpu_ticks(thread: threading.Thread) -> int:
    """Return the CPU time of a thread in ticks (10 ms on Linux), or 0 if the system does not provide the time."""
    try:
        text = Path(f'/proc/self/task/{thread.native_id}/stat').read_text('ascii', 'replace')
    except OSError:
        return 0
    fields = text.rpartition(')')[2].split()  # the command name before it may contain blanks, see proc(5)
    return int(fields[11]) + int(fields[12])


def user_code_location(thread: threading.Thread, source: SourcePackage) -> str:
    """Return the line of the user's files that a thread executes (`crm.py:12`), or only the file if the thread executes
    other code."""
    with gc_disabled:
        for frame in _frames(sys._current_frames().get(thread.ident or 0)):
            path = Path(frame.f_code.co_filename)
            for root in path.parents:
                if root.name == source.sha256:
                    return f'{path.relative_to(root).as_posix()}:{frame.f_lineno}'
    return source.file


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and all its callers."""
    while frame is not None:
        yield frame
        frame = frame.f_back
