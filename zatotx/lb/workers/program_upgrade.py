"""Upgrades a running load balancer to the installed version. The parent process executes the new program and passes its
sockets to it. New workers then replace the old workers one after another.

The process keeps its id, so that its supervisor notices nothing. The listening sockets stay open, and so does the pipe
to each old worker: it would end at once if its parent ended. When all new workers serve, the old ones are told to
retire, each when the one before it has ended.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.interfaces.reactor import IReactor
from zatotx.lb.workers.socket_holder import HeldSocketLender
from zatotx.processes.workers.control_pipe import COMMAND_DESCRIPTOR, RETIRE
from zatotx.processes.workers.supervisor import WorkerSupervisor

VARIABLE = 'ZATOTX_LB_HANDOVER'
_POLL_INTERVAL = 0.02  # seconds
_CHECK = 'import zatotx.tap.load_balancer_assembly, zatotx.tap.build_lb_parent, zatotx.tap.lb_worker'


class PreviousWorker(msgspec.Struct, frozen=True):
    """A worker process that the previous program started."""

    pid: int
    command_descriptor: int  # the pipe to it


class HandoverState(msgspec.Struct, frozen=True, kw_only=True):
    """The state that the parent process passes to the new program during an upgrade."""

    sockets: dict[str, int] = {}  # endpoint description -> descriptor
    workers: tuple[PreviousWorker, ...] = ()
    upgrades: int = 0  # how many were requested


def receive_handover(environment: Mapping[str, str]) -> HandoverState:
    """Return the state that the previous program has passed, or an empty Handover if the process was started
    normally."""
    text = environment.get(VARIABLE, '')
    handover = msgspec.json.decode(text, type=HandoverState) if text else HandoverState()
    for descriptor in (*handover.sockets.values(), *(worker.command_descriptor for worker in handover.workers)):
        os.set_inheritable(descriptor, False)
    return handover


@define(eq=False, kw_only=True)
class ProgramUpgrade:
    """Upgrades a parent process. `before_exec` is called immediately before the program is replaced, and `on_change` is
    called when the number of finished upgrades has changed."""

    reactor: IReactor  # IReactorTime, IReactorProcess
    lender: HeldSocketLender
    supervisor: WorkerSupervisor
    received: HandoverState
    retire_timeout: Callable[[], float]  # seconds in which an old worker must have ended
    before_exec: Callable[[], None]
    on_change: Callable[[int, int, str], None]  # requested and finished upgrades, and why the last one failed
    _requested: int = field(init=False)
    _running: Deferred[None] | None = field(default=None, init=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._requested = self.received.upgrades

    def start(self) -> None:
        """Start an upgrade, unless one is running."""
        if self._running is None or self._running.called:
            self._requested += 1
            self.on_change(self._requested, self._requested - 1, '')
            self._running = Deferred.fromCoroutine(self._upgrade())
            self._running.addErrback(self._failed)

    def stop(self) -> None:
        """Stop an upgrade that has not replaced the program yet."""
        if self._running is not None:
            self._running.cancel()

    async def _upgrade(self) -> None:
        reason = await check_program_loads(self.reactor)
        if reason:
            self._log.error('The program is not replaced, because what is installed cannot be loaded: {why}',
                            why=reason)
            self.on_change(self._requested, self._requested, f'what is installed cannot be loaded: {reason}')
            return
        handover = HandoverState(
            sockets={description: os.dup(self.lender.bound[description].descriptor)
                     for description in self.lender.held},
            workers=tuple(PreviousWorker(worker.pid, os.dup(_pipe_descriptor(worker)))
                          for worker in self.supervisor.active),
            upgrades=self._requested,
        )  # fmt: skip
        for descriptor in (*handover.sockets.values(), *(worker.command_descriptor for worker in handover.workers)):
            os.set_inheritable(descriptor, True)
        self._log.info('Replacing the program by what is installed now')
        self.before_exec()
        environment = {**os.environ, VARIABLE: msgspec.json.encode(handover).decode()}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - our own program

    def retire_old_workers(self) -> None:
        """Retire the workers of the program before, after the new ones have started."""
        if self.received.workers:
            self._running = Deferred.fromCoroutine(self._retire_all())
            self._running.addErrback(self._failed)

    async def _retire_all(self) -> None:
        for worker in self.received.workers:
            await self._retire(worker)
        self._log.info('All workers have been replaced')
        self.on_change(self._requested, self._requested, '')

    async def _retire(self, worker: PreviousWorker) -> None:
        with suppress(OSError):  # it has ended
            os.write(worker.command_descriptor, json.dumps(RETIRE).encode() + b'\n')
        deadline = self.reactor.seconds() + self.retire_timeout()
        while not _has_ended(worker.pid):
            if self.reactor.seconds() > deadline:
                self._log.error('Process {pid}, an old worker, does not end and is killed', pid=worker.pid)
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, 9)
            await deferLater(self.reactor, _POLL_INTERVAL)
        os.close(worker.command_descriptor)

    def _failed(self, failure: Failure) -> None:
        self._log.failure('The upgrade failed', failure)
        self.on_change(self._requested, self._requested, failure.getErrorMessage())


def _pipe_descriptor(worker: Any) -> int:
    """Return the descriptor of the pipe to a worker."""
    descriptor: int = worker.transport.pipes[COMMAND_DESCRIPTOR].fileno()
    return descriptor


def _has_ended(pid: int) -> bool:
    """Whether a child process has ended; collects its exit status then."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def check_program_loads(reactor: IReactor) -> Deferred[str]:
    """Check whether the installed program can be loaded. The Deferred fires with '' if it can be loaded, or with the
    reason why not."""
    check = _ProgramCheck()
    reactor.spawnProcess(check, sys.executable, [sys.executable, '-c', _CHECK], env=dict(os.environ))
    return check.done


class _ProgramCheck(ProcessProtocol):
    def __init__(self) -> None:
        self.done: Deferred[str] = Deferred()
        self._output = b''

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._output = (self._output + data)[-10_000:]

    def processEnded(self, reason: Failure) -> None:
        lines = self._output.decode('utf-8', 'replace').strip().splitlines()
        failed = getattr(reason.value, 'exitCode', None) != 0
        if not self.done.called:
            self.done.callback((lines[-1] if lines else 'it ended with an error') if failed else '')
