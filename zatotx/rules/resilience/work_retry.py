"""Decides whether a message of the work stream is run, has expired, is retried after a delay, or becomes a dead letter.
Pure: `now` is unix time in seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from zatotx.model.work_message import WorkMessage
from zatotx.rules.resilience.inbound_retry import is_permanent_failure

_JITTER = 0.1  # share by which a delay may be shorter, so that messages that failed together do not return together
_MAX_STEPS = 32  # further steps reach every maximum

CRASHED = 'the process that ran it ended before the service did'


def is_expired(message: WorkMessage, now: float) -> bool:
    """Return whether the expiration time of a message has passed. The caller of the service sets the expiration
    time."""
    return 0 < message.expires_at <= now


def record_failed_run(message: WorkMessage, cause: str, now: float) -> WorkMessage:
    """Return the message with one more failed run, its cause and its time recorded."""
    return msgspec.structs.replace(message, attempts=message.attempts + 1, cause=cause, last_failed=now,
                                   first_failed=message.first_failed or now)  # fmt: skip


def record_crashed_runs(message: WorkMessage, crashes: int, now: float) -> WorkMessage:
    """Return the message with `crashes` more failed runs recorded, during which the worker process died."""
    for _ in range(crashes):
        message = record_failed_run(msgspec.structs.replace(message, crashes=message.crashes + 1), CRASHED, now)
    return message


def is_exhausted(message: WorkMessage) -> bool:
    """Return whether the message has reached its maximum number of runs."""
    failures = message.attempts - message.crashes
    return message.attempts >= message.max_attempts or 0 < message.max_failures <= failures


def work_retry_delay(message: WorkMessage, status: int, random: Callable[[], float]) -> float | None:
    """Return the seconds until the next attempt of a message that failed, or None if it is not retried any more.
    `status` is that of the error; errors that mean that the message itself is invalid are not retried. `random` returns
    numbers in [0, 1)."""
    if is_exhausted(message) or (is_permanent_failure(status) and not message.retries_all):
        return None
    return _delay(message, message.attempts, random)


def delay_after_crash(message: WorkMessage, random: Callable[[], float]) -> float:
    """Return the seconds to wait before a message is run again after its worker process died. The first retry is
    immediate, because the message is rarely the cause. The delays of further retries increase, so that a message that
    causes crashes does not end many processes in quick succession."""
    return 0.0 if message.attempts <= 1 else _delay(message, message.attempts, random)


def _delay(message: WorkMessage, attempts: int, random: Callable[[], float]) -> float:
    longest = min(message.max_delay, message.backoff * message.growth ** min(attempts - 1, _MAX_STEPS))
    return longest * (1 - _JITTER * random())
