"""Supervises the worker processes of a server: starts the configured number, restarts those that die, stops all on
shutdown."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from zatotx.model.errors import StartError
from zatotx.node.workers.heartbeat_monitor import HeartbeatMonitor
from zatotx.node.workers.worker_process import READY, STARTING, WorkerProcess
from zatotx.rules.resilience.restart_policy import DEATH_WINDOW, MAX_DEATHS, RestartPolicy

T = TypeVar('T')


class SpawnWorker(Protocol):
    """Starts a worker process. Raises OSError if the process cannot be created."""

    def __call__(self, seat: int, *, late: bool, descriptors: Mapping[str, int]) -> WorkerProcess: ...


def _do_nothing(seat: int) -> None:
    """The default of `left`: ignores that a worker's slot is free."""


@define(eq=False, kw_only=True)
class WorkerSupervisor:
    """Supervises workers. `changed` is called whenever a worker starts, becomes ready or ends. `gave_up` is called with
    one sentence if workers die too often, or none can start; after that no worker is started."""

    reactor: Any  # IReactorTime
    hire: SpawnWorker
    seat: Callable[[set[int]], int]  # returns a free slot that is not among those
    descriptors: Callable[[], Mapping[str, int]]
    changed: Callable[[], None]
    gave_up: Callable[[str], None]
    left: Callable[[int], None] = _do_nothing  # called with the slot of each worker that has ended
    random: Callable[[], float] = random.random
    wanted: int = 0
    members: list[WorkerProcess] = field(factory=list, init=False)  # all workers that have a process
    monitor: HeartbeatMonitor = field(init=False)
    complete: Deferred[None] = field(factory=Deferred, init=False)  # fires once, when the wanted number is ready
    closing: bool = field(default=False, init=False)
    _restart_policy: RestartPolicy = field(factory=RestartPolicy, init=False)
    _delayed_start: Any = field(default=None, init=False)  # IDelayedCall of the next start

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.monitor = HeartbeatMonitor(reactor=self.reactor, workers=lambda: self.members, hung=self._hung)

    @property
    def ready(self) -> list[WorkerProcess]:
        """The workers that serve requests."""
        return [worker for worker in self.members if worker.phase == READY]

    @property
    def active(self) -> list[WorkerProcess]:
        """The workers that serve requests or are starting."""
        return [worker for worker in self.members if worker.phase in (STARTING, READY)]

    def fill(self) -> None:
        """Start workers up to the wanted number."""
        self._delayed_start = None
        while len(self.active) < self.wanted:
            try:
                self.add()
            except (OSError, StartError) as error:
                self._restart_policy = self._restart_policy.refusal()
                self._start_later(f'No worker process can be started: {error}')
                return

    def add(self, *, late: bool = False) -> WorkerProcess:
        """Start one more worker. With `late` it listens only when it is ready. So does each worker that starts while
        another one serves, or after all have been ready: clients wait rather than get a 503. Raises OSError, or
        StartError if no slot is free."""
        seat = self.seat({worker.seat for worker in self.members})
        worker = self.hire(seat, late=late or bool(self.ready) or self.complete.called,
                           descriptors=self.descriptors())
        self.members.append(worker)
        self.monitor.start()
        worker.ready.addCallback(self._became_ready, worker)
        worker.gone.addCallback(self._ended, worker)
        self.changed()
        return worker

    def stop(self, patience: float) -> Deferred[None]:
        """Drain and stop all workers, and kill those that still run after `patience` seconds. The Deferred fires when
        all have ended."""
        self._stop_starting()
        stopping = list(self.members)
        ended = gatherResults([_fires_after(worker.gone) for worker in stopping])
        for worker in stopping:
            worker.stop()
        timeout = self.reactor.callLater(patience, self._kill, stopping)
        self.changed()

        def cancel_timeout(_: object) -> None:
            if timeout.active():
                timeout.cancel()

        return ended.addCallback(cancel_timeout)

    def retire(self, worker: WorkerProcess, patience: float) -> Deferred[None]:
        """Stop a worker that has been replaced, and kill it if it still runs after `patience` seconds. The Deferred
        fires when it has ended."""
        ended = _fires_after(worker.gone)
        worker.retire()
        timeout = self.reactor.callLater(patience, self._kill, [worker])

        def cancel_timeout(result: T) -> T:
            if timeout.active():
                timeout.cancel()
            return result

        self.changed()
        return ended.addBoth(cancel_timeout)

    def _stop_starting(self) -> None:
        """Start no more workers."""
        self.closing = True
        self.monitor.stop()
        if self._delayed_start is not None:
            self._delayed_start.cancel()
            self._delayed_start = None

    def _kill(self, workers: Sequence[WorkerProcess]) -> None:
        for worker in workers:
            if worker in self.members:
                self._log.error('Worker {seat} (process {pid}) does not end and is killed', seat=worker.seat,
                                pid=worker.pid)
                worker.kill()

    def _became_ready(self, _: None, worker: WorkerProcess) -> None:
        self._restart_policy = self._restart_policy.started()
        self._log.info('Worker {seat} (process {pid}) is ready', seat=worker.seat, pid=worker.pid)
        self.changed()
        if not self.complete.called and len(self.ready) >= self.wanted:
            self.complete.callback(None)

    def _hung(self, worker: WorkerProcess) -> None:
        """Kill a worker that hangs and start another one. Hangs are not counted as deaths: they take so long to detect
        that restarting repeatedly costs little, and workers that hang at the same time for a while do not stop the
        server."""
        seconds = f'{worker.silence.seconds:.0f} s'
        hang = f'was not ready within {seconds}' if worker.phase == STARTING else f'has sent no heartbeat for {seconds}'
        worker.abandon()
        self.changed()
        self._start_later(f'Worker {worker.seat} (process {worker.pid}) {hang} and is killed')

    def _ended(self, why: str, worker: WorkerProcess) -> str:
        self.members.remove(worker)
        self.left(worker.seat)
        self.changed()
        if worker.asked_to_go or self.closing:
            self._log.info('Worker {seat} (process {pid}) has ended', seat=worker.seat, pid=worker.pid)
        else:
            self._handle_death(worker, why)
        return why

    def _handle_death(self, worker: WorkerProcess, why: str) -> None:
        what = f'Worker {worker.seat} (process {worker.pid}): {why}'
        if worker.refusal:
            if not self.complete.called or not self.ready:
                self._give_up(worker.refusal)
                return
            self._restart_policy = self._restart_policy.refusal()
        else:
            self._restart_policy = self._restart_policy.another(self.reactor.seconds())
            if self._restart_policy.hopeless:
                self._give_up(
                    f'{MAX_DEATHS} workers died within {DEATH_WINDOW:g} s, the last one: {why}; the server is stopped, '
                    'see its logs'
                )
                return
        self._start_later(what)

    def _start_later(self, what: str) -> None:
        delay = self._restart_policy.delay(self.random)
        self._log.error('{what}; starting another one in {delay:.1f} s', what=what, delay=delay)
        if self._delayed_start is None:
            self._delayed_start = self.reactor.callLater(delay, self.fill)

    def _give_up(self, sentence: str) -> None:
        self._stop_starting()
        self._log.critical('{sentence}', sentence=sentence)
        if not self.complete.called:
            self.complete.errback(StartError(sentence))
        else:
            self.gave_up(sentence)


def _fires_after(source: Deferred[str]) -> Deferred[None]:
    """Return a Deferred that fires when `source` fires, without changing its result."""
    after: Deferred[None] = Deferred()

    def pass_on(result: str) -> str:
        after.callback(None)
        return result

    source.addCallback(pass_on)
    return after
