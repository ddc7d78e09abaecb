"""The data model of job runs. It contains identifiers, message headers, and the attributes that a service sees."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec

SCHEDULER = 'scheduler'  # Zato's channel of the runs of jobs
JOB_TYPE_HEADER = b'x-zato-job-type'  # one_time, interval_based, cron_style
JOB_ID_HEADER = b'x-zato-job-id'
JOB_NAME_HEADER = b'x-zato-job-name'
JOB_TICK_HEADER = b'x-zato-job-tick'  # microseconds since 1970
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CID_DIGITS = 24

OK, FAILED, TIMED_OUT, CRASHED, SKIPPED = 'ok', 'failed', 'timed out', 'crashed', 'skipped'  # results of runs


class JobRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run of a scheduler job, or one attempt of a run with several attempts. Times are unix times in seconds."""

    job_id: int
    job: str
    service: str
    cid: str
    scheduled: float
    started: float
    duration: float = 0.0
    result: str = OK
    cause: str = ''  # why it failed
    node: str = ''
    attempt: int = 1


class CurrentJob(msgspec.Struct, frozen=True, kw_only=True):
    """The scheduler job for which a service runs. The service accesses it as `self.job`."""

    id: int
    name: str
    job_type: str
    scheduled: datetime  # the tick, in UTC


def to_unix_time(moment: datetime) -> float:
    """Convert an aware datetime to unix time in seconds."""
    return (moment - _EPOCH).total_seconds()


def tick_cid(cluster: str, job_id: int, tick: int) -> str:
    """Return the correlation ID of a job run at a tick. It is the same for every attempt, so that a repeated run can be
    recognized."""
    return sha256(f'{cluster}\0{job_id}\0{tick}'.encode()).hexdigest()[:_CID_DIGITS]


def job_headers(job_id: int, name: str, job_type: str, tick: int) -> dict[bytes, bytes]:
    """Return the message headers that identify a job run."""
    return {JOB_TYPE_HEADER: job_type.encode(), JOB_ID_HEADER: b'%d' % job_id, JOB_NAME_HEADER: name.encode(),
            JOB_TICK_HEADER: b'%d' % tick}  # fmt: skip


def job_from_headers(headers: Mapping[bytes, bytes]) -> CurrentJob | None:
    """Return the job that the headers of a message identify, or None if the message is not from a job."""
    try:
        tick, job_id = int(headers[JOB_TICK_HEADER]), int(headers[JOB_ID_HEADER])
        name, job_type = headers[JOB_NAME_HEADER].decode(), headers[JOB_TYPE_HEADER].decode()
    except (KeyError, ValueError):
        return None
    return CurrentJob(id=job_id, name=name, job_type=job_type, scheduled=_EPOCH + timedelta(microseconds=tick))
