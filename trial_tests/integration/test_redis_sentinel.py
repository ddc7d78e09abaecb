"""Redis with Sentinel: the master is found, checked and followed, on real servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from trial_tests.support.ports import free_port
from trial_tests.support.reactor import reactor
from trial_tests.support.sentinel import PASSWORD, SENTINEL_PASSWORD, Watched
from zatotx.model.errors import ServiceError, ServiceUnavailable
from zatotx.redis.client import RedisClient
from zatotx.redis.cluster_announcements import RedisPubSub
from zatotx.redis.redis_url import RedisAddress, parse_redis_url
from zatotx.redis.sync_probe import probe_redis


class SentinelTests(TestCase):
    timeout = 240

    def setUp(self) -> None:
        self.watched = Watched()
        self.addCleanup(self.watched.close)
        self.watched.start()

    def address(self, *, master: str = 'leader', password: str = SENTINEL_PASSWORD, hosts: str = '') -> RedisAddress:
        data, sentinel = quote(PASSWORD), quote(password)
        hosts = hosts or f'127.0.0.1:{self.watched.port}'
        url = f'redis+sentinel://:{data}@{hosts}/{master}/0?sentinel_password={sentinel}'
        return parse_redis_url(url, Path('/env'))

    def starting(self, address: RedisAddress) -> RedisClient:
        client = RedisClient(reactor, address, timeout=10)
        client.startService()
        self.addCleanup(client.stopService)
        return client

    async def got(self, waiting: Deferred[Any]) -> Any:
        return await waiting.addTimeout(60, reactor)

    async def set_somehow(self, client: RedisClient, key: str) -> None:
        """Retry a SET until a master accepts it."""
        for _ in range(3000):
            try:
                await client.execute('SET', key, 'here')
            except ServiceError:
                await deferLater(reactor, 0.02)
            else:
                return
        self.fail(client.problem)

    async def test_found(self) -> None:
        """The sentinels are queried, also after one that is missing, and the command line finds the master, too."""
        address = self.address(hosts=f'127.0.0.1:{free_port()},127.0.0.1:{self.watched.port}')
        client = self.starting(address)
        await self.got(client.wait_connected())
        self.assertEqual(str(await client.execute('CONFIG GET', 'port')), f"['port', '{self.watched.first.port}']")
        self.assertEqual(probe_redis(address).role, 'master')

    async def test_master_dies(self) -> None:
        """After kill -9 of the master, commands and announcements continue with its successor."""
        client = self.starting(self.address())
        bus = RedisPubSub(reactor, client.address, client, cluster='c', timeout=10)
        bus.startService()
        self.addCleanup(bus.stopService)
        heard: list[str] = []
        bus.subscribe('config', heard.append)
        await self.got(client.wait_connected())
        self.watched.first.kill()
        await self.set_somehow(client, 'after')
        self.assertEqual(client.last_info and client.last_info.role, 'master')
        await self.got(bus.wait_connected())
        for _ in range(3000):
            if heard:
                break
            await client.execute('PUBLISH', 'zatotx:c:topic:config', 'again')
            await deferLater(reactor, 0.02)
        self.assertEqual(heard[0], 'again')
        self.assertIn(b'here', self.watched.second.command('AUTH', PASSWORD, then=('GET', 'after')))

    async def test_master_moves(self) -> None:
        """After a manual failover, the client leaves the old master, which continues as a replica."""
        client = self.starting(self.address())
        await self.got(client.wait_connected())
        self.watched.fail_over()
        for _ in range(3000):
            await deferLater(reactor, 0.02)
            try:
                port: Any = await client.execute('CONFIG GET', 'port')
            except ServiceError:
                continue
            if port[1] == str(self.watched.second.port):
                break
        await self.set_somehow(client, 'after')

    async def test_a_replica_named_master(self) -> None:
        """A server that a sentinel wrongly names as master is not used."""
        self.watched.stop_sentinel()
        config = self.watched.first.directory / 'sentinel.conf'
        ports = [str(server.port) for server in (self.watched.first, self.watched.second)]
        lines = [line for line in config.read_text().splitlines() if 'known-replica' not in line]
        config.write_text('\n'.join(lines).replace(f'127.0.0.1 {ports[0]} 1', f'127.0.0.1 {ports[1]} 1') + '\n')
        self.watched.start_sentinel()
        client = self.starting(self.address())
        for _ in range(3000):
            if 'name as master is not a master' in client.problem:
                break
            await deferLater(reactor, 0.02)
        self.assertIn('name as master is not a master', client.problem)

    async def test_sentinels_away(self) -> None:
        """The sentinels may be unavailable while the master is there; a client that starts then reports each sentinel's
        error without passwords."""
        client = self.starting(self.address())
        await self.got(client.wait_connected())
        self.watched.stop_sentinel()
        await deferLater(reactor, 2.5)
        self.assertEqual(await client.execute('SET', 'a', 'b'), 'OK')
        later = self.starting(self.address(hosts=f'127.0.0.1:{self.watched.port},127.0.0.1:1'))
        for words in ('no sentinel names the master', f'127.0.0.1:{self.watched.port}: ', '; 127.0.0.1:1: '):
            await self.shows(later, words)
        with self.assertRaisesRegex(ServiceUnavailable, "Redis master 'leader' of .* is unavailable: no sentinel"):
            await later.execute('PING')
        with self.assertRaises(ServiceUnavailable):
            probe_redis(self.address())
        self.watched.start_sentinel()
        await self.got(later.wait_connected())

    async def test_wrong(self) -> None:
        """An unknown master and a rejected password are reported in a sentence each."""
        await self.shows(self.starting(self.address(master='nobody')), 'it knows no master of that name')
        await self.shows(self.starting(self.address(password='wr0ng')), 'WRONGPASS')
        with self.assertRaisesRegex(ServiceUnavailable, 'knows no master of that name'):
            probe_redis(self.address(master='nobody'))

    async def shows(self, client: RedisClient, words: str) -> None:
        for _ in range(3000):
            if words in client.problem:
                break
            await deferLater(reactor, 0.02)
        self.assertIn(words, client.problem)
        self.assertNotIn('hunter2', client.problem)
        self.assertNotIn('wr0ng', client.problem)


class SentinelUrlTests(TestCase):
    def test_read(self) -> None:
        """Sentinels with and without ports, the master, a database, users of both, and TLS are parsed."""
        url = 'redis+sentinel://app:p%40ss@a,b:7,[::1]:8/my%20master/3?sentinel_username=s'
        address = parse_redis_url(url, Path('/e'))
        known = address.sentinels
        assert known is not None
        self.assertEqual(known.hosts, (('a', 26379), ('b', 7), ('::1', 8)))
        self.assertEqual((known.master, known.username, address.db, address.password), ('my master', 's', 3, 'p@ss'))
        self.assertEqual(str(address), "Redis master 'my master' of a:26379,b:7,[::1]:8, db 3")
        self.assertEqual(str(address.at_server('h', 1)), 'Redis at h:1, db 3')
        secure = parse_redis_url('rediss+sentinel://a/m?ca=x.pem', Path('/e'))
        self.assertEqual(secure.sentinel_address('a', 1).tls, secure.tls)
        self.assertNotIn('secret', repr(parse_redis_url('redis+sentinel://a/m?sentinel_password=secret', Path('/e'))))
