"""The worker's side of the pipes through which a worker process communicates with its parent process.

The parent writes commands to one pipe, one JSON value per line: first the WorkerSpec, later `"reload"` and `"retire"`.
The worker writes notices to the other: that it is ready, or why it cannot start, and heartbeats while it serves. When
the parent ends, for whatever reason, the kernel closes the first pipe; since the worker is no longer supervised then,
it drains and exits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from attrs import asdict, field, frozen
from twisted.internet import fdesc
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.reactor import IReactor
from zatotx.rules.resilience.process_supervision import INTERVAL

COMMAND_DESCRIPTOR, NOTICE_DESCRIPTOR = 3, 4  # inherited descriptors of the pipes; those of the sockets follow
RELOAD, RETIRE = 'reload', 'retire'
READY, START_FAILED, HEARTBEAT = 'ready', 'refused', 'heartbeat'
APPLIED = 'applied'  # with the digest of the configuration that the worker has put into force
RETIRE_TIMEOUT = 5.0  # seconds for clients of a retired worker to send another request and receive `Connection: close`


@frozen(kw_only=True)
class WorkerSpec:
    """The parameters that a worker process receives from its parent process when it starts."""

    slot: int
    listen_when_ready: bool  # other workers serve already, so listen only when ready
    is_worker: bool = False  # whether the process is a worker, so that others may exist
    inherited_sockets: Mapping[str, int] = field(factory=dict)  # endpoint description -> inherited descriptor
    handover: int = -1  # inherited descriptor: see socket_handover
    secret_key: str = field(default='', repr=False)  # the secret key, if it is not in a file

    def to_line(self) -> bytes:
        """Return the first line that the parent writes to the pipe."""
        return json.dumps(asdict(self)).encode() + b'\n'


SINGLE_PROCESS = WorkerSpec(slot=0, listen_when_ready=False, inherited_sockets={})


def read_worker_spec(descriptor: int = COMMAND_DESCRIPTOR) -> WorkerSpec:
    """Wait for the WorkerSpec from the parent process, and return it. Inherited descriptors are marked as not
    inheritable by child processes. Raises OSError or ValueError if there is no parent process."""
    line = b''
    while not line.endswith(b'\n'):
        byte = os.read(descriptor, 1)
        if not byte:
            raise ValueError('the parent process has ended')
        line += byte
    spec = WorkerSpec(**json.loads(line))
    for inherited in (COMMAND_DESCRIPTOR, NOTICE_DESCRIPTOR, spec.handover, *spec.inherited_sockets.values()):
        if inherited >= 0:
            os.set_inheritable(inherited, False)
    return spec


@implementer(IReadDescriptor)
class ControlPipe:
    """Connects a worker's reactor with its parent process."""

    _log = Logger()

    def __init__(
        self, reactor: IReactor, *, orders: int = COMMAND_DESCRIPTOR, notices: int = NOTICE_DESCRIPTOR
    ) -> None:
        self._reactor = reactor
        self._orders = orders
        self._notices = notices
        self._buffer = b''
        self._on_command: Callable[[str], None] = lambda order: None
        self._on_parent_lost: Callable[[], None] = lambda: None

    def start(self, on_command: Callable[[str], None], on_parent_lost: Callable[[], None]) -> None:
        """Start reading: call `on_command` with each command, and `on_parent_lost` when the parent has ended."""
        self._on_command, self._on_parent_lost = on_command, on_parent_lost
        fdesc.setNonBlocking(self._orders)
        fdesc.setNonBlocking(self._notices)  # a frozen parent must not block the worker
        self._reactor.addReader(self)

    def send_notice(self, notice: str, reason: str = '') -> None:
        """Send a notice to the parent, if it still runs."""
        try:
            os.write(self._notices, json.dumps([notice, reason]).encode() + b'\n')
        except OSError as error:
            self._log.debug('The notice {notice} could not be sent to the parent: {error}', notice=notice, error=error)

    def start_heartbeat(self) -> None:
        """Start sending a heartbeat every INTERVAL seconds, which shows that this reactor is running."""
        loop = LoopingCall(self.send_notice, HEARTBEAT)
        loop.clock = self._reactor
        loop.start(INTERVAL)

    # IReadDescriptor

    def fileno(self) -> int:
        return self._orders

    def logPrefix(self) -> str:
        return 'control pipe'

    def doRead(self) -> Any:
        return fdesc.readFromFD(self._orders, self._received)

    def connectionLost(self, reason: Any) -> None:
        self._reactor.removeReader(self)
        self._on_parent_lost()

    def _received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b'\n')
        for line in lines:
            self._on_command(json.loads(line))
