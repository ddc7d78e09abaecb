"""Composition root of a node, which is a server or a connector. It constructs all components and connects them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, frozen

from zatotx.api import builtin_service_entries
from zatotx.connectors.inbound_delivery_policy import StoredDeadLetters
from zatotx.connectors.kind_registry import (
    InstalledKind,
    check_selected_kinds,
    codecs_by_data_format,
    find_kinds,
    metric_definitions_of_kinds,
    response_header_functions,
    runs_channels_of,
    service_name_prefixes,
)
from zatotx.connectors.security_type_registry import all_object_types
from zatotx.interfaces.config import IConfigStore, Prepare, prepare_without_build
from zatotx.interfaces.connector_kind import CONNECTOR, SERVER, ChannelContext, IChannel
from zatotx.interfaces.inbound_delivery import IDeadLetterSink, IIdempotencyKeyStore
from zatotx.interfaces.reactor import IReactor
from zatotx.metrics.definitions import register_kind_metrics
from zatotx.metrics.exposition import MetricsExposition
from zatotx.metrics.meters import MeterRegistry
from zatotx.model.errors import StartError
from zatotx.node import health_findings
from zatotx.node.gc_tuning import MemoryTrimmer, freeze_objects, share_malloc_arena
from zatotx.node.live_config import LiveConfig
from zatotx.node.load_meter import LoadMeter
from zatotx.node.logging_setup import LiveLogLevels, LogFiles
from zatotx.node.node import Node, NodeComponents, NodeState
from zatotx.node.node_api import NodeApi
from zatotx.node.placed_tasks import RemoteTask, TaskPlacer
from zatotx.node.settings import SETTINGS_FILES, Settings, load_settings
from zatotx.node.sighup_reload import SighupReloader
from zatotx.node.work_runner import WorkCounters
from zatotx.odb.config_store import ConfigStore, open_store, set_call_meter
from zatotx.odb.odb_urls import make_url_absolute
from zatotx.odb.secrets import Secrets
from zatotx.pipeline.dispatcher import Dispatcher
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.pipeline.pipeline import Pipeline
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.pipeline.security.authenticator import AuthenticationDependencies
from zatotx.processes.file_descriptor_limit import raise_file_limit
from zatotx.processes.listeners import Listeners
from zatotx.processes.secret_key import KEY_VARIABLE, read_cluster_key
from zatotx.processes.workers.control_pipe import WorkerSpec
from zatotx.processes.workers.slots import SlotLocks, acquire_slot
from zatotx.redis.client import RedisClient
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.nonce_store import RedisNonceStore
from zatotx.redis.session_store import RedisSessionStore
from zatotx.redis.work_stream import RedisWorkStream
from zatotx.scheduler.scheduler import Scheduler
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.service.current_call import current_service_and_cid
from zatotx.service.deployment.deployer import Deployer, VersionManager
from zatotx.service.deployment.pickup import PickupWatcher
from zatotx.service.invoker import Invoker
from zatotx.service.service_attributes import load_user_config
from zatotx.service.service_store import ServiceStore
from zatotx.system.thread_pool import make_offload, shorten_switch_interval
from zatotx.tap.build_authentication import (
    make_admin_sessions,
    make_authentication_dependencies,
    make_authentication_policy,
    make_client_certificate_preparer,
)
from zatotx.tap.build_connections import (
    OutgoingDependencies,
    RedisConnections,
    find_fetcher,
    load_decrypted_settings,
    make_connection_namespaces,
    make_lease_store,
    make_outgoing_kinds,
    make_redis_connections,
)
from zatotx.tap.build_limits import (
    ServerLimits,
    find_xml_name_leak,
    log_xml_name_leak,
    make_pickup_task,
    make_rate_buckets,
    make_rate_limiter,
    make_shared_counter_lookup,
    make_shared_limit_factory,
    make_worker_group,
    server_start_time,
)
from zatotx.tap.build_monitoring import Monitoring, make_certificate_source
from zatotx.tap.build_node_control import NodeControlComponents, make_node_control
from zatotx.tap.build_scheduler import make_scheduler
from zatotx.tap.build_statistics import (
    make_call_sample_store,
    make_sampler_factory,
    make_usage_recorder,
    make_usage_store,
)
from zatotx.tap.build_work_stream import (
    make_idempotency_key_store,
    make_result_groups,
    make_work_runner,
    make_work_stream,
)
from zatotx.tap.component_service import disable_core_dumps
from zatotx.wire.xml import libxml2_name_cache


def make_server(directory: str, reactor: IReactor, worker_spec: WorkerSpec | None = None) -> Node:
    """Create the server of a directory, without starting it. If a `worker_spec` is given, one of its workers is
    created. Raises StartError."""
    return _make_node(directory, reactor, SERVER, worker_spec)


def make_connector(directory: str, reactor: IReactor) -> Node:
    """Create the connector of a directory, without starting it. Raises StartError."""
    return _make_node(directory, reactor, CONNECTOR, None)


def _make_node(directory: str, reactor: IReactor, node_type: str, worker_spec: WorkerSpec | None) -> Node:
    share_malloc_arena()
    shorten_switch_interval()
    home = Path(directory)
    kinds = find_kinds()
    settings = load_decrypted_settings(
        partial(load_settings, home / 'config' / SETTINGS_FILES[node_type], [found.kind.name for found in kinds]),
        partial(read_cluster_key, home / 'config' / 'secret.key', os.environ),
    )
    check_selected_kinds(kinds, settings.main.connector_kinds)
    raise_file_limit()
    libxml2_name_cache.set_unsupported_callback(log_xml_name_leak)
    if not settings.main.core_dumps:
        disable_core_dumps()
    worker_spec, lock = acquire_slot(home / 'work', worker_spec)
    try:
        node = _NodeBuilder(home, reactor, node_type, settings, lock, kinds, worker_spec).node()
        os.environ.pop(KEY_VARIABLE, None)  # programs that services start would inherit it
        return node
    except BaseException:
        lock.release()
        raise


@frozen
class _Infrastructure:
    """The components that all others depend on: logs, limits, ODB, Redis, services."""

    logs: LogFiles
    find_shared_counter: Any
    limits: ServerLimits
    offload: Callable[..., Any]
    monitoring: Monitoring
    types: ObjectTypeRegistry
    secrets: Secrets
    odb: ConfigStore
    redis: RedisConnections
    services: ServiceStore
    version_keeper: VersionManager
    work: RedisWorkStream
    work_counters: WorkCounters
    scheduler: Scheduler


@frozen
class _Endpoints:
    """The channels and outgoing connections of a server; `preparers` apply a configuration to them."""

    outgoing: Sequence[Any]  # IOutgoingKind
    authentication: AuthenticationDependencies
    authentication_policy: AuthenticationPolicy
    listeners: Listeners
    channels: Mapping[str, IChannel]
    preparers: Sequence[Prepare]


@define
class _NodeBuilder:
    """Builds a Node step by step; the attributes are shared by the steps."""

    home: Path
    reactor: IReactor
    node_type: str  # SERVER or CONNECTOR
    settings: Settings
    lock: SlotLocks
    kinds: Sequence[InstalledKind]
    worker_spec: WorkerSpec

    def node(self) -> Node:
        infrastructure, settings, reactor = self._infrastructure(), self.settings, self.reactor
        limited = infrastructure.limits
        endpoints = self._endpoints(infrastructure)
        config = self._config(infrastructure, endpoints)
        deployer = Deployer(
            odb=infrastructure.odb, config=config, keeper=infrastructure.version_keeper,
            apply_revision=config.apply_and_announce,
        )  # fmt: skip
        state = NodeState()
        node_api = self._node_api(infrastructure, endpoints, config=config, deployer=deployer, state=state)
        invoker = Invoker(
            reactor, limited.service_threads, node=node_api, user_config=self._user_config(),
            stuck_threads=limited.stuck_threads,
        )  # fmt: skip
        pipeline = self._pipeline(infrastructure, endpoints, invoker)
        dispatcher = Dispatcher(pipeline, reactor)
        runner = make_work_runner(
            settings,
            self.home,
            reactor,
            infrastructure.work,
            client=infrastructure.redis.client,
            pipeline=pipeline,
            dispatcher=dispatcher,
            dead_letters=infrastructure.odb,
            counters=infrastructure.work_counters,
            recorder=infrastructure.scheduler.recorder,
        )
        config.follow_heartbeats(runner.heartbeat)
        controlled = NodeControlComponents(
            self.home, self.node_type, self.worker_spec, state=state, channels=endpoints.channels,
            stop_work=runner.drain, metric_sources=infrastructure.monitoring.status_sources(infrastructure.services),
        )  # fmt: skip
        node_api.control = make_node_control(controlled, node_api, infrastructure.redis.announcements, reactor)
        parts = NodeComponents(
            reactor=reactor,
            settings=settings,
            slot_locks=self.lock,
            logs=infrastructure.logs,
            pools=(limited.worker_threads, limited.service_threads),
            channels=endpoints.channels,
            fetching_kinds=[found.kind.name for found in self.kinds
                            if found.kind.runs_in == CONNECTOR and found.kind.name in endpoints.channels],
            odb=infrastructure.odb,
            redis=infrastructure.redis.parts,
            outgoing=endpoints.outgoing,
            initial_preparers=(infrastructure.scheduler.prepare, *endpoints.preparers),
            pipeline=pipeline,
            dispatcher=dispatcher,
            services=infrastructure.services,
            version_keeper=infrastructure.version_keeper,
            pickup_task=self._pickup_task(infrastructure, deployer),
            watchdog=infrastructure.monitoring.watchdog,
            trimmer=MemoryTrimmer(reactor, infrastructure.offload, limited.body_memory),
            reload=SighupReloader(self._current_settings, infrastructure.logs, endpoints.listeners),
            work=runner,
            scheduler=infrastructure.scheduler,
            usage_recorder=make_usage_recorder(
                settings, reactor, node_api.usage, services=infrastructure.services,
                meters=infrastructure.monitoring.meters, worker_spec=self.worker_spec,
            ),
            may_lead_scheduler=self.node_type == SERVER,
            worker_group=make_worker_group(self.home / 'work', self.worker_spec, node_api, reactor),
        )
        return Node(parts, config, state, self.worker_spec)

    def _config(self, infrastructure: _Infrastructure, endpoints: _Endpoints) -> LiveConfig:
        """The configuration in use, which it prepares everywhere before a change takes effect."""
        admission = infrastructure.limits.admission
        config = LiveConfig(
            infrastructure.odb,
            infrastructure.redis.announcements,
            self.reactor,
            [
                infrastructure.version_keeper.prepare_snapshot,
                prepare_without_build(admission.apply),
                infrastructure.scheduler.prepare,
                *endpoints.preparers,
            ],
            lambda: infrastructure.version_keeper.verdicts,
        )
        config.measure_load = LoadMeter(lambda: admission.node.active)
        config.on_large_change = freeze_objects
        return config

    def _pickup_task(self, infrastructure: _Infrastructure, deployer: Deployer) -> Any:
        """The task that deploys files of the pickup directory. Connectors have none: any server's is enough."""
        if self.node_type != SERVER:
            return RemoteTask()
        work = self.home / 'work'
        pickup = PickupWatcher(
            reactor=self.reactor,
            directory=str(self.home / self.settings.hot_deploy.pickup_dir),
            deployer=deployer,
            odb=infrastructure.odb,
            offload=infrastructure.offload,
            since=server_start_time(work),
        )
        return make_pickup_task(pickup, work, self.reactor)

    def _infrastructure(self) -> _Infrastructure:
        settings, reactor = self.settings, self.reactor
        logs = LogFiles(self.home / 'logs', reactor, settings.log, find_context=current_service_and_cid)
        counts = make_shared_counter_lookup(self.home / 'work', self.worker_spec)
        types = all_object_types(self.kinds)
        register_kind_metrics(metric_definitions_of_kinds(self.kinds))
        secrets = self._secrets()
        odb = self._odb(types, secrets)
        redis = make_redis_connections(settings, self.home, reactor, odb)
        client = redis.client
        rates = make_rate_limiter(
            reactor, client, settings.main.cluster, make_rate_buckets(self.home / 'work', self.worker_spec)
        )
        limited = ServerLimits(
            settings, reactor, rates, make_shared_limit_factory(counts), partial(codecs_by_data_format, self.kinds)
        )
        offload = make_offload(reactor, limited.worker_threads)
        observed = Monitoring(reactor, self._deployed_directory())
        set_call_meter(odb, observed.meters.odb)
        services = ServiceStore(
            builtin_service_entries(types),
            observed.meters.services.get,
            limited.make_service_limit,
            service_name_prefixes(self.kinds),
            make_sampler_factory(client, settings.main.cluster),
        )
        observed.count_calls(services, (client, redis.services.client))
        keeper = VersionManager(
            odb=odb, store=services, directory=self._deployed_directory(), reactor=reactor, offload=offload
        )
        work = make_work_stream(client, settings.main.cluster)
        scheduler = make_scheduler(settings, reactor, redis, odb=odb, work=work, has_service=services.can_invoke,
                                   can_lead=self.node_type == SERVER)  # fmt: skip
        return _Infrastructure(
            logs, counts, limited, offload, observed, types, secrets, odb, redis, services, keeper, work,
            WorkCounters(), scheduler,
        )  # fmt: skip

    def _endpoints(self, infrastructure: _Infrastructure) -> _Endpoints:
        """Build the channels, the outgoing connections and the authentication policy."""
        settings, reactor, offload, client = (
            self.settings,
            self.reactor,
            infrastructure.offload,
            infrastructure.redis.client,
        )
        meters = infrastructure.monitoring.meters
        outgoing = make_outgoing_kinds(
            self.kinds,
            OutgoingDependencies(
                reactor=reactor,
                settings=settings,
                offload=offload,
                meters=meters,
                client=client,
                odb=infrastructure.odb,
                secrets=infrastructure.secrets,
                work=infrastructure.work,
            ),
        )
        redis_keys = RedisKeys(settings.main.cluster)
        authentication = make_authentication_dependencies(
            reactor,
            offload,
            nonces=RedisNonceStore(reactor, client, redis_keys),
            sessions=RedisSessionStore(client=client, keys=redis_keys),
            fetcher=find_fetcher(outgoing),
        )
        guard = make_authentication_policy(authentication)
        listeners = self._listeners(infrastructure)
        channels = self._channels(
            infrastructure.logs,
            infrastructure.limits,
            offload,
            listeners=listeners,
            meters=meters,
            worker_spec=self._task_placer(client, infrastructure.odb),
            dead_letters=StoredDeadLetters(infrastructure.odb),
            processed_keys=make_idempotency_key_store(reactor, client, settings.main.cluster),
        )
        preparers = [
            guard.prepare,
            prepare_without_build(make_client_certificate_preparer(listeners)),
            prepare_without_build(infrastructure.limits.rate_limiter.apply),
            *(o.prepare for o in outgoing),
            *(c.prepare for c in channels.values()),
        ]
        return _Endpoints(outgoing, authentication, guard, listeners, channels, preparers)

    def _listeners(self, infrastructure: _Infrastructure) -> Listeners:
        worker_spec, borrower = self.worker_spec, None
        if worker_spec.handover >= 0:
            from zatotx.processes.workers.socket_handover import WorkerSocketClient

            borrower = WorkerSocketClient(self.reactor, worker_spec.handover)
        return Listeners(self.reactor, worker_spec.inherited_sockets, infrastructure.find_shared_counter, borrower)

    def _pipeline(self, infrastructure: _Infrastructure, endpoints: _Endpoints, invoker: Invoker) -> Pipeline:
        limited = infrastructure.limits
        return Pipeline(
            authentication=endpoints.authentication_policy,
            store=infrastructure.services,
            invoker=invoker,
            codecs=limited.codecs,
            error_replies=ErrorReplies(),
            offload=infrastructure.offload,
            admission=limited.admission,
            rate_limiter=limited.rate_limiter,
        )

    def _node_api(
        self,
        infrastructure: _Infrastructure,
        endpoints: _Endpoints,
        *,
        config: LiveConfig,
        deployer: Deployer,
        state: NodeState,
    ) -> NodeApi:
        """Build the NodeApi that zato.* services use."""
        main, observed, limited = self.settings.main, infrastructure.monitoring, infrastructure.limits
        levels = LiveLogLevels(infrastructure.logs, infrastructure.redis.announcements)
        levels.start()
        sources = [
            *observed.metric_sources(
                names={'node': main.name, 'cluster': main.cluster},
                services=infrastructure.services,
                channels=endpoints.channels,
                outgoing=endpoints.outgoing,
                logs=infrastructure.logs,
                config=config,
                client=infrastructure.redis.client,
            ),
            *limited.metric_sources(infrastructure.services),
            infrastructure.work_counters.rows,
            infrastructure.scheduler.metrics,
            infrastructure.redis.services.cache_usage.rows,
            make_certificate_source(endpoints.listeners),
        ]
        finders = [
            partial(health_findings.find_odb_outage, config),
            partial(health_findings.find_redis_outage, infrastructure.redis.client),
            partial(health_findings.find_weakened_rate_limits, limited.rate_limiter, infrastructure.redis.client),
            partial(health_findings.find_rejected_code, infrastructure.version_keeper),
            limited.stuck_threads.findings,
            infrastructure.scheduler.findings,
            observed.findings,
            endpoints.authentication_policy.findings,
            find_xml_name_leak,
            *(
                part.findings
                for part in (*endpoints.channels.values(), *endpoints.outgoing)
                if hasattr(part, 'findings')
            ),
        ]
        return NodeApi(
            name=main.name,
            cluster=main.cluster,
            config=config,
            odb=infrastructure.odb,
            services=infrastructure.services,
            deployer=deployer,
            types=infrastructure.types,
            state=state,
            kinds=self.kinds,
            thread_runner=infrastructure.offload,
            finding_sources=finders,
            exposition=MetricsExposition(sources, infrastructure.offload),
            log_levels=levels,
            user_metrics=observed.user_metrics,
            outgoing=make_connection_namespaces(endpoints.outgoing, self.kinds),
            service_redis=infrastructure.redis.services,
            work=infrastructure.work,
            scheduler=infrastructure.scheduler,
            usage=make_usage_store(infrastructure.redis.client, main.cluster),
            call_samples=make_call_sample_store(infrastructure.redis.client, main.cluster),
            dead_letters=infrastructure.odb,
            result_groups=make_result_groups(infrastructure.redis.client, main.cluster),
            admin_sessions=make_admin_sessions(endpoints.authentication, config),
        )

    def _current_settings(self) -> Settings:
        file = self.home / 'config' / SETTINGS_FILES[self.node_type]
        return load_settings(file, [found.kind.name for found in self.kinds])

    def _deployed_directory(self) -> Path:
        """The directory into which this process unpacks deployed code. Each worker has its own, because each one
        removes the versions it no longer keeps."""
        slot = self.worker_spec.slot
        return self.home / 'work' / (f'deployed-{slot}' if slot else 'deployed')

    def _secrets(self) -> Secrets:
        read = partial(read_cluster_key, self.home / 'config' / 'secret.key', dict(os.environ))
        try:
            return Secrets(read(), read)  # the file is read again in case a rotation has changed it
        except ValueError as error:
            raise StartError(str(error)) from None

    def _odb(self, types: ObjectTypeRegistry, secrets: Secrets) -> ConfigStore:
        try:
            url = make_url_absolute(self.settings.odb.url, str(self.home))
            return open_store(url, secrets, reactor=self.reactor, cluster=self.settings.main.cluster, types=types)
        except ValueError as error:
            raise StartError(str(error)) from None

    def _task_placer(self, client: RedisClient, odb: IConfigStore) -> TaskPlacer:
        main = self.settings.main
        return TaskPlacer(
            node=main.name,
            work=self.home / 'work',
            has_workers=self.worker_spec.is_worker,
            leases=make_lease_store(self.reactor, client, odb, main.cluster),
            clock=self.reactor,
        )

    def _channels(
        self,
        logs: LogFiles,
        limited: ServerLimits,
        offload: Callable[..., Any],
        *,
        listeners: Listeners,
        meters: MeterRegistry,
        worker_spec: TaskPlacer,
        dead_letters: IDeadLetterSink,
        processed_keys: IIdempotencyKeyStore,
    ) -> Mapping[str, IChannel]:
        spool = self.home / 'work' / 'spool'
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        channels = {}
        added_headers = response_header_functions(self.kinds)
        for found in self.kinds:
            runs_channels = runs_channels_of(found.kind, self.node_type, self.settings.main.connector_kinds)
            if found.enabled and found.kind.channel and (runs_channels or found.kind.serves_endpoints):
                name = found.kind.name
                section = {'grace': self.settings.shutdown.grace, **self.settings.kinds.get(name, {})}
                context = ChannelContext(
                    reactor=self.reactor,
                    settings=section,
                    line_sink=logs.line_sink,
                    work_dir=str(spool),
                    run_in_thread=offload,
                    memory_budget=limited.body_memory,
                    listen=listeners.listen,
                    channel_meters=meters.channels,
                    outgoing_meters=meters.outgoing,
                    place_task=worker_spec,
                    declaration=found.kind,
                    dead_letters=dead_letters,
                    processed_keys=processed_keys,
                    response_headers=added_headers,
                    endpoints_only=not runs_channels,
                )
                channels[name] = found.load(found.kind.channel)(context)
        return channels

    def _user_config(self) -> Any:
        files = {name: self.home / path for name, path in self.settings.user_config.items()}
        default = self.home / 'config' / 'user.conf'
        if 'user' not in files and default.exists():
            files['user'] = default
        try:
            return load_user_config(files)
        except ValueError as error:
            raise StartError(str(error)) from None
