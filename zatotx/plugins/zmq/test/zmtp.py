"""ZMTP 3.0 (ZeroMQ RFC 23) over plain sockets, as far as the tests need it: clients whose every byte is known."""

from __future__ import annotations

import socket
from collections.abc import Sequence

GREETING = b'\xff' + bytes(8) + b'\x7f' + b'\x03\x00' + b'NULL'.ljust(20, b'\0') + b'\0' + bytes(31)


def handshake(connection: socket.socket, socket_type: bytes) -> None:
    """Introduce the connection as a socket of that type. Blocks."""
    connection.sendall(GREETING + ready(socket_type))
    _receive(connection, len(GREETING))
    read_frame(connection)


def ready(socket_type: bytes) -> bytes:
    """The READY command with the socket type."""
    body = b'\x05READY\x0bSocket-Type' + len(socket_type).to_bytes(4, 'big') + socket_type
    return b'\x04' + bytes([len(body)]) + body


def write_message(connection: socket.socket, frames: Sequence[bytes]) -> None:
    """Send a message of short frames. Blocks."""
    last = len(frames) - 1
    connection.sendall(b''.join(bytes([int(index < last), len(frame)]) + frame for index, frame in enumerate(frames)))


def read_frame(connection: socket.socket) -> tuple[int, bytes]:
    """The flags of the next short frame, and the frame; b'' at the end of the connection. Blocks."""
    head = _receive(connection, 2)
    return (head[0], _receive(connection, head[1])) if head else (0, b'')


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b''
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            return b''
        data += more
    return data
