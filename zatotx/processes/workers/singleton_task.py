"""Runs tasks in exactly one process of a server, which is the process that holds the task's lock. When this process
ends for any reason, the kernel releases the lock and another process takes over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zatotx.model.errors import StartError
from zatotx.processes.lock_files import DirectoryLock

RETRY_INTERVAL = 0.5  # seconds between attempts to acquire the lock


@define(eq=False, kw_only=True)
class SingletonTask:
    """A task that runs in one process of a server. `begin` starts the task and `end` stops it; both may return a
    Deferred."""

    name: str  # for log messages, e.g. 'the pickup directory'
    lock: DirectoryLock
    begin: Callable[[], Any]
    end: Callable[[], Any]
    clock: IReactorTime
    holds_lock: bool = field(default=False, init=False)
    _retry_loop: LoopingCall | None = field(default=None, init=False)

    _log = Logger()

    def start(self) -> Deferred[None]:
        """Start the task now, or as soon as the lock is free. The Deferred fires when the task has started, or at once
        if another process runs it."""
        begun: Deferred[None] = maybeDeferred(self._try)
        loop = self._retry_loop = LoopingCall(self._try)
        loop.clock = self.clock
        if not self.holds_lock:
            loop.start(RETRY_INTERVAL, now=False).addErrback(self._failed)
        return begun

    def stop(self) -> Deferred[None]:
        """Stop the task and release the lock; the Deferred fires when the task has stopped."""
        if self._retry_loop is not None and self._retry_loop.running:
            self._retry_loop.stop()
        if not self.holds_lock:
            return maybeDeferred(lambda: None)
        return maybeDeferred(self.end).addBoth(self._release)

    def _try(self) -> Any:
        try:
            self.lock.acquire()
        except StartError:  # another process holds the lock
            return None
        self.holds_lock = True
        if self._retry_loop is not None:
            self._retry_loop.stop()
            self._log.info('This process has taken over {name}', name=self.name)
        return self.begin()

    def _release(self, result: Any) -> Any:
        self.holds_lock = False
        self.lock.release()
        return result

    def _failed(self, failure: Any) -> None:
        self._log.failure('{name} could not be taken over', failure, name=self.name)
