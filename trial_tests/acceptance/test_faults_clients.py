"""Clients that are slow, silent or deaf: they cost little, end at their deadlines, and slow nobody else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.clients import Seen, loaded, percentile, statuses
from trial_tests.support.rawhttp import NoAnswer, connected, request_bytes
from trial_tests.support.served import serve
from trial_tests.support.waiting import until

HEAD_TIMEOUT, WRITE_TIMEOUT = 5, 2
MIB = 2**20
_ROOT = Path(__file__).resolve().parents[2]


def impatient() -> Broker:
    """An environment whose deadlines are short enough to wait for."""
    broker = create()
    broker.set('http', head_timeout=HEAD_TIMEOUT, body_timeout=2, idle_timeout=30, write_timeout=WRITE_TIMEOUT)
    return serve(broker)


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    line = next(one for one in Path(f'/proc/{pid}/status').read_text().splitlines() if one.startswith('VmRSS'))
    return int(line.split()[1]) * 1024


@contextmanager
def crowd(port: int, *, drippers: int, idlers: int, seconds: int) -> Iterator[IO[str]]:
    """A crowd while the block runs; the rest of its output is what became of them."""
    command = [sys.executable, '-m', 'trial_tests.support.crowd', str(port), str(drippers), str(idlers), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
    assert process.stdout is not None
    try:
        if process.stdout.readline() != 'ready\n':
            raise AssertionError('the crowd did not connect')
        yield process.stdout
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class SlowClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = shared('impatient', impatient)

    def pings(self, seconds: float) -> list[Seen]:
        """What one client that pings for so long sees."""
        with loaded(self.broker.port(), 'GET', '/zato/ping', clients=1, pause=0.002) as load:
            until(lambda: load.seen and load.seen[-1].sent - load.seen[0].sent > seconds, 'pings', seconds + 60)
        return load.seen

    def test_four_thousand_slow_clients_do_not_slow_ping(self) -> None:
        """2,000 dripping a byte a second and 2,000 idle: ping's p95 at most doubles; the drippers are cut in time."""
        alone = self.pings(2)
        with crowd(self.broker.port(), drippers=2000, idlers=2000, seconds=6 * HEAD_TIMEOUT) as output:
            crowded = self.pings(2)
            told: dict[str, Any] = json.loads(output.readline())
        self.assertEqual(set(statuses(alone + crowded)), {'200'})
        floor = 0.25  # below this a shared machine's own jitter is the larger part
        self.assertLessEqual(percentile(crowded, 0.95), max(2 * percentile(alone, 0.95), floor))
        self.assertEqual(told['cut'], 2000, told)
        self.assertGreater(told['first'][0], HEAD_TIMEOUT - 2, told)
        # Where each byte put the deadline off, the last would be cut after the thousand seconds its head takes. The
        # exact moment is held with a clock of its own, in the kind's test_deadlines.
        self.assertLess(told['last'][0], 3 * HEAD_TIMEOUT, told)
        self.assertEqual(told['heard'], {'HTTP/1.1 408 Request Timeout': 2000})

    def test_a_body_without_progress_is_408(self) -> None:
        """The head came in time, the body does not."""
        with connected(self.broker.port()) as connection:
            connection.send(request_bytes('POST', '/acc/echo', {'Content-Length': '100'}, b'{"a": '))
            self.assertEqual(connection.answer().status, 408)
            self.assertTrue(connection.is_closed())

    def test_a_deaf_client_costs_bounded_memory_and_ends(self) -> None:
        """Twenty clients that never read a 100 MiB streamed answer: memory stays flat, each ends at its deadline, and
        the stream behind it is closed."""
        (pid, *_) = sorted(self.broker.pids(), key=resident, reverse=True)
        before, closed = resident(pid), self.broker.log().count('Stream over after')
        deaf = [connected(self.broker.port(), receive_buffer=4096) for _ in range(20)]
        clients = [one.__enter__() for one in deaf]
        for client in clients:
            client.send(request_bytes('GET', '/acc/stream'))
        over = until(
            lambda: self.broker.log().count('Stream over after') - closed == 20, 'the end of 20 streams',
            WRITE_TIMEOUT + 50,
        )
        self.assertTrue(over)
        self.assertLess(resident(pid) - before, 48 * MIB)
        for client in clients:
            self.assertRaises(NoAnswer, client.answer)
        for one in deaf:
            one.__exit__(None, None, None)
        self.assertEqual(self.broker.ask('GET', '/zato/ping').status, 200)

    def test_a_reading_client_gets_all_of_the_stream(self) -> None:
        """The same answer, read."""
        answer = self.broker.ask('GET', '/acc/stream')
        self.assertEqual((answer.status, len(answer.body)), (200, 100 * MIB))

    def test_clients_that_reset_harm_nobody(self) -> None:
        """A thousand connections dropped at every point of a request."""
        whole = request_bytes('POST', '/acc/echo', {'Content-Type': 'application/json'}, b'{"a": 1}')
        for number in range(1000):
            with connected(self.broker.port()) as connection:
                connection.send(whole[:number % len(whole) + 1])
        self.assertEqual(set(statuses(self.pings(0.3))), {'200'})
