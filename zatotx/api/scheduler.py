"""The services zato.scheduler.job.* that run and pause jobs, and return their next and past runs. The services that
create, edit, delete and list jobs are derived from the object type of jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from time import time
from typing import Any

import msgspec

from zatotx.api.admin_service import bad_field_error
from zatotx.api.crud import MAX_ROWS_ON_REACTOR, ObjectService
from zatotx.model.cid import new_cid
from zatotx.model.job_run import JobRun
from zatotx.rules.scheduling.job_run_message import make_run_message
from zatotx.rules.scheduling.tick_schedule import MICROSECONDS, make_schedule, to_datetime
from zatotx.schema.scheduler_job import SCHEDULER_JOB
from zatotx.schema.snapshot import StoredObject
from zatotx.schema.validation import parse_bool, parse_int

DEFAULT_RUNS, MAX_RUNS = 100, 10_000
DEFAULT_NEXT, MAX_NEXT = 5, 100


class JobService(ObjectService):
    """Base class of the scheduler job services."""

    zato_dont_import = True
    prefix = 'scheduler.job'

    def number(self, name: str, default: int, most: int) -> int:
        """Return a number of the request from 1 to `most`. Raises BadInput."""
        value = self.requested_object.get(name)
        if value in (None, ''):
            return default
        number = parse_int(value) if isinstance(value, str) else value
        if type(number) is not int or not 1 <= number <= most:
            raise bad_field_error(name, f'must be 1 to {most}')
        return number

    def selected_jobs(self) -> list[StoredObject]:
        """Return the job that the request names, or all jobs. Raises NotFound."""
        if self.requested_object.get('id', '') not in ('', None) or self.requested_object.get('name'):
            return [self.find_object()]
        found: list[StoredObject] = self.server.config.snapshot.objects_of_types(SCHEDULER_JOB.key)
        return found


class ExecuteJob(JobService):
    """Run a job immediately, even if the job is inactive or a previous run has not ended. The response contains the
    correlation ID of the run."""

    name = 'zato.scheduler.job.execute'

    async def handle(self) -> None:
        stored, now = self.find_object(), time()
        tick = round(now * MICROSECONDS)
        message = make_run_message(self.server.cluster, stored.id, stored.value, tick, now, cid=new_cid())
        await self.server.work.add([msgspec.structs.replace(message, order_key='')])
        self.response.payload = {'id': stored.id, 'name': stored.name, 'cid': message.cid}


class SetActiveStatus(JobService):
    """Pause or resume a job. Runs that were missed during the pause are not executed later."""

    name = 'zato.scheduler.job.set-active-status'

    async def handle(self) -> None:
        stored = self.find_object()
        value = self.requested_object.get('is_active')
        is_active = parse_bool(value) if isinstance(value, str) else value
        if not isinstance(is_active, bool):
            raise bad_field_error('is_active', 'missing: give true or false')
        if stored.value.is_active != is_active:
            stored = await self.write('edit', stored, {'is_active': is_active})
        self.response.payload = {'id': stored.id, 'name': stored.name, 'is_active': is_active}


class GetNextRuns(JobService):
    """Return the times of the next `count` runs of one job, or of all jobs. Inactive jobs have no next runs."""

    name = 'zato.scheduler.job.get-next-runs'

    async def handle(self) -> None:
        count, now = self.number('count', DEFAULT_NEXT, MAX_NEXT), round(time() * MICROSECONDS)
        jobs = self.selected_jobs()

        def make_rows() -> list[dict[str, Any]]:
            return [{'id': one.id, 'name': one.name, 'next_runs': next_runs(one, now, count)} for one in jobs]

        is_large = len(jobs) * count > MAX_ROWS_ON_REACTOR
        self.response.payload = await self.server.run_in_thread(make_rows) if is_large else make_rows()


class GetHistory(JobService):
    """Return the most recent runs of one job, or of all jobs, newest first."""

    name = 'zato.scheduler.job.get-history'

    async def handle(self) -> None:
        limit = self.number('limit', DEFAULT_RUNS, MAX_RUNS)
        jobs = self.selected_jobs()
        is_one = len(jobs) == 1 and bool(self.requested_object.get('id') or self.requested_object.get('name'))
        runs = await self.server.scheduler.history.runs(jobs[0].id if is_one else None, limit)
        self.response.payload = [run_to_row(run) for run in runs]


def next_runs(stored: StoredObject, now: int, count: int) -> list[str]:
    """Return the times of the next `count` runs of a job. `now` is the current tick."""
    if not stored.value.is_active:
        return []
    schedule = make_schedule(stored.value, round(stored.changed_at * MICROSECONDS))
    found: list[str] = []
    tick = schedule.next(now)
    while tick is not None and len(found) < count:
        found.append(to_datetime(tick).isoformat())
        tick = schedule.next(tick)
    return found


def run_to_row(run: JobRun) -> Mapping[str, Any]:
    """Convert a job run to a row of the response."""
    return {
        'job_id': run.job_id, 'job': run.job, 'service': run.service, 'cid': run.cid, 'scheduled': _time(run.scheduled),
        'started': _time(run.started), 'duration': run.duration, 'result': run.result, 'cause': run.cause,
        'node': run.node, 'attempt': run.attempt,
    }  # fmt: skip


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


SERVICES = (ExecuteJob, SetActiveStatus, GetNextRuns, GetHistory)
