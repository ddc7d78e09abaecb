"""The servers of the cluster: who is up, what each runs, what each said of a deployed version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, delete, insert, select, update

from zatotx.interfaces.config import NodeRow
from zatotx.model.faults import Conflict, NotFound
from zatotx.odb.context import Cluster, revision_of
from zatotx.odb.tables import file_version, key_of, server, version_verdict

RUNNING, CLEAN_DOWN = 'running', 'clean-down'  # Zato's words
ALIVE = 6.0  # seconds without a beat after which a server counts as gone


@frozen(kw_only=True)
class Address:
    """A server as it is told to others."""

    name: str
    host: str = ''
    port: int = 0
    pid: int = 0


def add_node(connection: Connection, cluster: Cluster, address: Address) -> None:
    """A row for a server that has not been up yet."""
    connection.execute(
        insert(server).values(
            cluster_id=cluster.id, name=address.name, name_key=key_of(address.name), **_bound(address)
        )
    )


def register(connection: Connection, cluster: Cluster, address: Address) -> NodeRow:
    """The server is up now. One that has no row yet gets it."""
    if _find(connection, cluster, address.name) is None:
        add_node(connection, cluster, address)
    up = {**_bound(address), 'pid': address.pid, 'up_status': RUNNING, 'applied_revision': 0}
    connection.execute(
        update(server)
        .where(server.c.cluster_id == cluster.id, server.c.name_key == key_of(address.name))
        .values(seen_at=cluster.now(), **up)
    )
    found = _find(connection, cluster, address.name)
    assert found is not None
    return _node(found)


def beat(
    connection: Connection, cluster: Cluster, node_id: int, applied_revision: int, verdicts: Mapping[int, str]
) -> int:
    """A sign of life. Gives the cluster's revision. Raises NotFound where the server's row is gone."""
    touched = connection.execute(
        update(server).where(server.c.id == node_id).values(seen_at=cluster.now(), applied_revision=applied_revision)
    )
    if touched.rowcount == 0:
        raise NotFound(None, f'the ODB has no server with the id {node_id}')
    if verdicts:
        _tell(connection, cluster, node_id, verdicts)
    return revision_of(connection, cluster.id)


def down(connection: Connection, node_id: int) -> None:
    """A clean stop."""
    connection.execute(update(server).where(server.c.id == node_id).values(up_status=CLEAN_DOWN, pid=0))


def remove(connection: Connection, cluster: Cluster, node_id: int) -> None:
    """Forget a server. Raises Conflict where it is up, NotFound for an unknown id."""
    mine = (server.c.id == node_id, server.c.cluster_id == cluster.id)
    found = connection.execute(select(server).where(*mine)).one_or_none()
    if found is None:
        raise NotFound(None, f'the ODB has no server with the id {node_id}')
    if found.up_status == RUNNING and cluster.now() - found.seen_at < ALIVE:
        raise Conflict(None, f'the server {found.name!r} is running: stop it first')
    connection.execute(delete(version_verdict).where(version_verdict.c.server_id == node_id))
    connection.execute(delete(server).where(*mine))


def nodes(connection: Connection, cluster: Cluster) -> list[NodeRow]:
    """All servers, by name."""
    rows = connection.execute(select(server).where(server.c.cluster_id == cluster.id))
    return sorted((_node(row) for row in rows), key=lambda node: node.name)


def verdicts_of(connection: Connection, cluster: Cluster, version_id: int) -> dict[str, str]:
    """Server name -> '' or why it refused the version."""
    rows = connection.execute(
        select(server.c.name, version_verdict.c.verdict)
        .join(version_verdict, version_verdict.c.server_id == server.c.id)
        .where(version_verdict.c.version_id == version_id, server.c.cluster_id == cluster.id)
    )
    return {row.name: row.verdict for row in rows}


def _tell(connection: Connection, cluster: Cluster, node_id: int, verdicts: Mapping[int, str]) -> None:
    """Write the verdicts that are news. A version that is no longer kept has none."""
    v = version_verdict.c
    kept = connection.execute(select(file_version.c.id).where(file_version.c.id.in_(list(verdicts)))).scalars().all()
    told = connection.execute(select(v.version_id, v.verdict).where(v.server_id == node_id, v.version_id.in_(kept)))
    known = {row.version_id: row.verdict for row in told}
    news = [i for i in kept if known.get(i) != verdicts[i]]
    if news:
        connection.execute(delete(version_verdict).where(v.server_id == node_id, v.version_id.in_(news)))
        connection.execute(
            insert(version_verdict),
            [{'version_id': i, 'server_id': node_id, 'verdict': verdicts[i], 'at': cluster.now()} for i in news],
        )


def _bound(address: Address) -> dict[str, Any]:
    return {'host': address.host, 'bind_host': address.host, 'bind_port': address.port}


def _find(connection: Connection, cluster: Cluster, name: str) -> Any | None:
    return connection.execute(
        select(server).where(server.c.cluster_id == cluster.id, server.c.name_key == key_of(name))
    ).one_or_none()


def _node(row: Any) -> NodeRow:
    return NodeRow(
        id=row.id,
        name=row.name,
        host=row.host,
        bind_host=row.bind_host,
        bind_port=row.bind_port,
        up_status=row.up_status,
        seen_at=row.seen_at,
        applied_revision=row.applied_revision,
        pid=row.pid,
        last_join_status=row.last_join_status,
    )
