"""How an ODB is, for `zatotx doctor`: one look, in the thread that calls, that leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, text, update
from sqlalchemy.exc import DBAPIError

from zatotx.interfaces.config import NodeRow
from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.database import Database
from zatotx.odb.engine import dialect_of, make_engine
from zatotx.odb.error_mapping import reason
from zatotx.odb.nodes import nodes
from zatotx.odb.statement_context import Cluster, revision_of
from zatotx.odb.tables import cluster
from zatotx.odb.urls import file_of, mask_password, parse_url

# What the clock of a database server says, in Unix time. SQLite has none but this machine's.
_CLOCKS = {
    'postgresql': 'SELECT extract(epoch FROM clock_timestamp())',
    'mysql': 'SELECT UNIX_TIMESTAMP(NOW(6))',
}
_SIZES = {
    'postgresql': 'SELECT pg_database_size(current_database())',
    'mysql': 'SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = database()',
}


@frozen(kw_only=True)
class OdbHealth:
    """One look at an ODB that could be used."""

    url: str  # masked
    title: str  # 'SQLite', 'PostgreSQL' …
    revision: int
    nodes: tuple[NodeRow, ...]
    size: int  # bytes
    ahead: float  # seconds that the database's clock is ahead of ours, its answer's way aside; 0 of a file's
    way: float  # seconds that its answer took


def examine_odb(database: Database, *, write: bool = True) -> OdbHealth:
    """The ODB as it is now; the database is closed then. Raises faults: it is away, of another schema, has no such
    cluster, was written with another key, or, where that is to be tried, takes no writes."""
    with closing(database):
        known = dialect_of(database.url)
        backend = _backend(database.url)
        revision, rows, size, (ahead, way) = database.read(
            lambda connection, found: (
                revision_of(connection, found.id), tuple(nodes(connection, found)),
                _size(connection, backend, database.url), _clock(connection, backend),
            )
        )
        if write:
            try_to_write(database)
        return OdbHealth(url=mask_password(database.url), title=known.title, revision=revision, nodes=rows, size=size,
                         ahead=ahead, way=way)


def try_to_write(database: Database) -> None:
    """A write that is taken back. Raises ServiceUnavailable where the database takes none."""
    found: Cluster = database.read(lambda _, cluster_: cluster_)
    engine = make_engine(database.url, 'write')
    try:
        with engine.connect() as connection, _taken_back(connection):
            connection.execute(update(cluster).where(cluster.c.id == found.id).values(revision=cluster.c.revision))
    except DBAPIError as error:
        said = f'The ODB ({mask_password(database.url)}) takes no writes: {reason(error, database.url)}'
        raise ServiceUnavailable(None, f'{said}; see who holds it, and whether it is read-only or full') from error
    finally:
        engine.dispose()


@contextmanager
def _taken_back(connection: Connection) -> Iterator[None]:
    transaction = connection.begin()
    try:
        yield
    finally:
        transaction.rollback()


def _backend(url: str) -> str:
    name: str = parse_url(url).get_backend_name()
    return name


def _clock(connection: Connection, backend: str) -> tuple[float, float]:
    """How far it is ahead of ours, and how long its answer took."""
    if backend not in _CLOCKS:
        return 0.0, 0.0
    before = time.time()
    theirs = float(_scalar(connection, _CLOCKS[backend]))
    after = time.time()
    return theirs - (before + after) / 2, after - before


def _size(connection: Connection, backend: str, url: str) -> int:
    if backend in _SIZES:
        return int(_scalar(connection, _SIZES[backend]) or 0)
    path = file_of(url)
    return sum(each.stat().st_size for each in (Path(f'{path}{end}') for end in ('', '-wal')) if each.exists())


def _scalar(connection: Connection, statement: str) -> Any:
    return connection.execute(text(statement)).scalar_one()
