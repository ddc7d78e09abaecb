"""State that the workers of one server share: singleton tasks, counters, requests to each other, metrics."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from trial_tests.support.reactor import as_reactor, reactor
from zatotx.metrics.exposition import MetricsExposition
from zatotx.metrics.snapshot import MetricSample
from zatotx.node.logging_setup import LiveLogLevels, LogFiles
from zatotx.node.settings import Log
from zatotx.processes.lock_files import DirectoryLock
from zatotx.processes.workers import shared_counters as boards
from zatotx.processes.workers import worker_group as peers
from zatotx.processes.workers.control_pipe import ControlPipe, read_worker_spec
from zatotx.processes.workers.metrics_store import FOLDER, MetricsStore, reset_metrics, select_samples_to_sum
from zatotx.processes.workers.shared_counters import SharedCounters, create_counters_file
from zatotx.processes.workers.singleton_task import RETRY_INTERVAL, SingletonTask
from zatotx.processes.workers.worker_group import WorkerGroup, WorkerIpc, socket_name
from zatotx.rules.limits.concurrency_limit import ConcurrencyLimit
from zatotx.rules.resilience.process_supervision import INTERVAL
from zatotx.testing.memory_node import MemoryPubSub

HOLDS = """
import sys, time
from pathlib import Path
from zatotx.processes.lock_files import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]))
lock.acquire()
print('held', flush=True)
time.sleep(60)
"""


def folder(case: SynchronousTestCase) -> Path:
    """Create the work/ directory of a server."""
    work = Path(case.mktemp()).absolute()
    work.mkdir(mode=0o700)
    return work


class SingletonTaskTests(SynchronousTestCase):
    """Two workers and one task."""

    def setUp(self) -> None:
        self.file = folder(self) / 'duty.lock'
        self.clock = Clock()
        self.did: list[str] = []
        self.ending: Deferred[None] = succeed(None)

    def duty(self, who: str) -> SingletonTask:
        def end() -> Deferred[None]:
            self.did.append(f'{who} ends')
            return self.ending

        duty = SingletonTask(name='it', lock=DirectoryLock(self.file), begin=lambda: self.did.append(f'{who} begins'),
                             end=end, clock=self.clock)  # fmt: skip
        self.addCleanup(duty.lock.release)
        return duty

    def test_one_does_it(self) -> None:
        """The first worker runs the task; the start of the other does not wait for it."""
        one, two = self.duty('one'), self.duty('two')
        self.successResultOf(one.start())
        self.successResultOf(two.start())
        self.clock.advance(10)
        self.assertEqual(self.did, ['one begins'])

    def test_it_moves(self) -> None:
        """When the first worker has stopped the task, and not before, the other starts it within half a second."""
        one, two = self.duty('one'), self.duty('two')
        one.start()
        two.start()
        self.ending = Deferred()
        stopping = one.stop()
        self.clock.advance(RETRY_INTERVAL)
        self.assertEqual(self.did, ['one begins', 'one ends'])
        self.ending.callback(None)
        self.successResultOf(stopping)
        self.clock.advance(RETRY_INTERVAL)
        self.assertEqual(self.did, ['one begins', 'one ends', 'two begins'])
        self.assertTrue(two.holds_lock)

    def test_one_that_waits_stops(self) -> None:
        """A worker that waits for the lock can be stopped, and does not start the task later."""
        one, two = self.duty('one'), self.duty('two')
        one.start()
        two.start()
        self.successResultOf(two.stop())
        self.successResultOf(one.stop())
        self.clock.advance(10)
        self.assertEqual(self.did, ['one begins', 'one ends'])

    def test_its_holder_is_killed(self) -> None:
        """After SIGKILL the kernel releases the lock, and the other worker takes over."""
        with subprocess.Popen([sys.executable, '-c', HOLDS, str(self.file)], stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            self.assertEqual(holder.stdout.readline(), b'held\n')
            two = self.duty('two')
            two.start()
            self.clock.advance(RETRY_INTERVAL)
            self.assertEqual(self.did, [])
            holder.kill()
            holder.wait()
        self.clock.advance(RETRY_INTERVAL)
        self.assertEqual(self.did, ['two begins'])

    def test_one_that_fails_to_begin(self) -> None:
        """A task that fails to start is logged, and the worker continues."""
        one, two = self.duty('one'), self.duty('two')
        one.start()
        two.begin = lambda: fail(ValueError('no'))
        two.start()
        one.stop()
        self.clock.advance(RETRY_INTERVAL)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class SharedCountersTests(SynchronousTestCase):
    """Counters of several workers, in one process."""

    def setUp(self) -> None:
        self.work = folder(self)
        self.parent = create_counters_file(self.work, 2)

    def gate(self, seat: int, limit: int = 3, name: str = 'service a') -> ConcurrencyLimit:
        shared = SharedCounters(self.work).row(name, seat)
        assert shared is not None
        return ConcurrencyLimit(limit, count_others=shared.sum_of_others, publish=shared.set_own)

    def test_limits_hold_for_all(self) -> None:
        """A limit of three applies to all workers together; each released slot may be taken by any of them."""
        one, two = self.gate(0), self.gate(1)
        self.assertEqual([one.enter(), two.enter(), one.enter()], [True, True, True])
        self.assertEqual([one.enter(), two.enter()], [False, False])
        two.leave()
        self.assertTrue(one.enter())
        self.assertFalse(two.enter_from_thread())

    def test_a_few_places_of_its_own(self) -> None:
        """Of a limit of a thousand, three are reserved for each worker; the total is never exceeded."""
        one, two = self.gate(0, 1000), self.gate(1, 1000)
        self.assertEqual(sum(one.enter() for _ in range(1000)), 997)
        self.assertEqual(sum(two.enter_from_thread() for _ in range(10)), 3)
        self.assertFalse(one.enter() or two.enter())
        for _ in range(500):
            one.leave()
        self.assertEqual(sum(two.enter() for _ in range(1000)), 500)
        self.assertEqual((one.total_active, two.total_active), (497, 503))
        for gate in (one, two):
            for _ in range(gate.active):
                gate.leave()
        self.assertEqual((one.total_active, two.total_active), (0, 3))
        self.assertEqual(sum(one.enter() for _ in range(1000)), 997)

    def test_one_that_comes_late(self) -> None:
        """If the others use the whole limit, a worker that starts later gets nothing."""
        one = self.gate(0, 1000)
        self.assertEqual(sum(one.enter() for _ in range(1001)), 1000)
        two = self.gate(1, 1000)
        self.assertFalse(two.enter())
        one.leave()
        self.assertTrue(two.enter())
        self.assertFalse(one.enter())

    def test_names_are_apart(self) -> None:
        """Each name has its own counter, the same in every worker, whatever the order of creation."""
        self.gate(0, name='first')
        one, other, two = self.gate(0, 1, 'é "b"'), self.gate(0, 1, 'c'), self.gate(1, 1, 'é "b"')
        self.assertTrue(one.enter())
        self.assertFalse(two.enter())
        self.assertTrue(other.enter())

    def test_a_killed_worker_leaves_nothing(self) -> None:
        """The parent, or the next worker in its slot, clears the counters of a killed worker."""
        for clear in (self.parent.clear, SharedCounters(self.work).clear):
            dead, living = self.gate(0, 1), self.gate(1, 1)
            self.assertTrue(dead.enter())
            self.assertFalse(living.enter())
            clear(0)
            self.assertTrue(living.enter())
            living.leave()

    def test_no_room(self) -> None:
        """More names than rows, or a slot beyond the file, give no shared counter and no error."""
        self.patch(boards, 'ROWS', 2)
        board = create_counters_file(self.work, 2)
        self.assertIsNotNone(board.row('a', 0))
        self.assertIsNotNone(board.row('b', 0))
        self.assertIsNone(board.row('c', 0))
        self.assertIsNone(board.row('a', board.slots))
        board.clear(board.slots)

    def test_a_new_parent(self) -> None:
        """A new parent starts with an empty file, while workers of the previous one keep using theirs."""
        old = self.gate(0, 1)
        self.assertTrue(old.enter())
        create_counters_file(self.work, 2)
        new = self.gate(1, 1)
        self.assertTrue(new.enter())

    def test_files_are_ours_alone(self) -> None:
        """The files have mode 0600."""
        self.gate(0)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in self.work.iterdir()}
        self.assertEqual(modes, {0o600})


class WorkerPeersTests(TestCase):
    """Workers on real sockets, in one process."""

    def setUp(self) -> None:
        self.work = folder(self) / ('long' * 40)  # no socket could be named by this path
        self.work.mkdir()
        self.patch(peers, 'DEADLINE', 60.0)

    def peers(self, seat: int, **answers: Any) -> WorkerIpc:
        peers = WorkerIpc(reactor, self.work, seat, answers)
        peers.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(peers.stop()))
        return peers

    async def test_questions(self) -> None:
        """All other workers respond, immediately or later, with small or large values; no worker asks itself."""
        asking = self.peers(0)
        self.peers(1, what=lambda: {'a': [1, 'é']})
        self.peers(2, what=lambda: deferLater(reactor, 0.05, lambda: 'x' * 5_000_000))
        found = await asking.request_all('what')
        self.assertEqual([(one.slot, one.pid) for one in found], [(1, os.getpid()), (2, os.getpid())])
        self.assertEqual(found[0].value, {'a': [1, 'é']})
        self.assertEqual(len(found[1].value), 5_000_000)

    async def test_who_does_not_answer(self) -> None:
        """Workers that fail, do not know the request, hang or were killed are omitted, within the timeout."""
        self.patch(peers, 'DEADLINE', 2.0)
        asking = self.peers(0)
        self.peers(1, what=lambda: fail(ValueError('not now')))
        self.peers(2)
        self.peers(3, what=Deferred)
        self.peers(4, what=lambda: 'here')
        dead = subprocess.run([sys.executable, '-c', 'import socket; s = socket.socket(socket.AF_UNIX); '
                               's.bind("worker-5.sock")'], cwd=self.work, check=True)
        self.assertEqual(dead.returncode, 0)
        (self.work / 'worker-x.sock').touch()
        found = await asking.request_all('what')
        self.assertEqual([one.value for one in found], ['here'])

    async def test_a_seat_is_taken_again(self) -> None:
        """The socket file of a killed worker does not prevent a new one; a stopped worker leaves no file and sends no
        requests."""
        asking = self.peers(0)
        (self.work / socket_name(1)).touch()
        again = self.peers(1, what=lambda: 1)
        self.assertEqual(len(await asking.request_all('what')), 1)
        self.assertEqual(stat.S_IMODE((self.work / socket_name(1)).stat().st_mode), 0o600)
        await again.stop()
        await again.stop()
        self.assertFalse((self.work / socket_name(1)).exists())
        self.assertEqual(await again.request_all('what'), [])


def counted(calls: int, open_now: int = 1) -> MetricSample:
    """Return a sample with one counter and one gauge."""
    return {'zatotx_node_refused': [[[], calls]], 'zatotx_node_in_flight': [[[], open_now]]}


COUNTS = """
import os, sys, time
from pathlib import Path
from zatotx.processes.workers.metrics_store import MetricsStore
MetricsStore(Path(sys.argv[1]), int(sys.argv[2])).keep({'zatotx_node_refused': [[[], int(sys.argv[3])]],
                                                       'zatotx_node_in_flight': [[[], 1]]})
print(os.getpid(), flush=True)
time.sleep(float(sys.argv[4]))
"""


class MetricsStoreTests(SynchronousTestCase):
    """The stored metrics of workers."""

    def setUp(self) -> None:
        self.work = folder(self)

    def other(self, seat: int, count: int, seconds: float = 0) -> subprocess.Popen[bytes]:
        """Run another worker that has exposed that count."""
        process = subprocess.Popen([sys.executable, '-c', COUNTS, str(self.work), str(seat), str(count), str(seconds)],
                                   stdout=subprocess.PIPE)  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        if not seconds:
            process.wait()
        else:
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
        return process

    def requests(self, answers: list[tuple[int, int, MetricSample]]) -> float:
        """Return the total of the other workers."""
        samples = select_samples_to_sum(MetricsStore(self.work, 0).load_stored(), answers)
        found = [sample.get('zatotx_node_refused', [[[], 0]])[0][1] for sample in samples]
        return float(sum(found))

    def test_who_is_gone(self) -> None:
        """Counters of ended workers are kept, however often they are read; gauges are dropped."""
        self.other(1, 10)
        self.other(1, 5)
        for _ in range(2):
            before = MetricsStore(self.work, 0).load_stored()
            self.assertEqual(before.retired_total, {'zatotx_node_refused': [[[], 15]]})
            self.assertEqual(before.running, {})
        self.assertEqual(sorted(path.name for path in (self.work / FOLDER).iterdir()), ['gone.json', 'lock'])

    def test_who_answers(self) -> None:
        """A worker's response is used instead of its file; for a frozen worker its file is used."""
        process = self.other(1, 10, 60)
        self.assertEqual(self.requests([(1, process.pid, counted(12))]), 12)
        self.assertEqual(self.requests([]), 10)

    def test_killed_between(self) -> None:
        """A worker that is killed between reading and asking is counted once, with its last exposed values."""
        process = self.other(1, 10, 60)
        before = MetricsStore(self.work, 0).load_stored()
        process.kill()
        process.wait()
        self.assertEqual(select_samples_to_sum(before, [(1, process.pid, counted(11))])[1:], [counted(11)])
        self.assertEqual(self.requests([]), 10)

    def test_our_own(self) -> None:
        """This worker's own file is not added to its current values."""
        MetricsStore(self.work, 0).keep(counted(3))
        self.assertEqual(self.requests([]), 0)

    def test_kept_by_two_threads(self) -> None:
        """A scrape and a request of another worker at the same time both succeed."""
        tallies = MetricsStore(self.work, 0)
        with ThreadPoolExecutor(8) as threads:
            kept = [threads.submit(tallies.keep, counted(number)) for number in range(200)]
        self.assertEqual([one.exception() for one in kept], [None] * 200)

    def test_a_new_start(self) -> None:
        """A restart of the server resets the counters."""
        self.other(1, 10)
        reset_metrics(self.work)
        self.assertEqual(self.requests([]), 0)
        reset_metrics(self.work)

    def test_a_torn_file(self) -> None:
        """A truncated file loses only its own values."""
        self.other(1, 10)
        (file,) = (self.work / FOLDER).glob('1-*')
        file.write_bytes(b'{"zatotx_ht')
        self.other(2, 7)
        self.assertEqual(self.requests([]), 7)


class WorkerGroupTests(TestCase):
    """Workers that are asked for metrics and findings."""

    def company(self, work: Path, seat: int, found: list[str], levels: Any = None) -> WorkerGroup:
        sources = [lambda: [('zatotx_node_refused', (), 10 + seat)]]
        scrapes = MetricsExposition(sources, deferToThread)
        company = WorkerGroup(reactor=reactor, work=work, slot=seat, exposition=scrapes, findings=lambda: found,
                          offload=deferToThread, levels=levels or self.levels())  # fmt: skip
        company.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(company.stop()))
        return company

    async def test_any_speaks_for_all(self) -> None:
        """The metrics are sums of all workers; findings name their worker."""
        work = folder(self)
        one = self.company(work, 0, ['mine'])
        self.company(work, 1, ['a thread is stuck'])
        self.assertIn(b'zatotx_node_refused_total 21.0', await one.exposition.render_text())
        self.assertEqual(await one.found_by_others(), ['worker 1: a thread is stuck'])

    def levels(self) -> LiveLogLevels:
        directory = Path(self.mktemp())
        directory.mkdir()
        book = LogFiles(directory, Clock(), Log())
        self.addCleanup(book.stop)
        return LiveLogLevels(book, MemoryPubSub())

    async def test_levels_without_redis(self) -> None:
        """A log level that is set in one worker is set in the others without Redis."""
        work, one, two = folder(self), self.levels(), self.levels()
        self.company(work, 0, [], one)
        self.company(work, 1, [], two)
        await one.set_level('crm', 'debug')
        self.assertEqual((one.effective(), two.effective()), ({'': 'info', 'crm': 'debug'},) * 2)


class ControlPipeTests(TestCase):
    """The worker's ends of the two pipes."""

    def pipes(self) -> tuple[int, int, int, int]:
        pair = (*os.pipe(), *os.pipe())
        for descriptor in pair:
            self.addCleanup(_close, descriptor)
        return pair

    async def test_orders_and_notices(self) -> None:
        """Commands are received one by one, however they are fragmented; notices are sent; the end of the parent is
        detected."""
        orders, parent, answers, notices = self.pipes()
        line = ControlPipe(reactor, orders=orders, notices=notices)
        heard: list[str] = []
        orphaned: Deferred[None] = Deferred()
        line.start(heard.append, lambda: orphaned.callback(None))
        os.write(parent, b'"reload"\n"ret')
        await deferLater(reactor, 0.05)
        os.write(parent, b'ire"\n')
        line.send_notice('ready')
        self.assertEqual(os.read(answers, 100), b'["ready", ""]\n')
        os.close(parent)
        await orphaned.addTimeout(60, reactor)
        self.assertEqual(heard, ['reload', 'retire'])
        os.close(answers)
        line.send_notice('refused', 'nobody hears it')

    def test_heartbeat(self) -> None:
        """A heartbeat is sent every second; a frozen parent with a full pipe does not block the worker."""
        orders, _, answers, notices = self.pipes()
        clock = MemoryReactorClock()
        line = ControlPipe(as_reactor(clock), orders=orders, notices=notices)
        line.start(lambda order: None, lambda: None)
        line.start_heartbeat()
        clock.pump([INTERVAL] * 3)
        self.assertEqual(os.read(answers, 100_000), b'["heartbeat", ""]\n' * 4)
        clock.pump([INTERVAL] * 10_000)
        full = os.read(answers, 100_000)
        self.assertEqual(full, full[:18] * (len(full) // 18))  # what went in went in whole

    def test_no_parent(self) -> None:
        """A worker started by hand reports that it has no parent."""
        orders, parent, _, _ = self.pipes()
        os.close(parent)
        self.assertRaises(ValueError, read_worker_spec, orders)


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # the test may have closed it
        os.close(descriptor)


class HandedDescriptorsTests(SynchronousTestCase):
    def test_not_for_programs(self) -> None:
        """Of what a worker inherits nothing is left to the programs that its services start."""
        script = (
            'import os, sys\n'
            'from zatotx.processes.workers.control_pipe import read_worker_spec\n'
            'spec = read_worker_spec()\n'
            'sockets = spec.inherited_sockets.values()\n'
            'print(spec.slot, [os.get_inheritable(fd) for fd in (3, 4, *sockets)], flush=True)\n'
        )
        code = (
            'import os, socket, subprocess, sys\n'
            'from zatotx.processes.workers.control_pipe import WorkerSpec\n'
            'up, down, held = os.pipe(), os.pipe(), socket.socket()\n'
            'os.write(down[1], WorkerSpec(slot=7, listen_when_ready=False, inherited_sockets={"tcp:1": 5}).to_line())\n'
            'for number, fd in ((3, down[0]), (4, up[1]), (5, held.fileno())):\n'
            '    os.dup2(fd, number + 100)\n'
            'for number in (3, 4, 5):\n'
            '    os.dup2(number + 100, number)\n'
            'os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])\n'
        )
        said = subprocess.run([sys.executable, '-c', code, script], capture_output=True, text=True, check=True)
        self.assertEqual(said.stdout, '7 [False, False, False]\n')
