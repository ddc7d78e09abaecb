"""The parent process of a server's workers: it binds the listening sockets, supervises the workers that share them, and
replaces the workers one after another on request. It serves no requests itself, so that user code cannot crash it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.interfaces.reactor import IReactor
from zatotx.model.errors import StartError
from zatotx.processes.lock_files import DirectoryLock
from zatotx.processes.workers.control_pipe import RETIRE_TIMEOUT
from zatotx.processes.workers.listening_sockets import ListeningSockets
from zatotx.processes.workers.slots import has_running_predecessor
from zatotx.processes.workers.socket_handover import SocketLender
from zatotx.processes.workers.status_file import FILE_NAME, StatusFile, WorkerStatus, write_status_file
from zatotx.processes.workers.supervisor import WorkerSupervisor
from zatotx.processes.workers.worker_process import WorkerEndedError, WorkerProcess
from zatotx.rules.resilience.process_supervision import START_TIMEOUT, TIMEOUT

EXIT_TIMEOUT = 8.0  # seconds that a worker may take to exit after its grace period
_SOCKET_RELEASE_TIMEOUT = 15.0  # seconds that the workers of a killed parent may take to close their sockets
_RETRY_INTERVAL = 0.05


@frozen(kw_only=True)
class ParentSettings:
    """The settings of the parent process, from server.toml and the command line."""

    workers: int
    listen: Sequence[str]  # endpoint descriptions of all kinds
    grace: float  # seconds that running requests may take to finish
    sections: Mapping[str, str] = MappingProxyType({})  # endpoint description -> section of server.toml that has it
    heartbeat_timeout: float = TIMEOUT  # seconds without a heartbeat after which a worker is killed
    start_timeout: float = START_TIMEOUT  # seconds within which a worker must be ready; otherwise it is killed


@define(eq=False, slots=False, kw_only=True)
class WorkerParent(Service):
    """The Twisted service of the parent process. `read_settings` reads the settings at the start and for each
    replacement of the workers; it raises StartError, whose message is one sentence."""

    reactor: IReactor  # IReactorTime
    work: Path  # the server's work/
    read_settings: Callable[[], ParentSettings]
    supervisor: WorkerSupervisor
    sockets: ListeningSockets
    lender: SocketLender
    lock: DirectoryLock
    logs: Any  # LogFiles: start(), stop()
    reload_files: Callable[[], None]  # reloads [log] from server.toml
    _grace: float = 10.0
    _requested_replacements: int = 0
    _finished_replacements: int = 0
    _replacement_error: str = ''
    _replacement: Deferred[None] | None = field(default=None, init=False)
    _starting: Deferred[None] | None = field(default=None, init=False)

    _log = Logger()

    def startService(self) -> Deferred[None]:
        """Start the workers. The Deferred fires when all of them serve, and fails with StartError, one sentence, if
        they cannot."""
        super().startService()  # type: ignore[no-untyped-call]
        starting = self._starting = Deferred.fromCoroutine(self._start())
        return starting

    async def _start(self) -> None:
        self.logs.start()
        plan = self.read_settings()
        self._grace = plan.grace
        self._set_timeouts(plan)
        await self._bind(plan)
        self.supervisor.target_count = plan.workers
        self._log.info('Starting {count} workers', count=plan.workers)
        self.supervisor.fill()
        await self.supervisor.all_ready

    def _set_timeouts(self, plan: ParentSettings) -> None:
        monitor = self.supervisor.monitor
        monitor.timeout, monitor.start_timeout = plan.heartbeat_timeout, plan.start_timeout

    async def _bind(self, plan: ParentSettings) -> None:
        """Bind the sockets. Workers of a parent that was killed exit by themselves and close their sockets first, so
        this waits while such workers exist."""
        deadline = self.reactor.seconds() + _SOCKET_RELEASE_TIMEOUT
        while True:
            try:
                self.sockets.open(plan.listen, plan.sections)
                return
            except StartError:
                if not has_running_predecessor(self.work) or self.reactor.seconds() >= deadline:
                    raise
            await deferLater(self.reactor, _RETRY_INTERVAL)

    def stopService(self) -> Deferred[None]:
        """Drain and stop all workers; the Deferred fires when all have ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        for pending in (self._starting, self._replacement):
            if pending is not None:
                pending.cancel()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.supervisor.stop(self._grace + EXIT_TIMEOUT)
        self.sockets.close_except(())
        self.lender.stop()
        (self.work / FILE_NAME).unlink(missing_ok=True)
        self._log.info('All workers have ended')
        self.logs.stop()
        self.lock.release()

    # Signals

    def reload(self) -> None:
        """SIGHUP: reload log settings and certificates in all processes."""
        self.reload_files()
        for worker in self.supervisor.active:
            worker.reload()

    def replace(self) -> None:
        """SIGUSR2: replace all workers one after another, with the current settings. A request that arrives during a
        replacement starts another one afterwards."""
        self._requested_replacements += 1
        self.write_status()
        if self.running and (self._replacement is None or self._replacement.called):
            self._replacement = Deferred.fromCoroutine(self._replace_all())
            self._replacement.addErrback(_ignore_cancellation)

    async def _replace_all(self) -> None:
        while self._finished_replacements < self._requested_replacements:
            requested = self._requested_replacements
            self._log.info('Replacing the workers one after another')
            self._replacement_error = await self._try_replace_all()
            self._finished_replacements = requested
            if self._replacement_error:
                self._log.error('Not all workers could be replaced: {why}; the running ones continue',
                                why=self._replacement_error)
            self.write_status()

    async def _try_replace_all(self) -> str:
        """Replace all workers. Returns '' or why not all could be replaced."""
        before, target_before = list(self.sockets.bound), self.supervisor.target_count
        old_workers = self.supervisor.active
        try:
            plan = self.read_settings()
            self.sockets.open(plan.listen, plan.sections)
            self._grace = plan.grace
            self._set_timeouts(plan)
            self.supervisor.target_count = plan.workers
            await self._replace_each(old_workers)
            self.supervisor.fill()
            self.sockets.close_except(plan.listen)
        except CancelledError:
            raise
        except (StartError, WorkerEndedError, OSError) as error:
            self.supervisor.target_count = target_before
            if all(worker in old_workers for worker in self.supervisor.active):  # the new sockets have no worker
                self.sockets.close_except(before)
            return str(error)
        return ''

    async def _replace_each(self, old_workers: Sequence[WorkerProcess]) -> None:
        for number, old_worker in enumerate(old_workers):
            if number < self.supervisor.target_count:
                await self.supervisor.add(listen_when_ready=True).ready
            if old_worker in self.supervisor.workers:
                await self.supervisor.retire(old_worker, RETIRE_TIMEOUT + self._grace + EXIT_TIMEOUT)

    def record_replacements(self, requested: int, finished: int, error: str) -> None:
        """Report replacements that are not made by `replace` in the status file: how many were requested and are
        finished, and why the last one failed."""
        self._requested_replacements, self._finished_replacements = requested, finished
        self._replacement_error = error
        self.write_status()

    def write_status(self) -> None:
        """Write the state of the workers to work/workers.json."""
        workers = tuple(WorkerStatus(worker.slot, worker.pid, worker.phase) for worker in self.supervisor.workers)
        status = StatusFile(
            parent=os.getpid(),
            wanted=self.supervisor.target_count,
            workers=workers,
            asked=self._requested_replacements,
            done=self._finished_replacements,
            why=self._replacement_error,
        )
        try:
            write_status_file(self.work, status)
        except OSError as error:
            self._log.error('{where} cannot be written: {why}', where=str(self.work / FILE_NAME), why=error.strerror)


def _ignore_cancellation(failure: Failure) -> None:
    failure.trap(CancelledError)  # the server is being stopped
