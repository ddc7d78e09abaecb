"""The workers of one server together: as many as are wanted, one that dies replaced, all of them ended."""

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
from zatotx.rules.resilience.restart_policy import MOST, WITHIN, RestartPolicy

T = TypeVar('T')


class SpawnWorker(Protocol):
    """Starts a worker process. Raises OSError where none can be had."""

    def __call__(self, seat: int, *, late: bool, descriptors: Mapping[str, int]) -> WorkerProcess: ...


def _nothing(seat: int) -> None:
    """A seat that is free leaves nothing behind."""


@define(eq=False, kw_only=True)
class WorkerSupervisor:
    """`changed` is called whenever somebody comes, is ready or goes. `gave_up` is called with one sentence when the
    workers die too often, or none can start at all; nobody is started any more then."""

    reactor: Any  # IReactorTime
    hire: SpawnWorker
    seat: Callable[[set[int]], int]  # a free one besides those
    descriptors: Callable[[], Mapping[str, int]]
    changed: Callable[[], None]
    gave_up: Callable[[str], None]
    left: Callable[[int], None] = _nothing  # called with the seat of each that is gone
    random: Callable[[], float] = random.random
    wanted: int = 0
    members: list[WorkerProcess] = field(factory=list, init=False)  # all that have a process
    monitor: HeartbeatMonitor = field(init=False)
    complete: Deferred[None] = field(factory=Deferred, init=False)  # fires once, when all that are wanted are ready
    closing: bool = field(default=False, init=False)
    _deaths: RestartPolicy = field(factory=RestartPolicy, init=False)
    _pause: Any = field(default=None, init=False)  # the IDelayedCall of the next start

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.monitor = HeartbeatMonitor(reactor=self.reactor, workers=lambda: self.members, hung=self._hung)

    @property
    def ready(self) -> list[WorkerProcess]:
        """Those that serve."""
        return [worker for worker in self.members if worker.phase == READY]

    @property
    def active(self) -> list[WorkerProcess]:
        """Those that serve or will."""
        return [worker for worker in self.members if worker.phase in (STARTING, READY)]

    def fill(self) -> None:
        """Have as many as are wanted."""
        self._pause = None
        while len(self.active) < self.wanted:
            try:
                self.add()
            except (OSError, StartError) as error:
                self._deaths = self._deaths.refusal()
                self._later(f'No worker process can be started: {error}')
                return

    def add(self, *, late: bool = False) -> WorkerProcess:
        """One more. `late`: it listens only when it is ready; so does each that comes while another serves, or once all
        have: clients rather wait than meet a 503. Raises OSError, or StartError where there is no seat left."""
        seat = self.seat({worker.seat for worker in self.members})
        worker = self.hire(seat, late=late or bool(self.ready) or self.complete.called,
                           descriptors=self.descriptors())
        self.members.append(worker)
        worker.ready.addCallback(self._came, worker)
        worker.gone.addCallback(self._went, worker)
        self.changed()
        return worker

    def stop(self, patience: float) -> Deferred[None]:
        """Have all of them drain and end; what is left after `patience` seconds is killed. Fires when all are gone."""
        self._close()
        leaving = list(self.members)
        gone = gatherResults([_after(worker.gone) for worker in leaving])
        for worker in leaving:
            worker.stop()
        late = self.reactor.callLater(patience, self._kill, leaving)
        self.changed()

        def over(_: object) -> None:
            if late.active():
                late.cancel()

        return gone.addCallback(over)

    def retire(self, worker: WorkerProcess, patience: float) -> Deferred[None]:
        """Let a worker go whose place another one has taken, and kill it if it stays longer than `patience` seconds.
        Fires when it is gone."""
        gone = _after(worker.gone)
        worker.retire()
        late = self.reactor.callLater(patience, self._kill, [worker])

        def over(result: T) -> T:
            if late.active():
                late.cancel()
            return result

        self.changed()
        return gone.addBoth(over)

    def _close(self) -> None:
        """Nobody is started any more."""
        self.closing = True
        self.monitor.stop()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _kill(self, workers: Sequence[WorkerProcess]) -> None:
        for worker in workers:
            if worker in self.members:
                self._log.error('Worker {seat} (process {pid}) does not end: it is killed', seat=worker.seat,
                                pid=worker.pid)
                worker.kill()

    def _came(self, _: None, worker: WorkerProcess) -> None:
        self._deaths = self._deaths.started()
        self.monitor.start()
        self._log.info('Worker {seat} (process {pid}) is ready', seat=worker.seat, pid=worker.pid)
        self.changed()
        if not self.complete.called and len(self.ready) >= self.wanted:
            self.complete.callback(None)

    def _hung(self, worker: WorkerProcess) -> None:
        """Another one takes its place at once. It is not counted among the deaths: a hang takes so long to notice that
        starting again and again costs little, and workers that hang together for a while do not end the server."""
        worker.abandon()
        self.changed()
        self._later(f'Worker {worker.seat} (process {worker.pid}) hangs, without a heartbeat for '
                    f'{worker.silence.seconds:.0f} s: it is killed')

    def _went(self, why: str, worker: WorkerProcess) -> str:
        self.members.remove(worker)
        self.left(worker.seat)
        self.changed()
        if worker.asked_to_go or self.closing:
            self._log.info('Worker {seat} (process {pid}) has ended', seat=worker.seat, pid=worker.pid)
        else:
            self._died(worker, why)
        return why

    def _died(self, worker: WorkerProcess, why: str) -> None:
        what = f'Worker {worker.seat} (process {worker.pid}): {why}'
        if worker.refusal:
            if not self.complete.called or not self.ready:
                self._give_up(worker.refusal)
                return
            self._deaths = self._deaths.refusal()
        else:
            self._deaths = self._deaths.another(self.reactor.seconds())
            if self._deaths.hopeless:
                self._give_up(f'{MOST} workers died within {WITHIN:g} s, the last one: {why}; the server is stopped: '
                              'see its logs for why')  # fmt: skip
                return
        self._later(what)

    def _later(self, what: str) -> None:
        delay = self._deaths.delay(self.random)
        self._log.error('{what}; another one is started in {delay:.1f} s', what=what, delay=delay)
        if self._pause is None:
            self._pause = self.reactor.callLater(delay, self.fill)

    def _give_up(self, sentence: str) -> None:
        self._close()
        self._log.critical('{sentence}', sentence=sentence)
        if not self.complete.called:
            self.complete.errback(StartError(sentence))
        else:
            self.gave_up(sentence)


def _after(source: Deferred[str]) -> Deferred[None]:
    """Fires after `source`, and leaves its result alone."""
    after: Deferred[None] = Deferred()

    def pass_on(result: str) -> str:
        after.callback(None)
        return result

    source.addCallback(pass_on)
    return after
