"""An adapter for txredisapi.

txredisapi installs the global reactor when it is imported, so the import happens with the first connection. Only its
parsing, by hiredis, is used: its factories reconnect and queue without bounds, its timeout needs one timer per command,
and its sending formats each word in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from zatotx.interfaces.redis_client import RedisNotReady
from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.errors import describe_error, make_connection_lost_error, make_reply_error, make_timeout_error
from zatotx.redis.pending_commands import PendingCommands

MessageListener = Callable[[object, object], None]


def make_protocol(reactor: Any, server: str, timeout: float, on_message: MessageListener | None = None) -> Any:
    """Create a protocol, to be connected. Strings are returned as `str`, or as bytes if they are not UTF-8.

    `server` names Redis in errors; `timeout`: seconds for each command; `heard(channel, message)` receives what is
    published to the subscribed channels. The protocol has, besides Twisted's methods:

    `ask(*words, patience=0)`: sends one command. `ask_all(commands)`: sends several in one write; its result is a list
    of the replies, with errors among them. The Deferreds fail with Timeout, ServiceUnavailable, RedisNotReady or
    ResponseError, and with TypeError or ValueError for a word that Redis cannot represent.

    `why`: the Failure that ended the connection. `dropped`: the reason why this side ended it. `hung`: called with a
    reason when Redis stops replying or sends invalid data; the owner of the connection must end it. `stale`: called
    when Redis turns out to be a replica.
    """
    return _protocol_class()(reactor, server, timeout, on_message)


class _CommandSender:
    """The sending half of the protocol; txredisapi implements the receiving half."""

    transport: Any

    def prepare(self, reactor: Any, where: str, timeout: float, on_message: MessageListener | None) -> None:
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
        def __init__(self, reactor: Any, where: str, timeout: float, on_message: MessageListener | None) -> None:
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
