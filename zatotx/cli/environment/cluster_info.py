"""Reads information about the cluster from the ODB of an environment: revision, leader and nodes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from zatotx.cli.environment.environment_layout import Environment, cluster_name
from zatotx.cli.environment.odb_and_redis_access import all_object_types, convert_errors, odb_url
from zatotx.cli.environment.secret_key_access import any_server, read_secret_key
from zatotx.cli.errors import CommandError
from zatotx.rules.resilience.process_supervision import NODE_TIMEOUT
from zatotx.wire.url_masking import mask_url

RUNNING = 'running'  # status in a node's row until it is stopped


def read_cluster_info(environment: Environment) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Return the URL of the ODB with its password masked, the revision of the cluster, and the rows of the nodes."""
    from zatotx.odb.odb_health import check_odb_health
    from zatotx.odb.offline_operations import open_database

    url = ''
    try:
        part = any_server(environment)
        with convert_errors():
            url = odb_url(part)
            opened = open_database(
                url, read_secret_key(part), cluster=cluster_name(environment), types=all_object_types()
            )
            health = check_odb_health(opened, write=False)
    except (CommandError, OSError) as error:
        return {'url': mask_url(url) if url else '', 'problem': str(error)}, {}, []
    leader = health.leader
    rows = [
        {**node_row_to_dict(row, time.time()), 'is_leader': bool(leader.node) and row.id == leader.node_id}
        for row in without_stopped_workers(health.nodes)
    ]
    return {'url': health.url, 'problem': ''}, {'revision': health.revision, 'leader': leader.node or None}, rows


def without_stopped_workers(rows: Iterable[Any]) -> list[Any]:
    """Return the rows without stopped workers whose number is above 0. Such rows are left over when workers were
    replaced."""
    return [row for row in rows if row.worker == 0 or row.up_status == RUNNING]


def node_row_to_dict(row: Any, now: float) -> dict[str, Any]:
    """Convert the row of a node or worker to a dict for output. `row` is a NodeRow, and `now` is Unix time in
    seconds."""
    up = row.up_status == RUNNING
    return {
        'name': row.name,
        'worker': row.worker,
        'state': ('running' if now - row.seen_at < NODE_TIMEOUT else 'gone') if up else 'stopped',
        'address': f'{row.host}:{row.bind_port}' if row.bind_port else row.host,
        'pid': row.pid,
        'revision': row.applied_revision,
        'version': row.version,
        'cpu': row.cpu,
        'in_flight': row.in_flight,
        'seen': datetime.fromtimestamp(row.seen_at, UTC).isoformat() if row.seen_at else '',
    }
