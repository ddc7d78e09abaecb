"""Commands to Redis, each with a deadline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.interfaces.bus import IKeyValue, ResponseError
from zatotx.kvdb.address import RedisAddress, parse_address
from zatotx.kvdb.link import Link, State
from zatotx.kvdb.protocol import command_protocol, translated
from zatotx.model.faults import Timeout

# Commands that would change or hold up the one connection that everybody shares.
_SESSION = {'AUTH', 'HELLO', 'MONITOR', 'PSYNC', 'QUIT', 'RESET', 'SELECT', 'SYNC'}
_LISTENING = {'PSUBSCRIBE', 'PUNSUBSCRIBE', 'SSUBSCRIBE', 'SUBSCRIBE', 'SUNSUBSCRIBE', 'UNSUBSCRIBE'}
_TRANSACTION = {'DISCARD', 'EXEC', 'MULTI', 'UNWATCH', 'WATCH'}
_BLOCKING = {'BLMOVE', 'BLMPOP', 'BLPOP', 'BRPOP', 'BRPOPLPUSH', 'BZMPOP', 'BZPOPMAX', 'BZPOPMIN', 'WAIT', 'WAITAOF'}
_NOT_SHARED = frozenset(_SESSION | _LISTENING | _TRANSACTION | _BLOCKING)
_MAY_BLOCK = frozenset({'XREAD', 'XREADGROUP'})


@implementer(IKeyValue)
class RedisClient(Service):
    """One connection for all commands of a node.

    While Redis is away commands fail at once, they are never queued. A command without an answer within `timeout`
    seconds fails, and the connection is made anew: the answers to come could not be told apart any more.
    """

    def __init__(self, reactor: Any, address: RedisAddress, *, timeout: float = 5.0) -> None:
        """`reactor`: IReactorTime, IReactorTCP, IReactorUNIX."""
        self._reactor = reactor
        self._timeout = timeout
        self._link = Link(reactor, address, make=lambda: command_protocol(reactor), prepare=_as_is, timeout=timeout)

    @property
    def address(self) -> RedisAddress:
        return self._link.address

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._link.state

    @property
    def problem(self) -> str:
        """Why there is no connection now, for people; '' when there is."""
        return self._link.problem

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._link.start()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return self._link.stop()

    def up(self) -> Deferred[None]:
        """Fires when Redis answers. Fails with ServiceUnavailable where the client is stopped first."""
        return self._link.up()

    def execute(self, command: str, *args: object) -> Deferred[object]:
        """One command, e.g. `execute('HSET', key, 'field', 'value')`; a command of two words may be one string.

        Texts come back as `str` (`bytes` where they are not UTF-8), integers as `int`, nothing as None. Fails with
        Timeout or ServiceUnavailable naming Redis, and with ResponseError where Redis refuses.
        """
        protocol = self._link.live
        if protocol is None:
            return fail(self._link.away())
        name = command.upper()
        if name in _NOT_SHARED or (name in _MAY_BLOCK and any(_is_block(arg) for arg in args)):
            return fail(ResponseError(f'{name} needs a connection of its own'))
        try:
            replying: Deferred[object] = protocol.execute_command(*name.split(' '), *args)
        except Exception as error:
            return fail(translated(error, str(self.address)))
        return self._within_deadline(replying, name, protocol)

    def _within_deadline(self, replying: Deferred[object], name: str, protocol: Any) -> Deferred[object]:
        # The deadline belongs to the command, not to the caller: a caller that gives up must not keep a frozen
        # connection from being noticed.
        answer: Deferred[object] = Deferred()
        deadline = self._reactor.callLater(self._timeout, self._expired, answer, name, protocol)

        def settle(result: object) -> None:
            if deadline.active():
                deadline.cancel()
            if answer.called:
                return
            if isinstance(result, Failure) and result.value is not None:
                answer.errback(translated(result.value, str(self.address)))
            else:
                answer.callback(result)

        replying.addBoth(settle)
        return answer

    def _expired(self, answer: Deferred[object], name: str, protocol: Any) -> None:
        late = f'gave no answer to {name} within {self._timeout:g} s'
        self._link.drop(protocol, f'it {late}')
        if not answer.called:
            answer.errback(Timeout(None, f'{self.address} {late}'))


def make_client(reactor: Any, url: str, directory: Path, timeout: float = 5.0) -> RedisClient:
    """The client for a URL whose relative paths start at `directory`. Raises StartError."""
    return RedisClient(reactor, parse_address(url, directory), timeout=timeout)


async def _as_is(protocol: object) -> None:
    """A connection for commands needs nothing more."""


def _is_block(arg: object) -> bool:
    return isinstance(arg, str | bytes) and arg.upper() in ('BLOCK', b'BLOCK')
