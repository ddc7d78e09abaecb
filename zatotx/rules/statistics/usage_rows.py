"""Builds the rows of usage statistics with the field names of Zato 1.1. Durations are in milliseconds.

Durations are counted in the buckets of a histogram, so the shortest, the longest and the percentile are bounds of
buckets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zatotx.model.service_usage import NO_USAGE, ServiceUsage, UsageByService, merge_usage

MEAN, USAGE = 'mean', 'usage'  # by what the first `n` services are chosen
N_TYPES = (MEAN, USAGE)
PERCENTILE = 0.95
INTERNAL_PREFIX = 'zato.'


def estimate_percentile(bounds: Sequence[float], buckets: Sequence[int], share: float) -> float:
    """Return a percentile of a histogram. The result is the upper bound of the bucket that contains the percentile, the
    largest finite bound if it is the last bucket, or 0 for an empty histogram. `buckets` are not cumulative, and there
    is one bucket more than there are bounds."""
    wanted, seen = share * sum(buckets), 0
    for bound, count in zip((*bounds, bounds[-1] if bounds else 0.0), buckets, strict=False):
        seen += count
        if count and seen >= wanted:
            return bound
    return 0.0


def shortest_duration_bound(bounds: Sequence[float], buckets: Sequence[int]) -> float:
    """Return the lower bound of the first non-empty bucket, or 0 for an empty histogram."""
    return next((lower for lower, count in zip((0.0, *bounds), buckets, strict=False) if count), 0.0)


def mean_time(usage: ServiceUsage) -> float:
    """Return the mean duration of a service's calls in milliseconds."""
    return usage.seconds * 1000 / usage.calls if usage.calls else 0.0


def make_usage_rows(
    periods: Sequence[UsageByService], *, seconds: float, bounds: Sequence[float], with_internal: bool = True
) -> list[dict[str, Any]]:
    """Return one row for each service that was called. `periods` is the usage in each period of a time range, in order;
    the trends are calculated from it. `seconds` is the length of the range. `bounds` are the bounds of the histogram
    buckets in seconds."""
    total = {name: usage for name, usage in merge_usage(periods).items()
             if usage.calls and (with_internal or not name.startswith(INTERNAL_PREFIX))}  # fmt: skip
    all_calls = sum(usage.calls for usage in total.values())
    all_time = sum(usage.seconds for usage in total.values()) * 1000
    rows = []
    for name, usage in sorted(total.items()):
        parts = [period.get(name, NO_USAGE) for period in periods]
        rows.append({
            'service_name': name, 'usage': usage.calls, 'errors': usage.errors, 'mean': round(mean_time(usage), 2),
            'time': round(usage.seconds * 1000, 2), 'rate': round(usage.calls / seconds, 4) if seconds else 0.0,
            'min_resp_time': shortest_duration_bound(bounds, usage.buckets) * 1000,
            'max_resp_time': estimate_percentile(bounds, usage.buckets, 1.0) * 1000,
            'percentile': estimate_percentile(bounds, usage.buckets, PERCENTILE) * 1000,
            'usage_trend': ','.join(str(part.calls) for part in parts),
            'mean_trend': ','.join(f'{mean_time(part):g}' for part in parts),
            'all_services_usage': all_calls, 'all_services_time': round(all_time, 2),
            'mean_all_services': round(all_time / all_calls, 2),
            'usage_perc_all_services': round(100 * usage.calls / all_calls, 2),
            'time_perc_all_services': round(100_000 * usage.seconds / all_time, 2) if all_time else 0.0,
        })  # fmt: skip
    return rows


def highest_usage_rows(rows: Sequence[dict[str, Any]], n: int, n_type: str) -> list[dict[str, Any]]:
    """Return the `n` rows with the highest mean duration or usage, the highest first."""
    return sorted(rows, key=lambda row: (-row[n_type], row['service_name']))[:n]
