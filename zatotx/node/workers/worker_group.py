"""One worker among the others of its server: what it tells them and what it asks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

from zatotx.metrics.snapshot import Sample
from zatotx.node.workers.ipc import WorkerPeers
from zatotx.node.workers.metrics_store import MetricsStore, sum_snapshots

METRICS, FINDINGS, LEVEL = 'metrics', 'findings', 'level'


@define(eq=False, kw_only=True)
class WorkerGroup:
    """Has the metrics of any worker show all of them, its findings name those of all, and all hear a level of the log
    that one is told."""

    reactor: Any
    work: Path
    seat: int
    scrapes: Any  # zatotx.metrics.exposition.MetricsExposition
    findings: Callable[[], Sequence[str]]  # of this worker
    offload: Callable[..., Deferred[Any]]
    levels: Any  # zatotx.node.log_levels.LiveLogLevels
    _tallies: MetricsStore = field(init=False)
    _peers: WorkerPeers = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tallies = MetricsStore(self.work, self.seat)
        self._peers = WorkerPeers(self.reactor, self.work, self.seat, {
            METRICS: self.scrapes.sample, FINDINGS: lambda: list(self.findings()), LEVEL: self.levels.apply,
        })  # fmt: skip
        self.levels.others = lambda name, level: Deferred.fromCoroutine(self._peers.ask_all(LEVEL, name, level))
        self.scrapes.keep = self._tallies.keep
        self.scrapes.others = lambda: Deferred.fromCoroutine(self.samples())

    def start(self) -> None:
        """Answer the others from now on."""
        self._peers.start()

    async def stop(self) -> None:
        """Leave behind what was counted, when nothing is counted any more, and answer no more."""
        try:
            await self.scrapes.sample()
        finally:
            await self._peers.stop()

    async def samples(self) -> list[Sample]:
        """Of all workers but this one, those that are gone included."""
        before = await self.offload(self._tallies.before)
        answers = await self._peers.ask_all(METRICS)
        return sum_snapshots(before, [(answer.seat, answer.pid, answer.value) for answer in answers])

    async def found_by_others(self) -> list[str]:
        """What the other workers find wrong with themselves."""
        answers = await self._peers.ask_all(FINDINGS)
        return [f'worker {answer.seat}: {sentence}' for answer in answers for sentence in answer.value]
