"""The driver for SQLite. The first connection creates the database file. A transaction acquires the write lock when it
begins, so that it cannot fail later because another connection holds the lock.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import URL, Connection

from zatotx.plugins.sql.drivers.base import (
    CANCELLED,
    RETRYABLE,
    STATEMENT_ERROR,
    UNAVAILABLE,
    DatabaseDriver,
    ErrorClass,
)

# Result codes: https://www.sqlite.org/rescode.html
_RETRYABLE = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED
_CANCELLED = 9  # SQLITE_INTERRUPT
_UNAVAILABLE = (8, 10, 11, 13, 14, 26)  # read-only, I/O error, corrupt, full, cannot open, not a database


class SQLiteDriver(DatabaseDriver):
    """Implements DatabaseDriver for SQLite."""

    title: ClassVar[str] = 'SQLite'
    module: ClassVar[str] = 'sqlite3'
    begins_explicitly: ClassVar[bool] = True

    def connect_arguments(self, url: URL, timeout: float) -> dict[str, Any]:
        """See DatabaseDriver. `timeout` limits the wait for the lock of another process."""
        return {'check_same_thread': False, 'timeout': timeout}

    def connected(self, dbapi: Any) -> None:
        """See DatabaseDriver."""
        dbapi.execute('PRAGMA foreign_keys=ON')

    def begin(self, connection: Connection, isolation_level: str) -> None:
        """See DatabaseDriver. All transactions are serializable."""
        connection.exec_driver_sql('BEGIN IMMEDIATE')

    def begin_reading(self, connection: Connection) -> None:
        """See DatabaseDriver. Readers do not wait for the writer in WAL mode."""
        connection.exec_driver_sql('BEGIN')

    def commit(self, connection: Connection) -> None:
        """See DatabaseDriver."""
        connection.exec_driver_sql('COMMIT')

    def rollback(self, connection: Connection) -> None:
        """See DatabaseDriver. SQLite has rolled back by itself after some errors."""
        dbapi: Any = connection.connection.dbapi_connection
        if dbapi.in_transaction:
            connection.exec_driver_sql('ROLLBACK')

    def has_failed(self, dbapi: Any) -> bool:
        """See DatabaseDriver. SQLite rolls back by itself after some errors."""
        return not dbapi.in_transaction

    def reset(self, dbapi: Any) -> None:
        """See DatabaseDriver."""
        if dbapi.in_transaction:
            dbapi.rollback()

    def cancel(self, dbapi: Any) -> None:
        """See DatabaseDriver."""
        dbapi.interrupt()

    def classify(self, error: BaseException) -> ErrorClass:
        """See DatabaseDriver."""
        code = getattr(error, 'sqlite_errorcode', 0) & 0xFF
        if code in _RETRYABLE:
            return RETRYABLE
        if code == _CANCELLED:
            return CANCELLED
        return UNAVAILABLE if code in _UNAVAILABLE else STATEMENT_ERROR
