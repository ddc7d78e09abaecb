"""The worker process of a load balancer, `twistd zato-lb --worker K`, which only the parent process starts."""

from __future__ import annotations

from pathlib import Path

from twisted.application.service import IService

from zatotx.interfaces.reactor import IReactor
from zatotx.lb.load_balancer_service import LoadBalancer
from zatotx.lb.workers.server_state_sharing import WorkerServers
from zatotx.lb.workers.statistics_files import WorkerStatistics
from zatotx.model.errors import StartError
from zatotx.processes.file_descriptor_limit import raise_file_limit
from zatotx.processes.listeners import Listeners
from zatotx.processes.workers.control_pipe import APPLIED, START_FAILED, ControlPipe, WorkerSpec, read_worker_spec
from zatotx.processes.workers.shared_counters import SharedCounterRow, SharedCounters
from zatotx.processes.workers.slots import acquire_slot
from zatotx.processes.workers.socket_handover import WorkerSocketClient
from zatotx.tap.component_service import (
    DirectoryOptions,
    disable_core_dumps,
    print_error,
    running_reactor,
    user_error_message,
)
from zatotx.tap.load_balancer_assembly import LoadBalancerBase, make_balancer_control
from zatotx.tap.worker import WorkerService


def make_load_balancer_worker(options: DirectoryOptions) -> IService:
    """Create the worker; twistd starts it. If it cannot be built, the error is sent to the parent process and
    SystemExit with code 1 is raised."""
    try:
        spec = read_worker_spec()
    except (OSError, ValueError) as error:
        print_error(f'--worker is only for the parent process of a load balancer, which starts its workers: {error}')
        raise SystemExit(1) from None
    reactor, directory = running_reactor(), Path(options['dir']).absolute()
    control_pipe = ControlPipe(reactor)
    try:
        balancer = make_worker_load_balancer(directory, reactor, spec)
        balancer.on_applied = lambda: control_pipe.send_notice(APPLIED, balancer.digest)
    except (StartError, OSError) as error:
        control_pipe.send_notice(START_FAILED, user_error_message(error))
        raise SystemExit(1) from None
    return WorkerService(balancer, directory, reactor, control_pipe)


def make_worker_load_balancer(directory: Path, reactor: IReactor, spec: WorkerSpec) -> LoadBalancer:
    """Create the load balancer of a worker. Raises StartError, or OSError."""
    raise_file_limit()
    disable_core_dumps()  # they would contain private keys
    work = directory / 'work'
    _, lock = acquire_slot(work, spec)
    base = LoadBalancerBase(directory, reactor)
    counters = SharedCounters(work)
    counters.clear(spec.slot)

    def find_row(name: str) -> SharedCounterRow | None:
        return counters.row(name, spec.slot)

    shared = WorkerServers(clock=reactor, find_row=find_row)
    base.registry.shares_load, base.registry.update_states = True, shared.poll_all
    base.registry.on_server_added, base.registry.on_server_removed = shared.add, shared.remove
    statistics = WorkerStatistics(clock=reactor, work=work, slot=spec.slot, read_own=base.counters.snapshot)
    listeners = Listeners(reactor, find_shared_counter=find_row, borrower=WorkerSocketClient(reactor, spec.handover))
    frontends = base.make_frontends(listeners, statistics.read_sums)
    balancer = base.balancer = LoadBalancer(
        reactor=reactor, files=base.files, load=base.files.load_kept, read_source=base.files.read_kept,
        logs=base.logs, lock=lock, registry=base.registry, frontends=frontends, responder=base.responder,
        parts=(shared, statistics), extend=base.add_discovered,
    )  # fmt: skip
    base.control = make_balancer_control(base, balancer, statistics.read_sums)
    return balancer
