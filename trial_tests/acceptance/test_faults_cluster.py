"""A leader of the scheduler whose clock is set, and servers that reach different Redis: two real servers.

The second server has a clock that a file sets, and reaches Redis through a proxy that can lead to another one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import sqlite3
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from time import time
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.acceptance.test_faults_clock import SET_CLOCK
from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.proxy import Proxy
from trial_tests.support.valkey import Valkey
from trial_tests.support.waiting import until

HOUR = 3600.0
PATIENCE = 60.0  # seconds
SERVICES = """
import json
from zatotx import Service


class Tick(Service):
    name = 'fault.tick'

    async def handle(self):
        with open({file!r} + self.request.raw_request, 'a') as file:
            file.write(json.dumps([self.job.scheduled.isoformat(), self.cid]) + chr(10))
"""


@frozen
class _Peers:
    """Redis, another one, and the proxy between the second server and one of them."""

    redis: Valkey
    other: Valkey
    proxy: Proxy


_peers: dict[Broker, _Peers] = {}


def serve() -> Broker:
    """Start everything."""
    redis, other = Valkey(net='port'), Valkey(net='port')
    for server in (redis, other):
        atexit.register(server.close)
        server.start()
    proxy = Proxy(('127.0.0.1', redis.port))
    atexit.register(proxy.close)
    broker = create(servers=2, more=('--redis-url', f'redis://127.0.0.1:{redis.port}'))
    settings = broker.directory(2) / 'config' / 'server.toml'
    settings.write_text(settings.read_text().replace(f':{redis.port}', f':{proxy.port}'))
    hook = broker.write('sitecustomize.py', SET_CLOCK)  # Python imports it first of all
    (broker.path.parent / 'offset').write_text('0')
    faked = {'PYTHONPATH': str(hook.parent), 'TEST_CLOCK_OFFSET': str(broker.path.parent / 'offset')}
    broker.must('start', str(broker.directory(1)))
    broker.must('start', str(broker.directory(2)), env=faked)
    broker.serve('fault_services.py', SERVICES.format(file=str(broker.path.parent / 'ticks-')))
    _peers[broker] = _Peers(redis, other, proxy)
    return broker


class LeaderFaultTests(SynchronousTestCase):
    """A job that runs each second."""

    def setUp(self) -> None:
        self.broker = shared('leader faults', serve)
        self.peers = _peers[self.broker]
        until(self.leader, 'a leader', PATIENCE)

    def begin(self, name: str) -> None:
        """Start the job."""
        self.name = name
        self.broker.configure('scheduler: ' + json.dumps([
            {'name': name, 'service': 'fault.tick', 'job_type': 'interval_based', 'seconds': 1, 'extra': name,
             'start_date': '2026-01-01T00:00:00Z'},
        ]))  # fmt: skip
        self.addCleanup(self.broker.must, 'job', 'pause', str(self.broker.path), name)
        self.wait_for_runs(2)

    def rows(self) -> list[Any]:
        """Return scheduled time and cid of each run."""
        file = Path(f'{self.broker.path.parent}/ticks-{self.name}')
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for_runs(self, more: int) -> None:
        """Wait for so many further runs."""
        count = len(self.rows()) + more
        until(lambda: len(self.rows()) >= count, f'{more} runs', PATIENCE)

    def leader(self) -> str:
        """Return the leader that the ODB knows, asked without a server."""
        with contextlib.closing(sqlite3.connect(self.broker.path / 'odb' / 'zatotx.db')) as connection:
            found = connection.execute('select node from scheduler_leader').fetchone()
        return str(found[0]) if found else ''

    def set_clock(self, offset: float) -> None:
        """Set the clock of the second server, while it runs."""
        aside = self.broker.path.parent / 'aside'
        aside.write_text(str(offset))
        aside.replace(self.broker.path.parent / 'offset')

    def make_leader(self, number: int) -> None:
        """Let a server lead: the other one is stopped for a moment."""
        if self.leader() != f'server{number}':
            other = str(self.broker.directory(3 - number))
            self.broker.must('stop', other)
            until(lambda: self.leader() == f'server{number}', 'the change of the leader', PATIENCE)
            self.broker.must('start', other)

    def require_each_second(self, *, once: bool) -> None:
        """Each second has a run, at its time; what was repeated has the cid of the first."""
        rows = self.rows()
        times = sorted({datetime.fromisoformat(scheduled) for scheduled, _ in rows})
        self.assertEqual({later - earlier for earlier, later in pairwise(times)}, {timedelta(seconds=1)})
        self.assertLess(times[-1].timestamp(), time() + 1)
        self.assertEqual(len({cid for _, cid in rows}), len(times))
        if once:
            self.assertEqual(len(rows), len(times))

    def test_clock_of_the_leader(self) -> None:
        """A leader whose clock is set by an hour, either way, resigns; the other server leads, and each second has one
        run at its time. `zatotx doctor` names the clock."""
        self.addCleanup(self.set_clock, 0.0)
        self.begin('clock')
        for hours in (1, -1):
            self.set_clock(0.0)
            self.make_leader(2)
            self.wait_for_runs(2)
            self.set_clock(hours * HOUR)
            until(lambda: self.leader() == 'server1', 'another leader', PATIENCE)
            self.wait_for_runs(3)
        until(lambda: 's off that of Redis' in self.broker.run('doctor', str(self.broker.path)).text, 'the finding',
              PATIENCE)
        self.require_each_second(once=True)

    def test_divided_redis(self) -> None:
        """The second server suddenly reaches another, empty Redis: it leads there with a newer epoch, the former leader
        resigns, and no second is without a run. Together again, one of them leads."""
        self.make_leader(1)
        self.begin('divided')
        self.addCleanup(self.peers.proxy.lead_to, ('127.0.0.1', self.peers.redis.port))
        self.peers.proxy.lead_to(('127.0.0.1', self.peers.other.port))
        until(lambda: self.leader() == 'server2', 'a leader with a newer epoch', PATIENCE)
        self.wait_for_runs(8)
        self.assertEqual(self.leader(), 'server2')
        self.peers.proxy.lead_to(('127.0.0.1', self.peers.redis.port))
        self.wait_for_runs(8)
        self.require_each_second(once=False)
