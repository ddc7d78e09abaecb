"""Rate limits that the workers of a server count together: a table in shared memory, and locks."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.processes.workers.shared_rate_buckets import BUCKETS_PER_LOT, LOTS, SharedBuckets, create_buckets_file
from zatotx.rules.limits.rate_buckets import SECOND, GcraRate, RateBuckets

CHARGES = '''
import sys
from pathlib import Path
from zatotx.processes.workers.shared_rate_buckets import SharedBuckets
from zatotx.rules.limits.rate_buckets import GcraRate

buckets, rate = SharedBuckets(Path(sys.argv[1]), lock_timeout=30), GcraRate.from_limit(1, 86_400, 100)
print('ready', flush=True)
sys.stdin.readline()
admitted = sum(rate.admits(buckets.charge('a', rate, 5)) for _ in range(int(sys.argv[2])))
print(admitted)
'''


class SharedCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.work = Path(self.mktemp())
        self.work.mkdir()
        create_buckets_file(self.work)

    def worker(self) -> SharedBuckets:
        """As one process has the table."""
        buckets = SharedBuckets(self.work)
        self.addCleanup(buckets.close)
        return buckets

    def process(self, count: int) -> subprocess.Popen[str]:
        """A process that charges so often when it is told to."""
        process = subprocess.Popen([sys.executable, '-c', CHARGES, str(self.work), str(count)], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        self.addCleanup(self.end, process)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), 'ready\n')
        return process

    def end(self, process: Any) -> None:
        process.kill()
        process.communicate()


class SharedTests(SharedCase):
    rate = GcraRate.from_limit(1, 60, 3)

    def test_two_workers_have_one_count(self) -> None:
        """Whoever takes a call, it counts for both; so does one that is given back."""
        one, other = self.worker(), self.worker()
        admitted = [self.rate.admits(buckets.charge('a', self.rate, 7)) for buckets in (one, other) * 3]
        self.assertEqual(admitted, [True] * 3 + [False] * 3)
        other.refund('a', self.rate)
        other.refund('nobody', self.rate)
        self.assertTrue(self.rate.admits(one.charge('a', self.rate, 7)))
        self.assertFalse(self.rate.admits(other.charge('a', self.rate, 7)))
        self.assertEqual(other.charge('b', self.rate, 7), 0)

    @holds(examples=50, steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 90)), max_size=60))
    def test_as_those_of_one_process(self, steps: list[tuple[int, int]]) -> None:
        """Whatever happens in whatever order: both kinds of buckets say the same."""
        create_buckets_file(self.work)
        shared, alone, now = SharedBuckets(self.work), RateBuckets(), 1
        for name, pause in steps:
            now += pause * SECOND
            self.assertEqual(shared.charge(f'{name}', self.rate, now), alone.charge(f'{name}', self.rate, now))
            if pause % 7 == 3:
                for buckets in (shared, alone):
                    buckets.refund(f'{name}', self.rate)
        shared.close()

    def test_a_full_table(self) -> None:
        """There is always a place: the bucket that is full again soonest makes way. Memory stays what it is."""
        buckets, size = self.worker(), (self.work / 'rates').stat().st_size
        buckets.charge('long', GcraRate.from_limit(1, 86_400, 3), 0)
        for number in range(LOTS * BUCKETS_PER_LOT * 2):
            buckets.charge(f'name {number}', GcraRate.from_limit(1, 1, 1), number * 1000)
        self.assertEqual((self.work / 'rates').stat().st_size, size)
        self.assertEqual(buckets.charge('long', GcraRate.from_limit(1, 86_400, 3), 0), 86_400 * SECOND)

    def test_a_new_parent_begins_anew(self) -> None:
        """Clocks that count from the start of the machine are not remembered; workers of the old one keep theirs."""
        old = self.worker()
        old.charge('a', self.rate, 10**18)
        create_buckets_file(self.work)
        self.assertEqual(self.worker().charge('a', self.rate, 7), 0)
        self.assertEqual(old.charge('a', self.rate, 10**18), 60 * SECOND)


class ProcessTests(SharedCase):
    def test_exact_among_processes(self) -> None:
        """Four at once, each charging as fast as it can: as many are admitted as may be, not one more or less."""
        processes = [self.process(5_000) for _ in range(4)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write('go\n')
            process.stdin.flush()
        self.assertEqual(sum(int(process.communicate(timeout=60)[0]) for process in processes), 100)

    def test_nobody_waits_for_a_frozen_worker(self) -> None:
        """Or not for long, and not each time, also where it stopped with the lock in its hand: calls are counted
        without."""
        frozen = subprocess.Popen(
            [sys.executable, '-c', 'import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDWR); '
             f'fcntl.lockf(fd, fcntl.LOCK_EX, {LOTS}, 0); print("held", flush=True); sys.stdin.readline()',
             str(self.work / 'rates')], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.addCleanup(self.end, frozen)
        assert frozen.stdout is not None
        self.assertEqual(frozen.stdout.readline(), 'held\n')
        os.kill(frozen.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, frozen.pid, signal.SIGCONT)
        buckets, rate = self.worker(), GcraRate.from_limit(1, 60, 3)
        fd = os.open(self.work / 'rates', os.O_RDWR)
        self.addCleanup(os.close, fd)
        self.assertRaises(OSError, fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        self.assertEqual([rate.admits(buckets.charge('a', rate, 7)) for _ in range(4)], [True] * 3 + [False])
        buckets.refund('a', rate)
        self.assertTrue(rate.admits(buckets.charge('a', rate, 7)))
