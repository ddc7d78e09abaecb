"""How a parent process finds workers whose reactor does not turn any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, field
from twisted.internet.task import LoopingCall

from zatotx.node.workers.worker_process import READY, WorkerProcess
from zatotx.rules.resilience.heartbeat import INTERVAL, TIMEOUT


@define(eq=False, kw_only=True)
class HeartbeatMonitor:
    """Calls `hung` with each worker that serves and has given no heartbeat for `timeout` seconds of the time in which
    this process ran itself. `hung` ends its serving phase. A worker that starts or leaves is not judged: both may take
    long, and leaving has a limit of its own.
    """

    reactor: Any  # IReactorTime
    workers: Callable[[], Iterable[WorkerProcess]]
    hung: Callable[[WorkerProcess], None]
    timeout: float = TIMEOUT
    _last: float = field(default=0.0, init=False)  # when it looked last
    _loop: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = LoopingCall(self._look)
        self._loop.clock = self.reactor

    def start(self) -> None:
        """Look from now on. Idempotent."""
        if not self._loop.running:
            self._last = self.reactor.seconds()
            self._loop.start(INTERVAL, now=False)

    def stop(self) -> None:
        """Idempotent."""
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        now = self.reactor.seconds()
        elapsed, self._last = now - self._last, now
        for worker in [worker for worker in self.workers() if worker.phase == READY]:
            worker.silence = worker.silence.after(elapsed)
            if worker.silence.is_hung(self.timeout):
                self.hung(worker)
