"""Creates the work-stream message that runs a job. Pure function."""

from __future__ import annotations

from zatotx.model.job_run import SCHEDULER, job_headers, tick_cid
from zatotx.model.work_message import WorkMessage
from zatotx.schema.scheduler_job import ALLOW, SchedulerJob

MAX_CRASHES = 4  # further attempts after the process that ran the job died: that is no failure of the job
RETRY_GROWTH = 2.0  # factor between two delays, as in channels


def make_run_message(cluster: str, job_id: int, job: SchedulerJob, tick: int, now: float, cid: str = '') -> WorkMessage:
    """Return the work-stream message for a tick of a job. If `cid` is '', the correlation ID is derived from the
    tick."""
    attempts = 1 if job.retry is None else job.retry.attempts
    cid = cid or tick_cid(cluster, job_id, tick)
    return WorkMessage(
        id=cid, cid=cid, service=job.service, payload=job.extra, channel=SCHEDULER, channel_name=job.name,
        headers=job_headers(job_id, job.name, job.job_type, tick),
        order_key='' if job.overlap == ALLOW else f'job:{job_id}', created_at=now, timeout=job.timeout,
        max_attempts=attempts + MAX_CRASHES, max_failures=attempts, growth=RETRY_GROWTH,
        backoff=1.0 if job.retry is None else job.retry.backoff,
        max_delay=60.0 if job.retry is None else job.retry.max_delay, is_dead_lettered=job.dead_letter,
    )  # fmt: skip
