"""The servers of a cluster in the ODB: their state, the revision that each server has applied, and the results of
deployments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from zatotx import __version__
from zatotx.interfaces.config import NodeLoad, NodeRow
from zatotx.model.errors import Conflict, NotFound
from zatotx.odb.tables import file_version, hash_name, server, version_verdict
from zatotx.odb.transaction import ClusterContext, current_revision

RUNNING, CLEAN_DOWN = 'running', 'clean-down'  # Zato's terms
HEARTBEAT_TIMEOUT = 6.0  # seconds without a heartbeat after which a server counts as down


@frozen(kw_only=True)
class NodeAddress:
    """The address of a server's worker process."""

    name: str
    host: str = ''
    port: int = 0
    pid: int = 0
    worker: int = 0  # index among the worker processes of one server: 0, 1, 2 …


def add_node(connection: Connection, cluster: ClusterContext, address: NodeAddress) -> None:
    """Insert a row for a server that has never been started."""
    connection.execute(
        insert(server).values(
            cluster_id=cluster.id,
            name=address.name,
            name_key=hash_name(address.name),
            worker=address.worker,
            **_address_columns(address),
        )
    )


def register_node(connection: Connection, cluster: ClusterContext, address: NodeAddress) -> NodeRow:
    """Mark a server as running, and insert its row if it does not exist."""
    if _find_row(connection, cluster, address) is None:
        add_node(connection, cluster, address)
    running = {**_address_columns(address), 'pid': address.pid, 'up_status': RUNNING, 'applied_revision': 0,
               'version': __version__, **_load_columns(NodeLoad())}  # fmt: skip
    connection.execute(
        update(server)
        .where(*_is_worker(cluster, address))
        .values(seen_at=cluster.now(), **running)
    )
    row = _find_row(connection, cluster, address)
    assert row is not None
    return _to_node(row)


def record_heartbeat(
    connection: Connection,
    cluster: ClusterContext,
    node_id: int,
    applied_revision: int,
    *,
    verdicts: Mapping[int, str],
    load: NodeLoad,
) -> int:
    """Record a heartbeat, and return the cluster's revision. Raises NotFound if the server's row was removed."""
    updated = connection.execute(
        update(server)
        .where(server.c.id == node_id)
        .values(seen_at=cluster.now(), applied_revision=applied_revision, **_load_columns(load))
    )
    if updated.rowcount == 0:
        raise NotFound(None, f'the ODB has no server with the id {node_id}')
    if verdicts:
        _store_verdicts(connection, cluster, node_id, verdicts)
    return current_revision(connection, cluster.id)


def mark_stopped(connection: Connection, node_id: int) -> None:
    """Mark a server as stopped. It has shut down cleanly."""
    connection.execute(update(server).where(server.c.id == node_id).values(up_status=CLEAN_DOWN, pid=0))


def rename_nodes(connection: Connection, cluster: ClusterContext, name: str, new_name: str) -> None:
    """Rename a server and all of its workers. Raises Conflict if a server with the new name exists, and NotFound for an
    unknown name."""
    s = server.c
    has_new_name = s.cluster_id == cluster.id, s.name_key == hash_name(new_name)
    if connection.execute(select(s.id).where(*has_new_name)).first() is not None:
        raise Conflict(None, f'there is a server named {new_name!r} already')
    renamed = connection.execute(
        update(server)
        .where(s.cluster_id == cluster.id, s.name_key == hash_name(name))
        .values(name=new_name, name_key=hash_name(new_name))
    )
    if renamed.rowcount == 0:
        raise NotFound(None, f'the ODB has no server named {name!r}')


def remove_nodes(connection: Connection, cluster: ClusterContext, node_id: int) -> None:
    """Remove a server and all of its workers. Raises Conflict if the server is running, and NotFound for an unknown
    ID."""
    node = connection.execute(
        select(server).where(server.c.id == node_id, server.c.cluster_id == cluster.id)
    ).one_or_none()
    if node is None:
        raise NotFound(None, f'the ODB has no server with the id {node_id}')
    workers = connection.execute(
        select(server).where(server.c.cluster_id == cluster.id, server.c.name_key == node.name_key)
    ).all()
    if any(_is_alive(worker, cluster.now()) for worker in workers):
        raise Conflict(None, f'the server {node.name!r} is running: stop it first')
    ids = [worker.id for worker in workers]
    connection.execute(delete(version_verdict).where(version_verdict.c.server_id.in_(ids)))
    connection.execute(delete(server).where(server.c.id.in_(ids)))


def list_nodes(connection: Connection, cluster: ClusterContext) -> list[NodeRow]:
    """Return all workers of all servers, ordered by name and worker."""
    rows = connection.execute(select(server).where(server.c.cluster_id == cluster.id))
    return sorted((_to_node(row) for row in rows), key=lambda node: (node.name, node.worker))


def deployment_results_by_server(connection: Connection, cluster: ClusterContext, version_id: int) -> dict[str, str]:
    """Return the result of a deployment for each server, by server name. The result is '' if all workers run the
    version, otherwise the reason why the first worker rejected it. A server is omitted while one of its running workers
    has not reported a result."""
    is_verdict_of_server = and_(version_verdict.c.server_id == server.c.id, version_verdict.c.version_id == version_id)
    rows = connection.execute(
        select(server.c.name, server.c.up_status, server.c.seen_at, version_verdict.c.verdict)
        .join_from(server, version_verdict, is_verdict_of_server, isouter=True)
        .where(server.c.cluster_id == cluster.id)
        .order_by(server.c.worker)
    )
    verdicts: dict[str, str] = {}
    unreported = set()
    for row in rows:
        if row.verdict is not None:
            verdicts[row.name] = verdicts.get(row.name) or row.verdict
        elif _is_alive(row, cluster.now()):
            unreported.add(row.name)
    return {name: verdict for name, verdict in verdicts.items() if verdict or name not in unreported}


def _is_alive(row: Any, now: float) -> bool:
    """Return whether a server is marked as running and sent a heartbeat recently."""
    return bool(row.up_status == RUNNING and now - row.seen_at < HEARTBEAT_TIMEOUT)


def _store_verdicts(connection: Connection, cluster: ClusterContext, node_id: int, verdicts: Mapping[int, str]) -> None:
    """Store new verdicts; those of versions that are no longer kept are ignored."""
    v = version_verdict.c
    kept = connection.execute(select(file_version.c.id).where(file_version.c.id.in_(list(verdicts)))).scalars().all()
    stored = connection.execute(select(v.version_id, v.verdict).where(v.server_id == node_id, v.version_id.in_(kept)))
    known = {row.version_id: row.verdict for row in stored}
    changed = [i for i in kept if known.get(i) != verdicts[i]]
    if changed:
        connection.execute(delete(version_verdict).where(v.server_id == node_id, v.version_id.in_(changed)))
        connection.execute(
            insert(version_verdict),
            [{'version_id': i, 'server_id': node_id, 'verdict': verdicts[i], 'at': cluster.now()} for i in changed],
        )


def _address_columns(address: NodeAddress) -> dict[str, Any]:
    return {'host': address.host, 'bind_host': address.host, 'bind_port': address.port}


def _load_columns(load: NodeLoad) -> dict[str, Any]:
    return {'cpu': load.cpu, 'in_flight': load.in_flight}


def _is_worker(cluster: ClusterContext, address: NodeAddress) -> tuple[ColumnElement[bool], ...]:
    s = server.c
    return s.cluster_id == cluster.id, s.name_key == hash_name(address.name), s.worker == address.worker


def _find_row(connection: Connection, cluster: ClusterContext, address: NodeAddress) -> Any | None:
    return connection.execute(select(server).where(*_is_worker(cluster, address))).one_or_none()


def _to_node(row: Any) -> NodeRow:
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
        version=row.version,
        cpu=row.cpu,
        in_flight=row.in_flight,
    )
