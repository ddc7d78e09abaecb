"""What assembly adds to a node because there may be several processes of its server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from zatotx.interfaces.rates import IBuckets
from zatotx.node.directory_lock import DirectoryLock
from zatotx.node.node_api import NodeView
from zatotx.node.workers.control_pipe import Place
from zatotx.node.workers.shared_counters import Board, Shared
from zatotx.node.workers.shared_rate_buckets import SharedBuckets
from zatotx.node.workers.singleton_task import Duty
from zatotx.node.workers.worker_group import Company
from zatotx.rules.limits.gcra import Buckets
from zatotx.rules.limits.limits import Gate
from zatotx.tap.limits import MakeGate


def began(work: Path) -> float:
    """When the server was started, in unix time: with workers that is when their parent was."""
    return (work / 'lock').stat().st_mtime


def counts_of(work: Path, place: Place) -> Callable[[str], Shared | None]:
    """Gives this process its part of the counts that the workers have in common; None where it is alone."""
    if not place.crewed:
        return lambda name: None
    board = Board(work)
    board.clear(place.seat)
    return lambda name: board.shared(name, place.seat)


def gates_of(counts: Callable[[str], Shared | None]) -> MakeGate:
    """Makes the gates of a process: what is inside of them is counted together with the other workers."""

    def gate(name: str, limit: int) -> Gate:
        shared = counts(name)
        return Gate(limit) if shared is None else Gate(limit, others=shared.others, publish=shared.publish)

    return gate


def buckets_of(work: Path, place: Place) -> IBuckets:
    """Where this process counts the rate limits of its server: with the other workers, where there are any."""
    return cast('IBuckets', SharedBuckets(work) if place.crewed else Buckets())


def company_of(work: Path, place: Place, view: NodeView, reactor: Any) -> Company | None:
    """A worker's way to the others, put between its node and whoever asks that for metrics or findings."""
    if not place.crewed:
        return None
    company = Company(work=work, seat=place.seat, reactor=reactor, scrapes=view.scrapes, findings=view.findings,
                      offload=view.offload, levels=view.levels)  # fmt: skip
    view.company = company
    return company


def pickup_duty(pickup: Any, work: Path, reactor: Any) -> Duty:
    """The pickup watcher, in one process of the server."""
    return Duty(name='the pickup directory', lock=DirectoryLock(work / 'duty-pickup.lock'), begin=pickup.start,
                end=pickup.stop, clock=reactor)  # fmt: skip
