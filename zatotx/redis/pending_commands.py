"""The commands on a connection that wait for their replies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

MAX_COMMANDS = 50_000  # commands that may wait on one connection
MAX_COMMAND_BYTES = 64 * 1024 * 1024  # their total size; a single command may be larger


class _PendingCommand:
    """A command, or several sent as one, with the Deferred of its reply."""

    __slots__ = ('answers', 'count', 'deadline', 'deferred', 'name', 'size')

    def __init__(self, name: str, count: int, size: int, deadline: float) -> None:
        self.name = name
        # 0 = a single command, whose reply is delivered as it is; otherwise the length of the list of replies
        self.count = count
        self.size = size
        self.deadline = deadline
        self.answers: list[object] = []
        self.deferred: Deferred[Any] = Deferred()

    def deliver(self, answer: object) -> None:
        # A caller that cancelled has its result already, but its command still keeps its place in the queue.
        if self.deferred.called:
            return
        if isinstance(answer, Exception):
            self.deferred.errback(answer)
        else:
            self.deferred.callback(answer)


class PendingCommands:
    """Matches replies to commands, which arrive in the same order. The oldest command has the next deadline, so one
    timer serves all of them, and is reset only when it fires."""

    def __init__(self, clock: Any, timeout: float, on_timeout: Callable[[str], None]) -> None:
        """`clock`: IReactorTime. `on_timeout` is called with the name of a command without a reply within `timeout`
        seconds; it must end the connection, since later replies could not be matched to commands."""
        self._clock = clock
        self._timeout = timeout
        self._expired = on_timeout
        self._queue: deque[_PendingCommand] = deque()
        self._commands = self._bytes = 0
        self._timer: Any = None

    def __len__(self) -> int:
        """The number of pending commands."""
        return self._commands

    def is_full(self, size: int) -> bool:
        """Return whether `size` more bytes would be too much for a Redis that does not keep up."""
        return self._commands >= MAX_COMMANDS or (self._bytes + size > MAX_COMMAND_BYTES and bool(self._queue))

    def add(self, name: str, size: int, *, count: int = 0, extra_timeout: float = 0.0) -> Deferred[Any]:
        """Fires with the reply to a command of `size` bytes that is sent now, or with a list of `count` replies to
        several. `extra_timeout`: seconds that the command itself may take, in addition to the timeout."""
        waiting = _PendingCommand(name, count, size, self._clock.seconds() + self._timeout + extra_timeout)
        self._queue.append(waiting)
        self._commands += count or 1
        self._bytes += size
        if self._timer is None:
            self._timer = self._clock.callLater(self._timeout + extra_timeout, self._check_deadline)
        elif len(self._queue) == 1 and self._timer.getTime() > waiting.deadline:  # set for a command with more patience
            self._timer.reset(self._timeout + extra_timeout)
        return waiting.deferred

    def deliver_reply(self, reply: object) -> bool:
        """Deliver a reply to the oldest command. Returns False if no command is pending."""
        if not self._queue:
            return False
        oldest = self._queue[0]
        if oldest.count == 0:
            self._pop().deliver(reply)  # removed first: the callback may send the next command
            return True
        oldest.answers.append(reply)
        if len(oldest.answers) == oldest.count:
            self._pop().deliver(oldest.answers)
        return True

    def fail_oldest(self, error: Exception) -> None:
        """Fail the oldest command."""
        if self._queue:
            self._pop().deliver(error)

    def fail_all(self, make_error: Callable[[], Exception]) -> None:
        """Fail all commands, because the connection ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            self._pop().deliver(make_error())

    def _pop(self) -> _PendingCommand:
        waiting = self._queue.popleft()
        self._commands -= waiting.count or 1
        self._bytes -= waiting.size
        return waiting

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._queue:
            return
        left = self._queue[0].deadline - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._check_deadline)
        else:
            self._expired(self._queue[0].name)
