"""Calculates the figures that a node reports about itself from a sample of its metrics. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zatotx.metrics.counters import STALL_BUCKETS

LONG_STALL = 0.1  # seconds


def node_status_figures(sample: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the figures for a NodeStatus. `sample` is a metrics sample (see zatotx.metrics.snapshot)."""
    stalls = [buckets for _, (_, buckets) in sample.get('zatotx_reactor_stall_seconds', ())]
    return {
        'requests': sum(value for labels, value in sample.get('zatotx_channel_requests', ()) if not _is_own(labels[1])),
        'calls': _sum_of_users(sample, 'zatotx_service_calls'),
        'errors': _sum_of_users(sample, 'zatotx_service_errors'),
        'seconds': sum(figure[0] for labels, figure in sample.get('zatotx_service_duration_seconds', ())
                       if not _is_own(labels[0])),
        'in_flight': _sum_of_users(sample, 'zatotx_service_in_flight'),
        'stalls': sum(count_long_stalls(buckets) for buckets in stalls),
    }  # fmt: skip


def count_long_stalls(buckets: Sequence[int]) -> int:
    """Return the number of stalls that were longer than LONG_STALL. `buckets` are the counts in the buckets of the
    histogram of stalls."""
    return sum(buckets[STALL_BUCKETS.index(LONG_STALL) + 1 :])


def _sum_of_users(sample: Mapping[str, Sequence[Any]], name: str) -> int:
    return sum(value for labels, value in sample.get(name, ()) if not _is_own(labels[0]))


def _is_own(name: str) -> bool:
    return name.startswith(('zato.', 'admin.invoke'))
