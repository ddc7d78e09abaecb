"""Parts on a real Redis, for tests."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import hiredis
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from trial_tests.support.reactor import reactor
from trial_tests.support.valkey import Valkey
from zatotx.model.errors import ServiceUnavailable
from zatotx.model.errors import Timeout as FaultTimeout
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.redis_url import RedisAddress

KEYS = RedisKeys('c1')


def spoken(path: Path, *words: object) -> Any:
    """What the Redis at a socket says to one command, texts as `str`, asked in a blocking way."""
    reader, pack = hiredis.Reader(encoding='utf-8'), cast(Callable[[object], bytes], hiredis.pack_command)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(pack(words))
        while (answer := reader.gets()) is False:
            reader.feed(connection.recv(65_536))
    return answer


class RedisCase(TestCase):
    """A server a test, and clients that are stopped at its end."""

    timeout = 120
    options: tuple[str, ...] = ()  # of valkey-server

    def setUp(self) -> None:
        self.server = Valkey(*self.options)
        self.addCleanup(self.server.close)
        self.server.start()

    async def client(self, address: RedisAddress | None = None, *, timeout: float = 5.0, name: str = '') -> RedisClient:
        """One that is connected."""
        client = self.starting(address, timeout=timeout, name=name)
        await self.got(client.wait_connected())
        return client

    def starting(self, address: RedisAddress | None = None, *, timeout: float = 5.0, name: str = '') -> RedisClient:
        """One that connects, or tries to."""
        client = RedisClient(reactor, address or self.server.address, timeout=timeout, name=name)
        client.startService()
        self.addCleanup(client.stopService)
        return client

    async def scripts(self) -> ScriptRunner:
        """Of a client of its own."""
        return ScriptRunner(await self.client())

    async def restarted(self, *clients: RedisClient) -> None:
        """kill -9 and a new start, until these clients are there again."""
        self.server.kill()
        await self.until(lambda: all(client.problem for client in clients), 'the loss')
        self.server.start()
        for client in clients:
            await self.got(client.wait_connected())

    async def got(self, waiting: Deferred[Any], within: float = 50.0) -> Any:
        """What comes, within a time that only a broken part needs."""
        return await waiting.addTimeout(within, reactor)

    async def answered(self, client: RedisClient, *words: str) -> Any:
        """What Redis says to a command, sent again where a busy machine let the client's short deadline pass."""
        end = reactor.seconds() + 50
        while True:
            try:
                await self.got(client.wait_connected())
                return await client.execute(*words)
            except (ServiceUnavailable, FaultTimeout):
                self.assertLess(reactor.seconds(), end, words)
                await self.later(0.02)

    async def later(self, seconds: float) -> None:
        """So much time passes."""
        await deferLater(reactor, seconds)

    async def until(self, found: Any, what: str, within: float = 50.0) -> Any:
        """What `found` gives once it gives something true."""
        end = reactor.seconds() + within
        while not (value := found()):
            self.assertLess(reactor.seconds(), end, f'{what}: not within {within:g} s')
            await deferLater(reactor, 0.01)
        return value
