"""The PostgreSQL dialect, based on psycopg 3.

- Reads use REPEATABLE READ for a consistent snapshot. Writes use READ COMMITTED and lock the row of the cluster first
(statement_context.begin), so that writes are serialized and see each other's commits.
- The server limits the time of statements, of waits for locks and of idle transactions, below the executor's deadline.
- The kernel detects unreachable hosts: keepalive while nothing is sent, TCP_USER_TIMEOUT while data is sent.
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

_SCHEMA_LOCK = 0x7A61746F7478  # the advisory: 'zatotx' in ASCII: the advisory lock of upgrades, per database

# SQLSTATE prefixes of errors that are about the server, the account or the disk, although psycopg raises some of them
# as ProgrammingError or InternalError. https://www.postgresql.org/docs/current/errcodes-appendix.html
_UNAVAILABLE_STATES = ('08', '28', '3D', '53', '54', '55', '57', '58', 'XX', '22021', '22P05', '25006', '42501')
_READ_ONLY = '25006'
_RETRYABLE = ('40001', '40P01')  # serialization_failure, deadlock_detected


def make_engine(url: URL, purpose: Purpose) -> Engine:
    """Create an SQLAlchemy engine for one purpose, such as reading or writing, without connecting."""
    engine = create_engine(
        url,
        connect_args=_connect_args(url, purpose),
        isolation_level='REPEATABLE READ' if purpose == 'read' else 'READ COMMITTED',
        pool_size=max_connections(purpose),
        max_overflow=0,
        pool_timeout=STATEMENT_TIMEOUT,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    event.listen(engine, 'handle_error', _discard_read_only)
    return engine


def _discard_read_only(context: ExceptionContext) -> None:
    """Discard connections that are read-only: a session stays so when its database or role becomes writable again, and
    after a failover its server is a replica."""
    if getattr(context.original_exception, 'sqlstate', '') == _READ_ONLY:
        context.is_disconnect = True


def _connect_args(url: URL, purpose: Purpose) -> dict[str, Any]:
    return {
        'connect_timeout': CONNECT_TIMEOUT,
        'keepalives': 1,
        'keepalives_idle': 3,
        'keepalives_interval': 1,
        'keepalives_count': 3,
        'tcp_user_timeout': int(STATEMENT_TIMEOUT * 1000),
        'application_name': 'zatotx',
        'client_encoding': 'utf8',
        'prepare_threshold': None,  # pgbouncer may use a different server connection each time
        'options': f'{_url_options(url)} {_timeout_options(purpose)}'.strip(),
    }


def _timeout_options(purpose: Purpose) -> str:
    seconds = {
        'statement_timeout': 0.0 if purpose == 'migrate' else STATEMENT_TIMEOUT,
        'lock_timeout': MIGRATION_LOCK_TIMEOUT if purpose == 'migrate' else LOCK_TIMEOUT,
        'idle_in_transaction_session_timeout': 0.0 if purpose == 'migrate' else IDLE_TIMEOUT,
    }
    return ' '.join(f'-c {name}={int(value * 1000)}' for name, value in seconds.items())


def _url_options(url: URL) -> str:
    """Return the options in the URL, such as a search_path."""
    options = url.query.get('options', '')
    return options if isinstance(options, str) else ' '.join(options)


def lock_schema(connection: Connection) -> None:
    """Lock the schema until the end of the transaction. Raises OperationalError if another upgrade takes too long."""
    connection.execute(text('SELECT pg_advisory_xact_lock(:number)'), {'number': _SCHEMA_LOCK})


def is_unavailable(error: Exception) -> bool:
    """Return whether an error was caused by the database rather than by the statement."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return isinstance(error, DBAPIError) and _sqlstate(error).startswith(_UNAVAILABLE_STATES)


def is_retryable(error: Exception) -> bool:
    """Return whether a retry may succeed after an error. This includes constraint violations: the data has changed
    since the transaction read it, and the retry reports a better error."""
    return isinstance(error, IntegrityError) or (isinstance(error, DBAPIError) and _sqlstate(error) in _RETRYABLE)


def error_message(error: Exception) -> str:
    """Return libpq's error message as one line. For some errors, a hint is added."""
    message = ' '.join(str(error).split())
    sqlstate = getattr(error, 'sqlstate', '') or ''
    if sqlstate == '42501':
        return f'{message}; the account needs CREATE and USAGE on the schema, and must own the tables'
    if sqlstate in ('22021', '22P05'):
        return f'{message}; the encoding of the database must be UTF8'
    return message


def _sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, 'sqlstate', '') or ''


DIALECT = Dialect(
    title='PostgreSQL',
    make_engine=make_engine,
    driver='psycopg',
    extra='postgresql',
    is_unavailable=is_unavailable,
    error_message=error_message,
    is_retryable=is_retryable,
    lock_schema=lock_schema,
    transactional_ddl=True,
)
