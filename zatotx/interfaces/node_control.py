"""Interface with which the zato.* services control whole nodes: read their status, restart, drain and rename them."""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Interface


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status that a node reports about itself. The node is a server with all its workers, or a connector. Counters
    count since the start of the node."""

    name: str
    role: str  # 'server' or 'connector'
    phase: str  # 'starting', 'ready', 'draining' …
    started: float  # Unix time
    version: str  # of zatotx
    pid: int
    workers: int = 1
    revision: int = 0  # of the configuration that is in force
    is_drained: bool = False  # an administrator has taken it out of service
    restart_problem: str = ''  # why it cannot be restarted from here, a sentence; '' = it can
    requests: int = 0  # of all channels but the broker's own
    calls: int = 0  # of services of users
    errors: int = 0  # of these calls
    seconds: float = 0.0  # that these calls took
    in_flight: int = 0  # of these calls, now
    stalls: int = 0  # of the reactor, longer than 100 ms
    findings: tuple[str, ...] = ()


class INodeControl(Interface):
    """Controls any node of the cluster from any other node. Communication requires Redis; calls fail with
    ServiceUnavailable if Redis is unavailable, and with Timeout if a node does not confirm the call."""

    def statuses() -> Deferred[list[NodeStatus]]:
        """Fires with the status of each node that answers within half a second, by name."""

    def restart(name: str) -> Deferred[None]:
        """Restart a node as `zatotx restart` does. Fires when the node has checked that it can start again. Fails with
        Conflict, and nothing has changed, if it cannot."""

    def set_drained(name: str, is_drained: bool) -> Deferred[None]:
        """Take a node out of service, until its next start, or take it back. Fires when all its workers have done so. A
        server tells load balancers that it is not ready, and still serves what reaches it; a connector fetches no more
        messages. A connector returns to service by a restart."""

    def rename(name: str, new_name: str) -> Deferred[None]:
        """Give a node another name, in its settings file and in the ODB, and restart it. Fires and fails like
        `restart`."""
