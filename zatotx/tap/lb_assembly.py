"""Composition root of a load balancer: constructs its components and wires them together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from zatotx.interfaces.reactor import IReactor
from zatotx.lb.backends.checker import make_checker
from zatotx.lb.backends.registry import BackendRegistry
from zatotx.lb.balancer import LoadBalancer, facts_of
from zatotx.lb.config.files import ConfigurationFiles
from zatotx.lb.config.model import AgentSettings, Configuration, Mode, Stats
from zatotx.lb.control import BalancerControl
from zatotx.lb.data_path import make_frontend
from zatotx.lb.frontend import FrontendContext, IFrontend
from zatotx.lb.frontends import Frontends
from zatotx.lb.log_files import LoadBalancerLogs
from zatotx.lb.server_link import make_dialer
from zatotx.lb.statistics.counters import ExchangeCounters
from zatotx.lb.statistics.responder import StatisticsResponder, prepare_metrics
from zatotx.lb.statistics.source import RecordedStatistics
from zatotx.processes.directory_lock import DirectoryLock
from zatotx.processes.listeners import Listeners
from zatotx.tap.lb_agent import make_agent
from zatotx.tap.limits import raise_file_limit


def make_load_balancer(directory: Path, reactor: IReactor) -> LoadBalancer:
    """Return the load balancer of a directory, not yet started. Raises StartError."""
    raise_file_limit()
    lock = DirectoryLock(directory / 'work' / 'lock')
    lock.acquire()
    try:
        return _Builder(directory, reactor, lock).load_balancer()
    except BaseException:
        lock.release()
        raise


@define
class _Builder:
    """Builds a load balancer step by step."""

    directory: Path
    reactor: IReactor
    lock: DirectoryLock
    _balancer: LoadBalancer | None = field(default=None, init=False)

    def load_balancer(self) -> LoadBalancer:
        """Build the load balancer of this process."""
        reactor, files = self.reactor, ConfigurationFiles(self.directory)
        registry = BackendRegistry(clock=reactor)
        checker = make_checker(reactor, make_dialer(reactor), self.directory, registry)
        logs = LoadBalancerLogs(self.directory / 'logs', reactor)
        counters = ExchangeCounters(
            reactor, registry, lines=logs.exchange_lines, frontends=lambda: frontends.by_name,
            is_logged=self._is_logged,
        )  # fmt: skip
        recorder = RecordedStatistics(clock=reactor, read=counters.snapshot)
        responder = StatisticsResponder(settings=Stats(), read=recorder.snapshot, facts=lambda: facts_of(control),
                                        title='zatotx load balancer')
        prepare_metrics()
        frontends = Frontends(
            make=self._frontend_maker(registry, counters, responder), listen=Listeners(reactor).listen
        )
        balancer = self._balancer = LoadBalancer(
            reactor=reactor, files=files, load=files.load, logs=logs, lock=self.lock, registry=registry,
            frontends=frontends, responder=responder, checker=checker, recorder=recorder,
        )  # fmt: skip
        control = BalancerControl(
            clock=reactor, files=files, read=recorder.snapshot, apply_source=balancer.apply_source,
            set_server_state=lambda backend, name, state: registry.find_server(backend, name).set_admin_state(state),
            started=reactor.seconds(),
        )  # fmt: skip
        balancer.agent = make_agent(self.directory, control, self._agent_settings, reactor)
        return balancer

    def _agent_settings(self) -> AgentSettings:
        configuration: Configuration | None = None if self._balancer is None else self._balancer.configuration
        return AgentSettings() if configuration is None else configuration.agent

    def _frontend_maker(self, registry: BackendRegistry, counters: ExchangeCounters, responder: StatisticsResponder
                        ) -> Callable[[str, Mode], IFrontend]:
        def make(name: str, mode: Mode) -> IFrontend:
            context = FrontendContext(
                name=name, reactor=self.reactor, directory=str(self.directory), find_backend=registry.find,
                exchange_log=counters, local_responder=responder,
            )
            return make_frontend(context)

        return make

    def _is_logged(self, frontend: str) -> bool:
        configuration: Configuration | None = None if self._balancer is None else self._balancer.configuration
        found = None if configuration is None else configuration.frontends.get(frontend)
        return found is None or found.log
