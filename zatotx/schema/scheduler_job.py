"""The object type of scheduler jobs: services that run once, at intervals, or when a cron expression matches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec

from zatotx.schema.delivery_fields import DeliveryRetry
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.name_suggestion import suggest_similar_name
from zatotx.schema.secrets import ConfigObject
from zatotx.schema.snapshot import Operation
from zatotx.wire.cron import CronError, expand_nickname, parse_cron

ONE_TIME, INTERVAL_BASED, CRON_STYLE = 'one_time', 'interval_based', 'cron_style'
ALLOW, SKIP, QUEUE = 'allow', 'skip', 'queue'  # overlap: what happens to a run while another one has not ended
RUN_ONCE, SKIP_MISSED, RUN_ALL = 'run_once', 'skip', 'all'  # misfire: what happens to ticks older than the grace

# The jobs that every cluster has initially, with their intervals and texts as in Zato. Each is named after its service.
DEFAULT_JOBS: Mapping[str, Mapping[str, Any]] = {
    'zato.outgoing.sql.auto-ping': {'minutes': 3},
    'zato.stats.process-raw-times': {'seconds': 90, 'extra': 'max_batch_size=99999'},
    'zato.stats.aggregate-by-minute': {'seconds': 60},
    'zato.stats.aggregate-by-hour': {'minutes': 10},
    'zato.stats.aggregate-by-day': {'minutes': 60},
    'zato.stats.aggregate-by-month': {'minutes': 60},
    'zato.stats.summary.create-summary-by-day': {'minutes': 10},
    'zato.stats.summary.create-summary-by-week': {'minutes': 10},
    'zato.stats.summary.create-summary-by-month': {'minutes': 60},
    'zato.stats.summary.create-summary-by-year': {'minutes': 60},
}
MAX_RUN_TIME = 86_400.0  # seconds
_UNITS = {'weeks': 604_800, 'days': 86_400, 'hours': 3_600, 'minutes': 60, 'seconds': 1}
_OWN_FIELDS: Mapping[str, tuple[str, ...]] = {
    INTERVAL_BASED: (*_UNITS, 'repeats'),
    CRON_STYLE: ('cron_definition',),
}


def timezone_error(name: str) -> str:
    """Return an error message if a time zone name cannot be used, otherwise ''."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # suggest_similar_name compares a limited number of names, and the zones are in random order.
        zones = sorted(available_timezones(), key=lambda zone: (abs(len(zone) - len(name)), zone))
        return f'{name!r} is no known time zone{suggest_similar_name(name, zones)}'
    return ''


def cron_error(text: str) -> str:
    """Return an error message if a cron expression cannot be used, otherwise ''."""
    try:
        parse_cron(text)
    except CronError as error:
        return str(error)
    return ''


class SchedulerJob(ConfigObject, frozen=True, kw_only=True):
    """A scheduler job, which consists of the service to run and a schedule."""

    name: Annotated[str, field('Name of the job', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether it is scheduled; `execute` runs it in any case')] = True
    service: Annotated[str, field('The service that it runs', ref='service', min_length=1)]
    job_type: Annotated[
        str, field('Runs once, at intervals, or when a cron expression matches',
                   choices=(ONE_TIME, INTERVAL_BASED, CRON_STYLE)),
    ]  # fmt: skip
    start_date: (
        Annotated[datetime, field('When a one-time job runs; other jobs do not run earlier. Default of an interval: '
                                  'one interval after the last change of the job')] | None
    ) = None  # fmt: skip
    weeks: Annotated[int, field('Weeks of the interval', ge=0, le=10_000)] | None = None
    days: Annotated[int, field('Days of the interval', ge=0, le=100_000)] | None = None
    hours: Annotated[int, field('Hours of the interval', ge=0, le=1_000_000)] | None = None
    minutes: Annotated[int, field('Minutes of the interval', ge=0, le=100_000_000)] | None = None
    seconds: Annotated[int, field('Seconds of the interval', ge=0, le=1_000_000_000)] | None = None
    repeats: (
        Annotated[int, field('Number of runs since start_date; none = without end', ge=1, le=1_000_000_000)] | None
    ) = None  # fmt: skip
    cron_definition: (
        Annotated[str, field('Minute, hour, day of month, month, day of week: `*/5 8-17 * * mon-fri`, or @daily …',
                             max_length=1000, check=cron_error)] | None
    ) = None  # fmt: skip
    timezone: Annotated[
        str, field('The time zone whose clock a cron expression is matched against, e.g. Europe/Berlin',
                   max_length=100, check=timezone_error),
    ] = 'UTC'  # fmt: skip
    extra: Annotated[str, field('Text for the service: its request.raw_request', max_length=1_000_000)] = ''
    jitter: Annotated[
        float, field('Seconds by which runs are delayed at most, each by another amount', ge=0, le=3600)
    ] = 0.0  # fmt: skip
    overlap: Annotated[
        str, field('What happens to a run that is due while another one of the job has not ended: allow = it runs too, '
                   'skip = it does not run, queue = it runs afterwards', choices=(ALLOW, SKIP, QUEUE)),
    ] = ALLOW  # fmt: skip
    misfire: Annotated[
        str, field('What happens to runs that were missed for longer than misfire_grace: run_once = the latest one, '
                   'skip = none, all = at most 1,000', choices=(RUN_ONCE, SKIP_MISSED, RUN_ALL)),
    ] = RUN_ONCE  # fmt: skip
    misfire_grace: Annotated[float, field('Seconds for which all missed runs are made up', ge=0, le=86_400)] = 60.0
    timeout: Annotated[float, field('Seconds that a run may take', ge=1, le=MAX_RUN_TIME)] = MAX_RUN_TIME
    retry: Annotated[DeliveryRetry | None, field('Retries of failed runs; none = one attempt')] = None
    dead_letter: Annotated[bool, field('Whether runs that failed for the last time become dead letters')] = False

    @property
    def interval(self) -> int:
        """Seconds of the interval."""
        return sum((getattr(self, unit) or 0) * seconds for unit, seconds in _UNITS.items())


def _normalize(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Expand nicknames of cron expressions, add UTC to dates without a zone, and remove unset fields of other types
    when the type is given."""
    changed = dict(fields)
    definition = changed.get('cron_definition')
    if isinstance(definition, str):
        changed['cron_definition'] = expand_nickname(definition) or None
    start = changed.get('start_date')
    if isinstance(start, datetime) and start.tzinfo is None:
        changed['start_date'] = start.replace(tzinfo=UTC)
    job_type = changed.get('job_type')
    for other, names in _OWN_FIELDS.items():
        if job_type in (ONE_TIME, *_OWN_FIELDS) and other != job_type:
            changed.update((name, None) for name in names if changed.get(name) in (None, 0))
    return changed


def _find_errors(job: SchedulerJob) -> list[tuple[str, str]]:
    return list(_errors(job))


def _errors(job: SchedulerJob) -> Iterator[tuple[str, str]]:
    if job.job_type == ONE_TIME and job.start_date is None:
        yield 'start_date', 'missing: a one-time job needs the time at which it runs'
    if job.job_type == CRON_STYLE and not job.cron_definition:
        yield 'cron_definition', 'missing: a cron-style job needs one, such as */5 * * * *'
    if job.job_type == INTERVAL_BASED and not job.interval:
        yield 'seconds', 'the interval is 0: give weeks, days, hours, minutes or seconds'
    for other, names in _OWN_FIELDS.items():
        for name in names:
            if other != job.job_type and getattr(job, name):
                yield name, f'is for {other} jobs only, and this one is {job.job_type}'


def past_start_error(job: SchedulerJob, before: SchedulerJob | None, now: datetime) -> list[tuple[str, str]]:
    """Return an error message if an active one-time job would never run, otherwise ''. This is the case if its time is
    in the past when the job is created or its time is changed. The time of a job that has already run is accepted, so
    that the job can be imported again."""
    if job.job_type != ONE_TIME or not job.is_active or job.start_date is None or job.start_date > now:
        return []
    if before is not None and before.job_type == ONE_TIME and before.start_date == job.start_date:
        return []
    return [('start_date', f'{job.start_date.isoformat()} is over: a one-time job needs a time in the future')]


SCHEDULER_JOB = ObjectType(
    key='scheduler_job',
    struct=SchedulerJob,
    section='scheduler',
    title='Job',
    zato=ZatoApi(prefix='scheduler.job', response_fields=('cron_definition',)),
    normalize=_normalize,
    validate=_find_errors,
    validate_change=past_start_error,
    builtin_names=frozenset(DEFAULT_JOBS),
)


def default_job_operations() -> list[Operation]:
    """Return the operations that create the jobs that every cluster initially has, and the rows of their services."""
    services = [
        Operation(action='create', type='service', name=name,
                  fields={'name': name, 'impl_name': '', 'is_internal': True})
        for name in DEFAULT_JOBS
    ]  # fmt: skip
    return [*services, *map(default_job_operation, DEFAULT_JOBS)]


def default_job_operation(name: str) -> Operation:
    """Return the operation that creates one of the jobs that every cluster initially has."""
    job = SchedulerJob(name=name, service=name, job_type=INTERVAL_BASED, **DEFAULT_JOBS[name])
    return Operation(action='create', type=SCHEDULER_JOB.key, name=name, fields=msgspec.structs.asdict(job))
