"""The services zato.server.*, which manage the servers of the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from re import compile
from time import time
from typing import Any

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.interfaces.config import NodeRow
from zatotx.model.errors import Forbidden, NotFound
from zatotx.rules.security.roles import ADMIN
from zatotx.service.io.elements import Text

NAME = compile(r'[\w.-]{1,100}')
HEARTBEAT_TIMEOUT = 6.0  # seconds without a heartbeat after which a process counts as down


class ServerAdminService(AdminService):
    """Base class of the server management services."""

    zato_dont_import = True

    async def find_server(self) -> NodeRow:
        """Return the server with the request's id. Raises NotFound."""
        node_id = self.request.input.id
        for candidate in await self.server.odb.nodes():
            if candidate.id == node_id:
                row: NodeRow = candidate
                return row
        raise NotFound(self.cid, f'No server has the id {node_id}')


def _row(node: NodeRow) -> dict[str, Any]:
    seen_at = datetime.fromtimestamp(node.seen_at, UTC).isoformat() if node.seen_at else ''
    return {
        'id': node.id,
        'name': node.name,
        'host': node.host,
        'bind_host': node.bind_host,
        'bind_port': node.bind_port,
        'last_join_status': node.last_join_status,
        'last_join_mod_date': seen_at,
        'last_join_mod_by': node.name,
        'up_status': node.up_status,
        'up_mod_date': seen_at,
        'revision': node.applied_revision,
    }


def one_row_per_server(nodes: Sequence[NodeRow], now: float) -> list[NodeRow]:
    """Return one row per server. It is the row of the running worker with the lowest number or, if no worker is
    running, of the process with the most recent heartbeat.

    `now` is Unix time.
    """
    best: dict[str, tuple[tuple[bool, float], NodeRow]] = {}
    for node in nodes:
        up = node.up_status == 'running' and now - node.seen_at < HEARTBEAT_TIMEOUT
        rank = (up, -node.worker if up else node.seen_at)
        if node.name not in best or rank > best[node.name][0]:
            best[node.name] = (rank, node)
    return [node for _, node in best.values()]


class GetList(ServerAdminService):
    """List all servers, sorted by name, with one row for each."""

    name = 'zato.server.get-list'

    async def handle(self) -> None:
        self.response.payload = [_row(node) for node in one_row_per_server(await self.server.odb.nodes(), time())]


class GetById(ServerAdminService):
    """Return one server."""

    name = 'zato.server.get-by-id'

    class SimpleIO:
        input_required = ('id',)

    async def handle(self) -> None:
        self.response.payload = _row(await self.find_server())


class Edit(ServerAdminService):
    """Edit a server as in Zato, except for its name, which is set in server.toml and cannot be changed here."""

    name = 'zato.server.edit'

    class SimpleIO:
        input_required = ('id', 'name')

    async def handle(self) -> None:
        node, name = await self.find_server(), str(self.request.input.name).strip()
        if not NAME.fullmatch(name):
            raise bad_field_error('name', 'must have 1 to 100 letters, digits, dots, dashes and underscores')
        if name != node.name:
            if ADMIN not in self.caller_roles:
                raise Forbidden(self.cid, 'A new name restarts the server, which takes the role admin')
            await self.server.control.rename(node.name, name)
            await self.server.odb.record_event('rename', 'server', f'{node.name} to {name}', self.actor)
        self.response.payload = {**_row(node), 'name': name}


class Delete(ServerAdminService):
    """Delete a server that is not running."""

    name = 'zato.server.delete'

    class SimpleIO:
        input_required = ('id',)

    async def handle(self) -> None:
        node = await self.find_server()
        await self.server.odb.remove_node(node.id)
        self.response.payload = {}


class GetLevels(AdminService):
    """List the log levels of this server. `name` is an area such as kvdb or admin, the name of a logger, or '' for the
    default level."""

    name = 'zato.logging.get-levels'

    async def handle(self) -> None:
        self.response.payload = [
            {'name': name, 'level': level} for name, level in self.server.log_levels.effective().items()
        ]


class SetLevel(AdminService):
    """Set a log level on every server. It applies until the server is restarted or reloaded.

    `name` is an area, a logger (a service's is its name), or empty for the default level. An empty `level` resets it.
    """

    name = 'zato.logging.set-level'

    class SimpleIO:
        input_required = (Text('level'),)
        input_optional = (Text('name'),)
        output_required = ('name', 'level', 'announced')

    async def handle(self) -> None:
        name, level = str(self.request.input.name or ''), str(self.request.input.level or '').lower()
        try:
            announced = await self.server.log_levels.set_level(name, level)
        except ValueError as error:
            raise bad_field_error('level', str(error)) from None
        self.logger.info('%s set the level of %r to %r', self.actor.username, name, level)
        self.response.payload = {'name': name, 'level': level, 'announced': announced}


SERVICES = (
    GetList,
    GetById,
    Edit,
    Delete,
    GetLevels,
    SetLevel,
)
