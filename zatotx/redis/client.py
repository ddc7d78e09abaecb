"""Commands to Redis, each with a deadline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from zatotx.interfaces.meters import NoMeter, count_call
from zatotx.interfaces.redis_client import IBatch, ICommands, ResponseError
from zatotx.redis.errors import UnfitError
from zatotx.redis.reconnecting_connection import ConnectionService, ReconnectingConnection
from zatotx.redis.server_info import ServerInfo, parse_info, unsupported_reason, warnings
from zatotx.redis.status_log import ConnectionLog
from zatotx.redis.url import RedisAddress

# Commands that would change or hold up the one connection that everybody shares.
_SESSION = {'AUTH', 'HELLO', 'MONITOR', 'PSYNC', 'QUIT', 'RESET', 'SELECT', 'SYNC'}
_LISTENING = {'PSUBSCRIBE', 'PUNSUBSCRIBE', 'SSUBSCRIBE', 'SUBSCRIBE', 'SUNSUBSCRIBE', 'UNSUBSCRIBE'}
_TRANSACTION = {'DISCARD', 'EXEC', 'MULTI', 'UNWATCH', 'WATCH'}
_BLOCKING = {'BLMOVE', 'BLMPOP', 'BLPOP', 'BRPOP', 'BRPOPLPUSH', 'BZMPOP', 'BZPOPMAX', 'BZPOPMIN', 'WAIT', 'WAITAOF'}
_NOT_SHARED = frozenset(_SESSION | _LISTENING | _TRANSACTION | _BLOCKING)
_MAY_BLOCK = frozenset({'XREAD', 'XREADGROUP'})
_OF_CLIENT = frozenset({'CACHING', 'NO-EVICT', 'NO-TOUCH', 'REPLY', 'SETNAME', 'TRACKING'})

_LOOK_EVERY = 10.0  # seconds between questions of how Redis is


@implementer(ICommands, IBatch)
class RedisClient(ConnectionService):
    """One connection for all commands of a node.

    While Redis is away commands fail at once, they are never queued. A command without an answer within `timeout`
    seconds fails, and the connection is made anew: the answers to come could not be told apart any more. Every ten
    seconds Redis is asked how it is, so a connection that fell silent is found without a command too.
    """

    def __init__(
        self,
        reactor: Any,
        address: RedisAddress,
        *,
        timeout: float = 5.0,
        name: str = '',
        voice: ConnectionLog | None = None,
    ) -> None:
        """`reactor`: IReactorTime, IReactorTCP, IReactorUNIX. `name`: what Redis shows the connection as."""
        self._voice = voice or ConnectionLog(str(address))
        link = ReconnectingConnection(
            reactor, address, timeout=timeout, name=name, voice=self._voice, prepare=self._learn
        )
        super().__init__(link)
        self.known: ServerInfo | None = (
            None  # what Redis said of itself last; None before, and where it may not be asked
        )
        self.meter: Any = NoMeter()  # ICallMeter: what commands are counted by; a batch is one
        self.connections = 0  # made so far
        self._seconds = reactor.seconds
        self._looks = LoopingCall(self._look)
        self._looks.clock = reactor

    def startService(self) -> None:
        super().startService()
        self._looks.start(_LOOK_EVERY, now=False)

    def stopService(self) -> Deferred[None]:
        if self._looks.running:
            self._looks.stop()
        return super().stopService()

    def execute(self, command: str, *args: object) -> Deferred[object]:
        """One command, e.g. `execute('HSET', key, 'field', 'value')`; a command of two words may be one string.

        Texts come back as `str` (`bytes` where they are not UTF-8), integers as `int`, nothing as None. Fails with
        Timeout, ServiceUnavailable or RedisUnable naming Redis, with ResponseError where Redis refuses, with TypeError
        for an argument that is no str, bytes, int or float.
        """
        return count_call(self.meter, self._seconds, self._execute(command, args))

    def batch(self, commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        """See IBatch. Each command is a sequence of its words, e.g. `('HSET', key, 'field', 'value')`."""
        return count_call(self.meter, self._seconds, self._batch(commands))

    def _execute(self, command: str, args: Sequence[object]) -> Deferred[object]:
        protocol = self._link.live
        if protocol is None:
            return fail(self._link.away())
        words = (*command.upper().split(' '), *args)
        if _not_shared(words):
            return fail(ResponseError(f'{words[0]} needs a connection of its own'))
        answer: Deferred[object] = protocol.ask(*words)
        return answer

    def _batch(self, commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        protocol = self._link.live
        if protocol is None:
            return fail(self._link.away())
        if not commands:
            return succeed([])
        for words in commands:
            if _not_shared(words):
                return fail(ResponseError(f'{words[0]} needs a connection of its own'))
        answers: Deferred[list[object]] = protocol.ask_all(commands)
        return answers

    def facts(self) -> Deferred[ServerInfo]:
        """How Redis is now. Fails as `execute` does."""
        return self.execute('INFO').addCallback(self._learned)

    async def _learn(self, protocol: Any) -> None:
        self.connections += 1
        try:
            info = await protocol.ask('INFO')
        except ResponseError as error:
            self._voice.warn(f'{self.address} does not answer INFO, so its settings are not checked: {error}')
            return
        facts = self._learned(info)
        if problem := unsupported_reason(facts):
            raise UnfitError(problem)
        for sentence in warnings(facts, str(self.address)):
            self._voice.warn(sentence)

    def _learned(self, info: object) -> ServerInfo:
        self.known = facts = parse_info(str(info))
        return facts

    def _look(self) -> None:
        if self._link.live is not None:
            # What goes wrong is noted where it is to be: by the connection.
            self.facts().addErrback(lambda _: None)


def _not_shared(words: Sequence[object]) -> bool:
    """Whether a command would change or hold up the connection for everybody."""
    name = str(words[0]).upper()
    if name in _MAY_BLOCK:
        return any(_word(word) == 'BLOCK' for word in words)
    if name == 'CLIENT':
        return len(words) > 1 and _word(words[1]) in _OF_CLIENT
    return name in _NOT_SHARED


def _word(word: object) -> str:
    return word.upper() if isinstance(word, str) else word.upper().decode('latin-1') if isinstance(word, bytes) else ''
