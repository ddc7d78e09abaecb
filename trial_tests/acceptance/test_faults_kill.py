"""kill -9, full disks and second servers: after a restart either all or nothing, and what can go on goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from threading import Timer

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.clients import loaded, statuses
from trial_tests.support.command import Said
from trial_tests.support.served import serve, two_servers
from trial_tests.support.waiting import until

JSON = {'Content-Type': 'application/json'}
_MANY = 1500
SHARES = (0.5, 0.9)  # of the time that the whole takes: when the server is killed


def fragile() -> Broker:
    """An environment that is killed again and again."""
    return shared('fragile', lambda: serve(create()))


def many_channels(generation: int) -> str:
    """An enmasse file that makes, or moves, a thousand and a half channels."""
    rows = (f'  - {{name: kill.{n}, url_path: /kill/{generation}/{n}, service: acc.echo, security: null}}'
            for n in range(_MANY))
    return 'channel_rest:\n' + '\n'.join(rows) + '\n'


def slow_module(version: int) -> str:
    """A module that takes its time to import, so that a kill can meet it."""
    return f'''
        import time
        from zatotx import Service

        time.sleep(0.4)

        class Slow(Service):
            name = 'kill.slow'

            async def handle(self):
                self.response.payload = '{version}'
    '''


class KillTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = fragile()

    def undisturbed(self, *command: str) -> float:
        """How many seconds a command takes that nobody disturbs."""
        began = time.monotonic()
        self.broker.must(*command)
        return time.monotonic() - began

    def killed_after(self, delay: float, *command: str) -> Said:
        """How a command ends whose server is killed -9 so many seconds after it began. The server is started again."""
        timer = Timer(delay, self.broker.kill)
        timer.start()
        said = self.broker.run(*command)
        timer.join()
        until(lambda: not self.broker.pids(), 'the end of the server')
        self.broker.start()
        return said

    def generations(self) -> set[str]:
        """Of which imports there are channels now."""
        answer = self.broker.invoke('zato.http-soap.get-list', json.dumps(
            {'cluster_id': 1, 'connection': 'channel', 'transport': 'plain_http'}).encode())
        (rows,) = (value for key, value in answer.json().items() if key != 'zato_env')
        paths = [row['url_path'] for row in rows if row['name'].startswith('kill.')]
        self.assertIn(len(paths), (0, _MANY))
        return {path.split('/')[2] for path in paths}

    def test_an_import_that_is_killed_is_all_or_nothing(self) -> None:
        """Whenever it happens: after the restart the file's objects are all there or none is, and exit code 0 was
        said only where all are."""
        file = self.broker.write('kill.yaml', many_channels(0))
        command = ('enmasse', str(self.broker.path), '--import', '--input', str(file), '--replace')
        whole = self.undisturbed(*command)
        before = self.generations()
        for generation, share in enumerate(SHARES, start=1):
            delay = whole * share
            self.broker.write('kill.yaml', many_channels(generation))
            said = self.killed_after(delay, *command)
            after = self.generations()
            self.assertIn(after, (before, {str(generation)}), f'after {delay} s: {said.text}')
            if said.code == 0:
                self.assertEqual(after, {str(generation)})
            self.assertNotIn('Traceback', said.text)
            before = after

    def test_a_deployment_that_is_killed_is_all_or_nothing(self) -> None:
        """The old version or the new one serves after the restart; the new one for sure where exit code 0 was said."""
        file = self.broker.write('slow.py', slow_module(0))
        command = ('hot-deploy', str(self.broker.path), str(file))
        whole = self.undisturbed(*command)
        serving = '0'
        for version, share in enumerate(SHARES, start=1):
            self.broker.write('slow.py', slow_module(version))
            said = self.killed_after(whole * share, *command)
            now = self.broker.invoke('kill.slow').body.decode()
            self.assertIn(now, (serving, str(version)), said.text)
            if said.code == 0:
                self.assertEqual(now, str(version))
            self.assertNotIn('Traceback', said.text)
            serving = now

    def test_a_full_disk_under_the_log_stops_no_request(self) -> None:
        """The access log and the server's log cannot be written: requests go on, faults are still answered."""
        self.broker.stop()
        logs = self.broker.directory() / 'logs'
        moved = logs.rename(logs.with_name('logs-aside'))
        logs.mkdir()
        for name in ('server.log', 'http_access.log'):
            (logs / name).symlink_to('/dev/full')
        try:
            self.broker.start()
            for _ in range(50):
                self.assertEqual(self.broker.ask('POST', '/acc/echo', fields=JSON, body=b'{}').status, 200)
            self.assertEqual(self.broker.ask('POST', '/acc/raises', fields=JSON, body=b'{}').status, 500)
            self.broker.stop()
        finally:
            for link in logs.iterdir():
                link.unlink()
            logs.rmdir()
            moved.rename(logs)
        self.broker.start()


class RedisTests(SynchronousTestCase):
    """Redis only announces: without it everything goes on, a little slower, and heals."""

    def setUp(self) -> None:
        self.broker: Broker = two_servers()

    def valkey(self) -> list[int]:
        """The processes of the Redis of the environment, its supervisor aside."""
        return [pid for pid in self.broker.pids('redis') if 'valkey-server' in Path(f'/proc/{pid}/cmdline').read_text()]

    def channel(self, name: str) -> None:
        self.broker.configure(f'''
            channel_rest:
              - {{name: {name}, url_path: /{name}, service: acc.echo, security: null, data_format: json}}
        ''')

    def test_redis_killed_under_load_stops_no_request(self) -> None:
        """Not one fails; changes made meanwhile are on every node when the command returns; Redis is started again."""
        (pid,) = self.valkey()
        self.addCleanup(self.broker.until_recovered, 1, 2)
        with loaded(self.broker.port(1), 'POST', '/acc/echo', fields=JSON, body=b'{}', clients=2) as first, \
                loaded(self.broker.port(2), 'POST', '/acc/echo', fields=JSON, body=b'{}', clients=2) as second:
            os.kill(pid, signal.SIGKILL)
            self.channel('during')
            for server in (1, 2):
                self.assertEqual(self.broker.ask('POST', '/during', fields=JSON, body=b'{}', server=server).status, 200)
            until(lambda: self.valkey() not in ([], [pid]), 'a new Redis')
            self.channel('after')
            for server in (1, 2):
                self.assertEqual(self.broker.ask('POST', '/after', fields=JSON, body=b'{}', server=server).status, 200)
        self.assertEqual(set(statuses(first.seen + second.seen)), {'200'})

    def test_frozen_redis_stops_no_request_and_no_change(self) -> None:
        """It accepts and says nothing: changes still reach every node."""
        (pid,) = self.valkey()
        self.addCleanup(self.broker.until_recovered, 1, 2)
        os.kill(pid, signal.SIGSTOP)
        try:
            self.channel('frozen')
            for server in (1, 2):
                self.assertEqual(self.broker.ask('POST', '/frozen', fields=JSON, body=b'{}', server=server).status, 200)
        finally:
            os.kill(pid, signal.SIGCONT)
