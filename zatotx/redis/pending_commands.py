"""Commands that wait for their answers on one connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

MOST = 50_000  # commands that may wait on one connection
MOST_BYTES = 64 * 1024 * 1024  # of theirs; one command alone may be larger


class _Waiting:
    """One command, or several sent as one, and whom to answer."""

    __slots__ = ('answers', 'count', 'deadline', 'deferred', 'name', 'size')

    def __init__(self, name: str, count: int, size: int, deadline: float) -> None:
        self.name = name
        self.count = count  # 0 = one command, whose answer is given as it is; else a list of so many
        self.size = size
        self.deadline = deadline
        self.answers: list[object] = []
        self.deferred: Deferred[Any] = Deferred()

    def give(self, answer: object) -> None:
        # A caller that gave up has its answer already; its command kept its place all the same.
        if self.deferred.called:
            return
        if isinstance(answer, Exception):
            self.deferred.errback(answer)
        else:
            self.deferred.callback(answer)


class PendingCommands:
    """Answers come in the order of the commands, so the oldest command has the next deadline: one timer does for all,
    and it is set anew only when it rings."""

    def __init__(self, clock: Any, timeout: float, expired: Callable[[str], None]) -> None:
        """`clock`: IReactorTime. `expired` is told the name of a command that got no answer within `timeout` seconds;
        it is to end the connection, since the answers to come could not be told apart any more."""
        self._clock = clock
        self._timeout = timeout
        self._expired = expired
        self._queue: deque[_Waiting] = deque()
        self._commands = self._bytes = 0
        self._timer: Any = None

    def __len__(self) -> int:
        """How many commands wait."""
        return self._commands

    def full(self, size: int) -> bool:
        """Whether so many bytes more would be too much for a Redis that does not keep up."""
        return self._commands >= MOST or (self._bytes + size > MOST_BYTES and bool(self._queue))

    def expect(self, name: str, size: int, *, count: int = 0, patience: float = 0.0) -> Deferred[Any]:
        """The answer to a command of `size` bytes that is sent now, or a list of `count` answers to several.
        `patience`: seconds that the command itself may take, on top of the timeout."""
        waiting = _Waiting(name, count, size, self._clock.seconds() + self._timeout + patience)
        self._queue.append(waiting)
        self._commands += count or 1
        self._bytes += size
        if self._timer is None:
            self._timer = self._clock.callLater(self._timeout + patience, self._ring)
        elif len(self._queue) == 1 and self._timer.getTime() > waiting.deadline:  # set for a more patient one
            self._timer.reset(self._timeout + patience)
        return waiting.deferred

    def answer(self, answer: object) -> bool:
        """Hand it to the oldest command. False where none waits."""
        if not self._queue:
            return False
        oldest = self._queue[0]
        if oldest.count == 0:
            self._next().give(answer)  # off the queue first: whoever is called may send the next command
            return True
        oldest.answers.append(answer)
        if len(oldest.answers) == oldest.count:
            self._next().give(oldest.answers)
        return True

    def expire(self, error: Exception) -> None:
        """Fail the oldest command."""
        if self._queue:
            self._next().give(error)

    def fail(self, error: Callable[[], Exception]) -> None:
        """The connection ended: every command that waits fails."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            self._next().give(error())

    def _next(self) -> _Waiting:
        waiting = self._queue.popleft()
        self._commands -= waiting.count or 1
        self._bytes -= waiting.size
        return waiting

    def _ring(self) -> None:
        self._timer = None
        if not self._queue:
            return
        left = self._queue[0].deadline - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._ring)
        else:
            self._expired(self._queue[0].name)
