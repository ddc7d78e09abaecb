"""A Redis client in which each command has a timeout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from zatotx.interfaces.meters import NullMeter, count_call
from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.redis import ICommands, IPipelinedCommands, IScriptRunner, ITransactions, LuaScript, RedisError
from zatotx.redis.error_conversion import UnusableServerError, make_reply_error
from zatotx.redis.reconnecting_connection import (
    ConnectionLog,
    PrepareConnection,
    ReconnectingConnection,
    ReconnectingServiceBase,
)
from zatotx.redis.redis_url import RedisAddress
from zatotx.redis.server_info import ServerInfo, parse_info, server_configuration_warnings, unsupported_server_reason

# Commands that would change or block the connection, which all callers share.
_SESSION = {'AUTH', 'HELLO', 'MONITOR', 'PSYNC', 'QUIT', 'RESET', 'SELECT', 'SYNC'}
_SUBSCRIPTION = {'PSUBSCRIBE', 'PUNSUBSCRIBE', 'SSUBSCRIBE', 'SUBSCRIBE', 'SUNSUBSCRIBE', 'UNSUBSCRIBE'}
_TRANSACTION = {'DISCARD', 'EXEC', 'MULTI', 'UNWATCH', 'WATCH'}
_BLOCKING = {'BLMOVE', 'BLMPOP', 'BLPOP', 'BRPOP', 'BRPOPLPUSH', 'BZMPOP', 'BZPOPMAX', 'BZPOPMIN', 'WAIT', 'WAITAOF'}
_UNSUPPORTED = frozenset(_SESSION | _SUBSCRIPTION | _TRANSACTION | _BLOCKING)
_MAY_BLOCK = frozenset({'XREAD', 'XREADGROUP'})
_CLIENT_SUBCOMMANDS = frozenset({'CACHING', 'NO-EVICT', 'NO-TOUCH', 'REPLY', 'SETNAME', 'TRACKING'})

_INFO_INTERVAL = 10.0  # seconds between two INFO commands


@implementer(ICommands, IPipelinedCommands, ITransactions)
class RedisClient(ReconnectingServiceBase):
    """Implements ICommands. It executes all Redis commands of a node over one connection.

    While Redis is unavailable, commands fail at once and are never queued. A command without a reply within `timeout`
    seconds fails, and the connection is replaced, since later replies could no longer be matched to commands. INFO is
    sent every ten seconds, so that a dead connection is detected without other commands, too.
    """

    def __init__(
        self,
        reactor: IReactor,
        address: RedisAddress,
        *,
        timeout: float = 5.0,
        name: str = '',
        connection_log: ConnectionLog | None = None,
        prepare: PrepareConnection | None = None,
    ) -> None:
        """`reactor`: IReactorTime, IReactorTCP, IReactorUNIX. `name`: the connection's name in CLIENT LIST. `prepare`
        is called with each connected protocol, after the server was checked and before commands are sent."""
        self.connection_log = connection_log or ConnectionLog(str(address))
        self._prepare = prepare
        connection = ReconnectingConnection(
            reactor,
            address,
            timeout=timeout,
            name=name,
            connection_log=self.connection_log,
            prepare=self._prepare_connection,
        )
        super().__init__(connection)
        self.last_info: ServerInfo | None = (
            None  # the last INFO; None before the first, or if the user may not send INFO
        )
        self.meter: Any = NullMeter()  # an ICallMeter for commands; a batch counts as one
        self.connections = 0  # number of connections made so far
        self._seconds = reactor.seconds
        self._info_loop = LoopingCall(self._refresh_info)
        self._info_loop.clock = reactor

    def startService(self) -> None:
        super().startService()
        self._info_loop.start(_INFO_INTERVAL, now=False)

    def stopService(self) -> Deferred[None]:
        if self._info_loop.running:
            self._info_loop.stop()
        return super().stopService()

    def execute(self, command: str, *args: object) -> Deferred[object]:
        """Execute one command, e.g. `execute('HSET', key, 'field', 'value')`; a command of two words may be one string.

        Strings are returned as `str` (`bytes` if they are not UTF-8), integers as `int`, nil as None. Fails with
        Timeout, ServiceUnavailable or RedisRefused, which name Redis; with RedisError if Redis rejects the command;
        with TypeError for an argument that is not str, bytes, int or float.
        """
        return count_call(self.meter, self._seconds, self._execute(command, args))

    def execute_batch(self, commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        """See IBatch. Each command is a sequence of its words, e.g. `('HSET', key, 'field', 'value')`."""
        return count_call(self.meter, self._seconds, self._batch(commands))

    def execute_transaction(self, commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        """See ITransactions."""
        sent = count_call(self.meter, self._seconds, self._batch(commands, in_transaction=True))
        return sent.addCallback(self._transaction_replies) if commands else sent

    def _execute(self, command: str, args: Sequence[object]) -> Deferred[object]:
        protocol = self._connection.protocol
        if protocol is None:
            return fail(self._connection.unavailable_error())
        words = (*command.upper().split(' '), *args)
        if _is_unsupported(words):
            return fail(RedisError(f'{words[0]} needs a connection of its own'))
        reply: Deferred[object] = protocol.send_command(*words)
        return reply

    def _batch(
        self, commands: Sequence[Sequence[object]], *, in_transaction: bool = False
    ) -> Deferred[list[object]]:
        protocol = self._connection.protocol
        if protocol is None:
            return fail(self._connection.unavailable_error())
        if not commands:
            return succeed([])
        for words in commands:
            if _is_unsupported(words):
                return fail(RedisError(f'{words[0]} needs a connection of its own'))
        # One write is executed without interruption by this connection's other commands, so MULTI cannot capture them.
        words_of_all = [('MULTI',), *commands, ('EXEC',)] if in_transaction else commands
        replies: Deferred[list[object]] = protocol.send_commands(words_of_all)
        return replies

    def _transaction_replies(self, replies: list[object]) -> list[object]:
        """Return the replies within that of EXEC. Raises the error of a command that prevented the execution."""
        *queued, executed = replies
        if not isinstance(executed, list):
            errors = [reply for reply in (*queued, executed) if isinstance(reply, Exception)]
            raise errors[0] if errors else RedisError('the transaction was not executed')
        server = str(self.address)
        return [make_reply_error(str(one), server) if isinstance(one, Exception) else one for one in executed]

    def fetch_info(self) -> Deferred[ServerInfo]:
        """Fetch the server's current INFO. Fails as `execute` does."""
        return self.execute('INFO').addCallback(self._parse_info)

    async def _prepare_connection(self, protocol: Any) -> None:
        await self._check_server(protocol)
        if self._prepare is not None:
            await self._prepare(protocol)

    async def _check_server(self, protocol: Any) -> None:
        self.connections += 1
        try:
            reply = await protocol.send_command('INFO')
        except RedisError as error:
            self.connection_log.log_warning(
                f'{self.address} does not answer INFO, so its settings are not checked: {error}'
            )
            return
        info = self._parse_info(reply)
        if problem := unsupported_server_reason(info):
            raise UnusableServerError(problem)
        for sentence in server_configuration_warnings(info, str(self.address)):
            self.connection_log.log_warning(sentence)

    def _parse_info(self, info: object) -> ServerInfo:
        self.last_info = server_info = parse_info(str(info))
        return server_info

    def _refresh_info(self) -> None:
        if self._connection.protocol is not None:
            # The connection handles errors itself.
            self.fetch_info().addErrback(lambda _: None)


def _is_unsupported(words: Sequence[object]) -> bool:
    """Return whether a command would change or block the shared connection."""
    name = str(words[0]).upper()
    if name in _MAY_BLOCK:
        return any(_upper(word) == 'BLOCK' for word in words)
    if name == 'CLIENT':
        return len(words) > 1 and _upper(words[1]) in _CLIENT_SUBCOMMANDS
    return name in _UNSUPPORTED


def _upper(word: object) -> str:
    return word.upper() if isinstance(word, str) else word.upper().decode('latin-1') if isinstance(word, bytes) else ''


@implementer(IScriptRunner)
class ScriptRunner:
    """Implements IScriptRunner over the shared connection, with a timeout for each step."""

    def __init__(self, client: ICommands) -> None:
        self._client = client

    def run(self, script: LuaScript, keys: Sequence[str], args: Sequence[object] = ()) -> Deferred[Any]:
        """See IScripts."""
        words = (len(keys), *keys, *args)
        reply: Deferred[Any] = self._client.execute('EVALSHA', script.sha, *words)

        def load_script(failure: Any) -> Any:
            failure.trap(RedisError)
            if failure.value.code != 'NOSCRIPT':
                return failure
            # The script was not run. EVAL runs it and caches it for the next time.
            return self._client.execute('EVAL', script.text, *words)

        return reply.addErrback(load_script)
