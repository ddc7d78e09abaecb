"""The servers of the cluster: who is up, what each runs, what each said of a deployed version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from zatotx.interfaces.config import NodeRow
from zatotx.model.errors import Conflict, NotFound
from zatotx.odb.statement_context import Cluster, revision_of
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
    worker: int = 0  # of several processes of one server: 0, 1, 2 …


def add_node(connection: Connection, cluster: Cluster, address: Address) -> None:
    """A row for a server that has not been up yet."""
    connection.execute(
        insert(server).values(
            cluster_id=cluster.id,
            name=address.name,
            name_key=key_of(address.name),
            worker=address.worker,
            **_bound(address),
        )
    )


def register(connection: Connection, cluster: Cluster, address: Address) -> NodeRow:
    """The server is up now. One that has no row yet gets it."""
    if _find(connection, cluster, address) is None:
        add_node(connection, cluster, address)
    up = {**_bound(address), 'pid': address.pid, 'up_status': RUNNING, 'applied_revision': 0}
    connection.execute(
        update(server)
        .where(*_is(cluster, address))
        .values(seen_at=cluster.now(), **up)
    )
    found = _find(connection, cluster, address)
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


def remove_nodes(connection: Connection, cluster: Cluster, node_id: int) -> None:
    """Forget a server, with all its workers. Raises Conflict where it is up, NotFound for an unknown id."""
    found = connection.execute(
        select(server).where(server.c.id == node_id, server.c.cluster_id == cluster.id)
    ).one_or_none()
    if found is None:
        raise NotFound(None, f'the ODB has no server with the id {node_id}')
    workers = connection.execute(
        select(server).where(server.c.cluster_id == cluster.id, server.c.name_key == found.name_key)
    ).all()
    if any(_lives(worker, cluster.now()) for worker in workers):
        raise Conflict(None, f'the server {found.name!r} is running: stop it first')
    ids = [worker.id for worker in workers]
    connection.execute(delete(version_verdict).where(version_verdict.c.server_id.in_(ids)))
    connection.execute(delete(server).where(server.c.id.in_(ids)))


def nodes(connection: Connection, cluster: Cluster) -> list[NodeRow]:
    """All workers of all servers, by name and worker."""
    rows = connection.execute(select(server).where(server.c.cluster_id == cluster.id))
    return sorted((_node(row) for row in rows), key=lambda node: (node.name, node.worker))


def verdicts_of(connection: Connection, cluster: Cluster, version_id: int) -> dict[str, str]:
    """Server name -> '' where its workers run the version, else why the first of them refused it. Left out while a
    worker that is up has not said."""
    told = and_(version_verdict.c.server_id == server.c.id, version_verdict.c.version_id == version_id)
    rows = connection.execute(
        select(server.c.name, server.c.up_status, server.c.seen_at, version_verdict.c.verdict)
        .join_from(server, version_verdict, told, isouter=True)
        .where(server.c.cluster_id == cluster.id)
        .order_by(server.c.worker)
    )
    found: dict[str, str] = {}
    silent = set()
    for row in rows:
        if row.verdict is not None:
            found[row.name] = found.get(row.name) or row.verdict
        elif _lives(row, cluster.now()):
            silent.add(row.name)
    return {name: verdict for name, verdict in found.items() if verdict or name not in silent}


def _lives(row: Any, now: float) -> bool:
    """Up by its own word, and heard of lately."""
    return bool(row.up_status == RUNNING and now - row.seen_at < ALIVE)


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


def _is(cluster: Cluster, address: Address) -> tuple[ColumnElement[bool], ...]:
    s = server.c
    return s.cluster_id == cluster.id, s.name_key == key_of(address.name), s.worker == address.worker


def _find(connection: Connection, cluster: Cluster, address: Address) -> Any | None:
    return connection.execute(select(server).where(*_is(cluster, address))).one_or_none()


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
        worker=row.worker,
    )
