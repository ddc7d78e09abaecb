"""Determines which nodes of the cluster are alive, using this node's own clock only.

At each heartbeat a node writes its current time into its row. Times of different machines must not be compared, because
one clock may be an hour off or be set while it runs. A node is alive while its row changes; when it last changed is
measured here, on a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from zatotx.interfaces.config import NodeRow

ALIVE = 6.0  # seconds without a heartbeat after which a node counts as dead


@define(eq=False)
class LivenessMonitor:
    """Remembers when each node's row last changed. A node seen for the first time counts as alive until its row has
    been unchanged for ALIVE seconds. `clock` is the reactor."""

    clock: IReactorTime
    _last_changes: dict[int, tuple[float, float]] = field(factory=dict, init=False)  # id -> (seen_at, local time)

    def live_nodes(self, nodes: Sequence[NodeRow]) -> list[NodeRow]:
        """Return the nodes that are alive: their status is `running`, and their heartbeat changed recently. `nodes` are
        all nodes of the cluster, as just read from the ODB."""
        now = self.clock.seconds()
        before, self._last_changes = self._last_changes, {}
        for node in nodes:
            seen_at, changed_at = before.get(node.id, (None, now))
            self._last_changes[node.id] = (node.seen_at, changed_at if seen_at == node.seen_at else now)
        return [node for node in nodes if node.up_status == 'running' and now - self._last_changes[node.id][1] < ALIVE]
