"""`zatotx doctor` on an environment that runs: what it is told, and what it finds when parts of it die or hang."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import SCRIPTS, Broker, create, remove, shared
from trial_tests.support.command import zatotx
from trial_tests.support.waiting import until
from zatotx.cli.checks import running_cluster

NEEDY = """
from pathlib import Path

from zatotx import Service

Path({flag!r}).read_text()  # what it needs to be imported


class Needy(Service):
    name = 'needy.one'

    async def handle(self):
        self.response.payload = {{}}
"""


class RunningTestCase(SynchronousTestCase):
    """A fresh environment of one server, started."""

    def setUp(self) -> None:
        self.broker: Broker = create()
        self.addCleanup(remove, self.broker)
        self.start()

    def start(self) -> None:
        self.broker.start()

    def doctor(self) -> tuple[int, list[dict[str, str]]]:
        said = self.broker.run('doctor', str(self.broker.path), '--format', 'json')
        found: dict[str, Any] = json.loads(said.out)
        return said.code, found['findings']

    def well(self) -> None:
        """Nothing is found; waits for it, as what was just started takes a moment."""
        until(lambda: self.doctor() == (0, []), 'all being well', 60.0)

    def finds(self, code: int, *words: str) -> dict[str, str]:
        """The first finding that has all the words; waits for it, as a node takes a moment to notice."""

        def look() -> dict[str, str] | None:
            ended, findings = self.doctor()
            told = ((one, ' '.join(one.values())) for one in findings)
            hit = next((one for one, text in told if all(word in text for word in words)), None)
            return hit if ended == code else None

        found = until(look, f'a finding with {words}', 60.0)
        assert found is not None
        return found


class SharedTestCase(RunningTestCase):
    """An environment of one server that all tests of the module share: started again where one stopped a part of it."""

    def setUp(self) -> None:
        self.broker = shared('doctor', create)
        self.start()


class DyingTests(SharedTestCase):
    def test_a_life(self) -> None:
        """Well while it runs; a Redis that died is told of by its pid file and by the server that misses it; a server
        that hangs is told of in seconds; one that was killed is told of with how to start it."""
        self.well()
        self.broker.kill('redis')
        self.finds(1, 'redis', 'processes', 'ended without being stopped', 'zatotx start')
        self.finds(1, 'server1', 'server', 'Redis is unavailable')
        self.broker.start()
        self.well()
        for pid in self.broker.pids():
            os.kill(pid, signal.SIGSTOP)
        self.finds(1, 'server1', 'ready')
        for pid in self.broker.pids():
            os.kill(pid, signal.SIGCONT)
        self.broker.kill()
        self.finds(1, 'server1', 'processes', 'ended without being stopped')

    def test_stopped_alone(self) -> None:
        """A part that was stopped while the others run is a warning; all of it stopped is none."""
        self.broker.must('stop', str(self.broker.directory()))
        self.finds(0, 'server1', 'processes', 'it is stopped while')
        self.broker.stop()
        self.well()


class KnownTests(SharedTestCase):
    def test_credentials(self) -> None:
        """Where the cluster has another password than credentials.toml, that is said with the command."""
        file = self.broker.path / 'credentials.toml'
        password = self.broker.credentials()['api']['password']
        self.addCleanup(file.write_text, file.read_text())
        file.write_text(file.read_text().replace(password, 'another'))
        self.finds(1, 'server1', 'server', "'zatotx update password")
        self.assertNotIn(password, self.broker.run('doctor', str(self.broker.path)).text)

    def test_another_version(self) -> None:
        """A server that runs another version than the one that is installed here is told to be restarted."""
        self.well()
        self.patch(running_cluster, '__version__', '9.9')
        said = zatotx('doctor', self.broker.path)
        self.assertEqual(said.code, 0)
        pattern = r"server1: server: it runs zatotx .*, but 9\.9 is installed: update it with 'zatotx restart"
        self.assertRegex(said.out, pattern)


class RefusedTests(RunningTestCase):
    def test_refused_code(self) -> None:
        """Deployed code that a server cannot import any more is told of, with its reason."""
        flag = self.broker.path.parent / 'flag'
        flag.touch()
        self.broker.serve('needy.py', NEEDY.format(flag=str(flag)))
        self.well()
        flag.unlink()
        self.broker.must('restart', str(self.broker.directory()))
        self.finds(0, 'server1', 'server', 'refused here', 'needy.py')


class WorkerTests(RunningTestCase):
    """A server of two processes."""

    def start(self) -> None:
        self.broker.set('main', workers=2)
        self.broker.start()

    def test_frozen_worker(self) -> None:
        """All is well with two; one that is frozen, with the parent that would have replaced it, is told of by its
        number, though the other answers; the row of a worker of an earlier life is nothing."""
        self.well()
        database = sqlite3.connect(self.broker.path / 'odb' / 'zatotx.db')
        ((pid,),) = database.execute("SELECT pid FROM server WHERE name = 'server1' AND worker = 1").fetchall()
        database.close()
        for frozen in (int((self.broker.directory() / 'server.pid').read_text()), pid):
            os.kill(frozen, signal.SIGSTOP)
            self.addCleanup(os.kill, frozen, signal.SIGCONT)
        self.finds(1, 'server1', 'cluster', 'worker 1 of server1 has sent no heartbeat')


class LimitTests(RunningTestCase):
    def start(self) -> None:
        """With few descriptors."""
        words = f'ulimit -n 900; exec {SCRIPTS}/zatotx start {self.broker.path}'
        subprocess.run(['sh', '-c', words], check=True, capture_output=True, timeout=120)

    def test_few_descriptors(self) -> None:
        """The limit of the process that runs counts, not that of the command."""
        self.finds(0, 'server1', 'limits', 'may open 900 files')
