"""The context of SQL statements: the cluster and, for writes, the transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from attrs import field, frozen
from sqlalchemy import Connection, select, update

from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.secrets import Secrets
from zatotx.odb.tables import cluster, hash_name
from zatotx.schema.snapshot import Actor
from zatotx.schema.type_registry import ObjectTypeRegistry

CHUNK_SIZE = 500  # values in one IN (…): below the limit of every database

_T = TypeVar('_T')


@frozen(kw_only=True)
class ClusterContext:
    """The context for SQL statements about one cluster: its ID, object types and secrets."""

    id: int
    types: ObjectTypeRegistry
    secrets: Secrets = field(repr=False)
    now: Callable[[], float] = time.time  # Unix time, because nodes compare it


def find_cluster(connection: Connection, name: str, types: ObjectTypeRegistry, secrets: Secrets) -> ClusterContext:
    """Return the cluster with the given name. Raises ServiceUnavailable if it does not exist or was written with
    another key."""
    row = connection.execute(
        select(cluster.c.id, cluster.c.key_check).where(cluster.c.name_key == hash_name(name))
    ).one_or_none()
    if row is None:
        raise ServiceUnavailable(None, f'The ODB has no cluster called {name!r}: check `cluster` in server.toml')
    secrets.check_key(row.key_check)
    return ClusterContext(id=row.id, types=types, secrets=secrets)


def current_revision(connection: Connection, cluster_id: int) -> int:
    """Return the current revision of a cluster."""
    revision: int = connection.execute(select(cluster.c.revision).where(cluster.c.id == cluster_id)).scalar_one()
    return revision


@frozen(kw_only=True)
class Transaction:
    """A write transaction. Either all of its changes take effect at `revision`, or none of them does."""

    connection: Connection
    cluster: ClusterContext
    actor: Actor
    report_progress: Callable[[], None]  # reports progress; may raise to end the transaction
    revision: int


def begin_transaction(
    connection: Connection, cluster_: ClusterContext, actor: Actor, report_progress: Callable[[], None]
) -> Transaction:
    """Begin a transaction by locking the cluster, which serializes writes in every database. The time spent waiting for
    the lock counts against the timeout of the call."""
    query = select(cluster.c.revision).where(cluster.c.id == cluster_.id).with_for_update()
    revision = connection.execute(query).scalar_one() + 1
    return Transaction(
        connection=connection, cluster=cluster_, actor=actor, report_progress=report_progress, revision=revision
    )


def increment_revision(t: Transaction) -> None:
    """Mark the transaction as a change. The revision of the cluster is incremented once, no matter how often this
    function is called."""
    t.connection.execute(update(cluster).where(cluster.c.id == t.cluster.id).values(revision=t.revision))


def split_into_chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Split a sequence of values into chunks that fit into one SQL statement."""
    for start in range(0, len(values), CHUNK_SIZE):
        yield values[start : start + CHUNK_SIZE]
