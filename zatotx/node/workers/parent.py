"""The parent of a server's workers: binds the listening sockets, keeps workers running that share them, replaces them
one after another when asked to. It serves nobody itself, so nothing of a user's can break it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.model.errors import StartError
from zatotx.node.directory_lock import DirectoryLock
from zatotx.node.workers.control_pipe import LINGER
from zatotx.node.workers.listening_sockets import ListeningSockets
from zatotx.node.workers.slots import any_taken
from zatotx.node.workers.socket_handover import SocketLender
from zatotx.node.workers.status_file import FILE, StatusFile, WorkerStatus, write_status_file
from zatotx.node.workers.supervisor import WorkerSupervisor
from zatotx.node.workers.worker_process import WorkerEndedError, WorkerProcess
from zatotx.rules.resilience.heartbeat import TIMEOUT

BEYOND_GRACE = 8.0  # seconds that a worker may take to end after its drain
_LETTING_GO = 15.0  # seconds for the workers of a killed parent to let go of their sockets
_LOOK = 0.05


@frozen(kw_only=True)
class ParentPlan:
    """What server.toml and the command line ask for."""

    workers: int
    listen: Sequence[str]  # endpoint descriptions of all kinds
    grace: float  # seconds for what runs to end
    heartbeat_timeout: float = TIMEOUT  # seconds that a worker may be silent


@define(eq=False, slots=False, kw_only=True)
class WorkerParent(Service):
    """`plan` reads the settings, at the start and at each replacement; it raises StartError with one sentence."""

    reactor: Any  # IReactorTime
    work: Path  # the server's work/
    plan: Callable[[], ParentPlan]
    crew: WorkerSupervisor
    sockets: ListeningSockets
    lender: SocketLender
    lock: DirectoryLock
    logs: Any  # with start() and stop()
    follow_files: Callable[[], None]  # takes over [log] of server.toml
    _grace: float = 10.0
    _asked: int = 0
    _done: int = 0
    _why: str = ''
    _replacing: Deferred[None] | None = field(default=None, init=False)
    _starting: Deferred[None] | None = field(default=None, init=False)

    _log = Logger()

    def startService(self) -> Deferred[None]:
        """Fires when all workers serve. Fails with StartError, one sentence, where that cannot be."""
        super().startService()  # type: ignore[no-untyped-call]
        starting = self._starting = Deferred.fromCoroutine(self._start())
        return starting

    async def _start(self) -> None:
        self.logs.start()
        plan = self.plan()
        self._grace = plan.grace
        self.crew.monitor.timeout = plan.heartbeat_timeout
        await self._bind(plan.listen)
        self.crew.wanted = plan.workers
        self._log.info('Starting {count} workers', count=plan.workers)
        self.crew.fill()
        await self.crew.complete

    async def _bind(self, listen: Sequence[str]) -> None:
        """The workers of a parent that was killed end by themselves, and let go of the sockets first of all."""
        end = self.reactor.seconds() + _LETTING_GO
        while True:
            try:
                self.sockets.open(listen)
                return
            except StartError:
                if not any_taken(self.work) or self.reactor.seconds() >= end:
                    raise
            await deferLater(self.reactor, _LOOK)

    def stopService(self) -> Deferred[None]:
        """Drain all workers and end them; fires when all are gone."""
        super().stopService()  # type: ignore[no-untyped-call]
        for under_way in (self._starting, self._replacing):
            if under_way is not None:
                under_way.cancel()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.crew.stop(self._grace + BEYOND_GRACE)
        self.sockets.keep(())
        self.lender.stop()
        (self.work / FILE).unlink(missing_ok=True)
        self._log.info('All workers have ended')
        self.logs.stop()
        self.lock.release()

    # Signals

    def reload(self) -> None:
        """SIGHUP: all read again what may change while they run."""
        self.follow_files()
        for worker in self.crew.active:
            worker.reload()

    def replace(self) -> None:
        """SIGUSR2: a new worker for each, one after another, with the settings of now. One that is asked for while one
        is under way begins after it."""
        self._asked += 1
        self.list_workers()
        if self.running and (self._replacing is None or self._replacing.called):
            self._replacing = Deferred.fromCoroutine(self._replace_all())
            self._replacing.addErrback(_broken_off)

    async def _replace_all(self) -> None:
        while self._done < self._asked:
            asked = self._asked
            self._log.info('The workers are replaced one after another')
            self._why = await self._replaced()
            self._done = asked
            if self._why:
                self._log.error('The workers could not all be replaced: {why}; those that run go on', why=self._why)
            self.list_workers()

    async def _replaced(self) -> str:
        """'' or why not all were."""
        before, wanted = list(self.sockets.bound), self.crew.wanted
        olds = self.crew.active
        try:
            plan = self.plan()
            self.sockets.open(plan.listen)
            self._grace = plan.grace
            self.crew.monitor.timeout = plan.heartbeat_timeout
            self.crew.wanted = plan.workers
            await self._replace_each(olds)
            self.crew.fill()
            self.sockets.keep(plan.listen)
        except CancelledError:
            raise
        except (StartError, WorkerEndedError, OSError) as error:
            self.crew.wanted = wanted
            if all(worker in olds for worker in self.crew.active):  # nobody would accept at a new address
                self.sockets.keep(before)
            return str(error)
        return ''

    async def _replace_each(self, olds: Sequence[WorkerProcess]) -> None:
        for number, old in enumerate(olds):
            if number < self.crew.wanted:
                await self.crew.add(late=True).ready
            if old in self.crew.members:
                await self.crew.retire(old, LINGER + self._grace + BEYOND_GRACE)

    def list_workers(self) -> None:
        """Say how things are, in work/workers.json."""
        listed = tuple(WorkerStatus(worker.seat, worker.pid, worker.phase) for worker in self.crew.members)
        roster = StatusFile(parent=os.getpid(), wanted=self.crew.wanted, workers=listed, asked=self._asked,
                        done=self._done, why=self._why)  # fmt: skip
        try:
            write_status_file(self.work, roster)
        except OSError as error:
            self._log.error('{where} cannot be written: {why}', where=str(self.work / FILE), why=error.strerror)


def _broken_off(failure: Failure) -> None:
    failure.trap(CancelledError)  # the server is being stopped
