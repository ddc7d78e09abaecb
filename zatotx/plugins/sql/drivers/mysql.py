"""The driver for MariaDB and MySQL, based on PyMySQL."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

from sqlalchemy import URL, Connection

from zatotx.plugins.sql.drivers.base import (
    CANCEL_TIMEOUT,
    CANCELLED,
    RETRYABLE,
    STATEMENT_ERROR,
    UNAVAILABLE,
    DatabaseDriver,
    ErrorClass,
    bytes_received,
    connect_timeout,
    is_readable,
    shut_down,
)

_IN_TRANSACTION = 1  # SERVER_STATUS_IN_TRANS
_RETRYABLE = (1205, 1213, 1020)  # lock wait timeout, deadlock, record has changed since last read
_CANCELLED = (1317, 1969, 3024)  # interrupted; MariaDB's and MySQL's limit of the time of a statement
# Too many connections, access denied, unknown database, shutdown, host blocked or not allowed, limit of the account,
# cannot connect, server gone, connection lost
_UNAVAILABLE = (1040, 1044, 1045, 1049, 1053, 1129, 1130, 1203, 1226, 1290, 2002, 2003, 2006, 2013)


class MySQLDriver(DatabaseDriver):
    """Implements DatabaseDriver for MariaDB and MySQL with PyMySQL."""

    title: ClassVar[str] = 'MariaDB or MySQL'
    module: ClassVar[str] = 'pymysql'
    install: ClassVar[str] = "pip install 'zatotx[mysql]'"
    begins_explicitly: ClassVar[bool] = True

    def connect_arguments(self, url: URL, timeout: float) -> dict[str, Any]:
        """See DatabaseDriver. `read_timeout` limits the login only: see `connected`. PyMySQL encodes a password that is
        text as Latin-1."""
        arguments: dict[str, Any] = {
            'connect_timeout': connect_timeout(timeout), 'read_timeout': connect_timeout(timeout),
            'local_infile': False, 'password': (url.password or '').encode(),
        }  # fmt: skip
        return arguments if 'charset' in url.query else {**arguments, 'charset': 'utf8mb4'}

    def connected(self, dbapi: Any) -> None:
        """See DatabaseDriver. From here on, the deadline of each call limits the wait for the server."""
        dbapi._read_timeout = None

    def begin(self, connection: Connection, isolation_level: str) -> None:
        """See DatabaseDriver."""
        if isolation_level:
            connection.exec_driver_sql(f'SET TRANSACTION ISOLATION LEVEL {isolation_level}')
        connection.exec_driver_sql('START TRANSACTION')

    def commit(self, connection: Connection) -> None:
        """See DatabaseDriver."""
        connection.exec_driver_sql('COMMIT')

    def rollback(self, connection: Connection) -> None:
        """See DatabaseDriver."""
        connection.exec_driver_sql('ROLLBACK')

    def reset(self, dbapi: Any) -> None:
        """See DatabaseDriver."""
        if dbapi.server_status & _IN_TRANSACTION:
            dbapi.rollback()

    def is_suspicious(self, dbapi: Any) -> bool:
        """See DatabaseDriver."""
        return not dbapi.open or is_readable(dbapi._sock.fileno())

    def end_stream(self, dbapi: Any) -> None:
        """See DatabaseDriver. Closing the cursor would read all remaining rows: the server stops sending them first."""
        self.cancel(dbapi)

    def received(self, dbapi: Any) -> int:
        """See DatabaseDriver."""
        return bytes_received(dbapi._sock.fileno())

    def cancel(self, dbapi: Any) -> None:
        """See DatabaseDriver. KILL QUERY needs a connection of its own."""
        import pymysql

        killer = pymysql.connect(
            host=dbapi.host, port=dbapi.port, unix_socket=dbapi.unix_socket, user=dbapi.user, password=dbapi.password,
            ssl=dbapi.ctx if dbapi.ssl else None, connect_timeout=CANCEL_TIMEOUT, read_timeout=CANCEL_TIMEOUT,
            write_timeout=CANCEL_TIMEOUT,
        )  # fmt: skip
        try:
            with killer.cursor() as cursor:
                cursor.execute(f'KILL QUERY {dbapi.thread_id()}')
        finally:
            killer.close()

    def abort(self, dbapi: Any) -> None:
        """See DatabaseDriver."""
        with suppress(Exception):  # it is closed already
            shut_down(dbapi._sock.fileno())

    def classify(self, error: BaseException) -> ErrorClass:
        """See DatabaseDriver."""
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if number in _RETRYABLE:
            return RETRYABLE
        if number in _CANCELLED:
            return CANCELLED
        return UNAVAILABLE if number in _UNAVAILABLE else STATEMENT_ERROR

    def message(self, error: BaseException) -> str:
        """See DatabaseDriver. The number of the error stays in the exception."""
        text = error.args[1] if len(error.args) > 1 else error
        return ' '.join(str(text).split())
