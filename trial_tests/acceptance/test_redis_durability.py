"""The Redis of an environment loses nothing that it acknowledged; all that is in it is under the cluster's prefix."""

from __future__ import annotations

import os
import signal
import subprocess
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from trial_tests.support.broker import SCRIPTS
from trial_tests.support.reactor import reactor
from trial_tests.support.redis import RedisCase, spoken
from trial_tests.support.served import serve, two_servers
from zatotx.cli.environment.components.redis import write_redis
from zatotx.model.errors import ServiceError
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.cluster_announcements import RedisPubSub
from zatotx.redis.fencing import FencedWriter
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.lease_store import RedisLeaseBackend
from zatotx.redis.leases import LeaseStore
from zatotx.redis.redis_url import RedisAddress
from zatotx.redis.work_queues import RedisStream, StreamConsumer
from zatotx.testing.memory_redis_components import EpochSequence


class KillTests(TestCase):
    """kill -9 of the server and its supervisor while somebody writes."""

    timeout = 120

    def setUp(self) -> None:
        environment = Path(self.mktemp()).absolute()
        environment.mkdir(mode=0o700)
        write_redis(environment)
        self.directory = environment / 'redis'
        self.client = RedisClient(reactor, RedisAddress(path=str(self.directory / 'redis.sock')))
        self.client.startService()
        self.addCleanup(self.client.stopService)
        self.acknowledged: set[str] = set()
        self.sent = 0

    def start(self) -> subprocess.Popen[bytes]:
        command = [str(SCRIPTS / 'twistd'), '-n', 'zato-redis', '--dir', str(self.directory)]
        supervisor = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.end, supervisor)
        return supervisor

    def end(self, supervisor: subprocess.Popen[bytes]) -> None:
        supervisor.terminate()
        supervisor.wait(60)

    def server(self) -> int:
        return int((self.directory / 'server.pid').read_text())

    def write(self) -> None:
        """One write more; the next one follows each that was acknowledged."""
        value = str(self.sent)
        self.sent += 1

        def acknowledged(_: object) -> None:
            self.acknowledged.add(value)
            self.write()

        self.client.execute('RPUSH', 'written', value).addCallbacks(
            acknowledged, lambda failure: failure.trap(ServiceError)
        )

    async def test_nothing_acknowledged_is_lost(self) -> None:
        """Whichever of the two dies first, three times over: after the restart every acknowledged write is there."""
        for order in (('supervisor', 'server'), ('server', 'supervisor'), ('supervisor', 'server')):
            supervisor = self.start()
            await self.client.wait_connected().addTimeout(60, reactor)
            before = len(self.acknowledged)
            for _ in range(20):
                self.write()
            while len(self.acknowledged) < before + 300:
                await deferLater(reactor, 0.005)
            pids = {'supervisor': supervisor.pid, 'server': self.server()}
            for part in order:
                os.kill(pids[part], signal.SIGKILL)
            supervisor.wait(60)
            while not self.client.problem:
                await deferLater(reactor, 0.01)
        last = self.start()
        await self.client.wait_connected().addTimeout(60, reactor)
        kept: Any = await self.client.execute('LRANGE', 'written', 0, -1)
        self.assertEqual(self.acknowledged - set(kept), set())
        self.assertEqual(len(kept), len(set(kept)))
        self.end(last)


def _note(heard: list[tuple[str, str]], cluster: str, message: str) -> None:
    heard.append((cluster, message))


class PrefixTests(RedisCase):
    """Names in Redis."""

    def test_made_in_one_place(self) -> None:
        """Everything is below zatotx:<cluster>:, also for a cluster whose name would look like another's."""
        keys = RedisKeys('c1')
        self.assertEqual(keys.key('lease', 'my:name'), 'zatotx:c1:lease:my:name')
        self.assertEqual(keys.channel('config'), 'zatotx:c1:topic:config')
        self.assertFalse(RedisKeys('c1:lease').key('a').startswith(keys.prefix))
        self.assertEqual(RedisKeys('a b*').prefix, 'zatotx:a%20b%2A:')

    def test_nobody_else_writes_the_prefix(self) -> None:
        """No other file of the product spells a name in Redis out."""
        root = Path(__file__).resolve().parents[2] / 'zatotx'
        found = [str(path.relative_to(root)) for path in root.rglob('*.py')
                 if "'zatotx:" in path.read_text('utf-8') or 'f"zatotx:' in path.read_text('utf-8')]
        self.assertEqual(found, [])

    async def test_two_clusters(self) -> None:
        """Two clusters on one Redis see nothing of each other: leases, streams, fences, announcements. All keys that
        the helpers make are below their cluster's prefix."""
        client = await self.client()
        scripts = ScriptRunner(client)
        heard: list[tuple[str, str]] = []
        for cluster in ('one', 'two'):
            keys = RedisKeys(cluster)
            lease = await LeaseStore(reactor, RedisLeaseBackend(scripts, keys), EpochSequence()).acquire(
                'leader', ttl=60
            )
            self.addCleanup(lease.release)
            self.assertEqual(lease.token % 2**32, 1)
            stream = RedisStream(client, scripts, keys, 'work')
            await stream.add({'of': cluster})
            consumer = StreamConsumer(reactor, self.server.address, stream, consumer='c')
            consumer.startService()
            self.addCleanup(consumer.stopService)
            self.assertEqual([entry.fields for entry in await consumer.read(9, 5)], [{'of': cluster}])
            await FencedWriter(scripts, keys).write('jobs', 1, [('SET', keys.key('last'), cluster)])
            bus = RedisPubSub(reactor, self.server.address, client, cluster=cluster)
            bus.startService()
            self.addCleanup(bus.stopService)
            await self.got(bus.wait_connected())
            bus.subscribe('config', partial(_note, heard, cluster))
        await self.later(0.1)
        await bus.publish('config', 'look')
        await self.until(lambda: heard, 'the word')
        self.assertEqual(heard, [('two', 'look')])
        names: Any = await client.execute('KEYS', '*')
        self.assertEqual({name.partition(':')[0] for name in names}, {'zatotx'})
        self.assertEqual(sorted(name.replace(':two:', ':one:') for name in names if ':two:' in name),
                         sorted(name for name in names if ':one:' in name))


class WholeRunTests(SynchronousTestCase):
    """Two servers with all they do by themselves."""

    def setUp(self) -> None:
        self.broker = two_servers()

    def redis(self, *words: object) -> Any:
        """The embedded Redis of the environment, asked directly."""
        return spoken(self.broker.path / 'redis' / 'redis.sock', *words)

    def test_everything_below_the_prefix(self) -> None:
        """Starts, a deployment, a change and requests leave nothing in Redis, and subscribe to nothing, outside the
        prefix of their cluster; each connection tells its node."""
        settings = tomllib.loads((self.broker.directory() / 'config' / 'server.toml').read_text('utf-8'))
        prefix = f'zatotx:{settings["main"]["cluster"]}:'
        serve(self.broker)
        self.broker.configure('''
            channel_rest:
              - {name: prefix, url_path: /prefix, service: acc.echo, security: null}
        ''')
        self.assertEqual(self.broker.ask('POST', '/prefix', body=b'{}').status, 200)
        names, topics = self.redis('KEYS', '*'), self.redis('PUBSUB', 'CHANNELS')
        self.assertIn(f'{prefix}topic:config', topics)
        self.assertEqual([name for name in [*names, *topics] if not name.startswith(prefix)], [])
        clients = self.redis('CLIENT', 'LIST')
        for server in ('server1', 'server2'):
            self.assertIn(f'name={prefix}{server} ', clients)
