"""Screens of scheduler jobs. They show the next runs, and the past runs with their durations, and execute a job
immediately."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import Page, Redirect, Response
from zatotx.admin.tables import Column, page_of

JOBS, PREFIX = 'scheduler_job', 'zato.scheduler.job'  # key of the object type, and its services
MAX_RUNS = 1_000
SHOWN_NEXT, SHOWN_RUNS = 5, 200
COLUMNS = (
    Column('name', 'Name'), Column('service', 'Service'), Column('when', 'When'), Column('next_run', 'Next run'),
    Column('last_run', 'Last run'), Column('is_active', 'Active'),
)  # fmt: skip
RUN_COLUMNS = (
    Column('scheduled', 'Scheduled'), Column('started', 'Started'), Column('duration', 'Seconds', is_number=True),
    Column('result', 'Result'), Column('node', 'Server'), Column('cause', 'Cause'),
)  # fmt: skip
_UNITS = ('weeks', 'days', 'hours', 'minutes', 'seconds')


async def show_list(request: PageRequest) -> Response:
    """Show all jobs with their next and last runs."""
    jobs = await request.call(f'{PREFIX}.get-list')
    next_runs = {row['id']: row['next_runs'] for row in await request.call(f'{PREFIX}.get-next-runs', {'count': 1})}
    last_runs: dict[Any, Mapping[str, Any]] = {}
    for run in await request.call(f'{PREFIX}.get-history', {'limit': MAX_RUNS}):
        last_runs.setdefault(run['job_id'], run)
    rows = [
        {**job, 'when': describe_schedule(job), 'next_run': (next_runs.get(job['id']) or [''])[0],
         'last_run': last_runs.get(job['id'], {}).get('scheduled', ''),
         'last_result': last_runs.get(job['id'], {}).get('result', '')}
        for job in jobs
    ]  # fmt: skip
    values = {'title': 'Scheduler', 'table': page_of(rows, request), 'columns': COLUMNS, 'request': request}
    return Page('scheduler.html', values)


def describe_schedule(job: Mapping[str, Any]) -> str:
    """Return a readable description of a job's schedule."""
    if job.get('job_type') == 'cron_style':
        zone = job.get('timezone') or 'UTC'
        return f'{job.get("cron_definition")}' if zone == 'UTC' else f'{job.get("cron_definition")} ({zone})'
    if job.get('job_type') == 'one_time':
        return 'once'
    parts = [f'{job[unit]} {unit if job[unit] != 1 else unit[:-1]}' for unit in _UNITS if job.get(unit)]
    repeats = f', {job["repeats"]} times' if job.get('repeats') else ''
    return f'every {", ".join(parts)}{repeats}'


async def show_job(request: PageRequest, job_id: int) -> Response:
    """Show one job, with its next runs and its history."""
    job = await request.call(f'{PREFIX}.get-by-id', {'id': job_id})
    found = await request.call(f'{PREFIX}.get-next-runs', {'id': job_id, 'count': SHOWN_NEXT})
    runs = await request.call(f'{PREFIX}.get-history', {'id': job_id, 'limit': SHOWN_RUNS})
    values = {
        'title': job['name'], 'job': job, 'when': describe_schedule(job), 'next_runs': found[0]['next_runs'],
        'table': page_of(runs, request), 'columns': RUN_COLUMNS, 'request': request, 'mean': mean_duration(runs),
    }  # fmt: skip
    return Page('scheduler_job.html', values)


def mean_duration(runs: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the mean duration of runs in seconds, or None if there are no runs."""
    return sum(float(run['duration'] or 0) for run in runs) / len(runs) if runs else None


async def execute(request: PageRequest, job_id: int) -> Response:
    """Execute a job immediately."""
    done = await request.call(f'{PREFIX}.execute', {'id': job_id})
    return Redirect(f'/scheduler/{job_id}', f'{done["name"]} runs now, with the cid {done["cid"]}.')


async def set_active(request: PageRequest, job_id: int) -> Response:
    """Pause or resume a job."""
    is_active = request.text('is_active') == 'true'
    done = await request.call(f'{PREFIX}.set-active-status', {'id': job_id, 'is_active': is_active})
    return Redirect(f'/scheduler/{job_id}', f'{done["name"]} is {"resumed" if is_active else "paused"}.')


ROUTES = (
    ScreenRoute('GET', '/scheduler', show_list),
    ScreenRoute('GET', '/scheduler/<int:job_id>', show_job),
    ScreenRoute('POST', '/scheduler/<int:job_id>/execute', execute, changes=False),
    ScreenRoute('POST', '/scheduler/<int:job_id>/active', set_active),
)
