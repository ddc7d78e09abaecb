"""Extends the protocol class of txredisapi with timeouts, pub/sub messages and bytes that are not UTF-8.

txredisapi installs the global reactor when it is imported, so the import happens with the first connection. Only its
parsing, by hiredis, is used: its factories reconnect and queue without bounds, its timeout needs one timer per command,
and its sending formats each word in Python.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.redis import RedisNotReady
from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.error_conversion import (
    describe_error,
    make_connection_lost_error,
    make_reply_error,
    make_timeout_error,
)

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
    """Matches replies to commands. Replies arrive in the order of the commands. The oldest command has the next
    deadline, so one timer is sufficient, which is reset only when it fires."""

    def __init__(self, clock: IReactorTime, timeout: float, on_timeout: Callable[[str], None]) -> None:
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


MessageListener = Callable[[object, object], None]


def make_protocol(reactor: IReactor, server: str, timeout: float, on_message: MessageListener | None = None) -> Any:
    """Create a protocol that can be connected to Redis. Strings are returned as `str`, or as bytes if they are not
    valid UTF-8.

    `server` names Redis in errors; `timeout`: seconds for each command; `on_message(channel, message)` receives what is
    published to the subscribed channels. The protocol has, besides Twisted's methods:

    `send_command(*words, extra_timeout=0)`: sends one command. `send_commands(commands)`: sends several in one write;
    its result is a list of the replies, with errors among them. The Deferreds fail with Timeout, ServiceUnavailable,
    RedisNotReady or ResponseError, and with TypeError or ValueError for a word that Redis cannot represent.

    `why`: the Failure that ended the connection. `dropped`: the reason why this side ended it. `hung`: called with a
    reason when Redis stops replying or sends invalid data; the owner of the connection must end it. `stale`: called
    when Redis turns out to be a replica.
    """
    return _protocol_class()(reactor, server, timeout, on_message)


class _CommandSender:
    """The sending half of the protocol; txredisapi implements the receiving half."""

    transport: Any

    def prepare(self, reactor: IReactor, where: str, timeout: float, on_message: MessageListener | None) -> None:
        import hiredis

        self.where = where
        self.close_reason: Failure | None = None
        self.dropped = ''
        self.hung: Callable[[str], None] = lambda _: self.transport.abortConnection()
        self.stale: Callable[[str], None] = lambda _: None
        self._timeout = timeout
        self._on_message = on_message
        self._pending = PendingCommands(reactor, timeout, self._expired)
        # pack_command checks the types of the words.
        self._pack: Callable[[tuple[object, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]

    def send_command(self, *words: object, extra_timeout: float = 0.0) -> Deferred[Any]:
        try:
            data = self._pack(words)
        except (TypeError, ValueError) as error:
            return fail(error)
        if self._pending.is_full(len(data)):
            return fail(self._too_many_pending())
        self.transport.write(data)
        return self._pending.add(str(words[0]).upper(), len(data), extra_timeout=extra_timeout)

    def send_commands(self, commands: Sequence[Sequence[object]]) -> Deferred[Any]:
        try:
            data = b''.join([self._pack(tuple(words)) for words in commands])
        except (TypeError, ValueError) as error:
            return fail(error)
        if self._pending.is_full(len(data)):
            return fail(self._too_many_pending())
        self.transport.write(data)
        return self._pending.add(f'a batch of {len(commands)}', len(data), count=len(commands))

    def _error_of(self, text: str) -> Exception:
        error = make_reply_error(text, self.where)
        if isinstance(error, RedisNotReady) and error.code == 'READONLY':
            self.stale('it is a replica now')
        return error

    def _expired(self, name: str) -> None:
        error = make_timeout_error(self.where, name, self._timeout)
        self.hung(describe_error(error, self._timeout))
        self._pending.fail_oldest(error)

    def _too_many_pending(self) -> ServiceUnavailable:
        return ServiceUnavailable(
            None, f'{self.where} does not keep up: {len(self._pending)} commands wait for replies'
        )


@cache
def _protocol_class() -> Any:
    import txredisapi

    class Conversation(_CommandSender, txredisapi.RedisProtocol):  # type: ignore[misc]
        def __init__(self, reactor: IReactor, where: str, timeout: float, on_message: MessageListener | None) -> None:
            super().__init__(charset='utf-8', errors='strict', convertNumbers=False)
            self.prepare(reactor, where, timeout, on_message)

        def dataReceived(self, data: bytes, unpause: bool = False) -> None:
            try:
                super().dataReceived(data, unpause)
            except txredisapi.InvalidData:
                self.hung('it does not speak the Redis protocol')

        def replyReceived(self, reply: object) -> None:
            if isinstance(reply, txredisapi.ResponseError):
                reply = self._error_of(str(reply))
            elif self._on_message is not None and type(reply) is list and reply and reply[0] == 'message':
                self._on_message(reply[1], reply[2])
                return
            if not self._pending.deliver_reply(reply):
                self.hung(f'it sent an unexpected reply: {str(reply)[:80]}')

        def connectionLost(self, reason: Failure) -> None:
            self.close_reason = reason
            super().connectionLost(reason)  # the owner of the connection first, because a failed caller may retry
            self._pending.fail_all(lambda: make_connection_lost_error(self.where))

    return Conversation
