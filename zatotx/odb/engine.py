"""The SQLAlchemy engine over an SQLite file, with the settings everything above relies on.

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

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

from zatotx.odb.urls import parsed

BUSY_TIMEOUT = 3.5  # seconds to wait for another process's write; below lanes.DEADLINE
READERS = 3
WRITE = 'zatotx_write'  # execution option of a connection whose transactions write


def make_engine(url: str, *, migrating: bool = False) -> Engine:
    """An engine over an existing file: it makes none. `migrating`: foreign keys are not looked after, since a
    table that is written anew would take the rows that refer to it with it. Raises ValueError for a URL that cannot be
    used."""
    path = parsed(url).database
    assert path is not None
    engine = create_engine(
        'sqlite+pysqlite://',
        creator=lambda: _connect(path, foreign_keys=not migrating),
        poolclass=QueuePool,
        pool_size=READERS + 1,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT,
    )
    event.listen(engine, 'begin', _begin)
    event.listen(engine, 'connect', lambda _, record: record.info.update(file=_identity(path)))
    event.listen(engine, 'checkout', lambda _, record, __: _same_file(record.info, path))
    return engine


def make_file(url: str) -> None:
    """Make the empty database of a new ODB. Raises OSError where the file exists or its directory does not."""
    path = parsed(url).database
    assert path is not None
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = _connect(path)
    connection.execute('PRAGMA journal_mode=WAL')
    connection.close()


def _connect(path: str, *, foreign_keys: bool = True) -> sqlite3.Connection:
    _close_to_others(path)
    connection = sqlite3.connect(
        f'file:{quote(path)}?mode=rw',  # never makes a file
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # transactions are begun by _begin, so that they hold DDL too
        check_same_thread=False,
    )
    connection.execute(f'PRAGMA foreign_keys={"ON" if foreign_keys else "OFF"}')
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


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql('BEGIN IMMEDIATE' if connection.get_execution_options().get(WRITE) else 'BEGIN')


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _same_file(info: dict[Any, Any], path: str) -> None:
    if info.get('file') is None or info['file'] != _identity(path):
        raise DisconnectionError('the file of the ODB is another one now')
