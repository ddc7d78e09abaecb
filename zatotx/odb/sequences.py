"""Sequences that never go back, not even after a restart of Redis: the epochs of leases."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from zatotx.odb.tables import cluster as cluster_table
from zatotx.odb.tables import counter, hash_name
from zatotx.odb.transaction import Cluster


def next_epoch(connection: Connection, cluster: Cluster, name: str) -> int:
    """Return the next number of the sequence `name` of this cluster; the first is 1."""
    _lock_cluster(connection, cluster)
    is_sequence = counter.c.name == _counter_name(cluster, name)
    last = connection.execute(select(counter.c.value).where(is_sequence)).scalar_one_or_none()
    if last is None:
        connection.execute(insert(counter).values(name=_counter_name(cluster, name), value=1))
        return 1
    connection.execute(update(counter).where(is_sequence).values(value=last + 1))
    return int(last) + 1


def _lock_cluster(connection: Connection, cluster: Cluster) -> None:
    """Serialize callers, including the first one of a sequence, which has no row to lock yet."""
    connection.execute(select(cluster_table.c.id).where(cluster_table.c.id == cluster.id).with_for_update())


def _counter_name(cluster: Cluster, name: str) -> str:
    """Return a counter name that fits its column and differs for different names."""
    return f'epoch:{hash_name(f"{cluster.id}:{name}")[:56]}'
