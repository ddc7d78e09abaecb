"""Wires the control of nodes: what this process reports, and how it is drained and restarted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from zatotx import __version__
from zatotx.interfaces.connector_kind import CONNECTOR, IChannel
from zatotx.interfaces.node_control import NodeStatus
from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.redis import IPubSub
from zatotx.metrics.counters import STALL_BUCKETS
from zatotx.node.node import NodeState
from zatotx.node.node_api import NodeApi
from zatotx.node.node_control import MAX_FINDINGS, NodeControl
from zatotx.node.node_restart import NodeRestarter
from zatotx.node.settings import SETTINGS_FILES
from zatotx.processes.workers.control_pipe import WorkerSpec

LONG_STALL = 0.1  # seconds


@frozen
class ControlledNode:
    """What is controlled."""

    home: Path
    role: str  # SERVER or CONNECTOR
    worker_spec: WorkerSpec
    state: NodeState
    channels: Mapping[str, IChannel]
    stop_work: Callable[[], None]  # take no more messages of the work stream


def make_node_control(node: ControlledNode, api: NodeApi, bus: IPubSub, reactor: IReactor) -> NodeControl:
    """Return the control of a node, which answers already."""
    restarter = NodeRestarter(node.home, SETTINGS_FILES[node.role], node.worker_spec, api.run_in_thread)
    is_connector = node.role == CONNECTOR

    async def own_status() -> NodeStatus:
        sample = await api.exposition.take_sample()
        return NodeStatus(
            name=api.name, role=node.role, phase=node.state.phase, started=api.started, version=__version__,
            pid=os.getpid(), revision=api.config.snapshot.revision, is_drained=node.state.is_drained,
            restart_problem=restarter.problem(), findings=tuple(api.findings()[:MAX_FINDINGS]), **figures_of(sample),
        )  # fmt: skip

    def drain() -> None:
        if is_connector and not node.state.is_drained:
            for channel in node.channels.values():
                channel.drain()
            node.stop_work()
        node.state.is_drained = True

    def resume() -> bool:
        if is_connector and node.state.is_drained:
            return False
        node.state.is_drained = False
        return True

    control = NodeControl(
        name=api.name, bus=bus, clock=reactor, odb=api.odb, restarter=restarter, own_status=own_status, drain=drain,
        resume=resume,
    )  # fmt: skip
    control.start()
    return control


def figures_of(sample: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the figures of a NodeStatus. `sample`: see zatotx.metrics.snapshot."""
    stalls = [buckets for _, (_, buckets) in sample.get('zatotx_reactor_stall_seconds', ())]
    return {
        'requests': sum(value for labels, value in sample.get('zatotx_channel_requests', ()) if not _is_own(labels[1])),
        'calls': _sum_of_users(sample, 'zatotx_service_calls'),
        'errors': _sum_of_users(sample, 'zatotx_service_errors'),
        'seconds': sum(figure[0] for labels, figure in sample.get('zatotx_service_duration_seconds', ())
                       if not _is_own(labels[0])),
        'in_flight': _sum_of_users(sample, 'zatotx_service_in_flight'),
        'stalls': sum(count_above(buckets) for buckets in stalls),
    }  # fmt: skip


def count_above(buckets: Sequence[int]) -> int:
    """Return how many stalls were longer than LONG_STALL, of the counts in the buckets of the histogram."""
    return sum(buckets[STALL_BUCKETS.index(LONG_STALL) + 1 :])


def _sum_of_users(sample: Mapping[str, Sequence[Any]], name: str) -> int:
    return sum(value for labels, value in sample.get(name, ()) if not _is_own(labels[0]))


def _is_own(name: str) -> bool:
    return name.startswith(('zato.', 'admin.invoke'))
