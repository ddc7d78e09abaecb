"""Builds a server out of its parts: the only place that knows them all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, frozen

from zatotx.api import internal_entries
from zatotx.connectors.kind_registry import (
    FoundKind,
    find_kinds,
    formats,
    metric_definitions,
    object_types,
    service_areas,
)
from zatotx.interfaces.config import Prepare, at_once
from zatotx.interfaces.kind import SERVER, IChannel, KindContext
from zatotx.metrics.definitions import register
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
from zatotx.node.placed_tasks import TaskPlacer
from zatotx.node.reload import SighupReloader
from zatotx.node.secret_key import VARIABLE, read_key
from zatotx.node.settings import Settings, load
from zatotx.node.state import NodeState
from zatotx.node.thread_offload import offloader
from zatotx.node.workers.control_pipe import WorkerSpec
from zatotx.node.workers.slots import SlotLocks, acquire_slot
from zatotx.node.workers.socket_handover import SocketBorrower
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
from zatotx.tap.redis_client import make_leases, make_redis_client
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
    """The server of that directory, ready to be started; with a `place`, one of its workers. Raises StartError."""
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
    """What all else of a server stands on."""

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
    """The two sides of a server that others see; `preparers` bring a configuration into force there."""

    outgoing: Sequence[Any]  # IOutgoingKind
    guard: AuthenticationPolicy
    listeners: Listeners
    channels: Mapping[str, IChannel]
    preparers: Sequence[Prepare]


@define
class _ServerBuilder:
    """What the steps of building share."""

    home: Path
    reactor: Any
    settings: Settings
    lock: SlotLocks
    kinds: Sequence[FoundKind]
    place: WorkerSpec

    def node(self) -> Node:
        ground, settings, reactor = self._ground(), self.settings, self.reactor
        limited = ground.limited
        doors = self._doors(ground)
        config = LiveConfig(ground.odb, ground.bus, reactor,
                            [ground.keeper.prepare_level, at_once(limited.admission.apply), *doors.preparers],
                            lambda: ground.keeper.verdicts)
        deployer = Deployer(odb=ground.odb, config=config, keeper=ground.keeper, bring=config.bring)
        state = NodeState()
        view = self._view(ground, doors, config=config, deployer=deployer, state=state)
        invoker = Invoker(reactor, limited.service_threads, node=view, user_config=self._user_config(),
                          left_behind=limited.left_behind)
        pipeline = Pipeline(guard=doors.guard, store=ground.services, invoker=invoker, codecs=limited.codecs,
                            faults=ErrorReplies(), offload=ground.offload, admission=limited.admission,
                            rates=limited.rates)
        work = self.home / 'work'
        pickup = PickupWatcher(
            reactor=reactor,
            directory=str(self.home / settings.hot_deploy.pickup_dir),
            deployer=deployer,
            odb=ground.odb,
            offload=ground.offload,
            since=report_ready(work),
        )
        parts = NodeComponents(
            reactor=reactor, settings=settings, lock=self.lock, logs=ground.logs,
            pools=(limited.workers, limited.service_threads), channels=doors.channels, odb=ground.odb,
            redis=(ground.client, ground.bus), outgoing=doors.outgoing, at_start=doors.preparers, pipeline=pipeline,
            exchange=Dispatcher(pipeline, reactor), services=ground.services, code=ground.keeper,
            pickup=pickup_task(pickup, work, reactor), watchdog=ground.observed.watchdog,
            trimmer=Trimmer(reactor, ground.offload, limited.memory),
            reload=SighupReloader(self._settings_of_now, ground.logs, doors.listeners),
            company=worker_group(work, self.place, view, reactor),
        )  # fmt: skip
        return Node(parts, config, state, self.place)

    def _ground(self) -> _Infrastructure:
        settings, reactor = self.settings, self.reactor
        logs = LogFiles(self.home / 'logs', reactor, settings.log, whose=current_call)
        counts = shared_counters(self.home / 'work', self.place)
        client, bus = make_redis_client(settings, self.home, reactor)
        rates = rate_limiter(reactor, client, settings.main.cluster, shared_buckets(self.home / 'work', self.place))
        limited = LimitsWiring(settings, reactor, rates, shared_limits(counts), partial(formats, self.kinds))
        offload = offloader(reactor, limited.workers)
        observed = Monitoring(reactor, self._deployed())
        types = ObjectTypes([*BUILTIN_TYPES, *object_types(self.kinds)])
        register(metric_definitions(self.kinds))
        secrets = self._secrets()
        odb = count_statements(self._odb(types, secrets), observed.meters.odb)
        services = ServiceStore(internal_entries(types), observed.meters.services.of, limited.gate_of_service,
                                service_areas(self.kinds))
        observed.counts(services, client)
        keeper = VersionKeeper(odb=odb, store=services, directory=self._deployed(), reactor=reactor, offload=offload)
        return _Infrastructure(
            logs, counts, limited, offload, observed, types, secrets, odb, client, bus, services, keeper
        )

    def _doors(self, ground: _Infrastructure) -> _Endpoints:
        """Where messages come in and go out, and who is let through."""
        settings, reactor, offload, client = self.settings, self.reactor, ground.offload, ground.client
        meters = ground.observed.meters
        outgoing = outgoing_kinds(
            self.kinds,
            OutgoingDependencies(
                reactor=reactor,
                settings=settings,
                offload=offload,
                meters=meters,
                client=client,
                odb=ground.odb,
                secrets=ground.secrets,
            ),
        )
        nonces = RedisNonces(reactor, client, Keys(settings.main.cluster))
        guard = make_authentication_policy(
            AuthenticationDependencies(reactor=reactor, offload=offload, nonces=nonces, fetcher=fetcher(outgoing))
        )
        place = self.place
        borrower = SocketBorrower(reactor, place.handover) if place.handover >= 0 else None
        listeners = Listeners(reactor, place.sockets, ground.counts, borrower)
        channels = self._channels(ground.logs, ground.limited, offload, listeners=listeners, meters=meters,
                                  place=self._task_placer(client, ground.odb))
        preparers = [
            guard.prepare,
            at_once(requests_client_certificates(listeners)),
            at_once(ground.limited.rates.apply),
            *(o.prepare for o in outgoing),
            *(c.prepare for c in channels.values()),
        ]
        return _Endpoints(outgoing, guard, listeners, channels, preparers)

    def _view(
        self, ground: _Infrastructure, doors: _Endpoints, *, config: LiveConfig, deployer: Deployer, state: NodeState
    ) -> NodeApi:
        """The node as zato.* services see it."""
        main, observed, limited = self.settings.main, ground.observed, ground.limited
        levels = LiveLogLevels(ground.logs, ground.bus)
        levels.start()
        sources = [
            *observed.sources(names={'node': main.name, 'cluster': main.cluster}, services=ground.services,
                              channels=doors.channels, outgoing=doors.outgoing, logs=ground.logs, config=config,
                              client=ground.client),
            *limited.sources(ground.services),
            certificates(doors.listeners),
        ]
        finders = [
            partial(findings.odb_away, config), partial(findings.redis_away, ground.client),
            partial(findings.rates_without_redis, limited.rates, ground.client),
            partial(findings.refused_code, ground.keeper), limited.left_behind.findings, observed.findings,
            doors.guard.findings, partial(list, xml_names_findings(name_cache.works())),
            *(part.findings for part in (*doors.channels.values(), *doors.outgoing) if hasattr(part, 'findings')),
        ]
        return NodeApi(
            name=main.name, cluster=main.cluster, config=config, odb=ground.odb, services=ground.services,
            deployer=deployer, types=ground.types, state=state, kinds=self.kinds, offloader=ground.offload,
            finders=finders, scrapes=MetricsExposition(sources, ground.offload), levels=levels,
            user_metrics=observed.user_metrics, outgoing=outgoings(doors.outgoing, self.kinds),
        )

    def _settings_of_now(self) -> Settings:
        return load(self.home / 'config' / 'server.toml', [found.kind.name for found in self.kinds])

    def _deployed(self) -> Path:
        """Where this process unpacks code: its own, as each forgets by itself what is no longer kept."""
        seat = self.place.seat
        return self.home / 'work' / (f'deployed-{seat}' if seat else 'deployed')

    def _secrets(self) -> Secrets:
        read = partial(read_key, self.home / 'config' / 'secret.key', dict(os.environ))
        try:
            return Secrets(read(), read)  # the file is read again where a rotation may have changed it
        except ValueError as error:
            raise StartError(str(error)) from None

    def _odb(self, types: ObjectTypes, secrets: Secrets) -> Any:
        try:
            url = resolve(self.settings.odb.url, str(self.home))
            return open_store(url, secrets, reactor=self.reactor, cluster=self.settings.main.cluster, types=types)
        except ValueError as error:
            raise StartError(str(error)) from None

    def _task_placer(self, client: Any, odb: Any) -> TaskPlacer:
        main = self.settings.main
        return TaskPlacer(node=main.name, work=self.home / 'work', has_workers=self.place.crewed,
                          leases=make_leases(self.reactor, client, odb, main.cluster), clock=self.reactor)  # fmt: skip

    def _channels(self, logs: LogFiles, limited: LimitsWiring, offload: Callable[..., Any], *, listeners: Listeners,
                  meters: MeterRegistry, place: TaskPlacer) -> Mapping[str, IChannel]:
        work = self.home / 'work' / 'spool'
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        channels = {}
        for found in self.kinds:
            if found.enabled and found.kind.runs_in == SERVER and found.kind.channel:
                name = found.kind.name
                section = {'grace': self.settings.shutdown.grace, **self.settings.kinds.get(name, {})}
                context = KindContext(reactor=self.reactor, settings=section, lines=logs.lines, work_dir=str(work),
                                      offload=offload, memory=limited.memory, listen=listeners.listen,
                                      channel_meters=meters.channels, outgoing_meters=meters.outgoing,
                                      place=place, declaration=found.kind)
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
