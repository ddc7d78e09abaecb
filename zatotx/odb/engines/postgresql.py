"""PostgreSQL, by psycopg 3.

- A read sees one moment: REPEATABLE READ. A write runs in READ COMMITTED and locks the cluster's row first
  (context.begin), so writes come one after another and each sees what the one before committed.
- The server ends a statement, a wait for a lock and a transaction that says nothing, each before somebody minds.
- The kernel notices a host that is gone: keepalive while nothing is sent, TCP_USER_TIMEOUT while something is.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from zatotx.odb.engines.dialect import CONNECT, IDLE, LOCK, MIGRATION_LOCK, STATEMENT, Dialect, Purpose, max_connections

_SCHEMA_LOCK = 0x7A61746F7478  # 'zatotx': the advisory lock of upgrades, one a database

# Of SQLSTATE: errors that are about the server, the account or the disk, though psycopg calls some of them
# ProgrammingError or InternalError. https://www.postgresql.org/docs/current/errcodes-appendix.html
_AWAY = ('08', '28', '3D', '53', '54', '55', '57', '58', 'XX', '22021', '22P05', '25006', '42501')
_READ_ONLY = '25006'
_ONCE_MORE = ('40001', '40P01')  # serialization_failure, deadlock_detected


def make_engine(url: URL, purpose: Purpose) -> Engine:
    """An engine of one purpose; nothing is connected to."""
    engine = create_engine(
        url,
        connect_args=_arguments(url, purpose),
        isolation_level='REPEATABLE READ' if purpose == 'read' else 'READ COMMITTED',
        pool_size=max_connections(purpose),
        max_overflow=0,
        pool_timeout=STATEMENT,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    event.listen(engine, 'handle_error', _give_up_read_only)
    return engine


def _give_up_read_only(context: ExceptionContext) -> None:
    """A session stays read-only when its database or role is made writable again, and after a failover its server is a
    replica: another connection may do better."""
    if getattr(context.original_exception, 'sqlstate', '') == _READ_ONLY:
        context.is_disconnect = True


def _arguments(url: URL, purpose: Purpose) -> dict[str, Any]:
    return {
        'connect_timeout': CONNECT,
        'keepalives': 1,
        'keepalives_idle': 3,
        'keepalives_interval': 1,
        'keepalives_count': 3,
        'tcp_user_timeout': int(STATEMENT * 1000),
        'application_name': 'zatotx',
        'client_encoding': 'utf8',
        'prepare_threshold': None,  # connections may be pooled by pgbouncer, which gives another server each time
        'options': f'{_given_options(url)} {_limits(purpose)}'.strip(),
    }


def _limits(purpose: Purpose) -> str:
    seconds = {
        'statement_timeout': 0.0 if purpose == 'migrate' else STATEMENT,
        'lock_timeout': MIGRATION_LOCK if purpose == 'migrate' else LOCK,
        'idle_in_transaction_session_timeout': 0.0 if purpose == 'migrate' else IDLE,
    }
    return ' '.join(f'-c {name}={int(value * 1000)}' for name, value in seconds.items())


def _given_options(url: URL) -> str:
    """What the URL says itself, as a search_path."""
    given = url.query.get('options', '')
    return given if isinstance(given, str) else ' '.join(given)


def lock_schema(connection: Connection) -> None:
    """Until the end of the transaction. Raises OperationalError where another upgrade takes too long."""
    connection.execute(text('SELECT pg_advisory_xact_lock(:number)'), {'number': _SCHEMA_LOCK})


def is_away(error: Exception) -> bool:
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return isinstance(error, DBAPIError) and _state(error).startswith(_AWAY)


def is_retryable(error: Exception) -> bool:
    """A broken constraint too: what a transaction looked at before has changed, and it says so better itself."""
    return isinstance(error, IntegrityError) or (isinstance(error, DBAPIError) and _state(error) in _ONCE_MORE)


def error_message(error: Exception) -> str:
    """libpq's words in one line, with what to do where the server's do not say."""
    said = ' '.join(str(error).split())
    state = getattr(error, 'sqlstate', '') or ''
    if state == '42501':
        return f'{said}; the account needs CREATE and USAGE on the schema, and must own the tables'
    if state in ('22021', '22P05'):
        return f'{said}; the encoding of the database must be UTF8'
    return said


def _state(error: DBAPIError) -> str:
    return getattr(error.orig, 'sqlstate', '') or ''


ROOM = Dialect(
    title='PostgreSQL',
    engine=make_engine,
    driver='psycopg',
    extra='postgresql',
    is_away=is_away,
    says=error_message,
    once_more=is_retryable,
    lock_schema=lock_schema,
    transactional_ddl=True,
)
