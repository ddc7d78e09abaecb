"""The Redis client on a real server that freezes, dies and restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from trial_tests.support.reactor import reactor
from trial_tests.support.valkey import Valkey
from zatotx.interfaces.redis import ICommands, RedisError
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis import reconnecting_connection
from zatotx.redis.client import RedisClient
from zatotx.redis.connector import connect_to_address
from zatotx.redis.reconnecting_connection import ConnectionState
from zatotx.redis.redis_url import parse_redis_url
from zatotx.redis.txredisapi_adapter import make_protocol


def made(url: str, directory: Path) -> RedisClient:
    """Create a client for a URL."""
    return RedisClient(reactor, parse_redis_url(url, directory))


class RedisClientTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.server = Valkey()
        self.addCleanup(self.server.close)
        self.server.start()

    def client(self, timeout: float = 20.0) -> RedisClient:
        client = RedisClient(reactor, self.server.address, timeout=timeout)
        client.startService()
        self.addCleanup(client.stopService)
        return client

    async def within(self, seconds: float, awaited: Deferred[Any]) -> Any:
        return await awaited.addTimeout(seconds, reactor)

    async def test_commands(self) -> None:
        """Strings are returned as written, also digits; integers as int, nil as None."""
        client = self.client()
        await client.wait_connected()
        verifyObject(ICommands, client)
        self.assertEqual(await client.execute('SET', 'greeting', 'zażółć'), 'OK')
        self.assertEqual(await client.execute('GET', 'greeting'), 'zażółć')
        await client.execute('SET', 'number', '007')
        self.assertEqual(await client.execute('GET', 'number'), '007')
        self.assertEqual(await client.execute('INCR', 'counter'), 1)
        self.assertIsNone(await client.execute('GET', 'nobody'))
        await client.execute('SET', 'raw', b'\xff\xfe')
        self.assertEqual(await client.execute('GET', 'raw'), b'\xff\xfe')
        self.assertEqual(await client.execute('config get', 'appendonly'), ['appendonly', 'yes'])

    async def test_refusals(self) -> None:
        """A rejected command fails with Redis's message, and the connection remains usable."""
        client = self.client()
        await client.wait_connected()
        await client.execute('SET', 'text', 'abc')
        with self.assertRaisesRegex(RedisError, 'not an integer'):
            await client.execute('INCR', 'text')
        self.assertEqual(await client.execute('GET', 'text'), 'abc')

    async def test_shared_connection(self) -> None:
        """A command that would block or change the shared connection is rejected before it is sent."""
        client = self.client()
        await client.wait_connected()
        for words in (('BLPOP', 'q', '0'), ('subscribe', 'c'), ('SELECT', '3'), ('XREAD', 'BLOCK', '0', 'STREAMS')):
            with self.assertRaisesRegex(RedisError, 'connection of its own'):
                await client.execute(*words)

    async def test_deadline(self) -> None:
        """With a frozen Redis, each command fails with a Timeout that names it but not its arguments; further commands
        fail at once, and everything works again once it continues."""
        client = self.client(timeout=1.5)
        await client.wait_connected()
        self.server.freeze()
        began = reactor.seconds()
        with self.assertRaises(Timeout) as caught:
            await self.within(60, client.execute('SET', 'secret', 'hunter2'))
        self.assertLess(reactor.seconds() - began, 30)
        self.assertIn(str(self.server.path), str(caught.exception))
        self.assertIn('did not reply to SET within 1.5 s', str(caught.exception))
        self.assertNotIn('hunter2', str(caught.exception))
        with self.assertRaisesRegex(ServiceUnavailable, 'did not reply'):
            await client.execute('GET', 'secret')
        self.assertIn('did not reply', client.problem)
        self.server.thaw()
        await self.within(60, client.wait_connected())
        self.assertEqual(await client.execute('SET', 'secret', 'again'), 'OK')

    async def test_deadline_outlives_the_caller(self) -> None:
        """A caller that cancels early does not prevent a frozen connection from being detected."""
        client = self.client(timeout=0.3)
        await client.wait_connected()
        self.server.freeze()
        waiting = client.execute('GET', 'x')
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        while client.state is ConnectionState.CONNECTED:
            await deferLater(reactor, 0.01)
        self.server.thaw()

    async def test_killed_and_restarted(self) -> None:
        """After kill -9, pending commands fail with ServiceUnavailable and later ones at once; after the restart the
        client reconnects and the data is there."""
        client = self.client()
        await client.wait_connected()
        await client.execute('SET', 'kept', 'yes')
        self.server.freeze()
        waiting = client.execute('GET', 'kept')
        self.server.kill()
        with self.assertRaisesRegex(ServiceUnavailable, 'was lost before it replied'):
            await self.within(60, waiting)
        failing = client.execute('GET', 'kept')
        self.failureResultOf(failing, ServiceUnavailable)
        self.server.start()
        await self.within(60, client.wait_connected())
        self.assertEqual(await client.execute('GET', 'kept'), 'yes')

    async def test_not_there_yet(self) -> None:
        """Before the server runs, commands fail with a message about it; the client need not be restarted."""
        self.server.kill()
        client = self.client()
        with self.assertRaisesRegex(ServiceUnavailable, 'Redis at unix:.* is unavailable'):
            await client.execute('PING')
        self.server.start()
        await self.within(60, client.wait_connected())

    async def test_cancelled_while_connecting(self) -> None:
        """Cancelling while connecting fails with CancelledError."""
        connecting = Deferred.fromCoroutine(
            connect_to_address(reactor, self.server.address, make_protocol(reactor, 'Redis', 2), 2)
        )
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)

    async def test_stop(self) -> None:
        """Stopping closes the connection and fails those who wait for one."""
        client = self.client()
        await client.wait_connected()
        await client.stopService()
        self.assertIs(client.state, ConnectionState.STOPPED)
        waiting = client.wait_connected()
        client.startService()
        await waiting
        await client.stopService()
        self.server.kill()
        client.startService()
        waiting = client.wait_connected()
        await client.stopService()
        with self.assertRaises(ServiceUnavailable):
            await waiting


class RedisLoginTests(TestCase):
    timeout = 120

    async def test_password(self) -> None:
        """The URL's password is used; the error about a wrong one does not contain it."""
        server = Valkey('--requirepass', 'right one')
        self.addCleanup(server.close)
        server.start()
        right = made(f'{server.url}?password=right%20one&db=3', server.directory)
        right.startService()
        self.addCleanup(right.stopService)
        await right.wait_connected()
        self.assertIn('db=3', str(await right.execute('CLIENT INFO')))
        wrong = made(f'{server.url}?password=wr0ng', server.directory)
        wrong.startService()
        self.addCleanup(wrong.stopService)
        while 'it rejected the connection: WRONGPASS' not in wrong.problem:
            await deferLater(reactor, 0.01)
        self.assertNotIn('wr0ng', wrong.problem + repr(wrong.address) + str(wrong.address))

    async def test_stopped_when_it_was_refused(self) -> None:
        """Stopping right after a rejected login leaves nothing that would reconnect."""
        server = Valkey('--requirepass', 'right one')
        self.addCleanup(server.close)
        server.start()
        client = made(f'{server.url}?password=wr0ng', server.directory)
        stopped: Deferred[None] = Deferred()
        pauses: list[Deferred[None]] = []

        def pause(clock: Any, seconds: float) -> Deferred[None]:
            pauses.append(deferLater(clock, seconds))
            reactor.callLater(0, lambda: client.stopService().chainDeferred(stopped)).delay(-1)  # before it has ended
            return pauses[-1]

        self.patch(reconnecting_connection, 'deferLater', pause)
        client.startService()
        await stopped
        self.assertTrue(pauses[0].called)
        self.assertIs(client.state, ConnectionState.STOPPED)

    async def test_long_path(self) -> None:
        """A socket whose path is longer than the kernel allows can be used."""
        base = Valkey()
        self.addCleanup(base.close)
        deep = base.directory / ('d' * 60) / ('e' * 60)
        deep.mkdir(parents=True)
        server = Valkey(directory=deep)
        self.addCleanup(server.close)
        server.start()
        self.assertGreater(len(str(server.path)), 108)
        client = made(f'unix://{"d" * 60}/{"e" * 60}/redis.sock', base.directory)
        client.startService()
        self.addCleanup(client.stopService)
        await client.wait_connected()
        self.assertEqual(await client.execute('PING'), 'PONG')
