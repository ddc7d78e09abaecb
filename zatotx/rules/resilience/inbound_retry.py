"""Decides whether an inbound message is retried after a delay when its service failed, or becomes a dead letter."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen

from zatotx.rules.resilience.outgoing_retry import backoff_delay

TOO_MANY_REQUESTS = 429
CAPACITY_BACKOFF, MAX_CAPACITY_DELAY = 0.1, 2.0  # seconds between two attempts while the node has no capacity


@frozen(kw_only=True)
class InboundRetryPolicy:
    """The retry settings for inbound messages: the maximum number of attempts and the delays between them. Times are in
    seconds."""

    attempts: int = 1  # in all; 1 = no retries
    backoff: float = 1.0  # the longest first delay; it doubles with each attempt
    max_delay: float = 60.0  # the longest delay of all


@frozen
class FailedDeliveryAttempt:
    """One failed attempt to process an inbound message. `at` is in seconds since the epoch."""

    at: float
    cause: str


@frozen
class DeliveryHistory:
    """The failed attempts of one inbound message: their number, and the first and the last one."""

    attempts: int = 0
    first: FailedDeliveryAttempt | None = None
    last: FailedDeliveryAttempt | None = None

    def failed(self, at: float, cause: str) -> DeliveryHistory:
        """The history after one more failed attempt."""
        failure = FailedDeliveryAttempt(at, cause)
        return evolve(self, attempts=self.attempts + 1, first=self.first or failure, last=failure)


def is_permanent_failure(status: int) -> bool:
    """Return whether the status of an error means that the message itself is invalid, so that a retry cannot
    succeed."""
    return 400 <= status < 500 and status != TOO_MANY_REQUESTS


def capacity_delay(rejections: int, random: Callable[[], float]) -> float:
    """Return the seconds until the next attempt of a message that was rejected `rejections` times because no capacity
    was free."""
    return backoff_delay(rejections - 1, random, base=CAPACITY_BACKOFF, cap=MAX_CAPACITY_DELAY)


def inbound_retry_delay(
    policy: InboundRetryPolicy, history: DeliveryHistory, status: int, random: Callable[[], float]
) -> float | None:
    """Return the seconds until the next attempt, or None if the message is not retried any more. `status` is that of
    the last error; `random` returns numbers in [0, 1)."""
    if history.attempts >= policy.attempts or is_permanent_failure(status):
        return None
    return backoff_delay(history.attempts - 1, random, base=policy.backoff, cap=policy.max_delay)
