"""Supervises the worker processes of a server. The supervisor starts the configured number, restarts those that die,
and stops all on shutdown."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zatotx.interfaces.reactor import IReactor
from zatotx.model.errors import StartError
from zatotx.processes.workers.worker_process import READY, STARTING, WorkerProcess
from zatotx.rules.resilience.process_supervision import (
    DEATH_WINDOW,
    INTERVAL,
    MAX_DEATHS,
    START_TIMEOUT,
    TIMEOUT,
    RestartPolicy,
)


@define(eq=False, kw_only=True)
class HeartbeatMonitor:
    """Calls `on_hang` with each ready worker that has sent no heartbeat for `timeout` seconds, and with each worker
    that is not ready within `start_timeout` seconds. Only time in which the parent process itself was running is
    counted. `on_hang` must end the phase of the worker. Workers that are stopping are not checked, because stopping has
    its own time limit."""

    reactor: IReactor  # IReactorTime
    workers: Callable[[], Iterable[WorkerProcess]]
    on_hang: Callable[[WorkerProcess], None]
    timeout: float = TIMEOUT
    start_timeout: float = START_TIMEOUT
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
        for worker in [worker for worker in self.workers() if worker.phase in (STARTING, READY)]:
            worker.silence = worker.silence.record_silence(elapsed)
            if worker.silence.is_hung(self.start_timeout if worker.phase == STARTING else self.timeout):
                self.on_hang(worker)


T = TypeVar('T')


class SpawnWorker(Protocol):
    """A function that starts a worker process. Raises OSError if the process cannot be created."""

    def __call__(self, slot: int, *, listen_when_ready: bool, descriptors: Mapping[str, int]) -> WorkerProcess: ...


def _do_nothing(slot: int) -> None:
    """The default of `left`: ignores that a worker's slot is free."""


@define(eq=False, kw_only=True)
class WorkerSupervisor:
    """Supervises the worker processes of a server. `on_change` is called whenever a worker starts, becomes ready or
    ends. `on_give_up` is called with one sentence if workers die too often, or if no worker can start; after that no
    worker is started."""

    reactor: IReactor  # IReactorTime
    spawn: SpawnWorker
    find_free_slot: Callable[[set[int]], int]  # returns a free slot that is not among those
    descriptors: Callable[[], Mapping[str, int]]
    on_change: Callable[[], None]
    on_give_up: Callable[[str], None]
    on_slot_freed: Callable[[int], None] = _do_nothing  # called with the slot of each worker that has ended
    random: Callable[[], float] = random.random
    target_count: int = 0
    workers: list[WorkerProcess] = field(factory=list, init=False)  # all workers that have a process
    monitor: HeartbeatMonitor = field(init=False)
    all_ready: Deferred[None] = field(factory=Deferred, init=False)  # fires once, when the wanted number is ready
    is_stopping: bool = field(default=False, init=False)
    _restart_policy: RestartPolicy = field(factory=RestartPolicy, init=False)
    _delayed_start: IDelayedCall | None = field(default=None, init=False)  # of the next start

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.monitor = HeartbeatMonitor(reactor=self.reactor, workers=lambda: self.workers, on_hang=self._hung)

    @property
    def ready(self) -> list[WorkerProcess]:
        """The workers that serve requests."""
        return [worker for worker in self.workers if worker.phase == READY]

    @property
    def active(self) -> list[WorkerProcess]:
        """The workers that serve requests or are starting."""
        return [worker for worker in self.workers if worker.phase in (STARTING, READY)]

    def fill(self) -> None:
        """Start workers up to the wanted number."""
        self._delayed_start = None
        while len(self.active) < self.target_count:
            try:
                self.add()
            except (OSError, StartError) as error:
                self._restart_policy = self._restart_policy.record_start_failure()
                self._start_later(f'No worker process can be started: {error}')
                return

    def add(self, *, listen_when_ready: bool = False) -> WorkerProcess:
        """Start one more worker. With `listen_when_ready` it listens only when it is ready. So does each worker that
        starts while another one serves, or after all have been ready: clients wait rather than get a 503. Raises
        OSError, or StartError if no slot is free."""
        slot = self.find_free_slot({worker.slot for worker in self.workers})
        worker = self.spawn(slot, listen_when_ready=listen_when_ready or bool(self.ready) or self.all_ready.called,
                           descriptors=self.descriptors())
        self.workers.append(worker)
        self.monitor.start()
        worker.ready.addCallback(self._became_ready, worker)
        worker.ended.addCallback(self._ended, worker)
        self.on_change()
        return worker

    def stop(self, kill_after: float) -> Deferred[None]:
        """Drain and stop all workers, and kill those that still run after `kill_after` seconds. The Deferred fires when
        all have ended."""
        self._stop_starting()
        stopping = list(self.workers)
        ended = gatherResults([_fires_after(worker.ended) for worker in stopping])
        for worker in stopping:
            worker.stop()
        timeout = self.reactor.callLater(kill_after, self._kill, stopping)
        self.on_change()

        def cancel_timeout(_: object) -> None:
            if timeout.active():
                timeout.cancel()

        return ended.addCallback(cancel_timeout)

    def retire(self, worker: WorkerProcess, kill_after: float) -> Deferred[None]:
        """Stop a worker that has been replaced, and kill it if it still runs after `kill_after` seconds. The Deferred
        fires when it has ended."""
        ended = _fires_after(worker.ended)
        worker.retire()
        timeout = self.reactor.callLater(kill_after, self._kill, [worker])

        def cancel_timeout(result: T) -> T:
            if timeout.active():
                timeout.cancel()
            return result

        self.on_change()
        return ended.addBoth(cancel_timeout)

    def _stop_starting(self) -> None:
        """Start no more workers."""
        self.is_stopping = True
        self.monitor.stop()
        if self._delayed_start is not None:
            self._delayed_start.cancel()
            self._delayed_start = None

    def _kill(self, workers: Sequence[WorkerProcess]) -> None:
        for worker in workers:
            if worker in self.workers:
                self._log.error('Worker {seat} (process {pid}) does not end and is killed', seat=worker.slot,
                                pid=worker.pid)
                worker.kill()

    def _became_ready(self, _: None, worker: WorkerProcess) -> None:
        self._restart_policy = self._restart_policy.record_start()
        self._log.info('Worker {seat} (process {pid}) is ready', seat=worker.slot, pid=worker.pid)
        self.on_change()
        if not self.all_ready.called and len(self.ready) >= self.target_count:
            self.all_ready.callback(None)

    def _hung(self, worker: WorkerProcess) -> None:
        """Kill a worker that hangs and start another one. Hangs are not counted as deaths: they take so long to detect
        that restarting repeatedly costs little, and workers that hang at the same time for a while do not stop the
        server."""
        seconds = f'{worker.silence.silent_seconds:.0f} s'
        hang = f'was not ready within {seconds}' if worker.phase == STARTING else f'has sent no heartbeat for {seconds}'
        worker.abandon()
        self.on_change()
        self._start_later(f'Worker {worker.slot} (process {worker.pid}) {hang} and is killed')

    def _ended(self, reason: str, worker: WorkerProcess) -> str:
        self.workers.remove(worker)
        self.on_slot_freed(worker.slot)
        self.on_change()
        if worker.stop_requested or self.is_stopping:
            self._log.info('Worker {seat} (process {pid}) has ended', seat=worker.slot, pid=worker.pid)
        else:
            self._handle_death(worker, reason)
        return reason

    def _handle_death(self, worker: WorkerProcess, reason: str) -> None:
        what = f'Worker {worker.slot} (process {worker.pid}): {reason}'
        if worker.start_error:
            if not self.all_ready.called or not self.ready:
                self._give_up(worker.start_error)
                return
            self._restart_policy = self._restart_policy.record_start_failure()
        else:
            self._restart_policy = self._restart_policy.record_death(self.reactor.seconds())
            if self._restart_policy.gives_up:
                self._give_up(
                    f'{MAX_DEATHS} workers died within {DEATH_WINDOW:g} s, the last one: {reason}; the server is '
                    'stopped, see its logs'
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
        if not self.all_ready.called:
            self.all_ready.errback(StartError(sentence))
        else:
            self.on_give_up(sentence)


def _fires_after(source: Deferred[str]) -> Deferred[None]:
    """Return a Deferred that fires when `source` fires, without changing its result."""
    after: Deferred[None] = Deferred()

    def pass_on(result: str) -> str:
        after.callback(None)
        return result

    source.addCallback(pass_on)
    return after
