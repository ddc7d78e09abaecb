"""MariaDB and MySQL, by PyMySQL.

- A read sees one moment: REPEATABLE READ. A write runs in READ COMMITTED, which locks no gaps, and locks the cluster's
  row first (context.begin), so writes come one after another and each sees what the one before committed.
- Tables say their engine and their character set themselves (columns.TABLE); each session says its SQL mode.
- Every DDL statement commits by itself, so migrations are made of steps that can be repeated (migrations/steps.py).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from zatotx.odb.engines.dialect import CONNECT, IDLE, LOCK, MIGRATION_LOCK, STATEMENT, Dialect, Purpose, max_connections

_PATIENT = 600.0  # seconds for one DDL statement of a migration
_ONCE_MORE = (1213, 1020)  # deadlock; record has changed since last read
_TOO_BIG = (1153, 2006, 2013)  # said so, or found the connection cut while it was still sending
_READ_ONLY = (1290, 1792, 1836)  # by an option of the server; this transaction; the server says so itself
_BIG = 1_000_000  # bytes from which on a cut connection may be the statement's fault
_HINTS = {
    1044: 'the account needs ALL PRIVILEGES on this database',
    1142: 'the account needs ALL PRIVILEGES on this database',
    1290: 'the server is read-only',
}


def make_engine(url: URL, purpose: Purpose) -> Engine:
    """An engine of one purpose; nothing is connected to."""
    patience = _PATIENT if purpose == 'migrate' else STATEMENT
    engine = create_engine(
        url,
        connect_args={
            'connect_timeout': CONNECT,
            'read_timeout': patience,
            'write_timeout': patience,
            'charset': 'utf8mb4',
            'password': _password(url),
            'init_command': _session(purpose),
            'local_infile': False,
        },
        isolation_level='REPEATABLE READ' if purpose == 'read' else 'READ COMMITTED',
        pool_size=max_connections(purpose),
        max_overflow=0,
        pool_timeout=STATEMENT,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    event.listen(engine, 'connect', lambda connection, _: _limits(connection, purpose))
    event.listen(engine, 'handle_error', _explain)
    return engine


def _password(url: URL) -> bytes:
    """Text PyMySQL would take for Latin-1."""
    given = url.password or url.query.get('password', '')
    return (given if isinstance(given, str) else given[-1]).encode()


def _session(purpose: Purpose) -> str:
    lock = int(MIGRATION_LOCK if purpose == 'migrate' else LOCK)
    return (
        f'SET SESSION innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {lock}, '
        "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', default_storage_engine = InnoDB, foreign_key_checks = 1"
    )


def _limits(connection: Any, purpose: Purpose) -> None:
    """What the two name differently: how long a statement may take, how long a transaction may say nothing."""
    if purpose == 'migrate':
        return
    if 'MariaDB' in connection.get_server_info():
        limits = f'max_statement_time = {STATEMENT}, idle_transaction_timeout = {int(IDLE)}'
    else:
        limits = f'max_execution_time = {int(STATEMENT * 1000)}'
    with connection.cursor() as cursor:
        cursor.execute(f'SET SESSION {limits}')


def lock_schema(connection: Connection) -> None:
    """Until the connection is closed. Raises OperationalError where another upgrade takes too long."""
    got = connection.execute(
        text("SELECT GET_LOCK(CONCAT('zatotx.', MD5(DATABASE())), :seconds)"), {'seconds': int(MIGRATION_LOCK)}
    ).scalar()
    if not got:
        raise OperationalError('GET_LOCK', None, Exception('another upgrade is under way'))


def is_away(error: Exception) -> bool:
    """PyMySQL calls what has a number below 1000 InternalError: those of files and disks."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return isinstance(error, DBAPIError) and 0 < _number(error.orig) < 1000


def is_retryable(error: Exception) -> bool:
    """A broken constraint too: what a transaction looked at before has changed, and it says so better itself."""
    return isinstance(error, IntegrityError) or (isinstance(error, DBAPIError) and _number(error.orig) in _ONCE_MORE)


def error_message(error: Exception) -> str:
    """The server's words without their number, and what to do where they do not say."""
    words = error.args[1] if len(error.args) > 1 else error
    said = ' '.join(str(words).split())
    hint = _HINTS.get(_number(error), '')
    return f'{said}; {hint}' if hint else said


def _number(error: object) -> int:
    number = getattr(error, 'args', (0,))[:1]
    return number[0] if number and isinstance(number[0], int) else 0


def _explain(context: ExceptionContext) -> None:
    """A statement above max_allowed_packet is cut off while it is sent, and the connection with it, which may look like
    a server that went away."""
    error = context.original_exception
    if _number(error) in _READ_ONLY:
        context.is_disconnect = True  # after a failover the name may lead to a server that may be written to
    if _number(error) in _TOO_BIG:
        context.is_disconnect = True  # no rollback over it, whose failure would hide this one
        size = _size(context)
        if size > _BIG:
            error.args = (
                _number(error),
                f'{error.args[1]}: a statement of {size / 2**20:.1f} MB was cut off; if that happens again, raise '
                'max_allowed_packet in the configuration of the server',
            )


def _size(context: ExceptionContext) -> int:
    rows = context.parameters or ()
    many = rows if isinstance(rows, list) else [rows]
    values = [v for row in many for v in (row.values() if isinstance(row, dict) else row)]
    return sum(len(value) for value in values if isinstance(value, str | bytes))


ROOM = Dialect(
    title='MariaDB or MySQL',
    engine=make_engine,
    driver='pymysql',
    extra='mysql',
    is_away=is_away,
    says=error_message,
    once_more=is_retryable,
    lock_schema=lock_schema,
    transactional_ddl=False,
)
