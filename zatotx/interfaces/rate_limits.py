"""Interfaces of rate-limit buckets. Buckets are shared by the cluster in Redis, or local to one server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import Interface

from zatotx.rules.limits.rate_buckets import GcraRate


class RateChargeResult(NamedTuple):
    """The result of charging one call to rate-limit buckets."""

    admitted: bool
    bucket_leads: Sequence[int]  # per bucket: nanoseconds by which it was ahead of the clock (GCRA)


class ISharedRateBuckets(Interface):
    """Exact rate-limit buckets that all nodes of the cluster share."""

    def charge(names: tuple[str, ...], rates: tuple[GcraRate, ...]) -> Deferred[RateChargeResult]:
        """Count one call in all buckets, or in none if one of them is full. The names must be distinct, and a name must
        have the same rate within a reactor iteration. Fails within half a second with Timeout or ServiceUnavailable
        naming Redis; after failure or cancellation the call may be counted."""


class ILocalRateBuckets(Interface):
    """Rate-limit buckets of one server. `now` is in nanoseconds on the monotonic clock of the server."""

    def charge(name: str, rate: GcraRate, now: int) -> int:
        """Return how many nanoseconds the bucket was ahead of the clock. Counts the call if the bucket accepts it."""

    def refund(name: str, rate: GcraRate) -> None:
        """Refund a counted call that did not take place."""
