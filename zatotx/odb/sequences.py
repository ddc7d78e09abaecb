"""Numbers that only ever grow, kept where no restart of Redis turns them back: the epochs of leases."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from zatotx.odb.statement_context import Cluster
from zatotx.odb.tables import cluster as cluster_table
from zatotx.odb.tables import counter, key_of


def next_epoch(connection: Connection, cluster: Cluster, name: str) -> int:
    """The number after the last one given for that name in this cluster; the first is 1."""
    _lock(connection, cluster)
    mine = counter.c.name == _row(cluster, name)
    last = connection.execute(select(counter.c.value).where(mine)).scalar_one_or_none()
    if last is None:
        connection.execute(insert(counter).values(name=_row(cluster, name), value=1))
        return 1
    connection.execute(update(counter).where(mine).values(value=last + 1))
    return int(last) + 1


def _lock(connection: Connection, cluster: Cluster) -> None:
    """One after another, the first of a name too, which has no row yet to be locked."""
    connection.execute(select(cluster_table.c.id).where(cluster_table.c.id == cluster.id).with_for_update())


def _row(cluster: Cluster, name: str) -> str:
    """Of a length that fits, and the same only for the same name."""
    return f'epoch:{key_of(f"{cluster.id}:{name}")[:56]}'
