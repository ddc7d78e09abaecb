"""The base class of database drivers, which also serves databases without special requirements."""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from typing import Any, ClassVar

from attrs import frozen
from sqlalchemy import URL, Connection

_BYTES_RECEIVED = slice(128, 136)  # tcpi_bytes_received in struct tcp_info of <linux/tcp.h>
CANCEL_TIMEOUT = 2.0  # seconds for the request that cancels a statement


@frozen
class ErrorClass:
    """The class of a database error, which determines the exception that the caller receives."""

    name: str


STATEMENT_ERROR = ErrorClass('statement')  # of the statement, its parameters or the data: the service's own
UNAVAILABLE = ErrorClass('unavailable')  # of the server, the account or the network
RETRYABLE = ErrorClass('retryable')  # the transaction lost against another one, and may succeed if it is repeated
CANCELLED = ErrorClass('cancelled')  # the server cancelled the statement: its own time limit, or an administrator


class DatabaseDriver:
    """Adapts an SQLAlchemy driver: connects, cancels statements, and classifies errors. All methods may block, and are
    called in threads.

    `dbapi` is a connection of the driver's own.
    """

    title: ClassVar[str] = 'database'
    module: ClassVar[str] = ''  # of the driver; '' = SQLAlchemy reports that it is missing
    install: ClassVar[str] = ''
    ping_statement: ClassVar[str] = 'SELECT 1'
    begins_explicitly: ClassVar[bool] = False  # transactions begin with a statement, on connections in autocommit mode

    def connect_arguments(self, url: URL, timeout: float) -> dict[str, Any]:
        """Arguments of the driver's connect function, besides those of the URL. `timeout`: seconds, of the object."""
        return {}

    def connected(self, dbapi: Any) -> None:
        """Prepare a new connection."""

    def begin(self, connection: Connection, isolation_level: str) -> None:
        """Begin a transaction. `isolation_level`: '' = the database's default."""
        if isolation_level:
            connection.execution_options(isolation_level=isolation_level)

    def begin_reading(self, connection: Connection) -> None:
        """Begin a transaction that only reads."""
        self.begin(connection, '')

    def call_statement(self, procedure: str, names: Sequence[str]) -> str:
        """Return the statement that calls a stored procedure with named parameters, in this order."""
        return f'CALL {procedure}({", ".join(f":{name}" for name in names)})'

    def end_stream(self, dbapi: Any) -> None:
        """Called before a result is closed that was not read to its end."""

    def commit(self, connection: Connection) -> None:
        """Commit the transaction."""
        connection.commit()

    def rollback(self, connection: Connection) -> None:
        """Roll the transaction back."""
        connection.rollback()

    def has_failed(self, dbapi: Any) -> bool:
        """Whether the transaction can only be rolled back."""
        return False

    def reset(self, dbapi: Any) -> None:
        """Leave no transaction open on a connection that returns to the pool."""
        dbapi.rollback()

    def is_suspicious(self, dbapi: Any) -> bool:
        """Whether the peer of an idle connection seems to have closed it. Costs no round trip."""
        return False

    def ping(self, dbapi: Any) -> None:
        """Ask the server for a sign of life. Raises the driver's errors."""
        cursor = dbapi.cursor()
        try:
            cursor.execute(self.ping_statement)
            cursor.fetchone()
        finally:
            cursor.close()

    def received(self, dbapi: Any) -> int:
        """Return the number of bytes that the connection has received so far; 0 if it is not known."""
        return 0

    def cancel(self, dbapi: Any) -> None:
        """Cancel the statement that another thread executes, within CANCEL_TIMEOUT seconds. Raises any exception if
        the server does not confirm it."""
        raise NotImplementedError('this driver cannot cancel statements')

    def abort(self, dbapi: Any) -> None:
        """Cut the connection, so that the thread that waits for the server continues with an error."""

    def classify(self, error: BaseException) -> ErrorClass:
        """Classify an error that the driver raised for a statement."""
        return STATEMENT_ERROR

    def message(self, error: BaseException) -> str:
        """Return the text of the driver's error as one line."""
        return ' '.join(str(error).split())


def connect_timeout(timeout: float) -> int:
    """Return the driver's connect timeout in whole seconds. It is at least 2 s, the minimum of libpq, and longer than
    the timeout of the call, which raises Timeout."""
    return max(2, ceil(timeout) + 1)


def shut_down(descriptor: int) -> None:
    """Shut down both directions of a socket, which wakes up a thread that is blocked on it. The owner of the socket
    closes it."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


def bytes_received(descriptor: int) -> int:
    """Return the number of bytes that a TCP socket has received (Linux's TCP_INFO), or 0 if it is unknown."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as duplicate:
        info = duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.stop)
        return int.from_bytes(info[_BYTES_RECEIVED], sys.byteorder)
    return 0


def is_readable(descriptor: int) -> bool:
    """Return whether a socket has data to read, or its peer has closed it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
