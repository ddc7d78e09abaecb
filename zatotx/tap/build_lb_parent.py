"""Builds the parent process of a load balancer with workers."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred

from zatotx.interfaces.reactor import IReactor
from zatotx.lb.backends.backend_server import BackendServer
from zatotx.lb.config.files import ConfigurationFiles
from zatotx.lb.config.model import Stats
from zatotx.lb.frontends import Frontends
from zatotx.lb.load_balancer_service import LoadBalancer
from zatotx.lb.statistics.statistics_responder import StatisticsResponder
from zatotx.lb.statistics.statistics_source import RecordedStatistics
from zatotx.lb.workers.load_balancer_parent import LoadBalancerParent, NullDirectoryLock, ParentLogFiles
from zatotx.lb.workers.program_upgrade import VARIABLE, HandoverState, ProgramUpgrade, receive_handover
from zatotx.lb.workers.server_state_sharing import ParentServers
from zatotx.lb.workers.socket_holder import HeldSocketLender, SocketHolder
from zatotx.lb.workers.statistics_files import ParentStatistics
from zatotx.processes.endpoint_spec import EndpointSpec
from zatotx.processes.file_descriptor_limit import raise_file_limit
from zatotx.processes.lock_files import DirectoryLock
from zatotx.processes.workers.control_pipe import RETIRE_TIMEOUT
from zatotx.processes.workers.listening_sockets import BoundSocket, ListeningSockets
from zatotx.processes.workers.shared_counters import SharedCounters, create_counters_file
from zatotx.processes.workers.slots import find_free_slot
from zatotx.processes.workers.supervisor import WorkerSupervisor
from zatotx.processes.workers.worker_parent import EXIT_TIMEOUT, ParentSettings, WorkerParent
from zatotx.processes.workers.worker_process import WorkerSpawner
from zatotx.tap.component_service import RUN_TWISTD, disable_core_dumps, end_process_with_start_error
from zatotx.tap.load_balancer_assembly import TITLE, LoadBalancerBase


def make_load_balancer_parent(directory: Path, reactor: IReactor, workers: int) -> LoadBalancerParent:
    """Create the parent process of a load balancer with `workers` workers, without starting it. Raises StartError."""
    raise_file_limit()
    disable_core_dumps()  # they would contain private keys
    handover = receive_handover(os.environ)
    os.environ.pop(VARIABLE, None)
    lock = DirectoryLock(directory / 'work' / 'lock')
    lock.acquire()
    try:
        return _ParentBuilder(directory, reactor, lock, handover).parent(workers)
    except BaseException:
        lock.release()
        raise


class _ParentBuilder:
    """Builds the parent step by step."""

    def __init__(self, directory: Path, reactor: IReactor, lock: DirectoryLock, handover: HandoverState) -> None:
        self._directory = directory
        self._work = directory / 'work'
        self._reactor = reactor
        self._lock = lock
        self._handover = handover
        self._base = LoadBalancerBase(directory, reactor)
        self._lender = HeldSocketLender(reactor)
        for description, descriptor in handover.sockets.items():
            self._lender.take_over(description, BoundSocket(EndpointSpec(factory=None,
                                                                         inherited_descriptor=descriptor)))
            os.close(descriptor)

    def parent(self, workers: int) -> LoadBalancerParent:
        """Build the parent."""
        counters = create_counters_file(self._work, workers)
        statistics = ParentStatistics(
            work=self._work, read_own=self._base.counters.snapshot,
            slots=lambda: [worker.slot for worker in supervisor.workers],
        )  # fmt: skip
        statistics.reset()

        def slot_freed(slot: int) -> None:
            counters.clear(slot)
            statistics.worker_ended(slot)

        supervisor = WorkerSupervisor(
            reactor=self._reactor,
            find_free_slot=partial(find_free_slot, self._work),
            descriptors=dict,
            spawn=WorkerSpawner(
                self._reactor, partial(load_balancer_worker_command, self._directory), self._lender.connect_worker
            ),
            on_change=lambda: worker_parent.write_status(),
            on_slot_freed=slot_freed,
            on_give_up=lambda sentence: end_process_with_start_error(self._reactor, sentence),
        )
        balancer = self._balancer(counters, statistics)
        worker_parent = WorkerParent(
            reactor=self._reactor, work=self._work, supervisor=supervisor, sockets=ListeningSockets(),
            lender=self._lender, lock=self._lock, logs=self._base.logs, reload_files=lambda: None,
            read_settings=lambda: ParentSettings(workers=workers, listen=(), grace=grace_period_of(balancer)),
        )  # fmt: skip
        upgrade = ProgramUpgrade(
            reactor=self._reactor,
            lender=self._lender,
            supervisor=supervisor,
            received=self._handover,
            retire_timeout=lambda: grace_period_of(balancer) + RETIRE_TIMEOUT + EXIT_TIMEOUT,
            before_exec=self._base.logs.stop,
            on_change=worker_parent.record_replacements,
        )
        parent = LoadBalancerParent(balancer=balancer, workers=worker_parent, upgrade=upgrade)

        def applied() -> Deferred[None]:
            self._poller.configuration_changed()
            return parent.apply_in_workers()

        balancer.on_applied = applied
        return parent

    def _balancer(self, counters: SharedCounters, statistics: ParentStatistics) -> LoadBalancer:
        base, reactor = self._base, self._reactor
        checker = base.make_checker()
        shared = ParentServers(clock=reactor, find_row=lambda name: counters.row(name, counters.slots - 1))

        def added(server: BackendServer) -> None:
            checker.add(server)
            shared.add(server)

        def removed(server: BackendServer) -> None:
            checker.remove(server)
            shared.remove(server)

        base.registry.on_server_added, base.registry.on_server_removed = added, removed
        recorder = RecordedStatistics(clock=reactor, read=statistics.read, publish=statistics.publish)
        base.responder = StatisticsResponder(settings=Stats(), read=recorder.snapshot, facts=list, title=TITLE)
        frontends = Frontends(make=base.frontend_maker(), listen=SocketHolder(self._lender, self._work).listen)
        files = ConfigurationFiles(self._directory)
        balancer = base.balancer = LoadBalancer(
            reactor=reactor,
            files=files,
            load=files.load,
            read_source=files.read,
            logs=ParentLogFiles(base.logs),
            lock=NullDirectoryLock(),
            registry=base.registry,
            frontends=frontends,
            responder=base.responder,
            checker=checker,
            states=base.use_saved_states(),
            extend=base.add_discovered,
        )
        self._poller = base.make_poller(balancer)
        balancer.parts = (shared, recorder, self._poller)
        base.administer(balancer, recorder.snapshot)
        return balancer


def grace_period_of(balancer: LoadBalancer) -> float:
    """Return the grace period that is currently configured for a load balancer, in seconds."""
    return 0.0 if balancer.configuration is None else balancer.configuration.shutdown.grace


def load_balancer_worker_command(directory: Path, slot: int) -> list[str]:
    """Return the command line of a worker. It runs the twistd of this installation, and contains the directory, so that
    the directory is visible in the process list."""
    script = Path(sys.argv[0])
    twistd = [str(script)] if script.name == 'twistd' and script.is_file() else ['-c', RUN_TWISTD]
    return [sys.executable, *twistd, '--nodaemon', '--pidfile=', 'zato-lb', '--dir', str(directory), '--worker',
            str(slot)]  # fmt: skip
