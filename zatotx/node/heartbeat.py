"""Who of the cluster is up, found out on this node's own clock.

A node writes the time of its own clock into its row with each beat. Times of different machines must not be compared:
one may be an hour off, or be set while it runs. That a row changes is the sign of life; when it changed last is seen
here, on a clock that nobody sets.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from zatotx.interfaces.config import NodeRow

ALIVE = 6.0  # seconds without a beat after which a node counts as gone


@define(eq=False)
class LivenessMonitor:
    """Remembers of each node when its row changed last. A node that was never looked at before counts as up until its
    row has not changed for long enough. `clock` is the reactor."""

    clock: IReactorTime
    _felt: dict[int, tuple[float, float]] = field(factory=dict, init=False)  # id -> (seen_at, when that was news here)

    def living(self, nodes: Sequence[NodeRow]) -> list[NodeRow]:
        """Those of all nodes of the cluster, read just now, that are up: running by their own word, and with a beat
        lately."""
        now = self.clock.seconds()
        before, self._felt = self._felt, {}
        for node in nodes:
            seen_at, when = before.get(node.id, (None, now))
            self._felt[node.id] = (node.seen_at, when if seen_at == node.seen_at else now)
        return [node for node in nodes if node.up_status == 'running' and now - self._felt[node.id][1] < ALIVE]
