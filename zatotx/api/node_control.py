"""The services zato.server.get-status, restart, drain and resume, which control the nodes of the cluster. They can be
invoked on any server."""

from __future__ import annotations

from datetime import UTC, datetime
from time import time
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from zatotx.api.admin_service import AdminService
from zatotx.api.servers import ServerAdminService, one_row_per_server
from zatotx.interfaces.node_control import NodeStatus
from zatotx.model.errors import ServiceError

HEARTBEAT_TIMEOUT = 6.0  # seconds without a heartbeat after which a process counts as down
EVENT_TYPE = 'server'  # of the entries in the history


class GetAllNodeStatuses(AdminService):
    """List all servers and connectors by name. Each has an `id`, a `state` (running, drained, starting, down), an
    address, a flag that says whether it leads the scheduler, and the status that it reports (see NodeStatus). Nodes
    that do not respond have no figures."""

    name = 'zato.server.get-status'

    async def handle(self) -> None:
        # Both coroutines handle their errors, so that neither Deferred is left with a failure if the ODB fails.
        asked, found = Deferred.fromCoroutine(self._statuses()), Deferred.fromCoroutine(self._leader())
        nodes, statuses, leader = await self.server.odb.nodes(), await asked, await found
        known, is_reachable = statuses or {}, statuses is not None
        self.response.payload = [
            _to_row(row, known.get(row.name), is_leader=row.name == leader, is_reachable=is_reachable)
            for row in sorted(one_row_per_server(nodes, time()), key=lambda row: row.name)
        ]

    async def _statuses(self) -> dict[str, NodeStatus] | None:
        """Return the status of each node by name; None if the nodes cannot be asked."""
        try:
            return {status.name: status for status in await self.server.control.statuses()}
        except ServiceError:
            return None

    async def _leader(self) -> str:
        """Return the name of the server that leads the scheduler; '' if that is unknown."""
        try:
            record = await self.server.scheduler.leader()
        except ServiceError:
            return ''
        return record.node or ''


def _to_row(row: Any, status: NodeStatus | None, *, is_leader: bool, is_reachable: bool) -> dict[str, Any]:
    is_up = row.up_status == 'running' and time() - row.seen_at < HEARTBEAT_TIMEOUT
    has_replied = status is not None or not is_reachable
    state = 'down' if not is_up else 'not answering' if not has_replied else 'running'
    if status is not None and status.phase != 'ready':
        state = status.phase
    elif status is not None and status.is_drained:
        state = 'drained'
    host = row.bind_host or row.host
    return {
        'id': row.id, 'name': row.name, 'address': f'{host}:{row.bind_port}' if row.bind_port else host,
        'state': state, 'is_up': is_up, 'is_leader': is_leader,
        'seen_at': datetime.fromtimestamp(row.seen_at, UTC).isoformat() if row.seen_at else '',
        'status': msgspec.to_builtins(status) if status is not None else None,
    }  # fmt: skip


class NodeControlServiceBase(ServerAdminService):
    """Base class of the services that change the state of a node."""

    zato_dont_import = True
    action = ''  # in the history

    async def record(self, name: str) -> None:
        """Write the action to the history. It does not depend on the ODB."""
        try:
            await self.server.odb.record_event(self.action, EVENT_TYPE, name, self.actor)
        except ServiceError as error:
            self.logger.warning(
                '%s of %s by %s is not in the history: %s', self.action, name, self.actor.username, error
            )


class Restart(NodeControlServiceBase):
    """Restart a server or connector in the same way as `zatotx restart`. The response is sent when the node has checked
    its configuration and begun to restart. If the node could not start again, the response is 409 with the reasons, and
    the node continues to run."""

    name = 'zato.server.restart'
    action = 'restart'

    class SimpleIO:
        input_required = ('id',)

    async def handle(self) -> None:
        node = await self.find_server()
        await self.server.control.restart(node.name)
        await self.record(node.name)
        self.response.payload = {'id': node.id, 'name': node.name}


class Drain(NodeControlServiceBase):
    """Take a server or connector out of service until it is resumed or restarted. Load balancers send no more requests
    to a drained server, and a drained connector fetches no more messages."""

    name = 'zato.server.drain'
    action = 'drain'

    class SimpleIO:
        input_required = ('id',)

    async def handle(self) -> None:
        node = await self.find_server()
        await self.server.control.set_drained(node.name, True)
        await self.record(node.name)
        self.response.payload = {'id': node.id, 'name': node.name}


class Resume(NodeControlServiceBase):
    """Put a drained server or connector back into service."""

    name = 'zato.server.resume'
    action = 'resume'

    class SimpleIO:
        input_required = ('id',)

    async def handle(self) -> None:
        node = await self.find_server()
        await self.server.control.set_drained(node.name, False)
        await self.record(node.name)
        self.response.payload = {'id': node.id, 'name': node.name}


SERVICES = (GetAllNodeStatuses, Restart, Drain, Resume)
