"""Sums the usage of services over increasingly long periods, on behalf of the jobs zato.stats.*.

Every sum is computed anew from shorter periods and replaces the stored one, so that a job may run twice or be cut off.
Only the totals grow; the minute until which they are complete is replaced together with them.
"""

from __future__ import annotations

from collections.abc import Sequence

from zatotx.interfaces.statistics import IUsageStore
from zatotx.model.service_usage import ServiceUsage, UsageByService, merge_usage
from zatotx.rules.statistics.calendar_periods import (
    MINUTE,
    PARTS,
    RETENTION,
    next_period_start,
    period_start,
    period_starts_between,
)

SETTLED = 120  # seconds after which all processes have recorded the calls of a minute
RECOMPUTED = 600  # seconds during which records may still arrive, because Redis was unavailable
RECORDS_READ = 1500  # seconds of records that are read if minutes are missing; they are kept a little longer
_TOGETHER = 10  # periods that are read together: with a thousand services, more would stall the node


async def aggregate_minutes(store: IUsageStore, now: float) -> int:
    """Sum the usage records of all processes by minute. The last minutes are summed, and earlier minutes that are
    missing. Returns the number of minutes with calls."""
    end = period_start(MINUTE, now - SETTLED) + 60
    minutes = list(period_starts_between(MINUTE, end - RECORDS_READ, end))
    stored = await store.stored(MINUTE, minutes)
    needed = [minute for minute, known in zip(minutes, stored, strict=True)
              if not known or minute >= end - RECOMPUTED]  # fmt: skip
    usages: dict[int, UsageByService] = {}
    for minute in needed:
        (usage,) = await store.recorded([minute])
        if usage:
            usages[minute] = usage
    await store.store(MINUTE, usages)
    return len(usages)


async def aggregate_period(store: IUsageStore, period: str, now: float) -> int:
    """Aggregate the usage of the current and the previous period from the statistics of shorter periods. Earlier
    periods that are missing are also aggregated if the statistics of the shorter periods are still stored. Returns the
    number of periods with calls."""
    current = period_start(period, now)
    # the first is partial
    starts = list(period_starts_between(period, now - RETENTION[PARTS[period]], now))[1:] or [current]
    stored = await store.stored(period, starts)
    needed = [start for start, known in zip(starts, stored, strict=True)
              if not known or start >= period_start(period, current - 1)]  # fmt: skip
    sums = {start: await sum_usage_of_parts(store, period, start) for start in needed}
    sums = {start: usage for start, usage in sums.items() if usage}
    await store.store(period, sums)
    return len(sums)


async def summarize_current_and_previous(store: IUsageStore, period: str, now: float) -> int:
    """Aggregate the usage of the current and the previous period from the statistics of shorter periods. Returns the
    number of periods with calls."""
    current = period_start(period, now)
    sums = {
        start: await sum_usage_of_parts(store, period, start) for start in (period_start(period, current - 1), current)
    }
    sums = {start: usage for start, usage in sums.items() if usage}
    await store.store(period, sums)
    return len(sums)


async def sum_usage_of_parts(store: IUsageStore, period: str, start: int) -> dict[str, ServiceUsage]:
    """Return the usage of a period as the sum of its parts."""
    parts = list(period_starts_between(PARTS[period], start, next_period_start(period, start)))
    return await sum_usage_of_periods(store, PARTS[period], parts)


async def sum_usage_of_periods(store: IUsageStore, period: str, starts: Sequence[int]) -> dict[str, ServiceUsage]:
    """Return the total usage of several periods."""
    total: dict[str, ServiceUsage] = {}
    for at in range(0, len(starts), _TOGETHER):
        total = merge_usage((total, *await store.usage(period, starts[at : at + _TOGETHER])))
    return total


async def read_usage_of_periods(
    store: IUsageStore, period: str, starts: Sequence[int]
) -> list[dict[str, ServiceUsage]]:
    """Return the usage of each period."""
    found: list[dict[str, ServiceUsage]] = []
    for at in range(0, len(starts), _TOGETHER):
        found += await store.usage(period, starts[at : at + _TOGETHER])
    return found


async def add_minutes_to_totals(store: IUsageStore, now: float, max_minutes: int) -> int:
    """Add completed minutes that the totals do not contain yet to the totals, at most `max_minutes`. Returns the number
    of minutes added, or 0 if another node is adding them at the same time."""
    end = period_start(MINUTE, now - RECOMPUTED)
    until, totals = await store.totals()
    begin = max(until, end - RETENTION[MINUTE])
    minutes = list(period_starts_between(MINUTE, begin, end))[:max_minutes]
    totals = merge_usage((totals, await sum_usage_of_periods(store, MINUTE, minutes)))
    if not minutes or not await store.replace_totals(until, minutes[-1] + 60, totals):
        return 0
    return len(minutes)
