"""Buckets of rate limits as the exchange sees them: those of the cluster, in Redis, and those of one server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from zope.interface import Interface

from zatotx.rules.limits.gcra import Rate


class Charge(NamedTuple):
    """What became of one call."""

    admitted: bool
    aheads: Sequence[int]  # nanoseconds that each bucket was ahead before


class IRates(Interface):
    """Buckets that all nodes of the cluster share, exact to the call."""

    def charge(names: tuple[str, ...], rates: tuple[Rate, ...]) -> Deferred[Charge]:
        """Count one call in all of these buckets, or in none where one of them has no room. The names are different
        ones, and within one turn of the reactor a name has one rate. Fails within half a second with Timeout or
        ServiceUnavailable naming Redis; then, and where it was cancelled, the call may be counted all the same."""


class IBuckets(Interface):
    """Buckets of this server. `now`: nanoseconds of its monotonic clock."""

    def charge(name: str, rate: Rate, now: int) -> int:
        """How many nanoseconds the bucket was ahead. Where it takes one more call, that one is counted."""

    def give_back(name: str, rate: Rate) -> None:
        """One call that was counted did not take place."""
