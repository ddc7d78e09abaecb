"""start, stop, restart and status of a real environment, and what goes wrong with them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.certificate import write_certificate
from trial_tests.support.command import zatotx
from trial_tests.support.waiting import until

ZATOTX = str(Path(sys.executable).with_name('zatotx'))
SLOW = """
    import time
    from pathlib import Path
    from zatotx import Service

    class Slow(Service):
        name = 'slow.one'
        input = 'mark'

        def handle(self):
            Path(self.request.input.mark).touch()
            time.sleep(1.5)
            self.response.payload = {'done': True}
"""


class ProcessCase(SynchronousTestCase):
    """An environment that the tests of a class share, stopped when a test begins."""

    servers = 1

    def setUp(self) -> None:
        self.broker: Broker = shared(f'processes of {self.servers}', partial(create, servers=self.servers))
        self.path = self.broker.path
        self.addCleanup(zatotx, 'stop', self.path)

    def states(self) -> dict[str, Any]:
        found = json.loads(zatotx('status', self.path, '--format', 'json').out)
        return {part['name']: part for part in found['components']}

    def in_the_foreground(self, parts: str) -> subprocess.Popen[str]:
        """`zatotx start --fg`, once these parts run."""
        process = subprocess.Popen([ZATOTX, 'start', '--fg', str(self.path)], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, env={**os.environ, 'PYTHONUNBUFFERED': '1'})
        assert process.stdout is not None
        self.assertIn(f'Running: {parts}', process.stdout.readline())
        return process

    def ends(self, process: subprocess.Popen[str], code: int) -> str:
        """Wait for its end with that exit code, with all parts stopped; returns its stderr."""
        _, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, code, err)
        self.assertEqual({part['state'] for part in self.states().values()}, {'stopped'})
        return err

    def fails(self, *args: object) -> str:
        said = zatotx(*args)
        self.assertEqual(said.code, 1, said)
        self.assertNotIn('Traceback', said.err)
        return said.err


class ProcessTests(ProcessCase):
    """Of one server."""

    def test_stale_pid_files_are_seen_through(self) -> None:
        """After kill -9 `start` starts; a pid file that names another program's process is no obstacle either, and
        that process lives on."""
        zatotx('start', self.path)
        self.broker.kill('server1')
        self.assertEqual(self.states()['server1']['state'], 'stopped')
        stranger = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], stdin=subprocess.PIPE)
        self.addCleanup(stranger.communicate)
        (self.path / 'server1' / 'server.pid').write_text(f'{stranger.pid}\n')
        self.assertEqual(zatotx('start', self.path).code, 0)
        self.assertNotEqual(self.states()['server1']['pid'], stranger.pid)
        zatotx('stop', self.path)
        self.assertIsNone(stranger.poll())

    def test_reasons_of_the_server_itself(self) -> None:
        """Settings that are wrong, a key open to others, a database that is unavailable: one sentence naming the
        part."""
        config = self.path / 'server1' / 'config'
        key, settings = config / 'secret.key', config / 'server.toml'
        text = settings.read_text()
        key.chmod(0o644)
        self.assertIn(f'chmod 600 {key}', self.fails('start', self.path / 'server1'))
        key.chmod(0o600)
        settings.write_text(text.replace('grace = 10', 'grace = "long"\nspeed = 7'))
        error = self.fails('start', self.path / 'server1')
        self.assertIn('shutdown.grace', error)
        self.assertIn('shutdown.speed', error)
        settings.write_text(text)
        self.assertEqual(zatotx('start', self.path / 'server1').code, 0)

    def test_a_second_server_on_the_directory(self) -> None:
        """twistd refuses with one sentence and exit code 1; the first one is not disturbed."""
        zatotx('start', self.path)
        for name, plugin in (('server1', 'zato-server'), ('redis', 'zato-redis')):
            command = [str(Path(ZATOTX).with_name('twistd')), '-n', plugin, '--dir', str(self.path / name)]
            second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
            self.assertEqual((second.returncode, len(second.stderr.splitlines())), (1, 1), second)
            self.assertIn(str(self.path / name), second.stderr)
        self.assertTrue(all(part['ready'] for part in self.states().values()))

    def test_stop_drains(self) -> None:
        """A request under way when `stop` comes gets its answer."""
        zatotx('start', self.path)
        self.broker.serve('slow.py', SLOW)
        mark = Path(self.mktemp()).absolute()
        body = json.dumps({'mark': str(mark)}).encode()
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(self.broker.invoke('slow.one', body)))
        asking.start()
        until(mark.exists, 'the request under way')
        self.assertEqual(zatotx('stop', self.path).code, 0)
        asking.join(60)
        self.assertEqual((answers[0].status, answers[0].json()), (200, {'done': True}))

    def test_sigterm_ends_well(self) -> None:
        """Exit code 0 after a drain, for a server and for Redis, as process managers want it."""
        for name, plugin in (('redis', 'zato-redis'), ('server1', 'zato-server')):
            command = [str(Path(ZATOTX).with_name('twistd')), '-n', plugin, '--dir', str(self.path / name)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            until(lambda name=name: self.states()[name]['ready'], name)  # type: ignore[misc]
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), 0, name)

    def test_one_part_in_the_foreground(self) -> None:
        """The command becomes that part."""
        process = subprocess.Popen([ZATOTX, 'start', '--fg', str(self.path / 'redis')], stdout=subprocess.DEVNULL)
        until(lambda: self.states()['redis']['ready'], 'Redis')
        self.assertEqual(self.states()['redis']['pid'], process.pid)
        self.assertIn('is already running', self.fails('start', '--fg', self.path / 'redis'))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), 0)

    def test_a_part_that_dies_in_the_foreground(self) -> None:
        """It is named, all others are stopped, and the exit code is 1."""
        process = self.in_the_foreground('redis, server1')
        self.broker.kill('server1')
        self.assertIn('server1 ended by itself', self.ends(process, 1))

    def test_a_redis_without_its_supervisor(self) -> None:
        """kill -9 of the supervisor leaves Redis itself; `stop` ends it all the same."""
        zatotx('start', self.path / 'redis')
        os.kill(self.states()['redis']['pid'], signal.SIGKILL)
        until(lambda: len(self.broker.pids('redis')) == 1, 'Redis alone')
        self.assertEqual(zatotx('stop', self.path).code, 0)
        until(lambda: not self.broker.pids('redis'), 'the end of Redis')

    def test_over_tls(self) -> None:
        """A server that listens with TLS is started, asked and stopped like any other: the command trusts the very
        certificate that the server's settings name, and no other."""
        server = self.path / 'server1'
        write_certificate(server / 'tls.pem')
        address = f'ssl:port={self.broker.port()}:interface=127.0.0.1:privateKey=tls.pem:certKey=tls.pem'
        settings = server / 'config' / 'server.toml'
        text = settings.read_text()
        self.addCleanup(settings.write_text, text)
        settings.write_text(text.replace(f'tcp:port={self.broker.port()}:interface=127.0.0.1', address))
        self.addCleanup(zatotx, 'stop', self.path)  # before the settings are as they were
        said = zatotx('start', server)
        self.assertEqual(said.code, 0, said)
        self.assertIn(f'https://127.0.0.1:{self.broker.port()}', said.out)
        self.assertIn('pong', zatotx('service', 'invoke', self.path, 'zato.ping').out)
        write_certificate(server / 'tls.pem', 'somebody else')
        self.assertIn('No server of', self.fails('service', 'invoke', self.path, 'zato.ping'))


class SeveralTests(ProcessCase):
    """Of two servers."""

    servers = 2

    def test_life(self) -> None:
        """Stopped, running, still the same after a second start, stopped again; stopping twice is no failure."""
        self.assertEqual({part['state'] for part in self.states().values()}, {'stopped'})
        said = zatotx('start', self.path)
        self.assertEqual(said.code, 0, said)
        first = self.states()
        self.assertEqual(sorted(first), ['redis', 'server1', 'server2'])
        self.assertTrue(all(part['ready'] and part['pid'] for part in first.values()), first)
        self.assertEqual(first['server2']['address'], f'http://127.0.0.1:{self.broker.port(2)}')
        self.assertIn(str(first['server1']['pid']), zatotx('start', self.path).out)
        self.assertEqual(self.states(), first)
        self.assertIn('running', zatotx('status', self.path).out)
        for _ in range(2):
            self.assertEqual(zatotx('stop', self.path).code, 0)
            self.assertEqual({part['state'] for part in self.states().values()}, {'stopped'})
        self.assertEqual([pid for part in first for pid in self.broker.pids(part)], [])
        self.assertEqual(list(self.path.glob('*/*.pid')), [])

    def test_start_brings_up_what_is_down(self) -> None:
        """The rest is left as it is; one part can be started and stopped by itself."""
        zatotx('start', self.path / 'redis')
        zatotx('start', self.path / 'server1')
        before = self.states()
        self.assertEqual([before[name]['state'] for name in ('redis', 'server1', 'server2')],
                         ['running', 'running', 'stopped'])
        self.assertEqual(zatotx('start', self.path).code, 0)
        after = self.states()
        self.assertEqual(after['server1']['pid'], before['server1']['pid'])
        self.assertTrue(after['server2']['ready'])
        zatotx('stop', self.path / 'server1')
        self.assertEqual(self.states()['server1']['state'], 'stopped')
        self.assertTrue(self.states()['server2']['ready'])

    def test_a_taken_port(self) -> None:
        """`start` names part, port, and the setting that changes it; the other server runs; check-config says the
        same. An answer from another program on that port is not taken for ours."""
        with socket.create_server(('127.0.0.1', self.broker.port())):
            error = self.fails('start', self.path)
            self.assertIn(f'server1 cannot start: port {self.broker.port()} is in use by process {os.getpid()}', error)
            self.assertIn('http.listen in', error)
            self.assertIn('is in use by process', self.fails('start', '--fg', self.path / 'server1'))
            self.assertTrue(self.states()['server2']['ready'])
            self.assertIn(f'port {self.broker.port()} is in use', self.fails('check-config', self.path))

    def test_restart_is_rolling(self) -> None:
        """Each server gets a new process while the other is ready at every moment; Redis is left alone."""
        zatotx('start', self.path)
        before = self.states()
        ups: list[bool] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.01):
                # the first once more: while the others were asked it may have come back, and the second have gone
                ups.append(any(self.answers(number) for number in (1, 2, 1)))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            said = zatotx('restart', self.path)
        finally:
            over.set()
            watching.join()
        self.assertEqual(said.code, 0, said)
        after = self.states()
        self.assertTrue(all(part['ready'] for part in after.values()))
        self.assertEqual(after['redis']['pid'], before['redis']['pid'])
        for name in ('server1', 'server2'):
            self.assertNotEqual(after[name]['pid'], before[name]['pid'])
        self.assertTrue(ups and all(ups))

    def answers(self, server: int) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(('127.0.0.1', self.broker.port(server))) == 0

    def test_in_the_foreground(self) -> None:
        """`start --fg` stays until SIGTERM, then stops all parts and returns 0."""
        process = self.in_the_foreground('redis, server1, server2')
        process.send_signal(signal.SIGTERM)
        self.assertNotIn('ended by itself', self.ends(process, 0))
