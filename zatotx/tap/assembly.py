"""Builds a server out of its parts: the only place that knows them all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.threads import deferToThreadPool

from zatotx.exchange.faults import FaultReplies
from zatotx.exchange.pipeline import Pipeline
from zatotx.exchange.run import Exchange
from zatotx.exchange.security.basic_auth import BasicAuthCheck, Verifier
from zatotx.exchange.security.guard import Guard
from zatotx.interfaces.kind import SERVER, IChannel, KindContext
from zatotx.kinds import FoundKind, find_kinds, object_types
from zatotx.metrics.meters import Meters
from zatotx.metrics.scrapes import Scrapes
from zatotx.model.faults import StartError
from zatotx.node import findings
from zatotx.node.config import LiveConfig
from zatotx.node.key import VARIABLE, read_key
from zatotx.node.levels import LiveLevels
from zatotx.node.listening import Listeners
from zatotx.node.logbook import Logbook
from zatotx.node.node import Node
from zatotx.node.parts import Parts
from zatotx.node.reload import Reload
from zatotx.node.settings import Settings, load
from zatotx.node.state import NodeState
from zatotx.node.view import NodeView
from zatotx.node.workers.lifeline import Place
from zatotx.node.workers.seats import Locks, sit_down
from zatotx.odb.secrets import Secrets
from zatotx.odb.store import counted, open_store
from zatotx.odb.urls import resolve
from zatotx.schema.builtin import BUILTIN_TYPES
from zatotx.schema.types import ObjectTypes
from zatotx.service.at_work import at_work
from zatotx.service.deployment.deploy import Deployer, VersionKeeper
from zatotx.service.deployment.pickup import Pickup
from zatotx.service.internal import internal_entries
from zatotx.service.invocation import Invoker
from zatotx.service.store import ServiceStore
from zatotx.service.user_config import load_user_config
from zatotx.tap.clear import read_in_clear
from zatotx.tap.crewing import began, company_of, counts_of, gates_of, pickup_duty
from zatotx.tap.dumps import forbid_core_dumps
from zatotx.tap.keyvalue import client_and_bus
from zatotx.tap.limiting import Limited, raise_file_limit
from zatotx.tap.observing import Observed, certificates


def make_server(directory: str, reactor: Any, place: Place | None = None) -> Node:
    """The server of that directory, ready to be started; with a `place`, one of its workers. Raises StartError."""
    home = Path(directory)
    kinds = find_kinds()
    settings = read_in_clear(
        partial(load, home / 'config' / 'server.toml', [found.kind.name for found in kinds]),
        partial(read_key, home / 'config' / 'secret.key', os.environ),
    )
    raise_file_limit()
    if not settings.main.core_dumps:
        forbid_core_dumps()
    place, lock = sit_down(home / 'work', place)
    try:
        node = _Assembly(home, reactor, settings, lock, kinds, place).node()
        os.environ.pop(VARIABLE, None)  # programs that services start would inherit it
        return node
    except BaseException:
        lock.release()
        raise


@define
class _Assembly:
    """What the steps of building share."""

    home: Path
    reactor: Any
    settings: Settings
    lock: Locks
    kinds: Sequence[FoundKind]
    place: Place

    def node(self) -> Node:
        settings, reactor = self.settings, self.reactor
        logs = Logbook(self.home / 'logs', reactor, settings.log, whose=at_work)
        counts = counts_of(self.home / 'work', self.place)
        limited = Limited(settings, reactor, gates_of(counts))
        offload = partial(deferToThreadPool, reactor, limited.workers)
        observed = Observed(reactor, self._deployed())
        meters = observed.meters
        types = ObjectTypes([*BUILTIN_TYPES, *object_types(self.kinds)])
        odb = counted(self._odb(types), meters.odb)
        client, bus = client_and_bus(settings, self.home, reactor)
        services = ServiceStore(internal_entries(types), meters.services.of, limited.gate_of_service)
        observed.counts(services, client)
        keeper = VersionKeeper(odb=odb, store=services, directory=self._deployed(), reactor=reactor,
                               offload=offload)
        guard = self._guard(offload)
        listeners = Listeners(reactor, self.place.sockets, counts)
        channels = self._channels(logs, offload, listeners, meters)
        appliers = [keeper.apply, guard.applied, limited.admission.applied, *(c.apply for c in channels.values())]
        config = LiveConfig(odb, bus, reactor, appliers, lambda: keeper.verdicts)
        deployer = Deployer(odb=odb, config=config, keeper=keeper, bring=config.bring)
        state = NodeState()
        levels = LiveLevels(logs, bus)
        levels.start()
        scrapes = Scrapes(
            [
                *observed.sources(names={'node': settings.main.name, 'cluster': settings.main.cluster},
                                  services=services, channels=channels, logs=logs, config=config, client=client),
                *limited.sources(services),
                certificates(listeners),
            ],
            offload,
        )
        view = NodeView(
            name=settings.main.name, cluster=settings.main.cluster, config=config, odb=odb, services=services,
            deployer=deployer, types=types, state=state, kinds=self.kinds, offloader=offload,
            finders=[partial(findings.odb_away, config), partial(findings.redis_away, client),
                     partial(findings.refused_code, keeper), limited.left_behind.findings,
                     observed.findings, *(c.findings for c in channels.values() if hasattr(c, 'findings'))],
            scrapes=scrapes, levels=levels, user_metrics=observed.user_metrics,
        )
        invoker = Invoker(reactor, limited.service_threads, node=view, user_config=self._user_config(),
                          left_behind=limited.left_behind)
        pipeline = Pipeline(guard=guard, store=services, invoker=invoker, codecs=limited.codecs, faults=FaultReplies(),
                            offload=offload, admission=limited.admission)
        pickup = pickup_duty(
            Pickup(reactor=reactor, directory=str(self.home / settings.hot_deploy.pickup_dir), deployer=deployer,
                   odb=odb, offload=offload, since=began(self.home / 'work')),
            self.home / 'work', reactor,
        )  # fmt: skip
        parts = Parts(
            reactor=reactor, settings=settings, lock=self.lock, logs=logs,
            pools=(limited.workers, limited.service_threads), channels=channels, odb=odb, redis=(client, bus),
            guard=guard, pipeline=pipeline,
            exchange=Exchange(pipeline, reactor), services=services, code=keeper, pickup=pickup,
            watchdog=observed.watchdog, reload=Reload(self._settings_of_now, logs, listeners),
            company=company_of(self.home / 'work', self.place, view, reactor),
        )
        return Node(parts, config, state, self.place)

    def _settings_of_now(self) -> Settings:
        return load(self.home / 'config' / 'server.toml', [found.kind.name for found in self.kinds])

    def _deployed(self) -> Path:
        """Where this process unpacks code: its own, as each forgets by itself what is no longer kept."""
        seat = self.place.seat
        return self.home / 'work' / (f'deployed-{seat}' if seat else 'deployed')

    def _odb(self, types: ObjectTypes) -> Any:
        read = partial(read_key, self.home / 'config' / 'secret.key', dict(os.environ))
        try:
            url = resolve(self.settings.odb.url, str(self.home))
            secrets = Secrets(read(), read)  # the file is read again where a rotation may have changed it
            return open_store(url, secrets, reactor=self.reactor, cluster=self.settings.main.cluster, types=types)
        except ValueError as error:
            raise StartError(str(error)) from None

    def _guard(self, offload: Callable[..., Any]) -> Guard:
        verifier = Verifier(self.reactor, offload)
        return Guard({'basic_auth': partial(BasicAuthCheck, verifier)})

    def _channels(self, logs: Logbook, offload: Callable[..., Any], listeners: Listeners, meters: Meters
                  ) -> Mapping[str, IChannel]:
        work = self.home / 'work' / 'spool'
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        channels = {}
        for found in self.kinds:
            if found.enabled and found.kind.runs_in == SERVER and found.kind.channel:
                name = found.kind.name
                section = {'grace': self.settings.shutdown.grace, **self.settings.kinds.get(name, {})}
                context = KindContext(reactor=self.reactor, settings=section, lines=logs.lines, work_dir=str(work),
                                      offload=offload, listen=listeners.listen,
                                      channel_meters=meters.channels, outgoing_meters=meters.outgoing)
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
