"""What assembly adds to a node because there may be several processes of its server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from zatotx.interfaces.rates import IBuckets
from zatotx.node.directory_lock import DirectoryLock
from zatotx.node.node_api import NodeApi
from zatotx.node.workers.control_pipe import WorkerSpec
from zatotx.node.workers.shared_counters import SharedCounterRow, SharedCounters
from zatotx.node.workers.shared_rate_buckets import SharedBuckets
from zatotx.node.workers.singleton_task import SingletonTask
from zatotx.node.workers.worker_group import WorkerGroup
from zatotx.rules.limits.gcra import Buckets
from zatotx.rules.limits.limits import ConcurrencyLimit
from zatotx.tap.limits import MakeGate


def report_ready(work: Path) -> float:
    """When the server was started, in unix time: with workers that is when their parent was."""
    return (work / 'lock').stat().st_mtime


def shared_counters(work: Path, place: WorkerSpec) -> Callable[[str], SharedCounterRow | None]:
    """Gives this process its part of the counts that the workers have in common; None where it is alone."""
    if not place.crewed:
        return lambda name: None
    board = SharedCounters(work)
    board.clear(place.seat)
    return lambda name: board.shared(name, place.seat)


def shared_limits(counts: Callable[[str], SharedCounterRow | None]) -> MakeGate:
    """Makes the gates of a process: what is inside of them is counted together with the other workers."""

    def gate(name: str, limit: int) -> ConcurrencyLimit:
        shared = counts(name)
        return (
            ConcurrencyLimit(limit)
            if shared is None
            else ConcurrencyLimit(limit, others=shared.others, publish=shared.publish)
        )

    return gate


def shared_buckets(work: Path, place: WorkerSpec) -> IBuckets:
    """Where this process counts the rate limits of its server: with the other workers, where there are any."""
    return cast('IBuckets', SharedBuckets(work) if place.crewed else Buckets())


def worker_group(work: Path, place: WorkerSpec, view: NodeApi, reactor: Any) -> WorkerGroup | None:
    """A worker's way to the others, put between its node and whoever asks that for metrics or findings."""
    if not place.crewed:
        return None
    company = WorkerGroup(work=work, seat=place.seat, reactor=reactor, scrapes=view.scrapes, findings=view.findings,
                      offload=view.offload, levels=view.levels)  # fmt: skip
    view.company = company
    return company


def pickup_task(pickup: Any, work: Path, reactor: Any) -> SingletonTask:
    """The pickup watcher, in one process of the server."""
    return SingletonTask(name='the pickup directory', lock=DirectoryLock(work / 'duty-pickup.lock'), begin=pickup.start,
                end=pickup.stop, clock=reactor)  # fmt: skip
