"""What every statement on the ODB needs beside its connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from attrs import field, frozen
from sqlalchemy import Connection, select, update

from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.secrets import Secrets
from zatotx.odb.tables import cluster, key_of
from zatotx.schema.snapshot import Actor
from zatotx.schema.type_registry import ObjectTypes

CHUNK = 500  # values in one IN (…): below every database's limit

_T = TypeVar('_T')


@frozen(kw_only=True)
class Cluster:
    """One cluster of an ODB."""

    id: int
    types: ObjectTypes
    secrets: Secrets = field(repr=False)
    now: Callable[[], float] = time.time  # Unix time: nodes compare each other's


def find_cluster(connection: Connection, name: str, types: ObjectTypes, secrets: Secrets) -> Cluster:
    """The cluster of that name. Raises ServiceUnavailable where there is none, or the key is not its own."""
    row = connection.execute(
        select(cluster.c.id, cluster.c.key_check).where(cluster.c.name_key == key_of(name))
    ).one_or_none()
    if row is None:
        raise ServiceUnavailable(None, f'The ODB has no cluster called {name!r}: look at `cluster` in server.toml')
    secrets.check(row.key_check)
    return Cluster(id=row.id, types=types, secrets=secrets)


def revision_of(connection: Connection, cluster_id: int) -> int:
    revision: int = connection.execute(select(cluster.c.revision).where(cluster.c.id == cluster_id)).scalar_one()
    return revision


@frozen(kw_only=True)
class Transaction:
    """A write under way: what is done in it becomes true at `revision`, all of it or nothing."""

    connection: Connection
    cluster: Cluster
    actor: Actor
    moved: Callable[[], None]  # called as the work goes on; may raise to end it
    revision: int


def begin(connection: Connection, cluster_: Cluster, actor: Actor, moved: Callable[[], None]) -> Transaction:
    """Lock the cluster, so that writes come one after another on every database. To have it is no progress yet: who
    waited for it long has the less time for what is left, and its caller an answer in time."""
    found = select(cluster.c.revision).where(cluster.c.id == cluster_.id).with_for_update()
    revision = connection.execute(found).scalar_one() + 1
    return Transaction(connection=connection, cluster=cluster_, actor=actor, moved=moved, revision=revision)


def next_revision(t: Transaction) -> None:
    """Say that this transaction changes something. Once or more often: it is raised by one."""
    t.connection.execute(update(cluster).where(cluster.c.id == t.cluster.id).values(revision=t.revision))


def chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The values, as many at a time as one statement takes."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
