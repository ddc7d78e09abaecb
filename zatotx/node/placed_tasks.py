"""Runs the tasks of channels according to their placement. A task runs with a lock of the node, with a lease of the
cluster, or with neither.

A process that dies gives its locks back, the kernel sees to that, and its leases run out: another candidate takes the
task over within half a second, or within LEASE_TTL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.connector_kind import IPlacedTask, LocalTask
from zatotx.interfaces.redis import ILease, ILeaseStore, LeaseHeld
from zatotx.processes.lock_files import DirectoryLock
from zatotx.processes.workers.singleton_task import SingletonTask
from zatotx.rules.channel_placement import LockScope, Placement, decide_placement

LEASE_TTL = 6.0  # seconds after which the lease of a node that died is free
RETRY = 1.0  # seconds until a node that did not get the lease asks again


@implementer(IPlacedTask)
class RemoteTask:
    """A placed task that never runs in this process, because its placement selects other nodes."""

    def start(self) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> Deferred[None]:
        return succeed(None)


@implementer(IPlacedTask)
@define(eq=False, kw_only=True)
class LeasedTask:
    """A placed task that runs in one process of the cluster, which is the process that holds the lease with the task's
    name."""

    name: str
    leases: ILeaseStore
    begin: Callable[[], Any]
    end: Callable[[], Any]
    clock: IReactorTime
    _running: Deferred[None] | None = field(default=None, init=False)
    _is_redis_unavailable: bool = field(default=False, init=False)

    _log = Logger()

    def start(self) -> Deferred[None]:
        """Fires at once: whether another process holds the lease may take long to find out while Redis is
        unavailable."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._ended)
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Fires when the task has ended and the lease is given back."""
        running, self._running = self._running, None
        if running is None:
            return succeed(None)
        running.cancel()
        return running

    async def _run(self) -> None:
        while True:
            try:
                lease = await self.leases.acquire(self.name, ttl=LEASE_TTL)
            except LeaseHeld:
                await deferLater(self.clock, RETRY)
                continue
            except CancelledError:
                raise
            except Exception as error:
                if not self._is_redis_unavailable:
                    self._is_redis_unavailable = True
                    self._log.warn('{name}: the lease cannot be acquired: {why}', name=self.name, why=str(error))
                await deferLater(self.clock, RETRY)
                continue
            self._is_redis_unavailable = False
            await self._hold(lease)

    async def _hold(self, lease: ILease) -> None:
        lost = lease.when_lost()
        self._log.info('This process runs {name} from now on', name=self.name)
        try:
            await maybeDeferred(self.begin)
            reason = await lost
            self._log.warn('This process runs {name} no more: {why}', name=self.name, why=reason)
        finally:
            await maybeDeferred(self.end)
            await lease.release()

    def _ended(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._log.failure('{name} has ended', failure, name=self.name)


@define(eq=False, kw_only=True)
class TaskPlacer:
    """Creates the placed tasks of a node. It implements PlacedTaskFactory. `work` is the directory of the locks, and
    `has_workers` says whether this node may have other processes."""

    node: str
    work: Path
    has_workers: bool
    leases: ILeaseStore
    clock: IReactorTime

    def __call__(
        self, name: str, placement: Placement, nodes: Collection[str], begin: Callable[[], Any],
        end: Callable[[], Any],
    ) -> IPlacedTask:
        """See PlacedTaskFactory."""
        decision = decide_placement(placement, self.node, nodes)
        task: Any
        if not decision.is_candidate:
            task = RemoteTask()
        elif decision.lock is LockScope.CLUSTER:
            task = LeasedTask(name=f'channel {name}', leases=self.leases, begin=begin, end=end, clock=self.clock)
        elif decision.lock is LockScope.NODE and self.has_workers:
            lock = DirectoryLock(self.work / f'channel-{sha256(name.encode()).hexdigest()[:16]}.lock')
            task = SingletonTask(name=f'channel {name}', lock=lock, begin=begin, end=end, clock=self.clock)
        else:
            task = LocalTask(begin, end)
        placed: IPlacedTask = task
        return placed
