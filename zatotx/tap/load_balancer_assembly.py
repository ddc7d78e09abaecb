"""Composition root of a load balancer. It constructs the components and connects them, for a single process, for the
parent of workers, and for a worker.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from attrs import define, field

from zatotx.interfaces.reactor import IReactor
from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.backends.health_checker import HealthChecker, make_health_checker
from zatotx.lb.backends.saved_server_states import SavedServerStates
from zatotx.lb.balancer_control import BalancerControl
from zatotx.lb.config.files import ConfigurationFiles
from zatotx.lb.config.model import AdministrativeState, AgentSettings, Configuration, Mode, Stats
from zatotx.lb.discovery.member_list import add_members
from zatotx.lb.discovery.poller import DiscoveryPoller, read_members
from zatotx.lb.discovery.server_list_request import request_server_list
from zatotx.lb.frontend_interfaces import FrontendContext, IFrontend
from zatotx.lb.frontends import Frontends
from zatotx.lb.load_balancer_service import LoadBalancer, process_overview
from zatotx.lb.log_files import LoadBalancerLogs
from zatotx.lb.running_frontend import make_frontend
from zatotx.lb.server_connector import make_dialer
from zatotx.lb.statistics.exchange_counters import ExchangeCounters
from zatotx.lb.statistics.statistics_responder import StatisticsResponder, prepare_metrics
from zatotx.lb.statistics.statistics_source import ReadSnapshot, RecordedStatistics
from zatotx.processes.file_descriptor_limit import raise_file_limit
from zatotx.processes.listeners import Listeners
from zatotx.processes.lock_files import DirectoryLock
from zatotx.tap.component_service import disable_core_dumps

TITLE = 'zatotx load balancer'


def make_load_balancer(directory: Path, reactor: IReactor) -> LoadBalancer:
    """Create the load balancer of a directory as a single process, without starting it. Raises StartError."""
    raise_file_limit()
    disable_core_dumps()  # they would contain private keys
    lock = DirectoryLock(directory / 'work' / 'lock')
    lock.acquire()
    try:
        base = LoadBalancerBase(directory, reactor)
        checker = base.make_checker()
        recorder = RecordedStatistics(clock=reactor, read=base.counters.snapshot)
        frontends = base.make_frontends(Listeners(reactor), recorder.snapshot)
        balancer = base.balancer = LoadBalancer(
            reactor=reactor, files=base.files, load=base.files.load, read_source=base.files.read, logs=base.logs,
            lock=lock, registry=base.registry, frontends=frontends, responder=base.responder, checker=checker,
            states=base.use_saved_states(), extend=base.add_discovered,
        )  # fmt: skip
        poller = base.make_poller(balancer)
        balancer.parts = (recorder, poller)
        balancer.on_applied = poller.configuration_changed
        base.administer(balancer, recorder.snapshot)
        return balancer
    except BaseException:
        lock.release()
        raise


@define
class LoadBalancerBase:
    """The components that every process of a load balancer has."""

    directory: Path
    reactor: IReactor
    files: ConfigurationFiles = field(init=False)
    logs: LoadBalancerLogs = field(init=False)
    registry: BackendRegistry = field(init=False)
    counters: ExchangeCounters = field(init=False)
    responder: StatisticsResponder = field(init=False)
    frontends: Frontends | None = field(default=None, init=False)
    balancer: LoadBalancer | None = field(default=None, init=False)
    control: BalancerControl | None = field(default=None, init=False)
    states: SavedServerStates | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.files = ConfigurationFiles(self.directory)
        self.logs = LoadBalancerLogs(self.directory / 'logs', self.reactor)
        self.registry = BackendRegistry(clock=self.reactor)
        self.counters = ExchangeCounters(
            self.reactor, self.registry, lines=self.logs.exchange_lines,
            frontends=lambda: {} if self.frontends is None else self.frontends.by_name,
        )  # fmt: skip

    def use_saved_states(self) -> SavedServerStates:
        """Start servers with the administrative states that were set, and return what saves them."""
        states = self.states = SavedServerStates(self.directory)
        self.registry.find_state = states.find
        return states

    def make_checker(self) -> HealthChecker:
        """Return what probes the servers."""
        return make_health_checker(self.reactor, make_dialer(self.reactor), self.directory, self.registry)

    def make_poller(self, balancer: LoadBalancer) -> DiscoveryPoller:
        """Return what discovers servers."""
        reactor = self.reactor
        return DiscoveryPoller(
            reactor=reactor, directory=self.directory, registry=self.registry, on_change=balancer.servers_discovered,
            request=partial(request_server_list, reactor, make_dialer(reactor)),
        )  # fmt: skip

    def add_discovered(self, configuration: Configuration) -> Configuration:
        """Return the configuration with the servers that were discovered."""
        if all(backend.discovery is None for backend in configuration.backends.values()):
            return configuration
        return add_members(configuration, read_members(self.directory))

    def make_frontends(self, listeners: Listeners, read: ReadSnapshot) -> Frontends:
        """Return the frontends, which show the figures that `read` returns."""
        prepare_metrics()
        self.responder = StatisticsResponder(
            settings=Stats(), read=read, title=TITLE,
            facts=lambda: [] if self.control is None else process_overview(self.control),
        )  # fmt: skip
        frontends = self.frontends = Frontends(make=self.frontend_maker(), listen=listeners.listen)
        self.registry.on_server_down = lambda server: frontends.server_down(server.backend, server.name)
        return frontends

    def frontend_maker(self) -> Callable[[str, Mode], IFrontend]:
        """Return what builds the data path of a frontend."""

        def make(name: str, mode: Mode) -> IFrontend:
            return make_frontend(FrontendContext(
                name=name, reactor=self.reactor, directory=str(self.directory), find_backend=self.registry.find,
                exchange_log=self.counters, local_responder=self.responder,
            ))  # fmt: skip

        return make

    def administer(self, balancer: LoadBalancer, read: ReadSnapshot) -> None:
        """Add what administers a load balancer: its control, and the agent."""
        from zatotx.tap.build_lb_agent import (
            make_load_balancer_agent,  # its libraries take time and memory that workers do not need
        )

        control = self.control = make_balancer_control(self, balancer, read)
        balancer.agent = make_load_balancer_agent(self.directory, control, self._agent_settings, self.reactor)

    def _agent_settings(self) -> AgentSettings:
        configuration = None if self.balancer is None else self.balancer.configuration
        return AgentSettings() if configuration is None else configuration.agent


def make_balancer_control(base: LoadBalancerBase, balancer: LoadBalancer, read: ReadSnapshot) -> BalancerControl:
    """Create the IBalancerControl through which the agent and the statistics page use a load balancer."""

    def set_state(backend: str, name: str, state: AdministrativeState) -> None:
        server = base.registry.find_server(backend, name)
        if base.states is not None:
            base.states.save(backend, name, state, server.config.state)
        server.set_admin_state(state)

    return BalancerControl(
        clock=base.reactor, files=base.files, read=read, apply_source=balancer.apply_source,
        set_server_state=set_state, started=base.reactor.seconds(),
    )  # fmt: skip
