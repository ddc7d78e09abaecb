"""Starts and controls a worker process. The code runs in the parent process."""

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

from zatotx.interfaces.reactor import IReactor
from zatotx.processes.secret_key import KEY_VARIABLE
from zatotx.processes.workers import control_pipe
from zatotx.processes.workers.control_pipe import COMMAND_DESCRIPTOR, NOTICE_DESCRIPTOR, WorkerSpec
from zatotx.rules.resilience.process_supervision import HangDetector

STARTING, READY, LEAVING, HUNG, GONE = 'starting', 'ready', 'leaving', 'hung', 'gone'
_PIPE_DRAIN_TIMEOUT = 0.5  # seconds after its end in which its pipes may still contain data


class WorkerProcess(ProcessProtocol):
    """Controls one worker process. `ready` fires when the worker serves requests, and `ended` fires with the reason
    when the worker has ended. If the worker ends before it is ready, `ready` fails with the same reason."""

    _log = Logger()

    def __init__(self, slot: int, reactor: IReactor) -> None:
        self.slot = slot
        self.phase = STARTING
        self.stop_requested = False
        self.silence = HangDetector()  # measures the time since its last heartbeat
        self.pid = 0
        self.start_error = ''  # the error with which it failed to start
        self.applied = ''  # the digest of the configuration that it has put into force, where it reports that
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[str] = Deferred()
        self._reactor = reactor
        self._buffer = b''

    # Commands

    def retire(self) -> None:
        """Tell the worker to accept no new clients and to exit when those it has are done."""
        self._send_command(control_pipe.RETIRE)
        self._mark_leaving()

    def reload(self) -> None:
        """Tell the worker to reload log settings and certificates."""
        self._send_command(control_pipe.RELOAD)

    def stop(self) -> None:
        """Send SIGTERM: the worker drains and exits."""
        self._signal('TERM')
        self._mark_leaving()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal('KILL')

    def abandon(self) -> None:
        """Kill a worker that hangs. It is no longer counted, even if the kernel takes long to end it."""
        self.stop_requested = True
        if self.phase != GONE:
            self.phase = HUNG
        self.kill()

    def _mark_leaving(self) -> None:
        self.stop_requested = True
        if self.phase != GONE:
            self.phase = LEAVING

    def _send_command(self, order: str) -> None:
        if self.phase != GONE:
            transport: Any = self.transport
            transport.writeToChild(COMMAND_DESCRIPTOR, json.dumps(order).encode() + b'\n')

    def _signal(self, name: str) -> None:
        transport: Any = self.transport
        try:
            transport.signalProcess(name)
        except ProcessExitedAlready:
            self._log.debug('Worker {seat} ended before {name}', seat=self.slot, name=name)

    # IProcessProtocol

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self.pid = transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b'\n')
        for line in lines:
            self._handle_notice(*json.loads(line))

    def processExited(self, reason: Failure) -> None:
        """Schedule the end: children of the worker may keep its pipes open forever, so the pipes are read for a limited
        time only."""
        self._reactor.callLater(_PIPE_DRAIN_TIMEOUT, self._finish, reason)

    def processEnded(self, reason: Failure) -> None:
        self._finish(reason)

    def _handle_notice(self, notice: str, reason: str) -> None:
        self.silence = HangDetector()
        if notice == control_pipe.READY and self.phase == STARTING:
            self.phase = READY
            self.ready.callback(None)
        elif notice == control_pipe.START_FAILED:
            self.start_error = reason
        elif notice == control_pipe.APPLIED:
            self.applied = reason

    def _finish(self, reason: Failure) -> None:
        if self.phase == GONE:
            return
        self.phase = GONE
        transport: Any = self.transport
        transport.loseConnection()
        why = self.start_error or _exit_reason(reason.value)
        if not self.ready.called:
            self.ready.addErrback(lambda failure: None)
            self.ready.errback(WorkerEndedError(why))
        self.ended.callback(why)


class WorkerEndedError(Exception):
    """The worker process ended before it was ready."""


def _exit_reason(error: Any) -> str:
    if isinstance(error, ProcessDone):
        return 'it ended by itself'
    if getattr(error, 'signal', None) is not None:
        return f'it was ended by signal {error.signal}'
    return f'it ended with exit code {getattr(error, "exitCode", None)}'


@define
class WorkerSpawner:
    """Starts worker processes. `command` returns the command line for a slot. A secret key is passed to a worker
    through a pipe and not through its environment, which other processes of the same user can read."""

    reactor: IReactor  # IReactorProcess, IReactorTime
    command: Callable[[int], Sequence[str]]
    connect_worker: Callable[[], socket.socket]  # the worker's end of its way to the sockets of the ODB's listeners
    environment: Mapping[str, str] = field(factory=lambda: os.environ, repr=False)

    def __call__(self, slot: int, *, listen_when_ready: bool, descriptors: Mapping[str, int]) -> WorkerProcess:
        """Start a worker that inherits those listening sockets. Raises OSError if the process cannot be created."""
        worker = WorkerProcess(slot, self.reactor)
        command = list(self.command(slot))
        child_descriptors = dict(enumerate(descriptors.values(), NOTICE_DESCRIPTOR + 2))
        with self.connect_worker() as handover:
            self.reactor.spawnProcess(
                worker,
                command[0],
                command,
                env={n: v for n, v in self.environment.items() if n != KEY_VARIABLE},
                childFDs={
                    0: 0,
                    1: 1,
                    2: 2,
                    COMMAND_DESCRIPTOR: 'w',
                    NOTICE_DESCRIPTOR: 'r',
                    NOTICE_DESCRIPTOR + 1: handover.fileno(),
                    **child_descriptors,
                },
            )
        spec = WorkerSpec(
            slot=slot,
            listen_when_ready=listen_when_ready,
            is_worker=True,
            inherited_sockets=dict(zip(descriptors, child_descriptors, strict=True)),
            handover=NOTICE_DESCRIPTOR + 1,
            secret_key=self.environment.get(KEY_VARIABLE, ''),
        )
        transport: Any = worker.transport
        transport.writeToChild(COMMAND_DESCRIPTOR, spec.to_line())
        return worker
