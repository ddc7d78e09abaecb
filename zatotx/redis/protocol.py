"""txredisapi behind one small door.

It installs the global reactor when it is imported, so it is imported when the first connection is made, not before.
Only its reading of Redis's protocol is used, by hiredis: its factories reconnect and queue without bounds, its deadline
needs a timer a command, and its own way to send formats each word in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from zatotx.interfaces.redis_client import RedisRefused
from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.errors import clause, late, lost, refusal
from zatotx.redis.pending_commands import PendingCommands

Heard = Callable[[object, object], None]


def new_protocol(reactor: Any, where: str, timeout: float, heard: Heard | None = None) -> Any:
    """A fresh protocol, to be connected. Texts come back as `str`, as bytes where they are not UTF-8.

    `where` names Redis in errors, `timeout`: seconds for each command, `heard(channel, message)` gets what is published
    to the channels it subscribes to. It has, beside Twisted's methods:

    `ask(*words, patience=0)`, one command; `ask_all(commands)`, several in one write, whose answers come as one list
    with errors in their places. Their Deferreds fail with Timeout, ServiceUnavailable, RedisRefused or ResponseError,
    TypeError or ValueError for a word that has no form in Redis.

    `why`: the Failure that ended it, `dropped`: the clause with which we did. `hung`: called with a clause when Redis
    went silent or its answers make no sense; whoever keeps the connection ends it. `stale`: called when Redis turned
    out to be a replica.
    """
    return _class()(reactor, where, timeout, heard)


class _Asking:
    """The side that sends; the other one is txredisapi's."""

    transport: Any

    def prepare(self, reactor: Any, where: str, timeout: float, heard: Heard | None) -> None:
        import hiredis

        self.where = where
        self.why: Failure | None = None
        self.dropped = ''
        self.hung: Callable[[str], None] = lambda _: self.transport.abortConnection()
        self.stale: Callable[[str], None] = lambda _: None
        self._timeout = timeout
        self._heard = heard
        self._pending = PendingCommands(reactor, timeout, self._expired)
        # It checks for itself what a word may be.
        self._pack: Callable[[tuple[object, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]

    def ask(self, *words: object, patience: float = 0.0) -> Deferred[Any]:
        try:
            data = self._pack(words)
        except (TypeError, ValueError) as error:
            return fail(error)
        if self._pending.full(len(data)):
            return fail(self._too_much())
        self.transport.write(data)
        return self._pending.expect(str(words[0]).upper(), len(data), patience=patience)

    def ask_all(self, commands: Sequence[Sequence[object]]) -> Deferred[Any]:
        try:
            data = b''.join([self._pack(tuple(words)) for words in commands])
        except (TypeError, ValueError) as error:
            return fail(error)
        if self._pending.full(len(data)):
            return fail(self._too_much())
        self.transport.write(data)
        return self._pending.expect(f'a batch of {len(commands)}', len(data), count=len(commands))

    def _refused(self, text: str) -> Exception:
        error = refusal(text, self.where)
        if isinstance(error, RedisRefused) and error.code == 'READONLY':
            self.stale('it is a replica now')
        return error

    def _expired(self, name: str) -> None:
        error = late(self.where, name, self._timeout)
        self.hung(clause(error, self._timeout))
        self._pending.expire(error)

    def _too_much(self) -> ServiceUnavailable:
        return ServiceUnavailable(
            None, f'{self.where} does not keep up: {len(self._pending)} commands wait for their answers'
        )


@cache
def _class() -> Any:
    import txredisapi

    class Conversation(_Asking, txredisapi.RedisProtocol):  # type: ignore[misc]
        def __init__(self, reactor: Any, where: str, timeout: float, heard: Heard | None) -> None:
            super().__init__(charset='utf-8', errors='strict', convertNumbers=False)
            self.prepare(reactor, where, timeout, heard)

        def dataReceived(self, data: bytes, unpause: bool = False) -> None:
            try:
                super().dataReceived(data, unpause)
            except txredisapi.InvalidData:
                self.hung("what it says is not Redis's protocol")

        def replyReceived(self, reply: object) -> None:
            if isinstance(reply, txredisapi.ResponseError):
                reply = self._refused(str(reply))
            elif self._heard is not None and type(reply) is list and reply and reply[0] == 'message':
                self._heard(reply[1], reply[2])
                return
            if not self._pending.answer(reply):
                self.hung(f'it said what nobody asked for: {str(reply)[:80]}')

        def connectionLost(self, why: Failure) -> None:
            self.why = why
            super().connectionLost(why)  # whoever keeps the connection knows first: a failed caller may try again
            self._pending.fail(lambda: lost(self.where))

    return Conversation
