"""Kills the leader of the scheduler again and again, and counts the runs that were lost or written twice.

`python -m trial_tests.support.leader_chaos` kills KILLS (50) leaders at moments that depend on SEED, which it prints;
`make chaos` calls it.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from sqlite3 import connect

from attrs import define, field

from trial_tests.support.broker import Broker, create, remove
from trial_tests.support.redis import spoken
from trial_tests.support.waiting import until
from zatotx.schema.scheduler_job import DEFAULT_JOBS

SERVERS, JOBS = 3, 5
PATIENCE = 60.0  # seconds within which another server must lead
MAX_TAKEOVER = 10.0  # seconds
SERVICES = '''
import json
import os
import time
from zatotx import Service

FILE = {file!r}

class Tick(Service):
    """ Notes its job, the scheduled time, and when it ran. """
    name = 'chaos.tick'
    async def handle(self):
        row = [self.job.name, self.job.scheduled.timestamp(), time.time(), self.cid]
        line = (json.dumps(row) + chr(10)).encode()
        file = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line)
        os.close(file)
'''


@define
class LeaderReport:
    """What happened."""

    seed: int
    kills: int = 0
    ticks: int = 0  # that were due
    lost: int = 0
    twice: int = 0  # messages beyond one for each tick
    repeated: int = 0  # runs that were repeated because their process died, with the same cid
    takeovers: list[float] = field(factory=list)  # seconds from a kill to the first run of a tick that was due after it
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether the promises were kept."""
        return not self.lost and not self.twice and percentile(self.takeovers, 0.99) <= MAX_TAKEOVER

    def __str__(self) -> str:
        return (f'seed {self.seed}: {self.kills} leaders killed, {self.ticks:,} ticks, {self.lost} lost, {self.twice} '
                f'written twice, {self.repeated} runs repeated with the same cid; takeover median '
                f'{percentile(self.takeovers, 0.5):.1f} s, p99 {percentile(self.takeovers, 0.99):.1f} s; '
                f'{self.seconds:.0f} s')  # fmt: skip


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values is; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


@define
class LeaderChaos:
    """One run on a fresh environment."""

    seed: int
    kills: int
    _file: Path = field(init=False)

    def run(self) -> LeaderReport:
        """Run all, and remove the environment."""
        report, random = LeaderReport(self.seed), Random(self.seed)
        broker = create(servers=SERVERS)
        began = time.monotonic()
        try:
            self._prepare(broker)
            for _ in range(self.kills):
                time.sleep(random.uniform(0.5, 3.0))
                report.takeovers.append(self._kill_leader(broker))
                report.kills += 1
                broker.must('start', str(broker.path))
            self._count(broker, report)
        finally:
            report.seconds = time.monotonic() - began
            remove(broker)
        return report

    def _prepare(self, broker: Broker) -> None:
        broker.start()
        self._file = broker.path.parent / 'ticks'
        broker.serve('chaos_services.py', SERVICES.format(file=str(self._file)))
        for name in DEFAULT_JOBS:
            broker.invoke('zato.scheduler.job.delete', json.dumps({'name': name}).encode())
        broker.configure('scheduler: ' + json.dumps([
            {'name': f'tick-{number}', 'service': 'chaos.tick', 'job_type': 'interval_based', 'seconds': 1,
             'start_date': f'2026-01-01T00:00:00.{number}00Z'} for number in range(JOBS)
        ]))  # fmt: skip
        until(lambda: len(self._rows()) > 2 * JOBS, 'the first runs', PATIENCE)

    def _kill_leader(self, broker: Broker) -> float:
        """Kill -9; returns the seconds until a tick that was due afterwards has run."""
        broker.kill(str(until(lambda: leader(broker), 'a leader', PATIENCE)))
        killed = time.time()
        found = until(lambda: [ran for _, due, ran, _ in self._rows() if due > killed], 'another leader', PATIENCE)
        return min(found) - killed

    def _count(self, broker: Broker, report: LeaderReport) -> None:
        for number in range(JOBS):
            broker.must('job', 'pause', str(broker.path), f'tick-{number}')
        time.sleep(3)
        rows = self._rows()
        by_job: dict[str, set[int]] = {}
        for name, due, _, _ in rows:
            by_job.setdefault(name, set()).add(round(due * 1000))
        report.ticks = sum((max(times) - min(times)) // 1000 + 1 for times in by_job.values())
        distinct = sum(map(len, by_job.values()))
        report.lost = report.ticks - distinct
        report.repeated = len(rows) - distinct
        facts = stream_facts(broker)
        report.twice = facts['entries-added'] - distinct

    def _rows(self) -> list[tuple[str, float, float, str]]:
        if not self._file.exists():
            return []
        return [tuple(json.loads(line)) for line in self._file.read_text().splitlines()]


def leader(broker: Broker) -> str:
    """The name of the leader by the ODB; '' if there is none."""
    with closing(connect(broker.path / 'odb' / 'zatotx.db')) as connection:
        return str(connection.execute('select node from scheduler_leader').fetchone()[0])


def stream_facts(broker: Broker) -> dict[str, int]:
    """What Redis knows about the shared work stream."""
    socket = broker.path / 'redis' / 'redis.sock'
    (key,) = (key for key in spoken(socket, 'KEYS', 'zatotx:*:stream:work') if key)
    words = spoken(socket, 'XINFO', 'STREAM', key)
    return dict(zip(words[::2], words[1::2], strict=True))


def main() -> None:
    """Run it with the settings of the environment variables."""
    seed = int(os.environ.get('SEED') or secrets.randbits(32))
    kills = int(os.environ.get('LEADER_KILLS') or 50)
    print(f'Killing {kills} leaders of the scheduler, seed {seed} …', flush=True)
    report = LeaderChaos(seed, kills).run()
    print(report)
    sys.exit(0 if report.is_good else 1)


if __name__ == '__main__':
    main()
