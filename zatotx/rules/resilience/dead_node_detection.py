"""Detects dead nodes of a cluster by their missing heartbeats. Pure: the time is a parameter.

Each node changes its row in the ODB at every heartbeat, and then reads the rows of all nodes. A node is dead if its row
did not change over several consecutive heartbeats of the observer. The observer counts only time during which its own
heartbeats were stored, and begins anew after one that failed: while the ODB is away or locked, no node can write, and
none of them is dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import evolve, frozen

DEAD_AFTER = 5.5  # seconds without a change: three heartbeats, with a margin for their timers
MAX_STEP = 3.0  # maximum seconds that one heartbeat of the observer adds


@frozen
class NodeObservation:
    """A node's row in the ODB at the time when the observer read it."""

    seen_at: float  # what the node writes at each heartbeat
    is_running: bool  # False after a clean stop
    silence: float = 0.0  # seconds without a change


_NO_ROW = NodeObservation(seen_at=-1.0, is_running=True)


@frozen
class NodeLiveness:
    """The time for which each node has been silent, as measured by one observer. `at` is the time of the observer's
    last successful heartbeat, in seconds on its own clock."""

    nodes: Mapping[int, NodeObservation] = {}
    at: float | None = None

    def after(self, rows: Mapping[int, NodeObservation], now: float, referred: Iterable[int] = ()) -> NodeLiveness:
        """Return the state after a successful heartbeat of the observer, which read these rows. `referred`: nodes that
        own something; those without a row are removed, or not registered yet, and count as silent."""
        elapsed = 0.0 if self.at is None else min(max(now - self.at, 0.0), MAX_STEP)
        rows = {**dict.fromkeys(referred, _NO_ROW), **rows}
        nodes = {key: evolve(row, silence=self._silence(key, row, elapsed)) for key, row in rows.items()}
        return NodeLiveness(nodes, now)

    def is_dead(self, node: int) -> bool:
        """Return whether the node with that row id is dead: stopped, or silent for too long."""
        state = self.nodes.get(node)
        return state is not None and (not state.is_running or state.silence >= DEAD_AFTER)

    def _silence(self, key: int, row: NodeObservation, elapsed: float) -> float:
        before = self.nodes.get(key)
        return before.silence + elapsed if before is not None and before.seen_at == row.seen_at else 0.0
