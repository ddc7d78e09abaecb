"""One worker process as its parent sees it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.node.secret_key import VARIABLE
from zatotx.node.workers import control_pipe
from zatotx.node.workers.control_pipe import NOTICES, ORDERS, WorkerSpec
from zatotx.rules.resilience.heartbeat import SilenceDetector

STARTING, READY, LEAVING, HUNG, GONE = 'starting', 'ready', 'leaving', 'hung', 'gone'
_LAST_WORDS = 0.5  # seconds that its pipes may still hold something after its end


class WorkerProcess(ProcessProtocol):
    """`ready` fires when it serves, `gone` when it has ended, with why. Both fire for every worker that ends: `ready`
    fails then with what `gone` says, if it had not fired."""

    _log = Logger()

    def __init__(self, seat: int, reactor: Any) -> None:
        self.seat = seat
        self.phase = STARTING
        self.asked_to_go = False
        self.silence = SilenceDetector()  # since its last heartbeat
        self.pid = 0
        self.refusal = ''  # why it could not start, in its own words
        self.ready: Deferred[None] = Deferred()
        self.gone: Deferred[str] = Deferred()
        self._reactor = reactor
        self._rest = b''

    # Orders

    def retire(self) -> None:
        """Have it serve whom it has and take nobody in; it ends by itself."""
        self._order(control_pipe.RETIRE)
        self._leave()

    def reload(self) -> None:
        """Have it read again what may change while it runs."""
        self._order(control_pipe.RELOAD)

    def stop(self) -> None:
        """SIGTERM: it drains and ends."""
        self._signal('TERM')
        self._leave()

    def kill(self) -> None:
        """SIGKILL."""
        self._signal('KILL')

    def abandon(self) -> None:
        """SIGKILL for one that hangs. It does not count any more from now on, however long the kernel takes."""
        self.asked_to_go = True
        if self.phase != GONE:
            self.phase = HUNG
        self.kill()

    def _leave(self) -> None:
        self.asked_to_go = True
        if self.phase != GONE:
            self.phase = LEAVING

    def _order(self, order: str) -> None:
        if self.phase != GONE:
            transport: Any = self.transport
            transport.writeToChild(ORDERS, json.dumps(order).encode() + b'\n')

    def _signal(self, name: str) -> None:
        transport: Any = self.transport
        try:
            transport.signalProcess(name)
        except ProcessExitedAlready:
            self._log.debug('Worker {seat} ended before {name}', seat=self.seat, name=name)

    # What the process does

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self.pid = transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b'\n')
        for line in lines:
            self._noticed(*json.loads(line))

    def processExited(self, reason: Failure) -> None:
        """Its own children may hold its pipes open for ever: they are waited for only as long as its last words may
        take."""
        self._reactor.callLater(_LAST_WORDS, self._over, reason)

    def processEnded(self, reason: Failure) -> None:
        self._over(reason)

    def _noticed(self, notice: str, why: str) -> None:
        self.silence = SilenceDetector()
        if notice == control_pipe.READY and self.phase == STARTING:
            self.phase = READY
            self.ready.callback(None)
        elif notice == control_pipe.REFUSED:
            self.refusal = why

    def _over(self, reason: Failure) -> None:
        if self.phase == GONE:
            return
        self.phase = GONE
        transport: Any = self.transport
        transport.loseConnection()
        why = self.refusal or _why(reason.value)
        if not self.ready.called:
            self.ready.addErrback(lambda failure: None)
            self.ready.errback(WorkerEndedError(why))
        self.gone.callback(why)


class WorkerEndedError(Exception):
    """It ended before it was ready."""


def _why(error: Any) -> str:
    if isinstance(error, ProcessDone):
        return 'it ended by itself'
    if getattr(error, 'signal', None) is not None:
        return f'it was ended by signal {error.signal}'
    return f'it ended with exit code {getattr(error, "exitCode", None)}'


@define
class WorkerSpawner:
    """Starts worker processes. `command` gives the command line for a seat. A secret key that this process was given
    goes down the pipe: in the environment of a process its owner's other processes could read it."""

    reactor: Any  # IReactorProcess, IReactorTime
    command: Callable[[int], Sequence[str]]
    connect_worker: Callable[[], socket.socket]  # the worker's end of its way to the sockets of the ODB's listeners
    environment: Mapping[str, str] = field(factory=lambda: os.environ, repr=False)

    def __call__(self, seat: int, *, late: bool, descriptors: Mapping[str, int]) -> WorkerProcess:
        """A worker that begins to start, with those listening sockets. Raises OSError where no process can be had."""
        worker = WorkerProcess(seat, self.reactor)
        words = list(self.command(seat))
        handed = dict(enumerate(descriptors.values(), NOTICES + 2))
        with self.connect_worker() as handover:
            self.reactor.spawnProcess(
                worker, words[0], words, env={n: v for n, v in self.environment.items() if n != VARIABLE},
                childFDs={0: 0, 1: 1, 2: 2, ORDERS: 'w', NOTICES: 'r', NOTICES + 1: handover.fileno(), **handed},
            )  # fmt: skip
        place = WorkerSpec(seat=seat, late=late, crewed=True, sockets=dict(zip(descriptors, handed, strict=True)),
                      handover=NOTICES + 1, key=self.environment.get(VARIABLE, ''))  # fmt: skip
        transport: Any = worker.transport
        transport.writeToChild(ORDERS, place.line())
        return worker
