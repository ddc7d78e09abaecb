"""SQLite, a file: the database of an environment that names none.

- WAL: readers never wait for the writer. A committed transaction is in the operating system's hands, so it survives
  kill -9 of the process; `synchronous=NORMAL` gives up only the last ones when the machine itself loses power.
- A writing transaction takes the write lock at its begin (`BEGIN IMMEDIATE`), so none fails half way for a lock.
- The file and what SQLite puts beside it are 0600 whatever the umask: SQLite gives -wal and -shm the file's mode.
- A file that was moved away or replaced is noticed: its connections are not used again.
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

from zatotx.odb.engines.dialect import MIGRATION_LOCK, STATEMENT, Dialect, Purpose, max_connections


def make_engine(url: URL, purpose: Purpose) -> Engine:
    """An engine over an existing file: it makes none. To migrate, foreign keys are not looked after, since a table that
    is written anew would take the rows that refer to it with it."""
    path = url.database
    assert path is not None
    engine = create_engine(
        'sqlite+pysqlite://',
        creator=lambda: _connect(path, purpose),
        poolclass=QueuePool,
        pool_size=max_connections(purpose),
        max_overflow=0,
        pool_timeout=STATEMENT,
        hide_parameters=True,
    )
    begin = 'BEGIN' if purpose == 'read' else 'BEGIN IMMEDIATE'
    event.listen(engine, 'begin', lambda connection: _begin(connection, begin))
    event.listen(engine, 'connect', lambda _, record: record.info.update(file=_identity(path)))
    event.listen(engine, 'checkout', lambda _, record, __: _same_file(record.info, path))
    return engine


def make_file(path: str) -> None:
    """Make the empty database of a new ODB. Raises OSError where the file exists or its directory does not."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = _connect(path, 'write')
    connection.execute('PRAGMA journal_mode=WAL')
    connection.close()


def _connect(path: str, purpose: Purpose) -> sqlite3.Connection:
    _close_to_others(path)
    connection = sqlite3.connect(
        f'file:{quote(path)}?mode=rw',  # never makes a file
        uri=True,
        timeout=MIGRATION_LOCK if purpose == 'migrate' else STATEMENT,  # to wait for another process's write
        isolation_level=None,  # transactions are begun by _begin, so that they hold DDL too
        check_same_thread=False,
    )
    connection.execute(f'PRAGMA foreign_keys={"OFF" if purpose == "migrate" else "ON"}')
    connection.execute('PRAGMA synchronous=NORMAL')
    return connection


def _close_to_others(path: str) -> None:
    for each in (path, path + '-wal', path + '-shm'):
        try:
            mode = Path(each).stat().st_mode
            if mode & 0o077:
                Path(each).chmod(0o600)
        except FileNotFoundError:
            continue


def _begin(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _same_file(info: dict[Any, Any], path: str) -> None:
    if info.get('file') is None or info['file'] != _identity(path):
        raise DisconnectionError('the file of the ODB is another one now')


def is_away(error: Exception) -> bool:
    """A plain DatabaseError is what SQLite says of a file that is malformed or none of its own."""
    return isinstance(error, OperationalError | InterfaceError) or type(error) is DatabaseError


ROOM = Dialect(
    title='SQLite',
    engine=make_engine,
    driver='sqlite3',
    is_away=is_away,
    says=str,
    once_more=lambda error: False,  # a writer has the lock from its begin: nothing can come between
    lock_schema=lambda connection: None,  # BEGIN IMMEDIATE is that lock
    transactional_ddl=True,
)
