"""Decides what happens to an inbound message whose service failed: another attempt after a delay, or giving up."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen

from zatotx.rules.resilience.retry import backoff_delay

TOO_MANY_REQUESTS = 429
CAPACITY_BACKOFF, MAX_CAPACITY_DELAY = 0.1, 2.0  # seconds between two attempts while the node has no capacity


@frozen(kw_only=True)
class DeliveryPolicy:
    """How often a message is given to its service. Times are in seconds."""

    attempts: int = 1  # in all; 1 = no retries
    backoff: float = 1.0  # the longest first delay; it doubles with each attempt
    max_delay: float = 60.0  # the longest delay of all


@frozen
class FailedAttempt:
    """One failed attempt. `at`: seconds since the epoch."""

    at: float
    cause: str


@frozen
class DeliveryHistory:
    """The failed attempts of one message: their number, the first and the last one."""

    attempts: int = 0
    first: FailedAttempt | None = None
    last: FailedAttempt | None = None

    def failed(self, at: float, cause: str) -> DeliveryHistory:
        """The history after one more failed attempt."""
        failure = FailedAttempt(at, cause)
        return evolve(self, attempts=self.attempts + 1, first=self.first or failure, last=failure)


def is_permanent(status: int) -> bool:
    """Whether an error of this status says that the message itself is wrong, so that another attempt cannot help."""
    return 400 <= status < 500 and status != TOO_MANY_REQUESTS


def capacity_delay(rejections: int, random: Callable[[], float]) -> float:
    """Seconds until the next attempt of a message that was rejected so often because there was no capacity."""
    return backoff_delay(rejections - 1, random, base=CAPACITY_BACKOFF, cap=MAX_CAPACITY_DELAY)


def retry_delay(
    policy: DeliveryPolicy, history: DeliveryHistory, status: int, random: Callable[[], float]
) -> float | None:
    """Seconds until the next attempt, or None where the message is given up. `status`: of the last error; `random`
    gives numbers in [0, 1)."""
    if history.attempts >= policy.attempts or is_permanent(status):
        return None
    return backoff_delay(history.attempts - 1, random, base=policy.backoff, cap=policy.max_delay)
