"""The components of a node, constructed by zatotx.tap and passed to Node together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from zatotx.interfaces.config import Prepare
from zatotx.interfaces.connector_kind import IChannel
from zatotx.node.gc_tuning import MemoryTrimmer
from zatotx.node.log_files import LogFiles
from zatotx.node.reload import SighupReloader
from zatotx.node.settings import Settings
from zatotx.node.workers.slots import SlotLocks
from zatotx.node.workers.worker_group import WorkerGroup
from zatotx.pipeline.dispatcher import Dispatcher
from zatotx.pipeline.pipeline import Pipeline


@frozen(kw_only=True)
class NodeComponents:
    """All components of a node. Node alone decides in which order they start and stop."""

    reactor: Any  # IReactorTime, IReactorFromThreads
    settings: Settings
    slot_locks: SlotLocks
    logs: LogFiles
    pools: Sequence[Any]  # thread pools: start(), stop(), started
    channels: Mapping[str, IChannel]  # by kind
    odb: Any  # IConfigStore
    redis: Sequence[Any]  # client and bus: startService(), stopService()
    outgoing: Sequence[Any]  # IOutgoingKind objects
    initial_preparers: Sequence[Prepare]  # apply the first configuration, before the channels open
    pipeline: Pipeline
    dispatcher: Dispatcher
    services: Any  # zatotx.service.service_store.ServiceStore
    version_keeper: Any  # zatotx.service.deployment.deployer.VersionManager
    pickup_task: Any  # start() and stop(): watches the pickup directory, in one process of the server
    watchdog: Any  # zatotx.metrics.watchdog.Watchdog
    trimmer: MemoryTrimmer
    reload: SighupReloader
    worker_group: WorkerGroup | None = None  # None without workers
