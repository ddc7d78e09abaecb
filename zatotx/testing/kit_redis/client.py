"""The client of an in-memory Redis, with the same interfaces as zatotx.redis.client.RedisClient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from zatotx.interfaces.redis import ICommands, IPipelinedCommands, ITransactions, RedisError, RedisNotReady
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.testing.kit_redis import collection_commands, key_and_server_commands, sorted_set_commands, string_commands
from zatotx.testing.kit_redis.keyspace import Keyspace, to_bytes, to_text

_COMMANDS: dict[str, Callable[..., Any]] = {
    **string_commands.COMMANDS,
    **key_and_server_commands.COMMANDS,
    **collection_commands.COMMANDS,
    **sorted_set_commands.COMMANDS,
}


@implementer(ICommands, IPipelinedCommands, ITransactions)
@define(slots=False, eq=False)
class MemoryRedis:
    """An in-memory Redis without Lua scripts. `fail_with` makes all commands fail, to simulate an outage."""

    clock: Any  # seconds(): expiry times pass with it
    now: Callable[[], float] | None = None  # Unix time, for TIME and EXPIREAT; the clock's time by default
    published: list[tuple[str, str]] = field(factory=list)  # channel and message of each PUBLISH
    error: Exception | None = None
    on_wipe: list[Callable[[], None]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._space = Keyspace(self.clock, self.now or self.clock.seconds)

    def fail_with(self, error: Timeout | ServiceUnavailable | RedisNotReady | None) -> None:
        """Make each further command fail with this error; None ends the outage."""
        self.error = error

    def wipe(self) -> None:
        """Delete all data, as FLUSHALL."""
        self._space.entries.clear()
        for wipe in self.on_wipe:
            wipe()

    def execute(self, command: str, *args: object) -> Deferred[object]:
        """See ICommands."""
        if self.error is not None:
            return fail(self.error)
        try:
            return succeed(self._run((*command.split(' '), *args)))
        except (RedisError, TypeError) as error:
            return fail(error)

    def execute_batch(self, commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        """See IPipelinedCommands."""
        return fail(self.error) if self.error is not None else self._replies(commands)

    def execute_transaction(self, commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        """See ITransactions."""
        if self.error is not None:
            return fail(self.error)
        for words in commands:
            try:
                self._find(words)
            except (RedisError, TypeError) as error:
                return fail(error)
        return self._replies(commands)

    def _replies(self, commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        replies: list[object] = []
        for words in commands:
            try:
                replies.append(self._run(words))
            except RedisError as error:
                replies.append(error)
            except TypeError as error:
                return fail(error)
        return succeed(replies)

    def _run(self, words: Sequence[object]) -> object:
        return _decode(self._find(words)())

    def _find(self, words: Sequence[object]) -> Callable[[], Any]:
        """Return a command with its arguments. Raises RedisError for an unknown one or wrong arguments."""
        name, *args = map(_encode, words)
        if name.upper() == 'PUBLISH' and len(args) == 2:
            return lambda: self._publish(*args)
        command = _COMMANDS.get(name.upper())
        if command is None:
            raise RedisError(f"unknown command '{name}' of a Redis in memory: such tests need a real Redis")
        try:
            signature(command).bind(self._space, *args)
        except TypeError:
            raise RedisError(f"wrong number of arguments for '{name.lower()}' command") from None
        return lambda: command(self._space, *args)

    def _publish(self, channel: str, message: str) -> int:
        self.published.append((channel, message))
        return 0


def _encode(word: object) -> str:
    if isinstance(word, bytes):
        return to_text(word)
    if isinstance(word, bool) or not isinstance(word, (str, int, float)):
        raise TypeError('A tuple item must be str, int, float or bytes.')
    return word if isinstance(word, str) else repr(word)


def _decode(reply: Any) -> Any:
    if isinstance(reply, list):
        return [_decode(one) for one in reply]
    if isinstance(reply, str):
        try:
            reply.encode('utf-8')
        except UnicodeEncodeError:
            return to_bytes(reply)
    return reply
