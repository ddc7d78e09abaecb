"""`zatotx job`: lists, executes, pauses and resumes jobs of the scheduler, and shows their past and next runs."""

from __future__ import annotations

from typing import Any

import click

from zatotx.cli.command_output import make_format_option, make_path_argument, print_json, print_table
from zatotx.cli.completion_values import complete_jobs
from zatotx.cli.dead_letters import shorten
from zatotx.cli.environment.cluster_client import ClusterClient
from zatotx.cli.environment.environment_layout import find_environment

_name = click.argument('name', metavar='NAME', shell_complete=complete_jobs, help='A job that job list shows.')
_optional_name = click.argument('name', metavar='[NAME]', default='', shell_complete=complete_jobs,
                                help='A job that job list shows; default: all.')  # fmt: skip


@click.group(epilog='\b\nExamples:\n  zatotx job list ~/env/qs-1\n  zatotx job execute ~/env/qs-1 every-5s')
def job() -> None:
    """List, execute, pause and resume the jobs of the scheduler, and show their runs."""


@job.command('list', epilog='\b\nExamples:\n  zatotx job list ~/env/qs-1')
@make_path_argument()
@make_format_option()
def list_(path: str, form: str) -> None:
    """List all jobs, with the time of the next run of each."""
    rows = invoke_job_service(path, 'get-list', {})
    following = {row['id']: row['next_runs'] for row in invoke_job_service(path, 'get-next-runs', {'count': 1})}
    for row in rows:
        row['next_run'] = next(iter(following.get(row['id'], ())), '')
    if form == 'json':
        print_json(rows)
        return
    print_table(('NAME', 'ACTIVE', 'TYPE', 'WHEN', 'SERVICE', 'NEXT RUN'), [
        (row['name'], 'yes' if row['is_active'] else 'no', row['job_type'], describe_time(row), row['service'],
         shown_time(row['next_run'])) for row in rows
    ])  # fmt: skip


@job.command(epilog='\b\nExamples:\n  zatotx job execute ~/env/qs-1 every-5s')
@make_path_argument()
@_name
@make_format_option()
def execute(path: str, name: str, form: str) -> None:
    """Execute a job now, even if it is inactive."""
    row = invoke_job_service(path, 'execute', {'name': name})
    if form == 'json':
        print_json(row)
    else:
        click.echo(f'Job {name!r} runs with the cid {row["cid"]}; zatotx job history shows the result.')


@job.command(epilog='\b\nExamples:\n  zatotx job pause ~/env/qs-1 every-5s')
@make_path_argument()
@_name
@make_format_option()
def pause(path: str, name: str, form: str) -> None:
    """Pause a job: it does not run until it is resumed."""
    _set_active(path, name, form, is_active=False)


@job.command(short_help='Schedule a paused job again.',
             epilog='\b\nExamples:\n  zatotx job resume ~/env/qs-1 every-5s')
@make_path_argument()
@_name
@make_format_option()
def resume(path: str, name: str, form: str) -> None:
    """Resume a paused job. Runs that were missed during the pause are not made up."""
    _set_active(path, name, form, is_active=True)


@job.command(short_help='Show the last runs of a job, or of all jobs.',
             epilog='\b\nExamples:\n  zatotx job history ~/env/qs-1\n  zatotx job history ~/env/qs-1 every-5s')
@make_path_argument()
@_optional_name
@click.option('--limit', default=100, show_default=True, type=click.IntRange(1, 10_000), help='Maximum number of rows.')
@make_format_option()
def history(path: str, name: str, limit: int, form: str) -> None:
    """Show the most recent runs of a job, or of all jobs, newest first."""
    rows = invoke_job_service(path, 'get-history', {'limit': limit, **({'name': name} if name else {})})
    if form == 'json':
        print_json(rows)
        return
    print_table(('SCHEDULED', 'JOB', 'RESULT', 'SECONDS', 'NODE', 'CID', 'CAUSE'), [
        (shown_time(row['scheduled']), row['job'], row['result'], f'{row["duration"]:.3f}', row['node'] or '-',
         row['cid'], shorten(row['cause'])) for row in rows
    ])  # fmt: skip


@job.command('next', epilog='\b\nExamples:\n  zatotx job next ~/env/qs-1 every-5s --count 3')
@make_path_argument()
@_optional_name
@click.option('--count', default=5, show_default=True, type=click.IntRange(1, 100), help='Number of runs of each job.')
@make_format_option()
def next_(path: str, name: str, count: int, form: str) -> None:
    """Show the times of the next runs of a job, or of all jobs."""
    rows = invoke_job_service(path, 'get-next-runs', {'count': count, **({'name': name} if name else {})})
    if form == 'json':
        print_json(rows)
        return
    print_table(('NEXT RUN', 'JOB'), sorted(
        (shown_time(moment), row['name']) for row in rows for moment in row['next_runs']
    ))  # fmt: skip


def _set_active(path: str, name: str, form: str, *, is_active: bool) -> None:
    row = invoke_job_service(path, 'set-active-status', {'name': name, 'is_active': is_active})
    if form == 'json':
        print_json(row)
    else:
        click.echo(f'Job {name!r} is {"active" if is_active else "paused"}.')


def invoke_job_service(path: str, action: str, request: dict[str, Any]) -> Any:
    """Invoke a zato.scheduler.job.* service and return its response."""
    return ClusterClient(find_environment(path)).call(f'zato.scheduler.job.{action}', request)


def describe_time(row: dict[str, Any]) -> str:
    """Return a short description of a job's schedule."""
    if row['job_type'] == 'cron_style':
        zone = '' if row['timezone'] == 'UTC' else f' ({row["timezone"]})'
        return f'{row["cron_definition"]}{zone}'
    if row['job_type'] == 'one_time':
        return shown_time(row['start_date'])
    units = [f'{row[unit]} {unit}' for unit in ('weeks', 'days', 'hours', 'minutes', 'seconds') if row[unit]]
    return f'every {", ".join(units)}' + (f', {row["repeats"]} times' if row['repeats'] else '')


def shown_time(text: str) -> str:
    """Format a time from a response with a precision of one second."""
    return text[:19].replace('T', ' ')
