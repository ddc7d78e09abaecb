"""The parent process of a load balancer with workers. It holds the listening sockets, probes the servers, runs the
agent, and supervises the workers. It processes no requests itself.
"""

from __future__ import annotations

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zatotx.lb.config.model import LogSettings
from zatotx.lb.load_balancer_service import LoadBalancer
from zatotx.lb.log_files import LoadBalancerLogs
from zatotx.lb.workers.program_upgrade import ProgramUpgrade
from zatotx.processes.workers.worker_parent import WorkerParent

_APPLY_TIMEOUT = 5.0  # seconds
_POLL_INTERVAL = 0.01


@define(eq=False)
class ParentLogFiles:
    """The interface through which the parent's LoadBalancer uses the log files. WorkerParent opens and closes the
    files."""

    _files: LoadBalancerLogs

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def reload(self, settings: LogSettings) -> None:
        """Apply other settings and reopen the files."""
        self._files.reload(settings)


class NullDirectoryLock:
    """A lock without effect, which the parent's LoadBalancer uses, because WorkerParent releases the real lock."""

    def release(self) -> None:
        """Do nothing."""


@define(eq=False, slots=False, kw_only=True)
class LoadBalancerParent(Service):
    """The Twisted service of the parent process. `balancer` contains the sockets, the probes and the agent, and
    `workers` supervises the processes."""

    balancer: LoadBalancer
    workers: WorkerParent
    upgrade: ProgramUpgrade
    _starting: Deferred[None] | None = field(default=None, init=False)

    _log = Logger()

    def startService(self) -> Deferred[None]:
        """Start the workers. The Deferred fires when all of them serve, and fails with StartError."""
        super().startService()  # type: ignore[no-untyped-call]
        self.workers.logs.start()
        starting = self._starting = Deferred.fromCoroutine(self._start())
        return starting

    async def _start(self) -> None:
        await self.balancer.startService()
        await self.workers.startService()
        self.upgrade.retire_old_workers()

    def reload(self) -> None:
        """SIGHUP: put lb.toml into force in all workers, and reopen the log files."""
        self.balancer.reload()

    def apply_in_workers(self) -> Deferred[None]:
        """Let all workers put the configuration that was kept into force; the Deferred fires when they have, or when
        the time for it is over."""
        for worker in self.workers.supervisor.active:
            worker.reload()
        return Deferred.fromCoroutine(self._wait_for_workers(self.balancer.digest))

    async def _wait_for_workers(self, digest: str) -> None:
        clock, supervisor = self.workers.reactor, self.workers.supervisor
        end = clock.seconds() + _APPLY_TIMEOUT
        while late := [worker for worker in supervisor.ready if worker.applied != digest]:
            if clock.seconds() > end:
                self._log.error('Worker {slot} has not put the new configuration into force: see its messages above',
                                slot=late[0].slot)
                return
            await deferLater(clock, _POLL_INTERVAL)

    def replace(self) -> None:
        """SIGUSR2: replace the program of this process and of all workers by what is installed now, without closing the
        sockets."""
        if self.running and self.workers.supervisor.all_ready.called:
            self.upgrade.start()

    def stopService(self) -> Deferred[None]:
        """Drain and stop all workers; the Deferred fires when all have ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._starting is not None:
            self._starting.cancel()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.upgrade.stop()
        try:
            await maybeDeferred(self.balancer.stopService)
        finally:
            await self.workers.stopService()


