"""The driver for PostgreSQL, based on psycopg 3.

A cancel request that arrives late hits the next statement of the connection. `cancel` therefore returns only when the
server has closed the connection of the request, that is, after it has sent the signal to the backend; until then the
connection is not used for anything else.
"""

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

_IDLE, _FAILED = 0, 3  # libpq's PGTransactionStatusType
_KEEPALIVE = {'keepalives': 1, 'keepalives_idle': 30, 'keepalives_interval': 5, 'keepalives_count': 3}

# SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
_RETRYABLE = ('40001', '40P01', '55P03')  # serialization_failure, deadlock_detected, lock_not_available
_CANCELLED = '57014'  # query_canceled
_UNAVAILABLE = ('08', '28', '3D', '53', '57P', '58')  # prefixes


class PostgreSQLDriver(DatabaseDriver):
    """Implements DatabaseDriver for PostgreSQL with psycopg 3."""

    title: ClassVar[str] = 'PostgreSQL'
    module: ClassVar[str] = 'psycopg'
    install: ClassVar[str] = "pip install 'zatotx[postgresql]'"
    begins_explicitly: ClassVar[bool] = True

    def connect_arguments(self, url: URL, timeout: float) -> dict[str, Any]:
        """See DatabaseDriver. The kernel detects hosts that are gone."""
        defaults: dict[str, Any] = {
            'connect_timeout': connect_timeout(timeout), 'tcp_user_timeout': round(timeout * 1000),
            'application_name': 'zatotx', **_KEEPALIVE,
        }  # fmt: skip
        return {name: value for name, value in defaults.items() if name not in url.query}

    def begin(self, connection: Connection, isolation_level: str) -> None:
        """See DatabaseDriver."""
        level = f' ISOLATION LEVEL {isolation_level}' if isolation_level else ''
        connection.exec_driver_sql(f'BEGIN{level}')

    def commit(self, connection: Connection) -> None:
        """See DatabaseDriver."""
        connection.exec_driver_sql('COMMIT')

    def rollback(self, connection: Connection) -> None:
        """See DatabaseDriver."""
        connection.exec_driver_sql('ROLLBACK')

    def has_failed(self, dbapi: Any) -> bool:
        """See DatabaseDriver. The server answers COMMIT of such a transaction with a rollback, and no error."""
        return bool(dbapi.info.transaction_status == _FAILED)

    def reset(self, dbapi: Any) -> None:
        """See DatabaseDriver."""
        if dbapi.info.transaction_status != _IDLE:
            dbapi.rollback()

    def is_suspicious(self, dbapi: Any) -> bool:
        """See DatabaseDriver."""
        return bool(dbapi.closed) or is_readable(dbapi.fileno())

    def received(self, dbapi: Any) -> int:
        """See DatabaseDriver."""
        return bytes_received(dbapi.fileno())

    def cancel(self, dbapi: Any) -> None:
        """See DatabaseDriver."""
        dbapi.cancel_safe(timeout=CANCEL_TIMEOUT)

    def abort(self, dbapi: Any) -> None:
        """See DatabaseDriver."""
        with suppress(Exception):  # it is closed already
            shut_down(dbapi.fileno())

    def classify(self, error: BaseException) -> ErrorClass:
        """See DatabaseDriver."""
        state = getattr(error, 'sqlstate', None) or ''
        if state in _RETRYABLE:
            return RETRYABLE
        if state == _CANCELLED:
            return CANCELLED
        return UNAVAILABLE if state.startswith(_UNAVAILABLE) else STATEMENT_ERROR
