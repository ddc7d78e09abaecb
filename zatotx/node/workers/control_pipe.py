"""The two pipes between a worker and its parent, as the worker sees them.

Orders come down one pipe, a JSON value a line: first what the worker is to be, later `"reload"` and `"retire"`. Notices
go up the other: that it is ready, or why it cannot start, and heartbeats while it serves. When the parent is gone,
however it went, the kernel closes the first pipe: nobody would look after this worker any more, so it drains and ends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from attrs import asdict, field, frozen
from twisted.internet import fdesc
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zatotx.rules.resilience.heartbeat import INTERVAL

ORDERS, NOTICES = 3, 4  # descriptors that a worker inherits; sockets follow
RELOAD, RETIRE = 'reload', 'retire'
READY, REFUSED, HEARTBEAT = 'ready', 'refused', 'heartbeat'
LINGER = 5.0  # seconds that clients of a retired worker get to ask once more and be told to reconnect


@frozen(kw_only=True)
class WorkerSpec:
    """What a process of a server is told at its start."""

    seat: int
    late: bool  # others serve already: listen only when ready to serve too
    crewed: bool = False  # it is a worker: there are, or may be, others
    sockets: Mapping[str, int] = field(factory=dict)  # endpoint description -> inherited descriptor
    handover: int = -1  # inherited descriptor: see socket_handover
    key: str = field(default='', repr=False)  # the secret key, where no file has it

    def line(self) -> bytes:
        """As the first line of the orders."""
        return json.dumps(asdict(self)).encode() + b'\n'


ALONE = WorkerSpec(seat=0, late=False, sockets={})


def read_worker_spec(descriptor: int = ORDERS) -> WorkerSpec:
    """Wait for the first order. All inherited descriptors are kept from what this process will start. Raises OSError or
    ValueError where there is no parent."""
    line = b''
    while not line.endswith(b'\n'):
        byte = os.read(descriptor, 1)
        if not byte:
            raise ValueError('the parent process is gone')
        line += byte
    place = WorkerSpec(**json.loads(line))
    for inherited in (ORDERS, NOTICES, place.handover, *place.sockets.values()):
        if inherited >= 0:
            os.set_inheritable(inherited, False)
    return place


class ControlPipe:
    """In the reactor of a worker: `heard` is called with each order, `orphaned` when the parent is gone."""

    _log = Logger()

    def __init__(self, reactor: Any, *, orders: int = ORDERS, notices: int = NOTICES) -> None:
        """`reactor`: IReactorFDSet, IReactorTime."""
        self._reactor = reactor
        self._orders = orders
        self._notices = notices
        self._rest = b''
        self._heard: Callable[[str], None] = lambda order: None
        self._orphaned: Callable[[], None] = lambda: None

    def follow(self, heard: Callable[[str], None], orphaned: Callable[[], None]) -> None:
        """From now on."""
        self._heard, self._orphaned = heard, orphaned
        fdesc.setNonBlocking(self._orders)
        fdesc.setNonBlocking(self._notices)  # a parent that stands still reads nothing, and must not hold us up
        self._reactor.addReader(self)

    def tell(self, notice: str, why: str = '') -> None:
        """To the parent, which may be gone."""
        try:
            os.write(self._notices, json.dumps([notice, why]).encode() + b'\n')
        except OSError as error:
            self._log.debug('The parent did not take the notice {notice}: {error}', notice=notice, error=error)

    def start_heartbeat(self) -> None:
        """Tell the parent every INTERVAL seconds, from now on, that this reactor turns."""
        loop = LoopingCall(self.tell, HEARTBEAT)
        loop.clock = self._reactor
        loop.start(INTERVAL)

    # IReadDescriptor

    def fileno(self) -> int:
        return self._orders

    def logPrefix(self) -> str:
        return 'lifeline'

    def doRead(self) -> Any:
        return fdesc.readFromFD(self._orders, self._received)

    def connectionLost(self, reason: Any) -> None:
        self._reactor.removeReader(self)
        self._orphaned()

    def _received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b'\n')
        for line in lines:
            self._heard(json.loads(line))
