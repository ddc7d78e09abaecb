"""A server that runs out of file descriptors: accepting pauses and goes on, nothing spins, nobody is dropped."""

from __future__ import annotations

import os
import resource
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.rawhttp import Connection, NoAnswer, connected, request_bytes
from trial_tests.support.served import one_server
from trial_tests.support.waiting import until

SPARE = 60  # descriptors beyond those in use
CROWD = 120  # clients that come
PING = request_bytes('GET', '/zato/ping')


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class FileTests(SynchronousTestCase):
    """The limit of the running server is lowered, as an administrator could, and a crowd comes."""

    def setUp(self) -> None:
        self.broker: Broker = one_server()
        (self.pid,) = self.broker.pids()
        self.before = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        self.addCleanup(resource.prlimit, self.pid, resource.RLIMIT_NOFILE, self.before)
        self.logs = self.broker.log()
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)

    def client(self) -> Connection:
        return self.stack.enter_context(connected(self.broker.port()))

    def lower(self) -> None:
        """Leave the server few descriptors, and wait until it knows: it looks twice a second."""
        used = max(int(entry.name) for entry in Path(f'/proc/{self.pid}/fd').iterdir())
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (used + SPARE, self.before[1]))
        Event().wait(2.5)

    def news(self, sentence: str) -> int:
        """How often it was logged since the test began."""
        return self.broker.log().count(sentence) - self.logs.count(sentence)

    def told(self, sentence: str) -> None:
        until(lambda: self.news(sentence), sentence)

    def ask(self, client: Connection) -> int:
        client.send(PING)
        return client.answer().status

    def answered(self, client: Connection) -> bool:
        """Whether there is an answer within a moment."""
        try:
            return client.answer().status == 200
        except NoAnswer:
            return False

    def test_a_crowd_waits_and_is_served(self) -> None:
        """Those inside are served as ever, health and logs work, the others wait without cost, and all have their turn
        when there is room."""
        inside = self.client()
        self.assertEqual(self.ask(inside), 200)
        self.lower()
        crowd = [self.client() for _ in range(CROWD)]
        for client in crowd:
            client.send(PING)
        self.told('No more connections are accepted')
        self.broker.logged('No more connections are accepted', 'ulimit -n')
        began = cpu_seconds(self.pid)
        Event().wait(2.0)
        self.assertLess(cpu_seconds(self.pid) - began, 0.7, 'it spins')
        self.assertEqual(self.ask(inside), 200)
        inside.send(request_bytes('POST', '/zato/api/invoke/zato.health.findings', self.broker.admin(), b'{}'))
        self.assertIn('no more connections are accepted', inside.answer().body.decode())
        inside.send(request_bytes('POST', '/acc/raw', {'X-Zato-CID': 'spooled.now'}, b'x' * 3_000_000))
        self.assertEqual(inside.answer().body, b'3000000')
        self.broker.logged('spooled.now')
        served = 0
        while crowd:  # who has an answer leaves, and lets somebody in
            client = crowd.pop(0)
            served += self.answered(client)
            client.drop()
        self.assertEqual(served, CROWD)
        self.assertEqual(self.news('No more connections are accepted'), 1)
        self.told('Connections are accepted again')

    def test_it_goes_on_when_the_limit_is_raised(self) -> None:
        """Nobody need leave: the server finds out by itself."""
        self.lower()
        crowd = [self.client() for _ in range(CROWD)]
        for client in crowd:
            client.send(PING)
        self.told('No more connections are accepted')
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self.before)
        self.assertEqual([client.answer().status for client in crowd], [200] * CROWD)
        self.told('Connections are accepted again')
