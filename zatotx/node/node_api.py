"""The API of a node for its internal services, which access it as `self.server`."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Any

import twisted
from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx import __version__
from zatotx.connectors.kind_registry import FoundKind, describe_kinds
from zatotx.interfaces.config import IConfig, IConfigStore
from zatotx.interfaces.node import IDeployer, INode
from zatotx.interfaces.services import IServiceStore
from zatotx.metrics.exposition import MetricsExposition
from zatotx.node.node import NodeState
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.service.outgoing import ConnectionNamespaces

if TYPE_CHECKING:
    from zatotx.processes.workers.worker_group import WorkerGroup


@implementer(INode)
@define(kw_only=True, eq=False)
class NodeApi:
    """Implements INode by delegating to the components of a node."""

    name: str
    cluster: str
    config: IConfig
    odb: IConfigStore
    services: IServiceStore
    deployer: IDeployer
    types: ObjectTypeRegistry
    state: NodeState
    kinds: Sequence[FoundKind]
    exposition: MetricsExposition
    log_levels: Any = None  # ILevels
    user_metrics: Any = None  # IUserMetrics
    thread_runner: Callable[..., Deferred[Any]]
    finding_sources: Sequence[Callable[[], Iterable[str]]] = ()  # each yields findings, one sentence per problem
    outgoing: Any = field(factory=ConnectionNamespaces)
    service_redis: Any = None  # IServiceRedis
    work: Any = None  # IWorkStream
    scheduler: Any = None  # IScheduler
    usage: Any = None  # IUsageStore
    call_samples: Any = None  # ICallSampleStore
    dead_letters: Any = None  # IDeadLetterStore
    result_groups: Any = None  # IResultGroups
    admin_sessions: Any = None  # IAdminSessions
    control: Any = None  # INodeControl
    worker_group: WorkerGroup | None = None  # None without workers
    started: float = field(factory=time)

    def readiness_problems(self) -> list[str]:
        return [self.state.not_ready_reason] if self.state.not_ready_reason else []

    def findings(self) -> list[str]:
        return [sentence for finder in self.finding_sources for sentence in finder()]

    def all_findings(self) -> Deferred[list[str]]:
        return Deferred.fromCoroutine(self._all_findings())

    async def _all_findings(self) -> list[str]:
        others = [] if self.worker_group is None else await self.worker_group.found_by_others()
        return [*self.findings(), *others]

    def info(self) -> Mapping[str, Any]:
        return {
            'name': self.name,
            'cluster': {'name': self.cluster, 'revision': self.config.snapshot.revision},
            'version': __version__,
            'state': self.state.phase,
            'pid': os.getpid(),
            'python': platform.python_version(),
            'twisted': twisted.__version__,
            'started': self.started,
            'services': sum(1 for _ in self.services.current),
            'kinds': describe_kinds(self.kinds),
        }

    def metrics(self) -> Deferred[bytes]:
        return self.exposition.render_text()

    def metric_sample(self) -> Deferred[dict[str, list[Any]]]:
        return Deferred.fromCoroutine(self.exposition.merged_sample())

    def run_in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        return self.thread_runner(function, *args)
