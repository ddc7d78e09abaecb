"""A Redis that is slow, flapping, full, loading, unable to write, or not Redis: errors name the problem, nothing is
executed twice, and everything works again afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from trial_tests.support.proxy import Proxy
from trial_tests.support.reactor import reactor
from trial_tests.support.redis import KEYS, RedisCase
from trial_tests.support.valkey import Valkey
from zatotx.interfaces.redis import RedisError, RedisNotReady
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis import txredisapi_adapter as pending_commands
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.cluster_announcements import RedisPubSub
from zatotx.redis.error_conversion import describe_error, make_reply_error, make_timeout_error
from zatotx.redis.fencing import FencedWriter
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.lease_store import RedisLeaseBackend
from zatotx.redis.leases import LeaseStore
from zatotx.redis.reconnecting_connection import ConnectionLog
from zatotx.redis.redis_url import RedisAddress
from zatotx.redis.server_info import parse_info, server_configuration_warnings, unsupported_server_reason
from zatotx.redis.txredisapi_adapter import PendingCommands
from zatotx.redis.work_queues import RedisStream, StreamConsumer
from zatotx.testing.memory_redis_components import EpochSequence


class ProxyCase(RedisCase):
    """The server is reached through a proxy that disturbs the connection."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = Proxy(self.server.path)
        self.addCleanup(self.proxy.close)
        self.address = RedisAddress(host='127.0.0.1', port=self.proxy.port)

    async def bus(self, client: RedisClient, timeout: float = 5.0) -> RedisPubSub:
        bus = RedisPubSub(reactor, self.address, client, cluster='c', timeout=timeout)
        bus.startService()
        self.addCleanup(bus.stopService)
        await self.got(bus.wait_connected())
        return bus


class SlowTests(ProxyCase):
    async def test_slow_but_in_time(self) -> None:
        """Commands over a slow connection succeed, and many at once take no longer than one."""
        self.proxy.delay = 0.1
        client = await self.client(self.address)
        answers = await self.got(DeferredList([client.execute('INCR', 'n') for _ in range(500)]))
        self.assertEqual([answer for _, answer in answers], list(range(1, 501)))

    async def test_too_slow(self) -> None:
        """A command beyond its deadline fails with a Timeout that names Redis and the command but not its arguments; it
        is executed at most once, and later replies are not taken for its own."""
        client = await self.client(self.address, timeout=0.5)
        self.proxy.delay = 1.5
        with self.assertRaisesRegex(Timeout, r'^Redis at 127\.0\.0\.1:\d+ did not reply to INCR within 0\.5 s$'):
            await self.got(client.execute('INCR', 'hunter2'))
        self.proxy.delay = 0.0
        self.assertEqual(await self.answered(client, 'SET', 'a', 'b'), 'OK')
        await self.later(2)
        self.assertIn(self.server.command('GET', 'hunter2'), (b'$-1\r\n', b'$1\r\n1\r\n'))

    async def test_narrow(self) -> None:
        """A big value over a narrow connection times out, and delays small ones no longer than a reconnect."""
        client = await self.client(self.address, timeout=0.5)
        self.proxy.rate = 100_000
        with self.assertRaises(Timeout):
            await self.got(client.execute('SET', 'big', 'x' * 10_000_000))
        self.assertEqual(await self.answered(client, 'SET', 'small', 'x'), 'OK')

    async def test_frozen_line(self) -> None:
        """A network that drops everything is detected by announcements and client within their deadlines, without
        commands, and both reconnect once it works."""
        client = await self.client(self.address, timeout=0.5)
        bus = await self.bus(client, timeout=0.5)
        self.proxy.freeze()
        await self.until(lambda: bus.problem, 'the loss')
        with self.assertRaises((Timeout, ServiceUnavailable)):
            await self.got(client.execute('PING'))
        self.proxy.thaw()
        await self.got(client.wait_connected())
        await self.got(bus.wait_connected())


class FlappingTests(ProxyCase):
    async def test_nothing_twice(self) -> None:
        """Over a connection that is cut every few commands, each command gets a reply or an error that names Redis;
        every acknowledged one was executed, none twice."""
        self.proxy.cut_every = 400
        client = self.starting(self.address, timeout=5)
        done, failed = 0, 0
        for _ in range(60):
            await self.got(client.wait_connected())
            try:
                await self.got(client.execute('INCR', 'n'))
            except ServiceUnavailable as error:
                self.assertIn('Redis at 127.0.0.1', str(error))
                failed += 1
            else:
                done += 1
            await self.later(0.005)
        count = int(self.server.command('GET', 'n').split(b'\r\n')[1])
        self.assertTrue(done <= count <= done + failed, (done, count, failed))
        self.assertTrue(done and failed, (done, failed))
        self.assertGreater(self.proxy.accepted, 3)

    async def test_subscriptions_come_back(self) -> None:
        """After each reconnect all topics are received again, each message once."""
        client = await self.client(self.address)
        bus = await self.bus(client)
        heard: list[str] = []
        for topic in ('one', 'two'):
            bus.subscribe(topic, heard.append)
        for number in range(3):
            before = self.proxy.accepted
            self.proxy.cut()
            await self.until(lambda: self.proxy.accepted >= before + 2, 'both connections again')  # noqa: B023
            await self.got(bus.wait_connected())
            for topic in ('one', 'two'):
                self.server.command('PUBLISH', RedisKeys('c').channel(topic), f'{topic} {number}')
                await self.until(lambda: len(heard) == 2 * number + (topic != 'one') + 1, 'a message')  # noqa: B023
        self.assertEqual(heard, [f'{topic} {number}' for number in range(3) for topic in ('one', 'two')])

    async def test_no_storm(self) -> None:
        """A server that disconnects at once is tried with growing delays, a few times per connection in some
        seconds."""
        client = await self.client(self.address)
        self.proxy.refuse()
        await self.until(lambda: client.problem, 'the loss')
        before = self.proxy.accepted
        await self.later(3)
        self.assertLess(self.proxy.accepted - before, 40)
        self.proxy.refuse(False)
        await self.got(client.wait_connected())

    async def test_one_voice(self) -> None:
        """A loss and the reconnect are logged once each, however many connections there are."""
        told: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event['log_namespace'].startswith('zatotx.redis'):
                told.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        voice = ConnectionLog(str(self.server.address))
        client = RedisClient(reactor, self.server.address, connection_log=voice)
        bus = RedisPubSub(reactor, self.server.address, client, cluster='c', connection_log=voice)
        parts: tuple[Any, ...] = (client, bus)
        for part in parts:
            part.startService()
            self.addCleanup(part.stopService)
            await self.got(part.wait_connected())
        self.server.kill()
        for part in parts:
            await self.until(lambda: part.problem, 'the loss')  # noqa: B023
        losses = [text for text in told if 'is unavailable' in text]
        self.assertEqual(len(losses), len(set(losses)))
        self.server.start()
        for part in parts:
            await self.got(part.wait_connected())
        self.assertEqual(told[0], f'{self.server.address} answers')
        self.assertLessEqual(sum(text.endswith('answers') for text in told), 3)


class UnableTests(RedisCase):
    """Redis replies, but cannot execute commands."""

    options = ('--enable-protected-configs', 'yes', '--enable-debug-command', 'yes')

    async def unable(self, waiting: Deferred[Any], code: str, words: str) -> None:
        with self.assertRaises(RedisNotReady) as caught:
            await self.got(waiting)
        self.assertEqual((caught.exception.code, caught.exception.status), (code, 503))
        self.assertIn(f'{self.server.address} cannot serve this now: {words} ({code} ', str(caught.exception))

    async def test_full(self) -> None:
        """OOM: writes fail, also in scripts and batches; reads work, and writes once there is memory."""
        client = await self.client()
        await client.execute('SET', 'a', 'x')
        await client.execute('CONFIG SET', 'maxmemory', '1')
        words = 'its memory is full (maxmemory) and it rejects writes'
        await self.unable(client.execute('SET', 'a', 'y'), 'OOM', words)
        await self.unable(client.execute('EVAL', "return redis.call('SET', KEYS[1], 'y')", 1, 'a'), 'OOM', words)
        value, refused = await client.execute_batch([('GET', 'a'), ('SET', 'a', 'y')])
        self.assertEqual(value, 'x')
        assert isinstance(refused, RedisNotReady)
        self.assertEqual(refused.code, 'OOM')
        await client.execute('CONFIG SET', 'maxmemory', '0')
        self.assertEqual(await client.execute('SET', 'a', 'z'), 'OK')

    async def test_replica(self) -> None:
        """READONLY: the write fails, and the client reconnects, since the master has moved."""
        client = await self.client()
        await client.execute('REPLICAOF', '127.0.0.1', '1')
        await self.unable(client.execute('SET', 'a', 'y'), 'READONLY', 'it is a replica, which rejects writes')
        self.assertIn('it is a replica now', client.problem)
        await self.got(client.wait_connected())
        self.assertIn('slave', str(await client.execute('ROLE')))
        await client.execute('REPLICAOF', 'NO', 'ONE')
        self.assertEqual(await client.execute('SET', 'a', 'z'), 'OK')

    async def test_disk(self) -> None:
        """MISCONF: a server that could not save rejects writes with the reason; everything else works."""
        client = await self.client()
        gone = self.server.directory / 'gone'
        gone.mkdir()
        await client.execute('CONFIG SET', 'appendonly', 'no')
        await client.execute('CONFIG SET', 'save', '3600 1')
        await client.execute('CONFIG SET', 'dir', str(gone))
        gone.rmdir()
        await client.execute('BGSAVE')
        await self.until_saved_badly(client)
        await self.unable(client.execute('SET', 'a', 'y'), 'MISCONF', 'it cannot save to its disk and rejects writes')
        self.assertIsNone(await client.execute('GET', 'a'))
        self.assertTrue((await client.fetch_info()).has_write_error)

    async def until_saved_badly(self, client: RedisClient) -> None:
        for _ in range(1000):
            if 'rdb_last_bgsave_status:err' in str(await client.execute('INFO', 'persistence')):
                return
            await self.later(0.01)
        self.fail('The snapshot did not fail')

    async def test_loading(self) -> None:
        """LOADING: a server that loads its data is not connected, with the reason; afterwards all data is there."""
        client = await self.client()
        await client.execute_batch([('SET', f'k{n}', 'x') for n in range(8000)])  # it looks up every 1024
        await client.stopService()
        self.server.kill()
        loading = Valkey('--key-load-delay', '400', directory=self.server.directory)
        self.addCleanup(loading.kill)
        loading.start()
        later = self.starting()
        await self.until(lambda: 'it is still loading its data (LOADING' in later.problem, 'a word of loading')
        with self.assertRaisesRegex(ServiceUnavailable, 'is unavailable: it is still loading its data'):
            await later.execute('GET', 'k1')
        await self.got(later.wait_connected(), 60)
        self.assertEqual(await later.execute('DBSIZE'), 8000)

    async def test_busy(self) -> None:
        """BUSY: while a script runs, other commands are rejected with the reason."""
        client, other = await self.client(), await self.client()
        await client.execute('CONFIG SET', 'busy-reply-threshold', '50')
        endless = client.execute('EVAL', 'while true do end', 0)
        endless.addErrback(lambda failure: failure.trap(RedisError))
        await self.later(0.3)
        await self.unable(other.execute('GET', 'a'), 'BUSY', 'it is busy running a script')
        await other.execute('SCRIPT', 'KILL')
        await self.got(endless)


class _Babble(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b'HTTP/1.1 400 Bad Request\r\n\r\n')


class _Babblers(ServerFactory):
    protocol = _Babble
    noisy = False


class NoRedisTests(RedisCase):
    async def test_another_protocol(self) -> None:
        """If the server is not Redis, the problem says so, and the client keeps retrying."""
        port: Any = reactor.listenTCP(0, _Babblers(), interface='127.0.0.1')
        self.addCleanup(port.stopListening)
        client = self.starting(RedisAddress(host='127.0.0.1', port=port.getHost().port))
        await self.until(lambda: 'it does not speak the Redis protocol' in client.problem, 'a word of it')
        await client.stopService()

    async def test_cluster(self) -> None:
        """Redis in cluster mode is rejected with a message about what to use."""
        clustered = Valkey('--cluster-enabled', 'yes')
        self.addCleanup(clustered.close)
        clustered.start()
        client = self.starting(clustered.address)
        await self.until(lambda: 'it runs in cluster mode, where' in client.problem, 'the refusal')
        self.assertEqual(
            client.last_info and unsupported_server_reason(client.last_info)[:24], 'it runs in cluster mode,'
        )


class PolicyTests(RedisCase):
    options = ('--maxmemory-policy', 'allkeys-lru', '--aclfile', 'users.acl')

    def setUp(self) -> None:
        self.server = Valkey(*self.options)
        self.addCleanup(self.server.close)
        (self.server.directory / 'users.acl').write_text(
            'user default on nopass ~* &* +@all\nuser app on >hunter2 ~zatotx:* &zatotx:* +@all -info -client\n'
        )
        self.server.start()

    async def test_warned_once(self) -> None:
        """A Redis that evicts keys is warned about once, also across reconnects."""
        told = Told(self.server.address)
        client = RedisClient(reactor, self.server.address, connection_log=told)
        client.startService()
        self.addCleanup(client.stopService)
        await self.got(client.wait_connected())
        await self.restarted(client)
        self.assertEqual(len(told.warned), 1, told.warned)
        self.assertIn('has maxmemory-policy allkeys-lru: when its memory is full it evicts keys', told.warned[0])

    async def test_a_user_with_few_rights(self) -> None:
        """A user without the rights to CLIENT SETNAME and INFO can be used; that nothing was checked is logged."""
        told = Told(self.server.address)
        address = RedisAddress(path=self.server.address.path, username='app', password='hunter2')
        client = RedisClient(reactor, address, connection_log=told, name='zatotx:c:server1')
        client.startService()
        self.addCleanup(client.stopService)
        await self.got(client.wait_connected())
        self.assertEqual(await client.execute('SET', 'zatotx:c:a', 'b'), 'OK')
        with self.assertRaisesRegex(RedisError, 'NOPERM'):
            await client.execute('SET', 'mine', 'b')
        self.assertIsNone(client.last_info)
        self.assertIn('does not answer INFO, so its settings are not checked: NOPERM', told.warned[0])

    async def test_the_rights_of_the_page(self) -> None:
        """The user described in docs/redis.md has all rights that a server needs, and none outside its cluster."""
        page = Path(__file__).resolve().parents[2] / 'docs' / 'redis.md'
        line = next(line for line in page.read_text('utf-8').splitlines() if line.startswith('user zatotx on'))
        words = line.replace('CLUSTER', 'c1').replace('PASSWORD', 'hunter2').split()[1:]
        admin = await self.client()
        await admin.execute('ACL SETUSER', *words)
        address = RedisAddress(path=self.server.address.path, username='zatotx', password='hunter2')
        client = await self.client(address, name='zatotx:c1:a')
        scripts = ScriptRunner(client)
        lease = await LeaseStore(reactor, RedisLeaseBackend(scripts, KEYS), EpochSequence()).acquire('a', ttl=60)
        await FencedWriter(scripts, KEYS).write('a', lease.token, [('SET', KEYS.key('x'), 'y')])
        await lease.release()
        stream = RedisStream(client, scripts, KEYS, 'work')
        consumer = StreamConsumer(reactor, address, stream, consumer='c')
        bus = RedisPubSub(reactor, address, client, cluster='c1')
        parts: tuple[Any, ...] = (consumer, bus)
        for part in parts:
            part.startService()
            self.addCleanup(part.stopService)
            await self.got(part.wait_connected())
        await stream.add({'a': 'b'})
        (entry,) = await consumer.read(1, 5)
        self.assertEqual(await consumer.claim(0), [evolve(entry, deliveries=2)])
        self.assertEqual((await stream.backlog()).pending, 1)
        self.assertEqual(await consumer.ack([entry.id]), 1)
        self.assertTrue(await stream.remove_consumer('c'))
        heard: list[str] = []
        bus.subscribe('config', heard.append)
        await self.later(0.1)
        await bus.publish('config', 'look')
        await self.until(lambda: heard, 'the word')
        self.assertEqual(client.last_info and client.last_info.role, 'master')
        for refused in ('SET mine x', 'PUBLISH zatotx:c2:topic:config x', 'FLUSHALL', 'CONFIG GET *', 'KEYS *'):
            with self.assertRaisesRegex(RedisError, 'NOPERM'):
                await client.execute(*refused.split())

    async def test_named(self) -> None:
        """CLIENT LIST shows the node and cluster of a connection."""
        name = RedisKeys('my cluster').connection_name('server 1')
        client = await self.client(name=name)
        self.assertIn(f'name={name} ', str(await client.execute('CLIENT LIST')))
        self.assertEqual(name, 'zatotx:my%20cluster:server%201')


class Told(ConnectionLog):
    """A connection log that records warnings."""

    def __init__(self, where: object) -> None:
        super().__init__(str(where))
        self.warned: list[str] = []

    def log_warning(self, sentence: str) -> None:
        if sentence not in self._warned:
            self.warned.append(sentence)
        super().log_warning(sentence)


class FactsTests(SynchronousTestCase):
    """Parsing of INFO."""

    def test_read(self) -> None:
        """Old and new versions of Valkey and Redis are parsed; invalid text is ignored."""
        valkey = parse_info('\r\n'.join((
            '# Server', 'redis_version:7.2.4', 'server_name:valkey', 'valkey_version:8.1.1', 'run_id:ab',
            'redis_mode:standalone', 'uptime_in_seconds:7', 'maxmemory_policy:noeviction', 'aof_enabled:1',
        )))
        self.assertEqual((valkey.product, valkey.version, valkey.redis_version), ('valkey', '8.1.1', (7, 2, 4)))
        self.assertEqual((valkey.run_id, valkey.uptime, valkey.is_append_only), ('ab', 7, True))
        self.assertEqual([*server_configuration_warnings(valkey, 'Redis'), unsupported_server_reason(valkey)], [''])
        self.assertEqual(parse_info('nonsense\nuptime_in_seconds:many\n').uptime, 0)
        self.assertEqual(list(server_configuration_warnings(parse_info(''), 'Redis')), [])

    def test_warned_of(self) -> None:
        """Each warning is a sentence that names Redis and what to do."""
        bad = parse_info('redis_version:5.0.7\nrole:slave\nmaxmemory_policy:volatile-ttl\naof_last_write_status:err\n')
        said = list(server_configuration_warnings(bad, 'Redis at h:1'))
        meant = ('noeviction', 'has version 5.0.7', 'a replica', 'could not write')
        for sentence, words in zip(said, meant, strict=True):
            self.assertTrue(sentence.startswith('Redis at h:1 '), sentence)
            self.assertIn(words, sentence)
        self.assertIn(
            'it is a sentinel: write redis+sentinel://', unsupported_server_reason(parse_info('redis_mode:sentinel'))
        )


class ClauseTests(SynchronousTestCase):
    def test_why(self) -> None:
        """Reasons continue the sentence «Redis at … is unavailable: » for users, without secrets and arguments."""
        where = 'Redis at h:1'
        for error, words in (
            (make_timeout_error(where, 'GET', 5), 'it did not reply to GET within 5 s'),
            (
                make_reply_error('LOADING Redis is loading the dataset in memory', where),
                'it is still loading its data (LOADING',
            ),
            (make_reply_error('ERR unknown command', where), 'it rejected the connection: unknown command'),
            (TimeoutError(), 'it did not reply within 5 s'),
            (ConnectionDone(), 'it closed the connection'),
            (ConnectionLost(), 'the connection was lost'),
            (FileNotFoundError(2, 'No such file or directory', '/run/redis.sock'), '/run/redis.sock: No such file'),
            (SSL.Error([('SSL routines', '', 'wrong version number')]), 'it does not speak TLS: write redis://'),
            (SSL.Error([('SSL routines', '', 'something new')]), 'TLS failed: '),
            (KeyError(), 'KeyError'),
        ):
            self.assertTrue(describe_error(error, 5).startswith(words), describe_error(error, 5))

    def test_codes(self) -> None:
        """The error code is the first word, if it is one."""
        self.assertEqual([RedisError(text).code for text in ('WRONGTYPE no', 'NOSCRIPT', 'value is', '')],
                         ['WRONGTYPE', 'NOSCRIPT', '', ''])


class PendingTests(SynchronousTestCase):
    """Exact deadlines and bounds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.late: list[str] = []
        self.pending = PendingCommands(self.clock, 5.0, self.late.append)

    def test_one_timer(self) -> None:
        """There is one timer, however many commands are pending, for the oldest one's deadline."""
        first = self.pending.add('GET', 10)
        self.clock.advance(3)
        for _ in range(100):
            self.pending.add('SET', 10)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.pending.deliver_reply('one')
        self.assertEqual(self.successResultOf(first), 'one')
        self.clock.advance(4.9)
        self.assertEqual(self.late, [])
        self.clock.advance(0.1)
        self.assertEqual(self.late, ['SET'])

    def test_patience(self) -> None:
        """A blocking command has additional time, and the next one its usual deadline."""
        waiting = self.pending.add('XREADGROUP', 10, extra_timeout=30)
        self.clock.advance(34)
        self.assertEqual(self.late, [])
        self.pending.deliver_reply(None)
        self.assertIsNone(self.successResultOf(waiting))
        self.pending.add('XREADGROUP', 10, extra_timeout=30)
        self.pending.deliver_reply(None)
        self.pending.add('XACK', 10)
        self.clock.advance(5)
        self.assertEqual(self.late, ['XACK'])

    def test_bounded(self) -> None:
        """The number and bytes of pending commands are bounded; a single big one is allowed."""
        self.assertFalse(self.pending.is_full(pending_commands.MAX_COMMAND_BYTES * 2))
        self.pending.add('SET', pending_commands.MAX_COMMAND_BYTES - 5)
        self.assertFalse(self.pending.is_full(5))
        self.assertTrue(self.pending.is_full(6))
        self.pending.deliver_reply('OK')
        self.pending.add('a batch', 10, count=pending_commands.MAX_COMMANDS)
        self.assertTrue(self.pending.is_full(1))

    def test_a_batch(self) -> None:
        """Errors are in their positions; the batch fails only if the connection does."""
        wrong, lost = RedisError('WRONGTYPE no'), ServiceUnavailable(None, 'lost')
        batch, other = self.pending.add('a batch', 10, count=2), self.pending.add('a batch', 10, count=1)
        self.pending.deliver_reply(wrong)
        self.assertNoResult(batch)
        self.pending.deliver_reply('OK')
        self.assertEqual(self.successResultOf(batch), [wrong, 'OK'])
        self.pending.fail_all(lambda: lost)
        self.assertIs(self.failureResultOf(other).value, lost)
        self.assertEqual((len(self.pending), self.clock.getDelayedCalls()), (0, []))
        self.assertFalse(self.pending.deliver_reply('nobody asked'))


class AwayTests(RedisCase):
    async def test_nothing_is_queued(self) -> None:
        """While Redis is unavailable, commands fail at once and are not kept."""
        client = await self.client()
        self.server.kill()
        await self.until(lambda: client.problem, 'the loss')
        for _ in range(1000):
            self.failureResultOf(client.execute('SET', 'a', 'x' * 1000), ServiceUnavailable)
        self.server.start()
        await self.got(client.wait_connected())
        self.assertIsNone(await client.execute('GET', 'a'))

    async def test_a_frozen_one_does_not_fill_memory(self) -> None:
        """While Redis is frozen, the number of pending commands is bounded: further ones fail at once with the
        reason."""
        self.patch(pending_commands, 'MAX_COMMANDS', 100)
        client = await self.client(timeout=2)
        self.server.freeze()
        waiting = [client.execute('INCR', 'n') for _ in range(100)]
        refused = self.failureResultOf(client.execute('INCR', 'n'), ServiceUnavailable)
        self.assertIn('does not keep up: 100 commands wait for replies', str(refused.value))
        refused = self.failureResultOf(client.execute_batch([('INCR', 'n')]), ServiceUnavailable)
        self.server.thaw()
        self.assertEqual([answer for _, answer in await self.got(DeferredList(waiting))], list(range(1, 101)))
