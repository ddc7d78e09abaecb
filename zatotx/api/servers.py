"""zato.server.*: the servers of the cluster as rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from time import time
from typing import Any

from zatotx.api.base import AdminService
from zatotx.interfaces.config import NodeRow
from zatotx.model.errors import Conflict, NotFound

ALIVE = 6.0  # seconds without a beat after which a process of a server counts as gone


class ServerService(AdminService):
    """Base of the services on servers."""

    zato_dont_import = True

    async def node(self) -> NodeRow:
        """The server of the request's id. Raises NotFound."""
        wanted = self.request.input.id
        for found in await self.server.odb.nodes():
            if found.id == wanted:
                row: NodeRow = found
                return row
        raise NotFound(self.cid, f'No server has the id {wanted}')


def _row(node: NodeRow) -> dict[str, Any]:
    seen = datetime.fromtimestamp(node.seen_at, UTC).isoformat() if node.seen_at else ''
    return {
        'id': node.id,
        'name': node.name,
        'host': node.host,
        'bind_host': node.bind_host,
        'bind_port': node.bind_port,
        'last_join_status': node.last_join_status,
        'last_join_mod_date': seen,
        'last_join_mod_by': node.name,
        'up_status': node.up_status,
        'up_mod_date': seen,
        'revision': node.applied_revision,
    }


def one_row_per_server(nodes: Sequence[NodeRow], now: float) -> list[NodeRow]:
    """One row a server: that of its worker that is up and was started first, else of the one heard of last. `now` is
    unix time."""
    best: dict[str, tuple[tuple[bool, float], NodeRow]] = {}
    for node in nodes:
        up = node.up_status == 'running' and now - node.seen_at < ALIVE
        rank = (up, -node.worker if up else node.seen_at)
        if node.name not in best or rank > best[node.name][0]:
            best[node.name] = (rank, node)
    return [node for _, node in best.values()]


class GetList(ServerService):
    """All servers, by name; of one with workers a single row."""

    name = 'zato.server.get-list'

    async def handle(self) -> None:
        self.response.payload = [_row(node) for node in one_row_per_server(await self.server.odb.nodes(), time())]


class GetById(ServerService):
    """One server."""

    name = 'zato.server.get-by-id'

    class SimpleIO:
        input_required = ('id',)

    async def handle(self) -> None:
        self.response.payload = _row(await self.node())


class Edit(ServerService):
    """As in Zato, but a server's name is its own to say: it stands in its server.toml."""

    name = 'zato.server.edit'

    class SimpleIO:
        input_required = ('id', 'name')

    async def handle(self) -> None:
        node, wanted = await self.node(), str(self.request.input.name)
        if wanted != node.name:
            raise Conflict(
                self.cid, f'{node.name} is named by its config/server.toml: set [main] name there and restart it'
            )
        self.response.payload = _row(node)


class Delete(ServerService):
    """Forget a server that is down."""

    name = 'zato.server.delete'

    class SimpleIO:
        input_required = ('id',)

    async def handle(self) -> None:
        node = await self.node()
        await self.server.odb.remove_node(node.id)
        self.response.payload = {}


SERVICES = (GetList, GetById, Edit, Delete)
