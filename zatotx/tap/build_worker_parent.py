"""Builds the parent process of a server with several workers."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from zatotx.connectors.kind_registry import InstalledKind, find_kinds
from zatotx.interfaces.connector_kind import SERVER
from zatotx.interfaces.reactor import IReactor
from zatotx.node.logging_setup import LogFiles
from zatotx.node.settings import Settings, load_settings
from zatotx.node.sighup_reload import SighupReloader
from zatotx.processes.lock_files import DirectoryLock
from zatotx.processes.workers.listening_sockets import ListeningSockets
from zatotx.processes.workers.metrics_store import reset_metrics
from zatotx.processes.workers.shared_counters import create_counters_file
from zatotx.processes.workers.shared_rate_buckets import create_buckets_file
from zatotx.processes.workers.slots import find_free_slot
from zatotx.processes.workers.socket_handover import SocketLender
from zatotx.processes.workers.supervisor import WorkerSupervisor
from zatotx.processes.workers.worker_parent import ParentSettings, WorkerParent
from zatotx.processes.workers.worker_process import WorkerSpawner
from zatotx.tap.component_service import RUN_TWISTD, disable_core_dumps, end_process_with_start_error


def make_server_parent(directory: str, reactor: IReactor, workers: int | None) -> WorkerParent:
    """Create the parent process of the workers of a directory, without starting it. `workers` overrides the number in
    server.toml. Raises StartError."""
    home = Path(directory)
    work = home / 'work'
    kinds = find_kinds()
    read = partial(load_settings, home / 'config' / 'server.toml', [found.kind.name for found in kinds])
    settings = read()
    if not settings.main.core_dumps:
        disable_core_dumps()
    lock = DirectoryLock(work / 'lock')
    lock.acquire()
    try:
        logs = LogFiles(home / 'logs', reactor, settings.log)
    except BaseException:
        lock.release()
        raise
    sockets, lender = ListeningSockets(), SocketLender(reactor)
    shared_counters = create_counters_file(work, workers or settings.main.workers)
    create_buckets_file(work)
    supervisor = WorkerSupervisor(
        reactor=reactor, spawn=WorkerSpawner(reactor, partial(server_worker_command, home), lender.connect_worker),
        find_free_slot=partial(find_free_slot, work),
        descriptors=sockets.descriptors, on_change=lambda: parent.write_status(), on_slot_freed=shared_counters.clear,
        on_give_up=lambda sentence: end_process_with_start_error(reactor, sentence),
    )  # fmt: skip
    reset_metrics(work)
    parent = WorkerParent(
        reactor=reactor,
        work=work,
        read_settings=lambda: make_parent_settings(read(), kinds, workers),
        supervisor=supervisor,
        sockets=sockets,
        lender=lender,
        lock=lock,
        logs=logs,
        reload_files=SighupReloader(read, logs),
    )
    return parent


def make_parent_settings(settings: Settings, kinds: list[InstalledKind], workers: int | None) -> ParentSettings:
    """Return the settings that the parent process needs."""
    sections: dict[str, str] = {}
    for found in kinds:
        if found.enabled and found.kind.runs_in == SERVER:
            section = settings.kinds.get(found.kind.name, {})
            for description in section.get('listen', found.kind.default_endpoints):
                sections.setdefault(description, found.kind.name)
    return ParentSettings(
        workers=workers or settings.main.workers,
        listen=list(sections),
        sections=sections,
        grace=settings.shutdown.grace,
        heartbeat_timeout=settings.main.heartbeat_timeout,
        start_timeout=settings.main.start_timeout,
    )


def server_worker_command(home: Path, slot: int) -> list[str]:
    """Return the command line of a worker. It runs the twistd of this installation, and contains the server's
    directory, so that the directory is visible in the process list."""
    script = Path(sys.argv[0])
    twistd = [str(script)] if script.name == 'twistd' and script.is_file() else ['-c', RUN_TWISTD]
    return [sys.executable, *twistd, '--nodaemon', '--pidfile=', 'zato-server', '--dir', str(home), '--worker',
            str(slot)]  # fmt: skip
