"""The usage of a service during a period: the number of calls, and their durations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest

import msgspec


class ServiceUsage(msgspec.Struct, frozen=True, array_like=True):
    """The calls of one service that ended during a period. `seconds` is the sum of their durations; `buckets` counts
    the calls by duration, with the bounds of zatotx.metrics.counters.LATENCY_BUCKETS and a last bucket for longer
    calls."""

    calls: int = 0
    errors: int = 0  # calls that failed; they are in `calls` too
    seconds: float = 0.0
    buckets: tuple[int, ...] = ()

    def __add__(self, other: ServiceUsage) -> ServiceUsage:
        return ServiceUsage(
            self.calls + other.calls, self.errors + other.errors, self.seconds + other.seconds,
            tuple(a + b for a, b in zip_longest(self.buckets, other.buckets, fillvalue=0)),
        )  # fmt: skip

    def since(self, earlier: ServiceUsage) -> ServiceUsage:
        """Return the calls after an earlier state of the same counters; all of them if the counters began anew."""
        if earlier.calls > self.calls or earlier.seconds > self.seconds:
            return self
        return ServiceUsage(
            self.calls - earlier.calls, max(0, self.errors - earlier.errors), self.seconds - earlier.seconds,
            tuple(max(0, a - b) for a, b in zip_longest(self.buckets, earlier.buckets, fillvalue=0)),
        )  # fmt: skip


NO_USAGE = ServiceUsage()

UsageByService = Mapping[str, ServiceUsage]


def merge_usage(parts: Iterable[UsageByService]) -> dict[str, ServiceUsage]:
    """Merge the usage of each service over several nodes or periods."""
    merged: dict[str, ServiceUsage] = {}
    for part in parts:
        for name, usage in part.items():
            known = merged.get(name)
            merged[name] = usage if known is None else known + usage
    return merged
