"""The lifecycle phase of a node."""

from __future__ import annotations

from attrs import define

STARTING, READY, DRAINING, STOPPED = 'starting', 'ready', 'draining', 'stopped'
_WHY = {
    STARTING: 'The server is starting: its services are being loaded',
    READY: '',
    DRAINING: 'The server is draining: it finishes running requests and accepts no new ones',
    STOPPED: 'The server has stopped',
}


@define
class NodeState:
    """The phase, and why the node is not ready in this phase ('' = it is ready)."""

    phase: str = STOPPED

    @property
    def not_ready_reason(self) -> str:
        return _WHY[self.phase]
