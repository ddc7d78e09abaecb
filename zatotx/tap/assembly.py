"""Composition root of a server: constructs every component and wires them together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, frozen

from zatotx.api import internal_entries
from zatotx.connectors.kind_registry import FoundKind, find_kinds, formats, object_types
from zatotx.interfaces.config import Prepare, at_once
from zatotx.interfaces.kind import SERVER, IChannel, KindContext
from zatotx.metrics.exposition import MetricsExposition
from zatotx.metrics.meters import MeterRegistry
from zatotx.model.errors import StartError
from zatotx.node import findings
from zatotx.node.components import NodeComponents
from zatotx.node.gc_tuning import Trimmer
from zatotx.node.listeners import Listeners
from zatotx.node.live_config import LiveConfig
from zatotx.node.log_files import LogFiles
from zatotx.node.log_levels import LiveLogLevels
from zatotx.node.node import Node
from zatotx.node.node_api import NodeApi
from zatotx.node.reload import SighupReloader
from zatotx.node.secret_key import VARIABLE, read_key
from zatotx.node.settings import Settings, load
from zatotx.node.state import NodeState
from zatotx.node.thread_offload import offloader
from zatotx.node.workers.control_pipe import WorkerSpec
from zatotx.node.workers.slots import SlotLocks, acquire_slot
from zatotx.odb.secrets import Secrets
from zatotx.odb.store import count_statements, open_store
from zatotx.odb.urls import resolve
from zatotx.pipeline.dispatcher import Dispatcher
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.pipeline.pipeline import Pipeline
from zatotx.pipeline.security.policy import AuthenticationPolicy
from zatotx.redis.keys import Keys
from zatotx.redis.nonce_store import RedisNonces
from zatotx.schema.builtin_types import BUILTIN_TYPES
from zatotx.schema.type_registry import ObjectTypes
from zatotx.service.current_call import current_call
from zatotx.service.deployment.deployer import Deployer, VersionKeeper
from zatotx.service.deployment.pickup import PickupWatcher
from zatotx.service.invoker import Invoker
from zatotx.service.service_store import ServiceStore
from zatotx.service.user_config import load_user_config
from zatotx.tap.authentication import (
    AuthenticationDependencies,
    make_authentication_policy,
    requests_client_certificates,
)
from zatotx.tap.core_dumps import forbid_core_dumps
from zatotx.tap.decrypt_settings import read_decrypted
from zatotx.tap.limits import LimitsWiring, raise_file_limit, rate_limiter, xml_names_findings
from zatotx.tap.monitoring import Monitoring, certificates
from zatotx.tap.outgoing import OutgoingDependencies, fetcher, outgoing_kinds, outgoings
from zatotx.tap.redis_client import make_redis_client
from zatotx.tap.worker_wiring import (
    pickup_task,
    report_ready,
    shared_buckets,
    shared_counters,
    shared_limits,
    worker_group,
)
from zatotx.wire.xml import name_cache


def make_server(directory: str, reactor: Any, place: WorkerSpec | None = None) -> Node:
    """Return the server of a directory, not yet started; with a `place`, one of its workers. Raises StartError."""
    home = Path(directory)
    kinds = find_kinds()
    settings = read_decrypted(
        partial(load, home / 'config' / 'server.toml', [found.kind.name for found in kinds]),
        partial(read_key, home / 'config' / 'secret.key', os.environ),
    )
    raise_file_limit()
    if not settings.main.core_dumps:
        forbid_core_dumps()
    place, lock = acquire_slot(home / 'work', place)
    try:
        node = _ServerBuilder(home, reactor, settings, lock, kinds, place).node()
        os.environ.pop(VARIABLE, None)  # programs that services start would inherit it
        return node
    except BaseException:
        lock.release()
        raise


@frozen
class _Infrastructure:
    """The components that all others depend on: logs, limits, ODB, Redis, services."""

    logs: LogFiles
    counts: Any
    limited: LimitsWiring
    offload: Callable[..., Any]
    observed: Monitoring
    types: ObjectTypes
    secrets: Secrets
    odb: Any  # IConfigStore
    client: Any  # zatotx.redis.client.RedisClient
    bus: Any  # IBus
    services: ServiceStore
    keeper: VersionKeeper


@frozen
class _Endpoints:
    """The channels and outgoing connections of a server; `preparers` apply a configuration to them."""

    outgoing: Sequence[Any]  # IOutgoingKind
    guard: AuthenticationPolicy
    listeners: Listeners
    channels: Mapping[str, IChannel]
    preparers: Sequence[Prepare]


@define
class _ServerBuilder:
    """Builds a Node step by step; the attributes are shared by the steps."""

    home: Path
    reactor: Any
    settings: Settings
    lock: SlotLocks
    kinds: Sequence[FoundKind]
    place: WorkerSpec

    def node(self) -> Node:
        infrastructure, settings, reactor = self._infrastructure(), self.settings, self.reactor
        limited = infrastructure.limited
        endpoints = self._endpoints(infrastructure)
        config = LiveConfig(
            infrastructure.odb,
            infrastructure.bus,
            reactor,
            [infrastructure.keeper.prepare_level, at_once(limited.admission.apply), *endpoints.preparers],
            lambda: infrastructure.keeper.verdicts,
        )
        deployer = Deployer(odb=infrastructure.odb, config=config, keeper=infrastructure.keeper, bring=config.bring)
        state = NodeState()
        node_api = self._node_api(infrastructure, endpoints, config=config, deployer=deployer, state=state)
        invoker = Invoker(
            reactor,
            limited.service_threads,
            node=node_api,
            user_config=self._user_config(),
            left_behind=limited.left_behind,
        )
        pipeline = Pipeline(
            guard=endpoints.guard,
            store=infrastructure.services,
            invoker=invoker,
            codecs=limited.codecs,
            faults=ErrorReplies(),
            offload=infrastructure.offload,
            admission=limited.admission,
            rates=limited.rates,
        )
        work = self.home / 'work'
        pickup = PickupWatcher(
            reactor=reactor,
            directory=str(self.home / settings.hot_deploy.pickup_dir),
            deployer=deployer,
            odb=infrastructure.odb,
            offload=infrastructure.offload,
            since=report_ready(work),
        )
        parts = NodeComponents(
            reactor=reactor,
            settings=settings,
            lock=self.lock,
            logs=infrastructure.logs,
            pools=(limited.workers, limited.service_threads),
            channels=endpoints.channels,
            odb=infrastructure.odb,
            redis=(infrastructure.client, infrastructure.bus),
            outgoing=endpoints.outgoing,
            at_start=endpoints.preparers,
            pipeline=pipeline,
            exchange=Dispatcher(pipeline, reactor),
            services=infrastructure.services,
            code=infrastructure.keeper,
            pickup=pickup_task(pickup, work, reactor),
            watchdog=infrastructure.observed.watchdog,
            trimmer=Trimmer(reactor, infrastructure.offload, limited.memory),
            reload=SighupReloader(self._current_settings, infrastructure.logs, endpoints.listeners),
            company=worker_group(work, self.place, node_api, reactor),
        )
        return Node(parts, config, state, self.place)

    def _infrastructure(self) -> _Infrastructure:
        settings, reactor = self.settings, self.reactor
        logs = LogFiles(self.home / 'logs', reactor, settings.log, whose=current_call)
        counts = shared_counters(self.home / 'work', self.place)
        client, bus = make_redis_client(settings, self.home, reactor)
        rates = rate_limiter(reactor, client, settings.main.cluster, shared_buckets(self.home / 'work', self.place))
        limited = LimitsWiring(settings, reactor, rates, shared_limits(counts), partial(formats, self.kinds))
        offload = offloader(reactor, limited.workers)
        observed = Monitoring(reactor, self._deployed_directory())
        types = ObjectTypes([*BUILTIN_TYPES, *object_types(self.kinds)])
        secrets = self._secrets()
        odb = count_statements(self._odb(types, secrets), observed.meters.odb)
        services = ServiceStore(internal_entries(types), observed.meters.services.of, limited.gate_of_service)
        observed.counts(services, client)
        keeper = VersionKeeper(
            odb=odb, store=services, directory=self._deployed_directory(), reactor=reactor, offload=offload
        )
        return _Infrastructure(
            logs, counts, limited, offload, observed, types, secrets, odb, client, bus, services, keeper
        )

    def _endpoints(self, infrastructure: _Infrastructure) -> _Endpoints:
        """Build the channels, the outgoing connections and the authentication policy."""
        settings, reactor, offload, client = self.settings, self.reactor, infrastructure.offload, infrastructure.client
        meters = infrastructure.observed.meters
        outgoing = outgoing_kinds(
            self.kinds,
            OutgoingDependencies(
                reactor=reactor,
                settings=settings,
                offload=offload,
                meters=meters,
                client=client,
                odb=infrastructure.odb,
                secrets=infrastructure.secrets,
            ),
        )
        nonces = RedisNonces(reactor, client, Keys(settings.main.cluster))
        guard = make_authentication_policy(
            AuthenticationDependencies(reactor=reactor, offload=offload, nonces=nonces, fetcher=fetcher(outgoing))
        )
        listeners = Listeners(reactor, self.place.sockets, infrastructure.counts)
        channels = self._channels(
            infrastructure.logs, infrastructure.limited, offload, listeners=listeners, meters=meters
        )
        preparers = [
            guard.prepare,
            at_once(requests_client_certificates(listeners)),
            at_once(infrastructure.limited.rates.apply),
            *(o.prepare for o in outgoing),
            *(c.prepare for c in channels.values()),
        ]
        return _Endpoints(outgoing, guard, listeners, channels, preparers)

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
        main, observed, limited = self.settings.main, infrastructure.observed, infrastructure.limited
        levels = LiveLogLevels(infrastructure.logs, infrastructure.bus)
        levels.start()
        sources = [
            *observed.sources(
                names={'node': main.name, 'cluster': main.cluster},
                services=infrastructure.services,
                channels=endpoints.channels,
                logs=infrastructure.logs,
                config=config,
                client=infrastructure.client,
            ),
            *limited.sources(infrastructure.services),
            certificates(endpoints.listeners),
        ]
        finders = [
            partial(findings.odb_away, config),
            partial(findings.redis_away, infrastructure.client),
            partial(findings.rates_without_redis, limited.rates, infrastructure.client),
            partial(findings.refused_code, infrastructure.keeper),
            limited.left_behind.findings,
            observed.findings,
            endpoints.guard.findings,
            partial(list, xml_names_findings(name_cache.works())),
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
            offloader=infrastructure.offload,
            finders=finders,
            scrapes=MetricsExposition(sources, infrastructure.offload),
            levels=levels,
            user_metrics=observed.user_metrics,
            outgoing=outgoings(endpoints.outgoing, self.kinds),
        )

    def _current_settings(self) -> Settings:
        return load(self.home / 'config' / 'server.toml', [found.kind.name for found in self.kinds])

    def _deployed_directory(self) -> Path:
        """The directory into which this process unpacks deployed code. Each worker has its own, because each one
        removes the versions it no longer keeps."""
        seat = self.place.seat
        return self.home / 'work' / (f'deployed-{seat}' if seat else 'deployed')

    def _secrets(self) -> Secrets:
        read = partial(read_key, self.home / 'config' / 'secret.key', dict(os.environ))
        try:
            return Secrets(read(), read)  # the file is read again in case a rotation has changed it
        except ValueError as error:
            raise StartError(str(error)) from None

    def _odb(self, types: ObjectTypes, secrets: Secrets) -> Any:
        try:
            url = resolve(self.settings.odb.url, str(self.home))
            return open_store(url, secrets, reactor=self.reactor, cluster=self.settings.main.cluster, types=types)
        except ValueError as error:
            raise StartError(str(error)) from None

    def _channels(
        self,
        logs: LogFiles,
        limited: LimitsWiring,
        offload: Callable[..., Any],
        *,
        listeners: Listeners,
        meters: MeterRegistry,
    ) -> Mapping[str, IChannel]:
        spool = self.home / 'work' / 'spool'
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        channels = {}
        for found in self.kinds:
            if found.enabled and found.kind.runs_in == SERVER and found.kind.channel:
                name = found.kind.name
                section = {'grace': self.settings.shutdown.grace, **self.settings.kinds.get(name, {})}
                context = KindContext(
                    reactor=self.reactor,
                    settings=section,
                    lines=logs.lines,
                    work_dir=str(spool),
                    offload=offload,
                    memory=limited.memory,
                    listen=listeners.listen,
                    channel_meters=meters.channels,
                    outgoing_meters=meters.outgoing,
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
