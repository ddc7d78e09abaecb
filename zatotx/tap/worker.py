"""The worker process of a server, `twistd zato-server --worker K`, which only the server's parent process starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import IService

from zatotx.interfaces.reactor import IReactor
from zatotx.model.errors import StartError
from zatotx.processes.secret_key import KEY_VARIABLE
from zatotx.processes.workers.control_pipe import READY, RELOAD, RETIRE, START_FAILED, ControlPipe, read_worker_spec
from zatotx.system.startup_gc import freeze_survivors
from zatotx.tap.component_service import (
    ComponentService,
    DirectoryOptions,
    print_error,
    running_reactor,
    stop_reactor,
    user_error_message,
)


def make_server_worker(options: DirectoryOptions) -> IService:
    """Create the worker; twistd starts it. If it cannot be built, the error is sent to the parent process and
    SystemExit with code 1 is raised."""
    freeze_survivors()  # until the node has started
    from zatotx.tap.node_assembly import make_server

    try:
        spec = read_worker_spec()
    except (OSError, ValueError) as error:
        print_error(f'--worker is only for the parent process of a server, which starts its workers itself: {error}')
        raise SystemExit(1) from None
    if spec.secret_key:
        os.environ[KEY_VARIABLE] = spec.secret_key
    reactor = running_reactor()
    control_pipe = ControlPipe(reactor)
    try:
        node = make_server(str(Path(options['dir']).absolute()), reactor, spec)
    except (StartError, OSError) as error:
        control_pipe.send_notice(START_FAILED, user_error_message(error))
        raise SystemExit(1) from None
    return WorkerService(node, Path(options['dir']), reactor, control_pipe)


class WorkerService(ComponentService):
    """Runs a component, which is a node or a load balancer, as a worker. It writes no pid file, because the parent
    process has one. Errors are reported to the parent process instead of stderr."""

    def __init__(self, component: Any, directory: Path, reactor: IReactor, control_pipe: ControlPipe) -> None:
        """`component`: an IService with `reload()`, and `retire()`, whose Deferred fires when its clients are done."""
        super().__init__(component, directory / 'worker', reactor)
        self._component = component
        self._control_pipe = control_pipe

    def startService(self) -> None:
        self._control_pipe.start(self._handle_command, self._parent_lost)
        super().startService()

    def report_error(self, sentence: str) -> None:
        self._control_pipe.send_notice(START_FAILED, ' '.join(sentence.split()))

    def _component_started(self, result: Any) -> Any:
        self._control_pipe.send_notice(READY)
        self._control_pipe.start_heartbeat()
        return result

    def _handle_command(self, command: str) -> None:
        if command == RELOAD:
            self._component.reload()
        elif command == RETIRE:
            self._component.retire().addBoth(lambda _: stop_reactor(self._reactor))

    def _parent_lost(self) -> None:
        stop_reactor(self._reactor)

    def _write_pid(self) -> None:
        """Do nothing: the parent process writes the pid file."""
