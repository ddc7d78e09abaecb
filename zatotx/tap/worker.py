"""`twistd zato-server --worker K`: one of the processes of a server, started by its parent and by nobody else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import IService

from zatotx.model.errors import StartError
from zatotx.node.node import Node
from zatotx.node.secret_key import VARIABLE
from zatotx.node.workers.control_pipe import READY, REFUSED, RELOAD, RETIRE, ControlPipe, read_worker_spec
from zatotx.tap.component_service import ComponentService, DirectoryOptions
from zatotx.tap.exit_status import error_sentence, print_error, stop


def make_worker(options: DirectoryOptions) -> IService:
    """The worker, ready to be started. Where it cannot be built its parent is told: SystemExit, code 1."""
    from twisted.internet import reactor

    from zatotx.tap.assembly import make_server

    try:
        place = read_worker_spec()
    except (OSError, ValueError) as error:
        print_error(f'--worker is for the parent process of a server with workers, which starts this itself: {error}')
        raise SystemExit(1) from None
    if place.key:
        os.environ[VARIABLE] = place.key
    lifeline = ControlPipe(reactor)
    try:
        part = make_server(str(Path(options['dir']).absolute()), reactor, place)
    except (StartError, OSError) as error:
        lifeline.tell(REFUSED, error_sentence(error))
        raise SystemExit(1) from None
    return WorkerService(part, Path(options['dir']), reactor, lifeline)


class WorkerService(ComponentService):
    """No pid file, which is the parent's; what there is to say goes to the parent, which decides what people hear."""

    def __init__(self, part: Node, directory: Path, reactor: Any, lifeline: ControlPipe) -> None:
        super().__init__(part, directory / 'server.pid', reactor)
        self._node = part
        self._lifeline = lifeline

    def startService(self) -> None:
        self._lifeline.follow(self._ordered, self._orphaned)
        super().startService()

    def say(self, sentence: str) -> None:
        self._lifeline.tell(REFUSED, ' '.join(sentence.split()))

    def _began(self, result: Any) -> Any:
        self._lifeline.tell(READY)
        self._lifeline.start_heartbeat()
        return result

    def _ordered(self, order: str) -> None:
        if order == RELOAD:
            self._node.reload()
        elif order == RETIRE:
            self._node.retire().addBoth(lambda _: stop(self._reactor))

    def _orphaned(self) -> None:
        stop(self._reactor)

    def _write_pid(self) -> None:
        """The parent has written its own."""
