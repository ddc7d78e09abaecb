"""Checks the health of an ODB for `zatotx doctor`. The functions block, and have no side effects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, select, text, update
from sqlalchemy.exc import DBAPIError

from zatotx.interfaces.config import NodeRow
from zatotx.interfaces.scheduler import NO_LEADER, LeaderRecord
from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.database import Database
from zatotx.odb.dead_letters import count_dead_letters
from zatotx.odb.engine_factory import dialect_of, driver_message, make_engine
from zatotx.odb.nodes import list_nodes
from zatotx.odb.odb_urls import parse_odb_url, sqlite_path
from zatotx.odb.scheduler_leader import read_leader
from zatotx.odb.tables import cluster, config_object
from zatotx.odb.transaction import ClusterContext, current_revision
from zatotx.wire.url_masking import mask_url

# Queries of the database server's clock as Unix time. SQLite uses the clock of this machine.
_CLOCK_QUERIES = {
    'postgresql': 'SELECT extract(epoch FROM clock_timestamp())',
    'mysql': 'SELECT UNIX_TIMESTAMP(NOW(6))',
}
_SIZE_QUERIES = {
    'postgresql': 'SELECT pg_database_size(current_database())',
    'mysql': 'SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = database()',
}


@frozen(kw_only=True)
class OdbHealth:
    """The state of a usable ODB at the time of a check."""

    url: str  # masked
    title: str  # 'SQLite', 'PostgreSQL' …
    revision: int
    nodes: tuple[NodeRow, ...]
    size: int  # bytes
    # seconds that the database's clock is ahead of the local one, corrected by the round trip; 0 for SQLite
    clock_offset: float
    round_trip: float  # round-trip time in seconds
    dead_letters: int = 0
    leader: LeaderRecord = NO_LEADER  # of the scheduler
    object_types: frozenset[str] = frozenset()  # keys of the types of which there are objects


def check_odb_health(database: Database, *, write: bool = True) -> OdbHealth:
    """Check the ODB and close it. Raises errors of the data model if the ODB is unreachable, has another schema
    version, lacks the cluster, was written with another key or, with `write`, rejects writes."""
    with closing(database):
        dialect = dialect_of(database.url)
        backend = _backend(database.url)
        revision, rows, size, (ahead, round_trip), letters, leader, types = database.read(
            lambda connection, found: (
                current_revision(connection, found.id), tuple(list_nodes(connection, found)),
                _size(connection, backend, database.url), _measure_clock(connection, backend),
                count_dead_letters(connection, found), read_leader(connection, found),
                _used_types(connection, found),
            )
        )
        if write:
            check_writable(database)
        return OdbHealth(url=mask_url(database.url), title=dialect.title, revision=revision, nodes=rows, size=size,
                         clock_offset=ahead, round_trip=round_trip, dead_letters=letters, leader=leader,
                         object_types=types)


def _used_types(connection: Connection, found: ClusterContext) -> frozenset[str]:
    """Return the types of the cluster's objects."""
    query = select(config_object.c.type).where(config_object.c.cluster_id == found.id).distinct()
    return frozenset(connection.execute(query).scalars())


def check_writable(database: Database) -> None:
    """Check that the database accepts writes, by writing and rolling back. Raises ServiceUnavailable if the database
    does not accept writes."""
    found: ClusterContext = database.read(lambda _, cluster_: cluster_)
    engine = make_engine(database.url, 'write')
    try:
        with engine.connect() as connection, _rolled_back(connection):
            connection.execute(update(cluster).where(cluster.c.id == found.id).values(revision=cluster.c.revision))
    except DBAPIError as error:
        message = f'The ODB ({mask_url(database.url)}) rejects writes: {driver_message(error, database.url)}'
        raise ServiceUnavailable(None, f'{message}; check whether it is locked, read-only or full') from error
    finally:
        engine.dispose()


@contextmanager
def _rolled_back(connection: Connection) -> Iterator[None]:
    transaction = connection.begin()
    try:
        yield
    finally:
        transaction.rollback()


def _backend(url: str) -> str:
    name: str = parse_odb_url(url).get_backend_name()
    return name


def _measure_clock(connection: Connection, backend: str) -> tuple[float, float]:
    """Return how far the database's clock is ahead of the local one, and the round-trip time, both in seconds."""
    if backend not in _CLOCK_QUERIES:
        return 0.0, 0.0
    before = time.time()
    database_time = float(_scalar(connection, _CLOCK_QUERIES[backend]))
    after = time.time()
    return database_time - (before + after) / 2, after - before


def _size(connection: Connection, backend: str, url: str) -> int:
    if backend in _SIZE_QUERIES:
        return int(_scalar(connection, _SIZE_QUERIES[backend]) or 0)
    path = sqlite_path(url)
    return sum(file.stat().st_size for file in (Path(f'{path}{suffix}') for suffix in ('', '-wal')) if file.exists())


def _scalar(connection: Connection, statement: str) -> Any:
    return connection.execute(text(statement)).scalar_one()
