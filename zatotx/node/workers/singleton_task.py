"""What one process of a server does for all of them: whoever holds the duty's lock. When that process ends, however it
ends, the kernel gives the lock back and another process takes the duty over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zatotx.model.errors import StartError
from zatotx.node.directory_lock import DirectoryLock

EVERY = 0.5  # seconds between two tries


@define(eq=False, kw_only=True)
class SingletonTask:
    """`begin` and `end` do it; both may return a Deferred."""

    name: str  # for people: 'the pickup directory'
    lock: DirectoryLock
    begin: Callable[[], Any]
    end: Callable[[], Any]
    clock: Any  # IReactorTime
    held: bool = field(default=False, init=False)
    _trying: LoopingCall | None = field(default=None, init=False)

    _log = Logger()

    def start(self) -> Deferred[None]:
        """Take the duty, now or as soon as it is free. Fires when it has begun, or when somebody else has it."""
        begun: Deferred[None] = maybeDeferred(self._try)
        trying = self._trying = LoopingCall(self._try)
        trying.clock = self.clock
        if not self.held:
            trying.start(EVERY, now=False).addErrback(self._failed)
        return begun

    def stop(self) -> Deferred[None]:
        """Give it back; fires when it has ended."""
        if self._trying is not None and self._trying.running:
            self._trying.stop()
        if not self.held:
            return maybeDeferred(lambda: None)
        return maybeDeferred(self.end).addBoth(self._give_back)

    def _try(self) -> Any:
        try:
            self.lock.take()
        except StartError:  # another process has it
            return None
        self.held = True
        if self._trying is not None:
            self._trying.stop()
            self._log.info('This process looks after {name} from now on', name=self.name)
        return self.begin()

    def _give_back(self, result: Any) -> Any:
        self.held = False
        self.lock.release()
        return result

    def _failed(self, failure: Any) -> None:
        self._log.failure('{name} could not be taken over', failure, name=self.name)
