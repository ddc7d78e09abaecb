"""Connects a worker with the other workers of its server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

from zatotx.metrics.snapshot import MetricSample
from zatotx.node.workers.ipc import WorkerIpc
from zatotx.node.workers.metrics_store import MetricsStore, combine_samples

METRICS, FINDINGS, LEVEL = 'metrics', 'findings', 'level'


@define(eq=False, kw_only=True)
class WorkerGroup:
    """Extends a worker's metrics and findings with those of the other workers, and sets log levels in all of them."""

    reactor: Any
    work: Path
    slot: int
    exposition: Any  # zatotx.metrics.exposition.MetricsExposition
    findings: Callable[[], Sequence[str]]  # of this worker
    offload: Callable[..., Deferred[Any]]
    levels: Any  # zatotx.node.log_levels.LiveLogLevels
    _metrics_store: MetricsStore = field(init=False)
    _peers: WorkerIpc = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._metrics_store = MetricsStore(self.work, self.slot)
        self._peers = WorkerIpc(self.reactor, self.work, self.slot, {
            METRICS: self.exposition.sample, FINDINGS: lambda: list(self.findings()), LEVEL: self.levels.apply,
        })  # fmt: skip
        self.levels.others = lambda name, level: Deferred.fromCoroutine(self._peers.request_all(LEVEL, name, level))
        self.exposition.keep = self._metrics_store.keep
        self.exposition.others = lambda: Deferred.fromCoroutine(self.collect_samples())

    def start(self) -> None:
        """Start answering the requests of the other workers."""
        self._peers.start()

    async def stop(self) -> None:
        """Store the final metrics, then stop answering."""
        try:
            await self.exposition.sample()
        finally:
            await self._peers.stop()

    async def collect_samples(self) -> list[MetricSample]:
        """Return the metrics of all other workers, including those that have ended."""
        before = await self.offload(self._metrics_store.load_stored)
        responses = await self._peers.request_all(METRICS)
        return combine_samples(before, [(response.slot, response.pid, response.value) for response in responses])

    async def found_by_others(self) -> list[str]:
        """Return the findings of the other workers."""
        responses = await self._peers.request_all(FINDINGS)
        return [f'worker {response.slot}: {sentence}' for response in responses for sentence in response.value]
