"""The MariaDB and MySQL dialect, based on PyMySQL.

- Reads use REPEATABLE READ for a consistent snapshot. Writes use READ COMMITTED, which takes no gap locks, and lock the
row of the cluster first (statement_context.begin), so that writes are serialized and see each other's commits.
- Tables declare their engine and character set (columns.TABLE); each session sets its SQL mode.
- Every DDL statement commits by itself, so migrations consist of idempotent steps (migrations/steps.py).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from zatotx.odb.engines.dialect import (
    CONNECT_TIMEOUT,
    IDLE_TIMEOUT,
    LOCK_TIMEOUT,
    MIGRATION_LOCK_TIMEOUT,
    STATEMENT_TIMEOUT,
    Dialect,
    Purpose,
    max_connections,
)

_MIGRATION_TIMEOUT = 600.0  # seconds for one DDL statement of a migration
_RETRYABLE = (1213, 1020)  # deadlock; record has changed since last read
_PACKET_TOO_LARGE = (1153, 2006, 2013)  # the server's error, or a connection cut while sending
_READ_ONLY = (1290, 1792, 1836)  # server option; read-only transaction; read-only mode
_LARGE_STATEMENT = 1_000_000  # bytes; above this size the statement may be the cause of a cut connection
_HINTS = {
    1044: 'the account needs ALL PRIVILEGES on this database',
    1142: 'the account needs ALL PRIVILEGES on this database',
    1290: 'the server is read-only',
}


def make_engine(url: URL, purpose: Purpose) -> Engine:
    """Create an SQLAlchemy engine for one purpose, such as reading or writing, without connecting."""
    timeout = _MIGRATION_TIMEOUT if purpose == 'migrate' else STATEMENT_TIMEOUT
    engine = create_engine(
        url,
        connect_args={
            'connect_timeout': CONNECT_TIMEOUT,
            'read_timeout': timeout,
            'write_timeout': timeout,
            'charset': 'utf8mb4',
            'password': _password(url),
            'init_command': _session_statement(purpose),
            'local_infile': False,
        },
        isolation_level='REPEATABLE READ' if purpose == 'read' else 'READ COMMITTED',
        pool_size=max_connections(purpose),
        max_overflow=0,
        pool_timeout=STATEMENT_TIMEOUT,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    event.listen(engine, 'connect', lambda connection, _: _set_timeouts(connection, purpose))
    event.listen(engine, 'handle_error', _explain)
    return engine


def _password(url: URL) -> bytes:
    """Encode the password as UTF-8; PyMySQL encodes text as Latin-1."""
    password = url.password or url.query.get('password', '')
    return (password if isinstance(password, str) else password[-1]).encode()


def _session_statement(purpose: Purpose) -> str:
    lock = int(MIGRATION_LOCK_TIMEOUT if purpose == 'migrate' else LOCK_TIMEOUT)
    return (
        f'SET SESSION innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {lock}, '
        "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', default_storage_engine = InnoDB, foreign_key_checks = 1"
    )


def _set_timeouts(connection: Any, purpose: Purpose) -> None:
    """Set the timeouts of statements and idle transactions, whose names differ between MariaDB and MySQL."""
    if purpose == 'migrate':
        return
    if 'MariaDB' in connection.get_server_info():
        limits = f'max_statement_time = {STATEMENT_TIMEOUT}, idle_transaction_timeout = {int(IDLE_TIMEOUT)}'
    else:
        limits = f'max_execution_time = {int(STATEMENT_TIMEOUT * 1000)}'
    with connection.cursor() as cursor:
        cursor.execute(f'SET SESSION {limits}')


def lock_schema(connection: Connection) -> None:
    """Lock the schema until the connection is closed. Raises OperationalError if another upgrade takes too long."""
    is_locked = connection.execute(
        text("SELECT GET_LOCK(CONCAT('zatotx.', MD5(DATABASE())), :seconds)"), {'seconds': int(MIGRATION_LOCK_TIMEOUT)}
    ).scalar()
    if not is_locked:
        raise OperationalError('GET_LOCK', None, Exception('another upgrade is running'))


def is_unavailable(error: Exception) -> bool:
    """Return whether an error was caused by the database rather than by the statement. PyMySQL raises InternalError for
    errors of files and disks, whose numbers are below 1000."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return isinstance(error, DBAPIError) and 0 < _error_number(error.orig) < 1000


def is_retryable(error: Exception) -> bool:
    """Return whether a retry may succeed after an error. This includes constraint violations: the data has changed
    since the transaction read it, and the retry reports a better error."""
    return isinstance(error, IntegrityError) or (
        isinstance(error, DBAPIError) and _error_number(error.orig) in _RETRYABLE
    )


def error_message(error: Exception) -> str:
    """Return the error message of the server without its number. For some errors, a hint is added."""
    text_or_error = error.args[1] if len(error.args) > 1 else error
    message = ' '.join(str(text_or_error).split())
    hint = _HINTS.get(_error_number(error), '')
    return f'{message}; {hint}' if hint else message


def _error_number(error: object) -> int:
    number = getattr(error, 'args', (0,))[:1]
    return number[0] if number and isinstance(number[0], int) else 0


def _explain(context: ExceptionContext) -> None:
    """Explain the error of a statement above max_allowed_packet: the server cuts the connection while receiving it,
    which looks like a server that went away."""
    error = context.original_exception
    if _error_number(error) in _READ_ONLY:
        context.is_disconnect = True  # after a failover, the host name may lead to a writable server
    if _error_number(error) in _PACKET_TOO_LARGE:
        context.is_disconnect = True  # avoids a rollback, whose error would hide this one
        size = _statement_size(context)
        if size > _LARGE_STATEMENT:
            error.args = (
                _error_number(error),
                f'{error.args[1]}: a statement of {size / 2**20:.1f} MB was cut off; if that happens again, raise '
                'max_allowed_packet in the configuration of the server',
            )


def _statement_size(context: ExceptionContext) -> int:
    rows = context.parameters or ()
    batch = rows if isinstance(rows, list) else [rows]
    values = [v for row in batch for v in (row.values() if isinstance(row, dict) else row)]
    return sum(len(value) for value in values if isinstance(value, str | bytes))


DIALECT = Dialect(
    title='MariaDB or MySQL',
    make_engine=make_engine,
    driver='pymysql',
    extra='mysql',
    is_unavailable=is_unavailable,
    error_message=error_message,
    is_retryable=is_retryable,
    lock_schema=lock_schema,
    transactional_ddl=False,
)
