"""Implements `self.kvdb`, which provides Redis commands under the method names of redis-py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from hashlib import sha1
from typing import Any, Self

from zatotx.interfaces.redis import RedisError
from zatotx.interfaces.service_redis import IServiceCommands
from zatotx.rules.redis.redis_py_methods import METHODS, Convert, RedisPyMethod, Words
from zatotx.schema.name_suggestion import suggest_similar_name
from zatotx.service.redis_coroutine_runner import RedisCoroutineRunner

_SCANS = {'scan_iter': 'scan', 'hscan_iter': 'hscan', 'sscan_iter': 'sscan', 'zscan_iter': 'zscan'}


class RedisMethods:
    """The Redis methods of one service invocation. In async services they return awaitables: `await
    self.kvdb.get('key')`. In synchronous services, `self.kvdb.get('key')` and Zato's form `self.kvdb.conn.get('key')`
    return the result.

    Keys are used as they are. Those that begin with `zatotx:` belong to the cluster and are rejected. Strings are
    returned as `str`, or `bytes` if they are not UTF-8. Raises Timeout and ServiceUnavailable naming Redis, RedisError
    with its message if Redis rejects a command, and CommandRefusedError for one that is not available to services.
    """

    def __init__(self, service: Any) -> None:
        self._access = RedisCoroutineRunner(service._zatotx)

    @property
    def conn(self) -> Self:
        """The same object, for `self.kvdb.conn` as in Zato."""
        return self

    def execute(self, command: str, *args: object) -> Any:
        """Execute a command that has no method here, e.g. `execute('LPOS', 'list', 'value')`."""
        return self._call((*command.split(' '), *args), _same)

    def pipeline(self, transaction: bool = True) -> RedisPipeline:
        """Return a pipeline: commands that are sent together by its `execute`, by default as one transaction."""
        return RedisPipeline(self._access, transaction)

    def register_script(self, script: str) -> Callable[..., Any]:
        """Return a function that runs a Lua script: `function(keys=[…], args=[…])`. Redis caches its text."""
        digest = sha1(script.encode(), usedforsecurity=False).hexdigest()  # identifies the script in Redis

        async def run(words: Sequence[object]) -> Any:
            commands = self._commands
            try:
                return await commands.execute('EVALSHA', digest, *words)
            except RedisError as error:
                if error.code != 'NOSCRIPT':
                    raise
            return await commands.execute('EVAL', script, *words)

        def call(keys: Sequence[object] = (), args: Sequence[object] = ()) -> Any:
            words = (len(keys), *keys, *args)
            return self._access.run(lambda: run(words))

        return call

    def execute_fenced(self, lease: Any, commands: Sequence[Sequence[object]]) -> Any:
        """Execute commands atomically on behalf of the holder of a lock; returns their results.

        `lease` is what `async with self.lock(…) as lease` gives. Raises Conflict, and writes nothing, if a later holder
        of the lock has written: the lock expired while this service was paused.
        """

        async def run() -> Any:
            return await self._commands.execute_fenced(lease.name, lease.token, commands)

        return self._access.run(run)

    def __getattr__(self, name: str) -> Any:
        if name in _SCANS:
            return _scanner(self, _SCANS[name])
        suggestion = suggest_similar_name(name, METHODS)
        raise AttributeError(f'self.kvdb has no method {name!r}{suggestion}; self.kvdb.execute runs other commands')

    @property
    def _commands(self) -> IServiceCommands:
        return self._access.redis.commands

    def _call(self, words: Words, convert: Convert) -> Any:
        commands = self._commands

        async def call() -> Any:
            return convert(await commands.execute(str(words[0]), *words[1:]))

        return self._access.run(call)


class RedisPipeline:
    """Redis commands that are sent together. Each method returns the pipeline, and `execute` returns the list of
    results."""

    def __init__(self, access: RedisCoroutineRunner, transaction: bool) -> None:
        self._access = access
        self._is_transaction = transaction
        self._queued: list[tuple[Words, Convert]] = []

    def __len__(self) -> int:
        return len(self._queued)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.reset()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.reset()

    def reset(self) -> None:
        """Drop the queued commands."""
        self._queued = []

    def execute_command(self, command: str, *args: object) -> Self:
        """Queue a command that has no method here."""
        self._queued.append(((*command.split(' '), *args), _same))
        return self

    def execute(self, raise_on_error: bool = True) -> Any:
        """Send the queued commands, and return their results in order.

        Raises the first error, after all other commands were executed; with `raise_on_error=False`, errors are among
        the results instead. In a transaction, commands that Redis rejects for their form prevent its execution.
        """
        queued, self._queued = self._queued, []
        commands = self._access.redis.commands

        async def send() -> list[Any]:
            execute = commands.execute_transaction if self._is_transaction else commands.execute_batch
            replies = await execute([words for words, _ in queued])
            if raise_on_error:
                for reply in replies:
                    if isinstance(reply, Exception):
                        raise reply
            return [
                reply if isinstance(reply, Exception) else convert(reply)
                for reply, (_, convert) in zip(replies, queued, strict=True)
            ]

        return self._access.run(send)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f'A pipeline of self.kvdb has no method {name!r}{suggest_similar_name(name, METHODS)}')


def _same(reply: Any) -> Any:
    return reply


def _scanner(kvdb: RedisMethods, name: str) -> Callable[..., Any]:
    """Return `scan_iter` and similar: an asynchronous iterator in async services, a plain one in `def` services."""

    def iterate(*args: Any, **options: Any) -> Any:
        def page(cursor: int) -> Any:
            return getattr(kvdb, name)(*args, cursor=cursor, **options)

        return _pages_async(page) if kvdb._access.is_on_reactor else _pages(page)

    return iterate


def _items(page: Any) -> Any:
    return page.items() if isinstance(page, dict) else page


async def _pages_async(page: Callable[[int], Any]) -> AsyncIterator[Any]:
    cursor, items = await page(0)
    for item in _items(items):
        yield item
    while cursor:
        cursor, items = await page(cursor)
        for item in _items(items):
            yield item


def _pages(page: Callable[[int], Any]) -> Iterator[Any]:
    cursor, items = page(0)
    yield from _items(items)
    while cursor:
        cursor, items = page(cursor)
        yield from _items(items)


def _command_method(method: RedisPyMethod) -> Callable[..., Any]:
    def call(self: RedisMethods, *args: Any, **kwargs: Any) -> Any:
        return self._call(*method.build(*args, **kwargs))

    call.__name__, call.__doc__ = method.name, f'See redis-py: {method.name}.'
    return call


def _queueing_method(method: RedisPyMethod) -> Callable[..., RedisPipeline]:
    def queue(self: RedisPipeline, *args: Any, **kwargs: Any) -> RedisPipeline:
        self._queued.append(method.build(*args, **kwargs))
        return self

    queue.__name__, queue.__doc__ = method.name, f'Queue redis-py\'s {method.name}.'
    return queue


for _method in METHODS.values():
    setattr(RedisMethods, _method.name, _command_method(_method))
    setattr(RedisPipeline, _method.name, _queueing_method(_method))
