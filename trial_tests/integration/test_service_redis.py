"""Redis for services on a real server: the contract, the restricted user, faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from trial_tests.support.reactor import reactor
from trial_tests.support.redis import KEYS, RedisCase, spoken
from trial_tests.support.waiting import allowed
from zatotx.interfaces.data_dictionary import IDataDictionaryStore
from zatotx.interfaces.redis import LeaseHeld, RedisError, RedisNotReady
from zatotx.interfaces.service_redis import CommandRefusedError
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis.cache_store import RedisCacheStore
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.lease_store import RedisLeaseBackend
from zatotx.redis.leases import LeaseStore
from zatotx.redis.reconnecting_connection import ConnectionLog
from zatotx.redis.redis_url import RedisAddress
from zatotx.redis.service_redis import NodeServiceRedis, make_service_redis
from zatotx.rules.redis.cache_size_limits import CacheSizeLimits
from zatotx.rules.redis.command_table import SCRIPTS, known_commands
from zatotx.testing.cache_contract import CacheStoreContract
from zatotx.testing.data_dictionary_contract import DataDictionaryContract
from zatotx.testing.memory_redis_components import EpochSequence
from zatotx.testing.service_redis_contract import ServiceRedisContract

CLUSTER_KEYS = (KEYS.key('lease', 'scheduler'), KEYS.key('stream', 'work'), 'zatotx:other:lease:a')


def started_service_redis(case: TestCase, address: RedisAddress, *, timeout: float = 5.0) -> NodeServiceRedis:
    """One that connects, or tries to, and is stopped at the end of the test."""
    client = RedisClient(reactor, address, timeout=timeout)
    leases = LeaseStore(reactor, RedisLeaseBackend(ScriptRunner(client), KEYS), EpochSequence())
    made = make_service_redis(
        reactor, address, leases, keys=KEYS, node='server1', timeout=timeout, connection_log=ConnectionLog(str(address))
    )
    for one in (client, made.client):
        one.startService()
        case.addCleanup(one.stopService)
    return made


class ServiceRedisTests(RedisCase, ServiceRedisContract):
    """The contract on a real server, and what keeps services from the keys of clusters."""

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.made = started_service_redis(self, self.server.address)
        await self.got(self.made.client.wait_connected())

    def say(self, *words: object) -> Any:
        return spoken(self.server.path, *words)

    def service_redis(self) -> NodeServiceRedis:
        return self.made

    async def test_key_positions(self) -> None:
        """The positions of keys in the table are those that the server reports."""
        table = known_commands()
        replies = self.say('COMMAND', 'INFO', *table)
        for name, reply in zip(table, replies, strict=True):
            self.assertIsNotNone(reply, name)
            positions = table[name]
            if name == 'OBJECT':  # a container: the positions are those of its subcommands
                continue
            self.assertEqual((positions.first, positions.last, positions.step if positions.first else 0),
                             tuple(reply[3:6]), name)

    async def test_enforced_by_redis(self) -> None:
        """What the table would let through by mistake, Redis itself rejects: on the connection of services, no command
        reaches the keys of a cluster or administers the server, and no Lua script does."""
        for key in CLUSTER_KEYS:
            self.say('SET', key, 'kept')
        raw = self.made.client
        self.assertIn('user=zatotx:c1:server1:services', self._user())
        attempts: list[tuple[object, ...]] = [
            ('FLUSHALL',), ('FLUSHDB',), ('SWAPDB', 0, 1), ('CONFIG', 'SET', 'maxmemory', 1), ('SHUTDOWN', 'NOSAVE'),
            ('ACL', 'LIST'), ('REPLICAOF', 'NO', 'ONE'), ('SORT', 'a'), ('CLIENT', 'PAUSE', 1),
            ('PUBLISH', KEYS.channel('config'), 'x'), ('EVAL', "return redis.call('FLUSHALL')", 0),
        ]  # fmt: skip
        for key in CLUSTER_KEYS:
            attempts += [
                ('DEL', key), ('GET', key), ('SET', key, 'x'), ('RENAME', key, 'mine'), ('SET', key, 'x', 'EX', 1),
                ('EVAL', f"return redis.call('DEL', '{key}')", 0),
                ('EVAL', "return redis.call('DEL', KEYS[1])", 1, key),
                ('EVAL', f"redis.call('SELECT', 0) return redis.call('GET', '{key}')", 0), ('COPY', key, 'mine'),
            ]  # fmt: skip
        for words in attempts:
            with self.assertRaises(RedisError, msg=words) as caught:
                await raw.execute(str(words[0]), *words[1:])
            text = str(caught.exception)
            self.assertTrue('NOPERM' in text or 'ACL' in text or 'permissions' in text, (words, text))
        for key in CLUSTER_KEYS:
            self.assertEqual(self.say('GET', key), 'kept')
        for key in ('z', 'zatotx', 'zatot', 'zebra', '', 'ZATOTX:a', 'é', 'zatotx-mine', '*', 'a:zatotx:b'):
            self.assertEqual(await raw.execute('SET', key, 'mine'), 'OK', key)
        self.assertEqual(await raw.execute('SET', KEYS.key('services', 'cache'), 1), 'OK')

    def _user(self) -> str:
        clients = self.say('CLIENT', 'LIST')
        return next(line for line in str(clients).splitlines() if 'name=zatotx:c1:server1:services' in line)

    async def test_password_is_not_shown(self) -> None:
        """The user is in no list with a usable password, and two processes of a server can both be that user."""
        other = started_service_redis(self, self.server.address)
        await other.client.wait_connected()
        self.assertEqual(await self.call('set', 'a', 1), True)
        self.assertEqual(await other.commands.execute('GET', 'a'), '1')
        many = [started_service_redis(self, self.server.address) for _ in range(10)]
        for one in many:
            await self.got(one.client.wait_connected())
        self.assertEqual([one.user.is_enforced for one in many], [True] * 10)
        self.assertIn(' #', next(line for line in self.say('ACL', 'LIST') if ':services' in line))
        self.assertEqual(self.say('CLIENT', 'LIST').count('user=zatotx:c1:server1:services'), 12)

    async def test_hidden_keys(self) -> None:
        """KEYS and SCAN show no keys of clusters."""
        for key in CLUSTER_KEYS:
            self.say('SET', key, 1)
        await self.call('set', 'mine', 1)
        self.assertEqual(await self.call('keys'), ['mine'])
        self.assertEqual(await self.call('scan', count=100), (0, ['mine']))
        self.assertEqual((await self.made.commands.execute_batch([('KEYS', 'zatotx*')])), [[]])

    async def test_scripts(self) -> None:
        """Scripts of services run, and are checked for the keys that they declare."""
        self.assertEqual(await self.call('eval', "return redis.call('INCRBY', KEYS[1], ARGV[1])", 1, 'n', 5), 5)
        with self.assertRaisesRegex(CommandRefusedError, 'belong to the cluster'):
            await self.call('eval', 'return 1', 1, 'zatotx:a')
        self.assertEqual(SCRIPTS, {'EVAL', 'EVALSHA'})
        dump = await self.call('dump', 'n')
        self.assertEqual(await self.made.commands.execute('RESTORE', 'copy', 0, dump), 'OK')
        self.assertEqual(await self.call('get', 'copy'), '5')


class StoreTests(RedisCase, CacheStoreContract, DataDictionaryContract):
    """Caches and data dictionaries in a real Redis, as the restricted user."""

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.made = started_service_redis(self, self.server.address)
        await self.got(self.made.client.wait_connected())

    def store(self, limits: CacheSizeLimits) -> RedisCacheStore:
        return RedisCacheStore(ScriptRunner(self.made.client), KEYS, 'services:cache', limits)

    async def test_shared(self) -> None:
        """What one server writes, another one reads."""
        other = started_service_redis(self, self.server.address)
        await self.got(other.client.wait_connected())
        await self.made.cache_store.set('default', ['a'], b'x', 0)
        self.assertEqual([one.data for one in await other.cache_store.get('default', ['a'])], [b'x'])
        await self.made.data_dictionary.change(lambda dictionary: dictionary.add_entry(('CRM', 'country', 'PL')))
        self.assertEqual(len((await other.data_dictionary.load()).entries()), 1)

    def dictionary_store(self) -> IDataDictionaryStore:
        return self.made.data_dictionary


class NotAdministratorTests(RedisCase):
    """A server whose user may not create users."""

    async def test_scripts_are_off(self) -> None:
        """Commands still work, checked by the table; scripts are refused with a sentence."""
        rules = ('on', '>secret', '~*', '&*', '+@all', '-@admin', '-@dangerous', '+info', '+keys')
        spoken(self.server.path, 'ACL', 'SETUSER', 'zatotx', *rules)
        address = RedisAddress(path=str(self.server.path), username='zatotx', password='secret')
        made = started_service_redis(self, address)
        await self.got(made.client.wait_connected())
        self.assertEqual(await made.commands.execute('SET', 'a', 1), 'OK')
        self.assertFalse(made.user.is_enforced)
        with self.assertRaisesRegex(CommandRefusedError, 'does not let this server create a restricted user'):
            await made.commands.execute('EVAL', 'return 1', 0)
        with self.assertRaises(CommandRefusedError):
            await made.commands.execute('DEL', CLUSTER_KEYS[0])

    async def test_documented_permissions(self) -> None:
        """The permissions of docs/redis.md suffice for everything that services do."""
        page = (Path(__file__).parents[2] / 'docs' / 'redis.md').read_text('utf-8')
        base = page.partition('user zatotx on >PASSWORD ')[2].partition('\n')[0].replace('CLUSTER', 'c1')
        more = page.partition('the user also needs `')[2].partition('`')[0]
        spoken(self.server.path, 'ACL', 'SETUSER', 'zatotx', 'on', '>secret', *base.split(), *more.split())
        made = started_service_redis(
            self, RedisAddress(path=str(self.server.path), username='zatotx', password='secret')
        )
        await self.got(made.client.wait_connected())
        self.assertTrue(made.user.is_enforced, made.user.problem)
        self.assertEqual(await made.commands.execute('EVAL', "return redis.call('SET', KEYS[1], 1)", 1, 'mine'), 'OK')
        self.assertEqual(await made.commands.execute('KEYS', '*'), ['mine'])
        await made.cache_store.set('default', ['a'], b'x', 0)
        self.assertEqual(await made.data_dictionary.translate('a', 'b', 'c', 'd', 'e'), None)
        lease = await self.got(made.leases.acquire('lock:a', ttl=5.0))
        self.assertEqual(await made.commands.execute_fenced('a', lease.token, [('SET', 'mine', 2)]), ['OK'])
        await lease.release()


class FaultTests(RedisCase):
    """A Redis that freezes, loses its data, is demoted, is full."""

    async def connected(self, timeout: float) -> NodeServiceRedis:
        made = started_service_redis(self, self.server.address, timeout=timeout)
        await self.got(made.client.wait_connected())
        return made

    async def test_frozen(self) -> None:
        """Commands to a frozen Redis fail with Timeout within their timeout + 10 %, and work when it is back."""
        made = await self.connected(1.0)
        os.kill(self.server.pid, signal.SIGSTOP)
        try:
            began = reactor.seconds()
            with self.assertRaisesRegex(Timeout, 'did not reply to GET within 1 s'):
                await made.commands.execute('GET', 'a')
            took = reactor.seconds() - began
            with self.assertRaises((Timeout, ServiceUnavailable)):
                await made.commands.execute_transaction([('GET', 'a')])
        finally:
            os.kill(self.server.pid, signal.SIGCONT)
        self.assertTrue(1.0 <= took <= 1.1, took)
        await self.answered(made.client, 'PING')

    async def test_frozen_locks_and_caches(self) -> None:
        """With a frozen Redis, locks, caches and translations end typed within their timeout + 10 %, and the holder of
        a lock knows that it lost it."""
        made = await self.connected(1.0)
        held = await self.got(made.leases.acquire('lock:held', ttl=2.0))
        lost = held.when_lost()
        os.kill(self.server.pid, signal.SIGSTOP)
        try:
            began = reactor.seconds()
            attempts: list[Deferred[Any]] = [
                made.leases.acquire('lock:a', ttl=2.0, wait=0.5),
                made.cache_store.get('default', ['a']),
                made.data_dictionary.translate('a', 'b', 'c', 'd', 'e'),
            ]
            for attempt in attempts:
                with self.assertRaises((Timeout, ServiceUnavailable)):
                    await attempt
                self.assertLess(reactor.seconds() - began, allowed(1.1))
            self.assertIn("'lock:held' could not be renewed in time", await self.got(lost))
            self.assertFalse(held.is_held)
            self.assertLess(reactor.seconds() - began, allowed(2.5))
        finally:
            os.kill(self.server.pid, signal.SIGCONT)
        await self.answered(made.client, 'PING')

    async def test_wiped(self) -> None:
        """After a wipe, commands and scripts work: the next connection has its user again after a restart, too."""
        made = await self.connected(5.0)
        lease = await self.got(made.leases.acquire('lock:a', ttl=5.0))
        spoken(self.server.path, 'FLUSHALL')
        spoken(self.server.path, 'SCRIPT', 'FLUSH')
        self.assertEqual(await made.commands.execute('GET', 'a'), None)
        self.assertEqual(await made.commands.execute_fenced('a', 1, [('SET', 'a', 1)]), ['OK'])
        await lease.release()
        second = await self.got(made.leases.acquire('lock:a', ttl=5.0))
        self.assertGreater(second.token, lease.token)
        await second.release()
        await self.restarted(made.client)
        self.assertTrue(made.user.is_enforced)
        self.assertEqual(await made.commands.execute('EVAL', 'return 7', 0), 7)

    async def test_promoted_replica(self) -> None:
        """Writes to a server that became a replica fail with READONLY; after its promotion they work."""
        made = await self.connected(5.0)
        spoken(self.server.path, 'REPLICAOF', '127.0.0.1', 1)
        with self.assertRaises(RedisNotReady) as caught:
            await made.commands.execute('SET', 'a', 1)
        self.assertEqual(caught.exception.code, 'READONLY')
        spoken(self.server.path, 'REPLICAOF', 'NO', 'ONE')
        self.assertEqual(await self.answered(made.client, 'SET', 'a', '1'), 'OK')
        self.assertTrue(made.user.is_enforced)

    async def test_out_of_memory(self) -> None:
        """Writes to a full Redis fail with OOM; reads work."""
        made = await self.connected(5.0)
        await made.commands.execute('SET', 'a', 'x')
        spoken(self.server.path, 'CONFIG', 'SET', 'maxmemory', 1)
        with self.assertRaises(RedisNotReady) as caught:
            await made.commands.execute('SET', 'b', 'y')
        self.assertEqual(caught.exception.code, 'OOM')
        self.assertEqual(await made.commands.execute('GET', 'a'), 'x')
        replies = await made.commands.execute_batch([('SET', 'b', 'y'), ('GET', 'a')])
        self.assertIsInstance(replies[0], RedisNotReady)
        self.assertEqual(replies[1], 'x')
        with self.assertRaises(RedisNotReady):
            await made.commands.execute_transaction([('SET', 'b', 'y')])

    async def test_wrong_type(self) -> None:
        """A command for another type of value is a RedisError with its code, and its key keeps its value."""
        made = await self.connected(5.0)
        await made.commands.execute('SET', 'text', 'x')
        for command in (('LPUSH', 'text', 'y'), ('HGETALL', 'text'), ('INCRBY', 'text', 1)):
            with self.assertRaises(RedisError) as caught:
                await made.commands.execute(*command)
            self.assertIn(caught.exception.code, ('WRONGTYPE', ''))
        self.assertEqual(await made.commands.execute('GET', 'text'), 'x')

    async def test_a_slow_script_delays_no_lease(self) -> None:
        """Leases have a connection of their own: the reply of a service's command is not ahead of theirs."""
        made = await self.connected(5.0)
        for _ in range(30):
            await made.commands.execute('RPUSH', 'large', *(['x' * 1000] * 1000))
        large = made.commands.execute('LRANGE', 'large', 0, -1)
        lease = await self.got(made.leases.acquire('lock:a', ttl=5.0))
        self.assertTrue(lease.is_held)
        with self.assertRaises(LeaseHeld):
            await made.leases.acquire('lock:a', ttl=5.0)
        self.assertEqual(len(await self.got(large)), 30_000)
        await lease.release()


class PausedHolderTests(RedisCase):
    """The holder of a lock, in a process of its own, is paused beyond the lock's ttl."""

    async def test_fencing(self) -> None:
        """Another process gets the lock with a greater token; what the first writes afterwards is rejected, and it
        knows that it no longer holds the lock."""
        made = started_service_redis(self, self.server.address)
        await self.got(made.client.wait_connected())
        holder = subprocess.Popen(
            [sys.executable, '-c', _HOLDER, str(self.server.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self.addCleanup(holder.wait, 30)
        self.addCleanup(holder.kill)
        assert holder.stdin is not None and holder.stdout is not None
        old_token = int(await deferToThread(holder.stdout.readline))
        with self.assertRaises(LeaseHeld):
            await self.got(made.leases.acquire('lock:a', ttl=2.0))
        os.kill(holder.pid, signal.SIGSTOP)
        lease = await self.got(made.leases.acquire('lock:a', ttl=2.0, wait=30.0))
        self.assertGreater(lease.token, old_token)
        self.assertEqual(await made.commands.execute_fenced('a', lease.token, [('SET', 'balance', 'new')]), ['OK'])
        os.kill(holder.pid, signal.SIGCONT)
        holder.stdin.write('write\n')
        holder.stdin.flush()
        said = await deferToThread(holder.stdout.readline)
        self.assertRegex(said, f'held=False Conflict: The token {old_token} .* outdated: {lease.token} was seen')
        self.assertEqual(await made.commands.execute('GET', 'balance'), 'new')
        self.assertTrue(lease.is_held)
        await lease.release()


_HOLDER = """
import sys
from trial_tests.support.reactor import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from trial_tests.integration.test_service_redis import started_service_redis
from zatotx.model.errors import Conflict
from zatotx.redis.redis_url import RedisAddress

async def main(reactor):
    made = started_service_redis(TestCase(), RedisAddress(path=sys.argv[1]))
    await made.client.wait_connected()
    lease = await made.leases.acquire('lock:a', ttl=2.0, wait=10.0)
    print(lease.token, flush=True)
    await deferToThread(sys.stdin.readline)
    held = lease.is_held
    try:
        await made.commands.execute_fenced('a', lease.token, [('SET', 'balance', 'old')])
    except Conflict as error:
        print(f'held={held} Conflict: {error.details}', flush=True)
    else:
        print('written', flush=True)

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""
