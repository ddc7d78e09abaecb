"""The scheduler in real servers: jobs by enmasse, API and command line, hooks, history, and changes of the leader."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.waiting import until

SERVICES = '''
import json
import os
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
            'hooks': self.environ['hooks'],
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
        return until(lambda: found if len(found := self.rows(name)) >= count else None, f'{count} in {name}', within)

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
        self.assertIn('zato.outgoing.sql.auto-ping', listed)
        self.job('pause', 'interval')
        history = until(lambda: self.job('history', 'once'), 'the history')
        self.assertEqual([(run['result'], run['cid']) for run in history], [('ok', once['cid'])])
        self.assertIn(history[0]['node'], ('server1', 'server2'))
        self.job('execute', 'once')
        self.assertEqual(len(self.wait_for('once', 2)), 2)
