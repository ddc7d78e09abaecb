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
from zatotx.connectors.kind_registry import InstalledKind, describe_kinds_for_info
from zatotx.interfaces.admin_sessions import IAdminSessions
from zatotx.interfaces.call_samples import ICallSampleStore
from zatotx.interfaces.config import IConfig, IConfigStore
from zatotx.interfaces.dead_letters import IDeadLetterStore
from zatotx.interfaces.meters import IUserMetrics
from zatotx.interfaces.node import IDeployer, ILogLevels, INode
from zatotx.interfaces.node_control import INodeControl
from zatotx.interfaces.outgoing import IOutgoingConnections
from zatotx.interfaces.scheduler import IScheduler
from zatotx.interfaces.service_redis import IServiceRedis
from zatotx.interfaces.services import IServiceMapHolder
from zatotx.interfaces.statistics import IUsageStore
from zatotx.interfaces.work_stream import IResultGroups, IWorkStream
from zatotx.metrics.exposition import MetricsExposition
from zatotx.node.node import NodeState
from zatotx.schema.type_registry import ObjectTypeRegistry

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
    services: IServiceMapHolder
    deployer: IDeployer
    types: ObjectTypeRegistry
    state: NodeState
    kinds: Sequence[InstalledKind]
    exposition: MetricsExposition
    log_levels: ILogLevels
    user_metrics: IUserMetrics
    outgoing: IOutgoingConnections
    service_redis: IServiceRedis
    work: IWorkStream
    scheduler: IScheduler
    usage: IUsageStore
    call_samples: ICallSampleStore
    dead_letters: IDeadLetterStore
    result_groups: IResultGroups
    admin_sessions: IAdminSessions
    thread_runner: Callable[..., Deferred[Any]]
    finding_sources: Sequence[Callable[[], Iterable[str]]] = ()  # each yields findings, one sentence per problem
    control: INodeControl = field(init=False)  # set when the node has its parts: it controls this node, too
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
            'kinds': describe_kinds_for_info(self.kinds),
        }

    def metrics(self) -> Deferred[bytes]:
        return self.exposition.render_text()

    def metric_sample(self) -> Deferred[dict[str, list[Any]]]:
        return Deferred.fromCoroutine(self.exposition.merged_sample())

    def run_in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        return self.thread_runner(function, *args)
