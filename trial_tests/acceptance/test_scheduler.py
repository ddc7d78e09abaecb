"""The scheduler in real servers: jobs by enmasse, API and command line, hooks, history, and changes of the leader."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.redis import spoken
from trial_tests.support.waiting import allowed, until
from zatotx import __version__
from zatotx.cli import completion_values
from zatotx.schema.scheduler_job import DEFAULT_JOBS

SERVICES = '''
import json
import os
import time
from twisted.internet.task import deferLater
from zatotx import Service

DIRECTORY = {directory!r}

def note(name, row):
    with open(os.path.join(DIRECTORY, name), 'a') as file:
        file.write(json.dumps(row) + chr(10))

class Tick(Service):
    """ Appends a line to the file that the job's extra names. """
    name = 'job.tick'

    def before_job(self):
        self.environ['hooks'] = ['before_job']

    def before_one_time_job(self):
        self.environ['hooks'].append('before_one_time_job')

    def before_interval_based_job(self):
        self.environ['hooks'].append('before_interval_based_job')

    def before_cron_style_job(self):
        self.environ['hooks'].append('before_cron_style_job')

    async def handle(self):
        job = self.job
        note(self.request.raw_request, {{
            'name': job.name, 'type': job.job_type, 'job_type': self.job_type, 'channel': self.channel,
            'scheduled': job.scheduled.isoformat(), 'cid': self.cid, 'server': self.server.name,
            'hooks': self.environ['hooks'], 'at': time.time(),
        }})

    def after_interval_based_job(self):
        note('after', self.job.name)

class Slow(Service):
    """ Runs for as many seconds as the job's extra says. """
    name = 'job.slow'
    async def handle(self):
        from twisted.internet import reactor
        note('slow', [self.job.name, 'begin'])
        await deferLater(reactor, float(self.request.raw_request))
        note('slow', [self.job.name, 'end'])

class Fails(Service):
    name = 'job.fails'
    async def handle(self):
        note('fails', self.cid)
        raise RuntimeError('the ledger is closed')

class Plans(Service):
    name = 'job.plans'
    async def handle(self):
        job_id = await self.schedule.onetime(self, 'job.tick', after_seconds=1, data=self.request.payload['file'])
        self.response.payload = {{'id': job_id}}

class PlansInThread(Service):
    name = 'job.plans.thread'
    def handle(self):
        payload = self.request.payload
        job_id = self.schedule.onetime('job.tick', name=payload['name'], start_date=payload['at'], data=payload['file'])
        self.response.payload = {{'id': job_id}}
'''


def scheduling() -> Broker:
    """Two servers with the services above."""
    return shared('scheduler', serve)


def serve() -> Broker:
    broker = create(servers=2)
    broker.start()
    broker.serve('job_services.py', SERVICES.format(directory=str(broker.path.parent)))
    return broker


def in_seconds(seconds: float) -> str:
    """That time from now as text."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def if_long(rows: list[Any], count: int) -> list[Any]:
    """The rows, once there are so many."""
    return rows if len(rows) >= count else []


class SchedulerCase(SynchronousTestCase):
    """With that environment."""

    def setUp(self) -> None:
        self.broker = scheduling()

    def configure(self, *jobs: dict[str, Any]) -> None:
        """Import jobs."""
        self.broker.configure('scheduler: ' + json.dumps(jobs))

    def job(self, command: str, *args: str) -> Any:
        """`zatotx job COMMAND`, as JSON."""
        return json.loads(self.broker.must('job', command, str(self.broker.path), *args, '--format', 'json'))

    def call(self, action: str, **request: Any) -> Any:
        """A service zato.scheduler.job.*, which must succeed."""
        answer = self.broker.invoke(f'zato.scheduler.job.{action}', json.dumps(request).encode())
        self.assertEqual(answer.status, 200, answer.body)
        found = json.loads(answer.body)
        return next(value for name, value in found.items() if name != 'zato_env')

    def rows(self, name: str) -> list[Any]:
        """What was noted in a file."""
        file = Path(self.broker.path.parent / name)
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for(self, name: str, count: int = 1, within: float = 20.0) -> list[Any]:
        """What was noted, once it is so much."""
        return until(lambda: if_long(self.rows(name), count), f'{count} in {name}', within)

    def leader(self) -> str:
        """The name of the leader."""
        facts = json.loads(self.broker.must('info', str(self.broker.path), '--format', 'json'))
        return str(facts['cluster']['leader'])


class JobTests(SchedulerCase):
    """Jobs of all types."""

    def test_types(self) -> None:
        """Jobs of each type run by enmasse with their hooks, extra and times; all are listed with their next runs, and
        their history has results and servers."""
        self.configure(
            {'name': 'interval', 'service': 'job.tick', 'job_type': 'interval_based', 'seconds': 1, 'extra': 'interval',
             'start_date': '2026-01-01T00:00:00Z'},
            {'name': 'once', 'service': 'job.tick', 'job_type': 'one_time', 'extra': 'once',
             'start_date': in_seconds(2)},
            {'name': 'cron', 'service': 'job.tick', 'job_type': 'cron_style', 'cron_definition': '@daily'},
        )  # fmt: skip
        rows = self.wait_for('interval', 3)[:3]
        times = [datetime.fromisoformat(row['scheduled']) for row in rows]
        self.assertEqual([b - a for a, b in pairwise(times)], [timedelta(seconds=1)] * 2)
        self.assertEqual({time.microsecond for time in times}, {0})
        self.assertEqual(rows[0]['hooks'], ['before_job', 'before_interval_based_job'])
        self.assertEqual((rows[0]['type'], rows[0]['job_type'], rows[0]['channel']),
                         ('interval_based', 'interval_based', 'scheduler'))  # fmt: skip
        self.assertEqual(len({row['cid'] for row in rows}), 3)
        (once,) = self.wait_for('once')
        self.assertEqual(once['hooks'], ['before_job', 'before_one_time_job'])
        self.assertIn('interval', self.rows('after'))
        listed = {row['name']: row for row in self.job('list')}
        self.assertEqual(listed['once']['next_run'], '')
        self.assertTrue(listed['interval']['next_run'])
        self.assertEqual(listed['cron']['cron_definition'], '0 0 * * *')
        self.assertLessEqual(DEFAULT_JOBS.keys(), listed.keys())
        self.job('pause', 'interval')
        history = until(lambda: self.job('history', 'once'), 'the history')
        self.assertEqual([(run['result'], run['cid']) for run in history], [('ok', once['cid'])])
        self.assertIn(history[0]['node'], ('server1', 'server2'))
        self.job('execute', 'once')
        self.assertEqual(len(self.wait_for('once', 2)), 2)

    def test_completion(self) -> None:
        """The shell completes the names of jobs."""
        self.patch(completion_values, 'COMPLETION_TIMEOUT', 30.0)
        context = click.Context(click.Command('history'))
        context.params['path'] = str(self.broker.path)
        found = completion_values.complete_jobs(context, click.Argument(['name']), 'zato.out')
        self.assertEqual([item.value for item in found], ['zato.outgoing.sql.auto-ping'])

    def test_statistics(self) -> None:
        """The servers record the calls of services, and the default jobs sum them."""
        self.job('execute', 'zato.stats.process-raw-times')
        self.job('execute', 'zato.stats.aggregate-by-minute')
        history = until(lambda: self.job('history', 'zato.stats.aggregate-by-minute'), 'the history')
        self.assertEqual((history[0]['result'], history[0]['cause']), ('ok', ''))
        history = until(lambda: self.job('history', 'zato.stats.process-raw-times'), 'the history')
        self.assertEqual((history[0]['result'], history[0]['cause']), ('ok', ''))
        redis = self.broker.path / 'redis' / 'redis.sock'
        until(lambda: spoken(redis, 'KEYS', '*:stats-records:*'), 'records of calls', 60)

    def test_api(self) -> None:
        """Zato's services create, edit, execute, list and delete jobs by Zato's names, with values as text; an edit is
        in force on all servers within a second."""
        made = self.call('create', cluster_id=1, name='api', is_active='true', job_type='interval_based',
                         service='job.tick', start_date='2026-01-01 00:00:00', extra='api', seconds='1', weeks='',
                         repeats='')  # fmt: skip
        self.assertEqual(made, {'id': made['id'], 'name': 'api', 'cron_definition': ''})
        self.wait_for('api')
        self.call('edit', id=made['id'], name='api', is_active=True, job_type='cron_style', service='job.tick',
                  start_date='2026-01-01 00:00:00', extra='api.cron',
                  cron_definition='@hourly', seconds='')  # fmt: skip
        changed = time.time()
        row = self.call('get-by-name', cluster_id=1, name='api')
        self.assertEqual((row['cron_definition'], row['seconds'], row['service_name']), ('0 * * * *', '', 'job.tick'))
        done = self.call('execute', id=made['id'])
        (run,) = self.wait_for('api.cron')
        self.assertEqual((run['cid'], run['hooks']), (done['cid'], ['before_job', 'before_cron_style_job']))
        self.assertLess(max(row['at'] for row in self.rows('api')), changed + allowed(1.0))
        self.assertEqual(self.broker.invoke('zato.scheduler.job.delete', b'{"id": %d}' % made['id']).status, 200)
        self.assertNotIn('api', {row['name'] for row in self.call('get-list', cluster_id=1)})

    def test_services_create_jobs(self) -> None:
        """Services create one-time jobs, on the reactor and in threads; a time that is over is refused."""
        answer = self.broker.invoke('job.plans', b'{"file": "planned"}')
        self.assertEqual(answer.status, 200, answer.body)
        (run,) = self.wait_for('planned')
        self.assertEqual(run['type'], 'one_time')
        request = {'name': 'planned', 'at': in_seconds(1), 'file': 'planned.thread'}
        answer = self.broker.invoke('job.plans.thread', json.dumps(request).encode())
        self.assertEqual(answer.status, 200, answer.body)
        self.wait_for('planned.thread')
        request = {'name': 'over', 'at': '2026-01-01', 'file': 'over'}
        answer = self.broker.invoke('job.plans.thread', json.dumps(request).encode())
        self.assertEqual(answer.status, 400, answer.body)

    def test_mistakes(self) -> None:
        """All mistakes of an import are reported at once, one sentence each, and nothing is stored."""
        base = {'service': 'job.tick', 'job_type': 'cron_style'}
        said = self.broker.imported('scheduler: ' + json.dumps([
            {**base, 'name': 'a', 'cron_definition': '0 0 31 2 *'},
            {**base, 'name': 'b', 'cron_definition': '61 * * * *'},
            {**base, 'name': 'c', 'cron_definition': '0 0 * * *', 'timezone': 'Europe/Berln'},
            {'name': 'd', 'service': 'job.tick', 'job_type': 'interval_based', 'seconds': 0},
            {'name': 'e', 'service': 'job.tick', 'job_type': 'one_time', 'start_date': '2026-02-30T00:00:00Z'},
            {'name': 'f', 'service': 'job.tick', 'job_type': 'one_time', 'start_date': '2026-02-01T00:00:00Z'},
            {'name': 'g', 'service': 'job.tock', 'job_type': 'one_time', 'start_date': in_seconds(60)},
        ]))  # fmt: skip
        self.assertEqual(said.code, 1)
        for part in ("'a': cron_definition: never comes: Feb has no day 31", 'minute', "did you mean 'Europe/Berlin'",
                     'the interval is 0', 'day is out of range', 'is over', "'job.tick'"):  # fmt: skip
            self.assertIn(part, said.text)
        self.assertFalse({row['name'] for row in self.job('list')} & set('abcdefg'))

    def test_failures(self) -> None:
        """A failed run is retried as the job says and becomes a dead letter if it says so; the history has every
        attempt, and `doctor` names the job."""
        self.configure({'name': 'fails', 'service': 'job.fails', 'job_type': 'one_time', 'start_date': in_seconds(1),
                        'retry': {'attempts': 2, 'backoff': 0.2}, 'dead_letter': True},
                       {'name': 'late', 'service': 'job.slow', 'job_type': 'one_time', 'start_date': in_seconds(1),
                        'extra': '60', 'timeout': 1})  # fmt: skip
        cids = self.wait_for('fails', 2)
        self.assertEqual(len(set(cids)), 1)
        history = until(lambda: if_long(self.job('history', 'fails'), 2), 'the history')
        self.assertEqual([(run['result'], run['attempt']) for run in history], [('failed', 2), ('failed', 1)])
        self.assertIn('the ledger is closed', history[0]['cause'])
        late = until(lambda: self.job('history', 'late'), 'the end of the run')
        self.assertEqual([run['result'] for run in late], ['timed out'])
        self.assertLess(late[0]['duration'], allowed(5.0))
        dead = until(lambda: json.loads(self.broker.must(
            'dead-letter', 'list', str(self.broker.path), '--service', 'job.fails', '--format', 'json')), 'it')
        self.assertEqual([letter['attempts'] for letter in dead], [2])
        self.assertIn("job 'fails' failed", self.broker.run('doctor', str(self.broker.path)).text)

    def test_overlap(self) -> None:
        """While a run has not ended, further ones are skipped or queued as the job says."""
        common = {'service': 'job.slow', 'job_type': 'interval_based', 'seconds': 1, 'extra': '3.5', 'repeats': 3,
                  'start_date': in_seconds(1)}  # fmt: skip
        self.configure({'name': 'skips', 'overlap': 'skip', **common}, {'name': 'queues', 'overlap': 'queue', **common})
        rows = until(lambda: if_long([row for row in self.rows('slow') if row[0] != 'late'], 8), 'all runs')
        self.assertEqual([step for name, step in rows if name == 'queues'], ['begin', 'end'] * 3)
        self.assertEqual([step for name, step in rows if name == 'skips'], ['begin', 'end'])
        results = until(lambda: if_long(self.job('history', 'skips'), 3), 'the history')
        self.assertEqual(sorted(run['result'] for run in results), ['ok', 'skipped', 'skipped'])


class LeaderTests(SchedulerCase):
    """What happens when the leader goes."""

    def setUp(self) -> None:
        super().setUp()
        until(lambda: self.leader() in ('server1', 'server2'), 'a leader')

    def begin(self, name: str) -> None:
        """Start a job that runs each second."""
        self.configure({'name': name, 'service': 'job.tick', 'job_type': 'interval_based', 'seconds': 1, 'extra': name,
                        'start_date': '2026-01-01T00:00:00Z'})  # fmt: skip
        self.addCleanup(self.job, 'pause', name)
        self.wait_for(name, 2)

    def require_each_once(self, name: str) -> list[Any]:
        """Each second has a run; a run that was repeated, because its process died, has the cid of the first."""
        rows = self.rows(name)
        times = sorted({datetime.fromisoformat(row['scheduled']) for row in rows})
        self.assertEqual({later - earlier for earlier, later in pairwise(times)}, {timedelta(seconds=1)})
        self.assertEqual(len({row['cid'] for row in rows}), len(times))
        return rows

    def test_cluster_status(self) -> None:
        """`status --cluster` shows each server with version, load and heartbeat, and which one leads."""
        shown = json.loads(self.broker.must('status', str(self.broker.path), '--cluster', '--format', 'json'))
        self.assertEqual(shown['leader'], self.leader())
        self.assertEqual([(row['name'], row['state'], row['version']) for row in shown['nodes']],
                         [(name, 'running', __version__) for name in ('server1', 'server2')])  # fmt: skip
        self.assertEqual([row['name'] for row in shown['nodes'] if row['is_leader']], [shown['leader']])
        self.assertGreater(max(row['cpu'] for row in shown['nodes']), 0)
        self.assertIn('LEADS', self.broker.must('status', str(self.broker.path), '--cluster'))

    def test_killed(self) -> None:
        """After a kill -9 of the leader another server runs jobs within ten seconds, and no run is missing."""
        self.begin('killed')
        leader = self.leader()
        self.broker.kill(leader)
        began = time.time()
        first: Any = until(lambda: next((row for row in self.rows('killed') if row['at'] > began + 0.5), {}),
                           'a run', 30)  # fmt: skip
        self.assertLess(first['at'] - began, allowed(10))
        self.broker.start()
        self.wait_for('killed', len(self.rows('killed')) + 2)
        self.require_each_once('killed')
        self.assertNotIn(self.leader(), (leader, 'None'))

    def test_stopped(self) -> None:
        """A leader that is stopped hands over at once."""
        self.begin('stopped')
        leader = self.leader()
        self.broker.must('stop', str(self.broker.path / leader))
        count = len(self.rows('stopped'))
        self.wait_for('stopped', count + 3)
        rows = self.require_each_once('stopped')
        self.broker.start()
        self.assertEqual(len(rows), len({row['cid'] for row in rows}))
        lateness = [row['at'] - datetime.fromisoformat(row['scheduled']).timestamp() for row in rows]
        self.assertLess(max(lateness), allowed(2.0))

    def test_frozen(self) -> None:
        """A leader that is frozen for longer than its lease, and continues, repeats nothing. Only the run that it was
        executing when it was frozen may be repeated, by another server."""
        self.begin('frozen')
        leader = self.leader()
        pids = self.broker.pids(leader)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: self.leader_in_odb() not in ('', leader), 'another leader', 30)
            self.wait_for('frozen', len(self.rows('frozen')) + 2)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        self.wait_for('frozen', len(self.rows('frozen')) + 3)
        rows = self.require_each_once('frozen')
        self.assertLessEqual(len(rows), len({row['cid'] for row in rows}) + 1)

    def test_wiped(self) -> None:
        """After a loss of all data in Redis the next leader makes up what may be lost: no run is missing, and those
        that are repeated have the same cid."""
        self.begin('wiped')
        self.wait_for('wiped', 4)
        epoch = self.epoch()
        self.assertEqual(spoken(self.broker.path / 'redis' / 'redis.sock', 'FLUSHALL'), 'OK')
        until(lambda: self.epoch() > epoch, 'another term', 30)
        self.wait_for('wiped', len(self.rows('wiped')) + 4, 30)
        self.require_each_once('wiped')

    def epoch(self) -> int:
        """The newest epoch."""
        with contextlib.closing(sqlite3.connect(self.broker.path / 'odb' / 'zatotx.db')) as connection:
            return int(connection.execute('select epoch from scheduler_leader').fetchone()[0])

    def leader_in_odb(self) -> str:
        """The leader, asked without a server, as the one that answers may be frozen."""
        with contextlib.closing(sqlite3.connect(self.broker.path / 'odb' / 'zatotx.db')) as connection:
            return str(connection.execute('select node from scheduler_leader').fetchone()[0])
