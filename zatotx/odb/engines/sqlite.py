"""The SQLite dialect. SQLite is the default database of an environment.

- WAL mode: readers never wait for the writer. A committed transaction is in the operating system's cache, so it
survives kill -9 of the process; `synchronous=NORMAL` loses only the last ones when the machine loses power.
- A writing transaction takes the write lock at its start (`BEGIN IMMEDIATE`), so none fails later for lack of it.
- The file, and the -wal and -shm files that SQLite creates with its mode, are 0600 whatever the umask.
- A file that was moved or replaced is detected: its connections are not used again.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from zatotx.odb.engines.dialect import MIGRATION_LOCK_TIMEOUT, STATEMENT_TIMEOUT, Dialect, Purpose, max_connections


def make_engine(url: URL, purpose: Purpose) -> Engine:
    """Create an SQLAlchemy engine for an existing file. The function never creates a file. Foreign keys are disabled
    for migrations, because recreating a table would delete the rows that refer to it."""
    path = url.database
    assert path is not None
    engine = create_engine(
        'sqlite+pysqlite://',
        creator=lambda: _connect(path, purpose),
        poolclass=QueuePool,
        pool_size=max_connections(purpose),
        max_overflow=0,
        pool_timeout=STATEMENT_TIMEOUT,
        hide_parameters=True,
    )
    begin = 'BEGIN' if purpose == 'read' else 'BEGIN IMMEDIATE'
    event.listen(engine, 'begin', lambda connection: _begin(connection, begin))
    event.listen(engine, 'connect', lambda _, record: record.info.update(file=_identity(path)))
    event.listen(engine, 'checkout', lambda _, record, __: _require_same_file(record.info, path))
    return engine


def create_database_file(path: str) -> None:
    """Create the empty database file of a new ODB. Raises OSError if the file exists or if its directory does not
    exist."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = _connect(path, 'write')
    connection.execute('PRAGMA journal_mode=WAL')
    connection.close()


def _connect(path: str, purpose: Purpose) -> sqlite3.Connection:
    _restrict_permissions(path)
    connection = sqlite3.connect(
        f'file:{quote(path)}?mode=rw',  # never creates a file
        uri=True,
        timeout=MIGRATION_LOCK_TIMEOUT
        if purpose == 'migrate'
        else STATEMENT_TIMEOUT,  # how long to wait for another process's write
        isolation_level=None,  # _begin begins transactions, so that they include DDL
        check_same_thread=False,
    )
    connection.execute(f'PRAGMA foreign_keys={"OFF" if purpose == "migrate" else "ON"}')
    connection.execute('PRAGMA synchronous=NORMAL')
    return connection


def _restrict_permissions(path: str) -> None:
    for file in (path, path + '-wal', path + '-shm'):
        try:
            mode = Path(file).stat().st_mode
            if mode & 0o077:
                Path(file).chmod(0o600)
        except FileNotFoundError:
            continue


def _begin(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _require_same_file(info: dict[Any, Any], path: str) -> None:
    if info.get('file') is None or info['file'] != _identity(path):
        raise DisconnectionError('the file of the ODB was replaced')


def is_unavailable(error: Exception) -> bool:
    """Return whether an error was caused by the database rather than by the statement. SQLite raises a plain
    DatabaseError for a file that is malformed or not a database."""
    return isinstance(error, OperationalError | InterfaceError) or type(error) is DatabaseError


DIALECT = Dialect(
    title='SQLite',
    make_engine=make_engine,
    driver='sqlite3',
    is_unavailable=is_unavailable,
    error_message=str,
    is_retryable=lambda error: False,  # a writer holds the lock from its start, so conflicts cannot occur
    lock_schema=lambda connection: None,  # BEGIN IMMEDIATE is the lock
    transactional_ddl=True,
)
