"""Finds workers whose reactor no longer runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, field
from twisted.internet.task import LoopingCall

from zatotx.node.workers.worker_process import READY, WorkerProcess
from zatotx.rules.resilience.heartbeat import INTERVAL, TIMEOUT


@define(eq=False, kw_only=True)
class HeartbeatMonitor:
    """Calls `on_hang` with each ready worker that has sent no heartbeat for `timeout` seconds, counting only time in
    which the parent process was running itself. `on_hang` must end the worker's ready phase. Workers that are starting
    or stopping are not checked: both may take long, and stopping has its own time limit."""

    reactor: Any  # IReactorTime
    workers: Callable[[], Iterable[WorkerProcess]]
    on_hang: Callable[[WorkerProcess], None]
    timeout: float = TIMEOUT
    _last_check: float = field(default=0.0, init=False)  # time of the last check
    _loop: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = LoopingCall(self._check)
        self._loop.clock = self.reactor

    def start(self) -> None:
        """Start checking. Idempotent."""
        if not self._loop.running:
            self._last_check = self.reactor.seconds()
            self._loop.start(INTERVAL, now=False)

    def stop(self) -> None:
        """Stop checking. Idempotent."""
        if self._loop.running:
            self._loop.stop()

    def _check(self) -> None:
        now = self.reactor.seconds()
        elapsed, self._last_check = now - self._last_check, now
        for worker in [worker for worker in self.workers() if worker.phase == READY]:
            worker.silence = worker.silence.record_silence(elapsed)
            if worker.silence.is_hung(self.timeout):
                self.on_hang(worker)
