"""Builds the parts of a node that depend on whether its server has several worker processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from zatotx.interfaces.rate_limits import ILocalRateBuckets
from zatotx.node.directory_lock import DirectoryLock
from zatotx.node.node_api import NodeApi
from zatotx.node.workers.control_pipe import WorkerSpec
from zatotx.node.workers.shared_counters import SharedCounterRow, SharedCounters
from zatotx.node.workers.shared_rate_buckets import SharedBuckets
from zatotx.node.workers.singleton_task import SingletonTask
from zatotx.node.workers.worker_group import WorkerGroup
from zatotx.rules.limits.concurrency_limit import ConcurrencyLimit
from zatotx.rules.limits.rate_buckets import RateBuckets
from zatotx.tap.limits import MakeConcurrencyLimit


def server_start_time(work: Path) -> float:
    """Return when the server was started, in unix time; for a worker, when its parent was started."""
    return (work / 'lock').stat().st_mtime


def make_counter_lookup(work: Path, worker_spec: WorkerSpec) -> Callable[[str], SharedCounterRow | None]:
    """Return a function that gives this process's row of a shared counter by name, or None if the server has a single
    process."""
    if not worker_spec.is_worker:
        return lambda name: None
    counters = SharedCounters(work)
    counters.clear(worker_spec.slot)
    return lambda name: counters.row(name, worker_spec.slot)


def make_limit_factory(shared_counter: Callable[[str], SharedCounterRow | None]) -> MakeConcurrencyLimit:
    """Return a factory of concurrency limits that count the requests of all workers."""

    def make_limit(name: str, limit: int) -> ConcurrencyLimit:
        row = shared_counter(name)
        return (
            ConcurrencyLimit(limit)
            if row is None
            else ConcurrencyLimit(limit, count_others=row.sum_of_others, publish=row.set_own)
        )

    return make_limit


def make_rate_buckets(work: Path, worker_spec: WorkerSpec) -> ILocalRateBuckets:
    """Return the rate-limit buckets of this process, shared with the other workers if there are any."""
    return cast('ILocalRateBuckets', SharedBuckets(work) if worker_spec.is_worker else RateBuckets())


def make_worker_group(work: Path, worker_spec: WorkerSpec, node_api: NodeApi, reactor: Any) -> WorkerGroup | None:
    """Return the WorkerGroup that connects a worker with the others for metrics, findings and log levels; None without
    workers."""
    if not worker_spec.is_worker:
        return None
    group = WorkerGroup(
        work=work,
        slot=worker_spec.slot,
        reactor=reactor,
        exposition=node_api.exposition,
        findings=node_api.findings,
        offload=node_api.run_in_thread,
        levels=node_api.log_levels,
    )
    node_api.worker_group = group
    return group


def make_pickup_task(pickup: Any, work: Path, reactor: Any) -> SingletonTask:
    """Return the pickup watcher as a task that runs in one process of the server."""
    return SingletonTask(name='the pickup directory', lock=DirectoryLock(work / 'duty-pickup.lock'), begin=pickup.start,
                end=pickup.stop, clock=reactor)  # fmt: skip
