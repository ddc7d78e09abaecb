"""Stores the current scheduler leader of each cluster in the ODB. Each cluster has one row, whose epoch increases with
each leader.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, insert, select, update

from zatotx.interfaces.scheduler import LeaderRecord
from zatotx.odb.tables import cluster as cluster_table
from zatotx.odb.tables import scheduler_leader
from zatotx.odb.transaction import ClusterContext

_l = scheduler_leader.c


def read_leader(connection: Connection, cluster: ClusterContext) -> LeaderRecord:
    """Return the record of the leader; the epoch is 0 if there has never been a leader."""
    row = connection.execute(select(scheduler_leader).where(_l.cluster_id == cluster.id)).one_or_none()
    if row is None:
        return LeaderRecord()
    return LeaderRecord(epoch=row.epoch, lease_token=row.lease_token, node=row.node, node_id=row.node_id,
                        since=row.since, confirmed_at=row.confirmed_at, written_until=row.written_until)  # fmt: skip


def claim_leadership(
    connection: Connection, cluster: ClusterContext, expected_epoch: int, lease_token: int, *, node: str, node_id: int
) -> int:
    """Make a node the leader and return its epoch, or return 0 if the current epoch is not the expected one."""
    # Serializes claims, as the first one has no row to lock yet.
    connection.execute(select(cluster_table.c.id).where(cluster_table.c.id == cluster.id).with_for_update())
    current = read_leader(connection, cluster)
    if current.epoch != expected_epoch:
        return 0
    now, epoch = cluster.now(), expected_epoch + 1
    row = {'epoch': epoch, 'lease_token': lease_token, 'node': node, 'node_id': node_id, 'since': now,
           'confirmed_at': now}  # fmt: skip
    if expected_epoch:
        connection.execute(update(scheduler_leader).where(_l.cluster_id == cluster.id).values(row))
    else:
        connection.execute(insert(scheduler_leader).values(cluster_id=cluster.id, written_until=0.0, **row))
    return epoch


def confirm_leadership(connection: Connection, cluster: ClusterContext, epoch: int, written_until: float) -> bool:
    """Record that the leader of an epoch is still active, and return whether this epoch is the newest one."""
    changes = {'confirmed_at': cluster.now(), 'written_until': written_until}
    return _update(connection, cluster, epoch, changes)


def resign_leadership(connection: Connection, cluster: ClusterContext, epoch: int, written_until: float) -> None:
    """Record that the leader of an epoch has resigned."""
    _update(connection, cluster, epoch, {'node': '', 'node_id': 0, 'written_until': written_until})


def _update(connection: Connection, cluster: ClusterContext, epoch: int, changes: Mapping[str, object]) -> bool:
    statement = update(scheduler_leader).where(_l.cluster_id == cluster.id, _l.epoch == epoch).values(changes)
    return connection.execute(statement).rowcount > 0
