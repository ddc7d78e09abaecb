"""Builds the objects that report the status of this node, and that drain and restart it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from zatotx import __version__
from zatotx.interfaces.connector_kind import CONNECTOR, IChannel
from zatotx.interfaces.node_control import NodeStatus
from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.redis import IPubSub
from zatotx.metrics.snapshot import MetricSource, take_snapshot
from zatotx.node.node import NodeState
from zatotx.node.node_api import NodeApi
from zatotx.node.node_control import MAX_FINDINGS, NodeControl
from zatotx.node.node_restart import NodeRestarter
from zatotx.node.node_status_figures import node_status_figures
from zatotx.node.settings import SETTINGS_FILES
from zatotx.processes.workers.control_pipe import WorkerSpec


@frozen
class NodeControlComponents:
    """The components of a node that node control uses."""

    home: Path
    role: str  # SERVER or CONNECTOR
    worker_spec: WorkerSpec
    state: NodeState
    channels: Mapping[str, IChannel]
    stop_work: Callable[[], None]  # take no more messages of the work stream
    metric_sources: Sequence[MetricSource] = ()  # of the figures in its status


def make_node_control(node: NodeControlComponents, api: NodeApi, bus: IPubSub, reactor: IReactor) -> NodeControl:
    """Create the control of a node. It responds to requests of other nodes as soon as it is created."""
    restarter = NodeRestarter(node.home, SETTINGS_FILES[node.role], node.worker_spec, api.run_in_thread)
    is_connector = node.role == CONNECTOR

    async def own_status() -> NodeStatus:
        sample = await api.run_in_thread(take_snapshot, node.metric_sources)
        return NodeStatus(
            name=api.name,
            role=node.role,
            phase=node.state.phase,
            started=api.started,
            version=__version__,
            pid=os.getpid(),
            revision=api.config.snapshot.revision,
            is_drained=node.state.is_drained,
            restart_problem=restarter.problem(),
            findings=tuple(api.findings()[:MAX_FINDINGS]),
            **node_status_figures(sample),
        )

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
