"""Tracks the peers of a socket by the events of the socket's monitor. Pure: no I/O.

The monitor is the only place where ZeroMQ tells of peers that it does not accept: of another socket type, with other
keys, or that do not speak its protocol. It does not say which connection a successful handshake belongs to: the oldest
one of that address that has not had any.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from enum import IntEnum

from attrs import define, field

EVENT = struct.Struct('=HI')  # the first frame of an event of a monitor: event, value


class MonitorEvent(IntEnum):
    """The events of a socket monitor (zmq_socket_monitor(3))."""

    CONNECTED = 0x0001
    CONNECT_DELAYED = 0x0002
    CONNECT_RETRIED = 0x0004
    LISTENING = 0x0008
    BIND_FAILED = 0x0010
    ACCEPTED = 0x0020
    ACCEPT_FAILED = 0x0040
    CLOSED = 0x0080
    CLOSE_FAILED = 0x0100
    DISCONNECTED = 0x0200
    MONITOR_STOPPED = 0x0400
    HANDSHAKE_FAILED_NO_DETAIL = 0x0800
    HANDSHAKE_SUCCEEDED = 0x1000
    HANDSHAKE_FAILED_PROTOCOL = 0x2000
    HANDSHAKE_FAILED_AUTH = 0x4000


_CRYPTOGRAPHIC = 0x11000001
_MECHANISM_MISMATCH = 0x11000002
_PROTOCOL_ERRORS = {
    _CRYPTOGRAPHIC: 'its CURVE keys do not fit: compare the key of the server',
    _MECHANISM_MISMATCH: 'only one of both sides uses CURVE',
}
FAILED = 'the handshake failed: its socket has another type, its CURVE keys do not fit, or it is no ZeroMQ peer'
REJECTED_KEY = 'the CURVE server does not accept the key of the client'
UNREACHABLE = 'nobody is at the address'


@define
class _Connection:
    address: str
    is_ready: bool = False


@define
class PeerState:
    """The peers of one socket. `changed` is called when the number of peers, or the last failure, has changed.

    `ready`: connected peers whose handshake succeeded. `failure`: why a connection could not be made, of the last one
    that failed; '' after one that succeeded. `failed_at`: when that was, on the clock `seconds`.
    """

    seconds: Callable[[], float]
    changed: Callable[[], None]
    ready: int = 0
    failure: str = ''
    failed_at: float = 0.0
    failed_handshakes: int = 0  # since the start
    ended: set[str] = field(factory=set)  # addresses to connect to where ZeroMQ does not try again by itself
    _connections: dict[int, _Connection] = field(factory=dict)  # by file descriptor, in the order of their begin
    _is_failure_known: bool = False  # a failure was reported, and the end of its connection is still to come

    @property
    def has_pending(self) -> bool:
        """Whether there is a connection whose handshake has not ended: its peer is slow, or frozen."""
        return len(self._connections) > self.ready

    def handle(self, frames: Sequence[bytes]) -> None:
        """Handle an event of the monitor."""
        event, value = EVENT.unpack(frames[0])
        address = frames[1].decode('utf-8', 'surrogateescape') if len(frames) > 1 else ''
        if event in (MonitorEvent.CONNECTED, MonitorEvent.ACCEPTED):
            self._connections[value] = _Connection(address)
            self.ended.discard(address)
        elif event == MonitorEvent.HANDSHAKE_SUCCEEDED:
            self._succeeded(address)
        elif event == MonitorEvent.DISCONNECTED:
            self._disconnected(value)
        elif event == MonitorEvent.CLOSED:
            self._closed(address)
        elif event == MonitorEvent.HANDSHAKE_FAILED_PROTOCOL:
            self._handshake_failed(_PROTOCOL_ERRORS.get(value, FAILED))
        elif event == MonitorEvent.HANDSHAKE_FAILED_AUTH:
            self._handshake_failed(REJECTED_KEY)
        elif event == MonitorEvent.HANDSHAKE_FAILED_NO_DETAIL:
            self._handshake_failed(FAILED)
        elif event in (MonitorEvent.CONNECT_RETRIED, MonitorEvent.CONNECT_DELAYED):
            self.ended.discard(address)

    def _succeeded(self, address: str) -> None:
        for connection in self._connections.values():
            if connection.address == address and not connection.is_ready:
                connection.is_ready = True
                self.ready += 1
                self.failure = ''
                self.changed()
                return

    def _disconnected(self, descriptor: int) -> None:
        connection = self._connections.pop(descriptor, None)
        is_known, self._is_failure_known = self._is_failure_known, False
        if connection is None:
            return
        self.ended.add(connection.address)  # until CONNECT_RETRIED follows
        if connection.is_ready:
            self.ready -= 1
        elif not is_known:
            self.failed_handshakes += 1
            self._failed(FAILED)
        self.changed()

    def _handshake_failed(self, cause: str) -> None:
        self._is_failure_known = True
        self.failed_handshakes += 1
        self._failed(cause)
        self.changed()

    def _closed(self, address: str) -> None:
        if not self.ready:
            self._failed(f'{UNREACHABLE} {address}')
            self.changed()

    def _failed(self, cause: str) -> None:
        self.failure, self.failed_at = cause, self.seconds()
