"""Hands over listening sockets, which are configured in the ODB, from the parent process to its workers.

A worker that needs an address asks for it over a Unix socket pair that it shares with its parent. The parent binds the
address once, and sends the descriptor to every worker that asks. The kernel keeps clients waiting meanwhile, so that
workers come and go, and the configuration changes, without a refused connection. The parent closes an address as soon
as the last worker has given it back; one whose workers died stays open for LINGER seconds.

Requests and responses are JSON arrays, one a line; a descriptor comes with the first byte of its response:

    worker -> parent   ["open", "tcp:port=9000"]     ["close", "tcp:port=9000"]
    parent -> worker   ["opened", "tcp:port=9000"]   ["failed", "tcp:port=9000", "Address already in use"]
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.interfaces.reactor import IReactor
from zatotx.processes.workers.listening_sockets import BoundSocket, bind_listening_socket

OPEN, CLOSE, OPENED, FAILED = 'open', 'close', 'opened', 'failed'
LINGER = 10.0  # seconds that an address outlives the death of its workers


class _JsonLines(LineOnlyReceiver):
    delimiter = b'\n'
    MAX_LENGTH = 65_536

    def send(self, *words: str) -> None:
        self.sendLine(json.dumps(words).encode())  # type: ignore[no-untyped-call]


@define(eq=False)
class SocketLender:
    """The parent's side of the socket handover: binds addresses and tracks which workers use them. `reactor` is an
    IReactorSocket and IReactorTime."""

    reactor: IReactor
    bound: dict[str, BoundSocket] = field(factory=dict, init=False)  # by endpoint description
    _users: dict[str, set[_LenderConnection]] = field(factory=dict, init=False)
    _closing: dict[str, Any] = field(factory=dict, init=False)  # IDelayedCall of addresses whose workers died

    def connect_worker(self) -> socket.socket:
        """The worker's end of a new socket pair. To be closed here when the worker has inherited it."""
        own_end, worker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with own_end:
            own_end.setblocking(False)
            self.reactor.adoptStreamConnection(own_end.fileno(), socket.AF_UNIX, _factory(_LenderConnection, self))
        return worker_end

    def open(self, description: str, connection: _LenderConnection) -> int:
        """The descriptor of an address, bound where it is not bound yet. Raises what binding raises."""
        if description not in self.bound:
            self.bound[description] = bind_listening_socket(description)
        self._users.setdefault(description, set()).add(connection)
        timer = self._closing.pop(description, None)
        if timer is not None:
            timer.cancel()
        return self.bound[description].descriptor

    def give_back(self, description: str, connection: _LenderConnection) -> None:
        """A worker listens on the address no more."""
        users = self._users.get(description, set())
        users.discard(connection)
        if not users:
            self._close(description)

    def lost(self, connection: _LenderConnection) -> None:
        """A worker has ended."""
        for description, users in self._users.items():
            if connection in users:
                users.discard(connection)
                if not users:
                    self._closing[description] = self.reactor.callLater(LINGER, self._close, description)

    def stop(self) -> None:
        """Close all addresses."""
        for timer in self._closing.values():
            timer.cancel()
        self._closing.clear()
        for description in tuple(self.bound):
            self._close(description)

    def _close(self, description: str) -> None:
        self._closing.pop(description, None)
        self._users.pop(description, None)
        bound = self.bound.pop(description, None)
        if bound is not None:
            bound.close()


class _LenderConnection(_JsonLines):
    """One worker, as its parent sees it."""

    lender: SocketLender

    def lineReceived(self, line: bytes) -> None:
        request, description = json.loads(line)
        if request == CLOSE:
            self.lender.give_back(description, self)
            return
        try:
            descriptor = self.lender.open(description, self)
        except Exception as error:  # whatever the endpoint's parser, its files or the kernel raise
            self.send(FAILED, description, (isinstance(error, OSError) and error.strerror) or str(error))
            return
        transport: Any = self.transport
        transport.sendFileDescriptor(descriptor)
        self.send(OPENED, description)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lender.lost(self)


@define(eq=False)
class WorkerSocketClient:
    """The worker's side of the socket handover: requests listening sockets from the parent process. `descriptor` is the
    worker's end of the socket pair."""

    reactor: IReactor  # IReactorSocket
    descriptor: int
    _connection: _BorrowerConnection | None = field(default=None, init=False)

    def open(self, description: str) -> Deferred[int]:
        """A descriptor of the listening socket, to be closed by the caller. Fails with OSError where the parent cannot
        bind the address, or is gone. May be cancelled."""
        opened: Deferred[int] = Deferred()
        self._connected().request(description, opened)
        return opened

    def give_back(self, description: str) -> None:
        """This process listens on the address no more."""
        self._connected().send(CLOSE, description)

    def _connected(self) -> _BorrowerConnection:
        if self._connection is None:
            factory = _factory(_BorrowerConnection, self)
            self.reactor.adoptStreamConnection(self.descriptor, socket.AF_UNIX, factory)
            os.close(self.descriptor)
            self._connection = factory.made
        return self._connection


@implementer(IFileDescriptorReceiver)
class _BorrowerConnection(_JsonLines):
    """The parent, as a worker sees it: answers in the order of the requests."""

    def __init__(self) -> None:
        self._waiting: deque[Deferred[int]] = deque()
        self._received: deque[int] = deque()
        self._is_lost = False

    def request(self, description: str, opened: Deferred[int]) -> None:
        if self._is_lost:
            opened.errback(OSError('the parent process is gone'))
            return
        self._waiting.append(opened)
        self.send(OPEN, description)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._received.append(descriptor)

    def lineReceived(self, line: bytes) -> None:
        result, description, *reasons = json.loads(line)
        opened = self._waiting.popleft()
        if result == OPENED and opened.called:  # it was cancelled
            os.close(self._received.popleft())
            self.send(CLOSE, description)
        elif result == OPENED:
            opened.callback(self._received.popleft())
        else:
            opened.errback(OSError(reasons[0]))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_lost = True
        while self._waiting:
            self._waiting.popleft().errback(OSError('the parent process is gone'))


def _factory(protocol: type[Any], owner: Any) -> Any:
    """A factory for one connection; `made` is its protocol."""
    factory: Any = Factory()
    factory.noisy = False

    def build(addr: object) -> Any:
        made = factory.made = protocol()
        made.factory, made.lender = factory, owner
        return made

    factory.buildProtocol = build
    return factory
