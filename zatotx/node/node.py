"""The lifecycle of a node. It defines the order in which the components of a node start, drain and stop.

Start: read the configuration from the ODB, open the listeners (requests get a 503), load the deployed services, then
serve. Stop: report not ready, close the listeners, let running requests finish within the grace period, then stop all
other components.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from zatotx.interfaces.config import IConfigStore, Prepare
from zatotx.interfaces.connector_kind import IChannel
from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.scheduler import IScheduler
from zatotx.interfaces.statistics import IUsageRecorder
from zatotx.metrics.reactor_watchdog import Watchdog
from zatotx.model.errors import Conflict, StartError
from zatotx.node import gc_tuning
from zatotx.node.gc_tuning import MemoryTrimmer
from zatotx.node.live_config import LiveConfig, commit_all, prepare_all
from zatotx.node.logging_setup import LogFiles
from zatotx.node.settings import Settings
from zatotx.node.sighup_reload import SighupReloader
from zatotx.node.work_runner import WorkRunner
from zatotx.pipeline.dispatcher import Dispatcher
from zatotx.pipeline.pipeline import Pipeline
from zatotx.processes.workers.control_pipe import RETIRE_TIMEOUT, SINGLE_PROCESS, WorkerSpec
from zatotx.processes.workers.slots import SlotLocks
from zatotx.schema.scheduler_job import DEFAULT_JOBS, SCHEDULER_JOB, default_job_operation
from zatotx.schema.snapshot import Actor, Operation, Snapshot
from zatotx.service.deployment.deployer import VersionManager
from zatotx.service.service_store import ServiceStore
from zatotx.system.thread_pool import DaemonThreadPool, stop_pools

if TYPE_CHECKING:
    from zatotx.processes.workers.worker_group import WorkerGroup

__all__ = [
    'ANYWHERE',
    'DRAINING',
    'READY',
    'STARTING',
    'STOPPED',
    'Node',
    'NodeComponents',
    'NodeState',
    'StartError',
    'first_tcp_address',
    'missing_service_operations',
]


@frozen(kw_only=True)
class NodeComponents:
    """All components of a node. Only the class Node determines the order in which they start and stop."""

    reactor: IReactor
    settings: Settings
    slot_locks: SlotLocks
    logs: LogFiles
    pools: Sequence[DaemonThreadPool]
    channels: Mapping[str, IChannel]  # by kind
    fetching_kinds: Collection[str]  # kinds whose channels begin when the node is ready: they fetch messages
    odb: IConfigStore
    redis: Sequence[Any]  # client and bus: startService(), stopService()
    outgoing: Sequence[Any]  # IOutgoingKind objects
    initial_preparers: Sequence[Prepare]  # apply the first configuration, before the channels open
    pipeline: Pipeline
    dispatcher: Dispatcher
    services: ServiceStore
    version_keeper: VersionManager
    pickup_task: Any  # start() and stop(): watches the pickup directory, in one process of the server
    watchdog: Watchdog
    trimmer: MemoryTrimmer
    reload: SighupReloader
    work: WorkRunner
    scheduler: IScheduler
    usage_recorder: IUsageRecorder
    may_lead_scheduler: bool  # servers only: connectors are sized for messages
    worker_group: WorkerGroup | None = None  # None without workers


ANYWHERE = '0.0.0.0'  # noqa: S104 - the default interface of Twisted endpoints


def first_tcp_address(kind_settings: Mapping[str, Mapping[str, Any]]) -> tuple[str, int]:
    """Return the host and port of the first listener that has a port, or ('', 0) if there is none. They are read from a
    Twisted endpoint description, such as `tcp:17010` or `ssl:port=17010:interface=10.0.0.1:…`."""
    for section in kind_settings.values():
        for description in section.get('listen', ()):
            _, *words = description.replace('\\:', '\0').split(':')
            named = dict(word.split('=', 1) for word in words if '=' in word)
            port = named.get('port') or next((word for word in words if '=' not in word), '')
            if port.isdigit():
                return named.get('interface', ANYWHERE).replace('\0', ':'), int(port)
    return '', 0


def missing_service_operations(services: Iterable[Any], snapshot: Snapshot) -> list[Operation]:
    """Return the operations that create the missing rows of internal services and the jobs that belong to them. Rows
    are missing if an older version of zatotx created the cluster. Each service needs a row, because Zato's API refers
    to services by ID."""
    missing = [entry for entry in services
               if entry.is_internal and snapshot.find('service', entry.name) is None]  # fmt: skip
    rows = [
        Operation(
            action='create',
            type='service',
            name=entry.name,
            fields={'name': entry.name, 'impl_name': f'{entry.cls.__module__}.{entry.cls.__qualname__}',
                    'is_internal': True},
        )
        for entry in missing
    ]
    jobs = [entry.name for entry in missing
            if entry.name in DEFAULT_JOBS and snapshot.find(SCHEDULER_JOB.key, entry.name) is None]  # fmt: skip
    return [*rows, *map(default_job_operation, jobs)]


STARTING, READY, DRAINING, STOPPED = 'starting', 'ready', 'draining', 'stopped'
_NOT_READY_REASONS = {
    STARTING: 'The server is starting: its services are being loaded',
    READY: '',
    DRAINING: 'The server is draining: it finishes running requests and accepts no new ones',
    STOPPED: 'The server has stopped',
}
DRAINED_REASON = 'An administrator has drained the server: resume or restart it'


@define
class NodeState:
    """The lifecycle phase of a node, and the reason why the node is not ready in this phase. The reason is '' if the
    node is ready."""

    phase: str = STOPPED
    is_drained: bool = False  # by an administrator, until the next start

    @property
    def not_ready_reason(self) -> str:
        return _NOT_READY_REASONS[self.phase] or (DRAINED_REASON if self.is_drained else '')


_log = Logger()


@define(eq=False, slots=False)
class Node(Service):
    """A server or connector, which runs services and the channels that clients connect to. It is constructed by
    zatotx.tap, and determines the order in which its components start and stop."""

    components: NodeComponents
    config: LiveConfig
    state: NodeState
    worker_spec: WorkerSpec = SINGLE_PROCESS
    node_id: int = 0
    _starting: Deferred[None] | None = None

    def startService(self) -> Deferred[None]:
        """Start the node. The Deferred fires when it serves requests, and fails with StartError, one sentence, if it
        cannot."""
        super().startService()  # type: ignore[no-untyped-call]
        starting = self._starting = Deferred.fromCoroutine(self._start())
        return starting

    def stopService(self) -> Deferred[None]:
        """Drain and stop the node; the Deferred fires when everything has stopped. Also stops a node that has started
        only partly."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._starting is not None:
            self._starting.cancel()
        return Deferred.fromCoroutine(self._stop())

    def retire(self) -> Deferred[None]:
        """Stop accepting clients because another process has taken over, and close each connection after its next
        response. The Deferred fires when all connections are closed, or after LINGER seconds."""
        _log.info('{name} of cluster {cluster} is being replaced', **self._names())
        self.components.work.drain()
        self.components.scheduler.resign()
        retired: Deferred[None] = Deferred()
        timeout = self.components.reactor.callLater(RETIRE_TIMEOUT, retired.callback, None)

        def all_closed(_: object) -> None:
            if timeout.active():
                timeout.cancel()
                retired.callback(None)

        gatherResults([channel.retire() for channel in self.components.channels.values()]).addCallback(all_closed)
        return retired

    def reload(self) -> None:
        """Reload the log settings and the certificates."""
        self.components.reload()

    async def _start(self) -> None:
        parts = self.components
        self._set_phase(STARTING)
        parts.logs.start()
        _log.info('Starting {name} of cluster {cluster}', **self._names())
        for pool in parts.pools:
            pool.start()
        for client in parts.redis:
            client.startService()
        if parts.worker_group is not None:
            parts.worker_group.start()
        await self._register()
        await self._configure()
        if not self.worker_spec.listen_when_ready:
            await self._listen()
        await parts.version_keeper.load()
        await parts.version_keeper.apply_snapshot(self.config.snapshot)
        self.config.start()
        await self.config.sync()
        gc_tuning.tune_gc()
        parts.trimmer.start()
        parts.watchdog.start()
        self._set_phase(READY)
        if self.worker_spec.listen_when_ready:
            await self._listen()
        for name in parts.fetching_kinds:
            await parts.channels[name].start(parts.dispatcher)
        parts.work.start(self.node_id)
        if parts.may_lead_scheduler:
            parts.scheduler.start(self.node_id)
        parts.usage_recorder.start()
        await parts.pickup_task.start()
        _log.info('{name} of cluster {cluster} is ready', **self._names())

    async def _register(self) -> None:
        """Register the node in the ODB and load the configuration."""
        parts, main = self.components, self.components.settings.main
        host, port = first_tcp_address(parts.settings.kinds)
        row = await parts.odb.register_node(main.name, host, port, os.getpid(), worker=self.worker_spec.slot)
        self.node_id = self.config.node_id = row.id
        await self.config.load()
        rows = missing_service_operations(parts.services.current, self.config.snapshot)
        if rows:
            try:
                await parts.odb.write(rows, Actor(main.name, 'start'))
            except Conflict:
                _log.debug('Another node wrote the rows of the internal services at the same time')
            await self.config.load()

    async def _configure(self) -> None:
        for finishing in commit_all(await prepare_all(self.components.initial_preparers, self.config.snapshot)):
            await finishing

    async def _listen(self) -> None:
        """Open the listeners. Requests get a 503 until the services are loaded; a worker that joins others which serve
        already listens only once it is ready, so that no client gets a 503 because of it."""
        for name, channel in self.components.channels.items():
            if name not in self.components.fetching_kinds:
                await channel.start(self.components.dispatcher)

    async def _stop(self) -> None:
        parts = self.components
        self._set_phase(DRAINING)
        channels = list(parts.channels.values())
        for channel in channels:
            channel.drain()
        parts.work.drain()
        await _stop_component(parts.scheduler.resign(), 'The leadership of the scheduler')
        await _stop_component(parts.pickup_task.stop(), 'The pickup directory')
        await gatherResults([
            *(_stop_in_parallel(channel.stop(), 'A channel') for channel in channels),
            _stop_in_parallel(parts.work.stop(), 'The work stream'),
        ])
        await _stop_component(parts.scheduler.stop(), 'The history of jobs')
        await _stop_component(parts.usage_recorder.stop(), 'The statistics of services')
        for outgoing in parts.outgoing:
            await _stop_component(outgoing.stop(), 'Outgoing connections')
        self._set_phase(STOPPED)
        if parts.worker_group is not None:
            await _stop_component(parts.worker_group.stop(), 'The connection to the other workers')
        parts.watchdog.stop()
        parts.trimmer.stop()
        await _stop_component(self.config.stop(), 'The configuration')
        if self.node_id:
            await _stop_component(parts.odb.mark_node_stopped(self.node_id), 'The row of this node')
        for client in parts.redis:
            await _stop_component(client.stopService(), 'Redis')
        await _stop_component(parts.odb.close(), 'The ODB')
        if not await stop_pools(parts.reactor, parts.pools):
            _log.warn('Service threads are still busy and are abandoned')
        _log.info('{name} of cluster {cluster} has stopped', **self._names())
        parts.logs.stop()
        parts.slot_locks.release()

    def _set_phase(self, phase: str) -> None:
        self.state.phase = phase
        self.components.pipeline.unavailable_reason = self.state.not_ready_reason if phase == STARTING else ''

    def _names(self) -> dict[str, Any]:
        main, worker_spec = self.components.settings.main, self.worker_spec
        name = f'Worker {worker_spec.slot} of {main.name}' if worker_spec.is_worker else main.name
        return {'name': name, 'cluster': main.cluster}


def _stop_in_parallel(stopping: Any, what: str) -> Deferred[None]:
    return Deferred.fromCoroutine(_stop_component(stopping, what))


async def _stop_component(stopping: Any, what: str) -> None:
    """Wait for a component to stop. Errors are logged, so that the other components are stopped anyway."""
    try:
        if stopping is not None:
            await stopping
    except Exception as error:
        _log.warn('{what} did not stop cleanly: {why}', what=what, why=str(error) or type(error).__name__)
