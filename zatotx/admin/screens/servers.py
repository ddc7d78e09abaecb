"""Screens of the servers of the cluster."""

from __future__ import annotations

from zatotx.admin.application import ScreenRoute
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import Page, Redirect, Response
from zatotx.admin.server_state import is_up


async def show_servers(request: PageRequest) -> Response:
    """Show all servers, and the state of the server that responded."""
    rows = await request.call('zato.server.get-list')
    info = await request.call('zato.info.get-info')
    findings = await request.call('zato.health.findings')
    values = {'title': 'Servers', 'servers': [{**row, 'is_up': is_up(row)} for row in rows], 'info': info,
              'findings': findings['findings'], 'answered': findings['server']}  # fmt: skip
    return Page('servers.html', values)


async def show_delete(request: PageRequest, server_id: int) -> Response:
    """Show the confirmation for deleting a server."""
    row = await request.call('zato.server.get-by-id', {'id': server_id})
    values = {'title': 'Delete server', 'text': f'{row["name"]} is removed from the cluster, its directory stays.',
              'name': row['name'], 'back': '/servers', 'label': 'Delete'}  # fmt: skip
    return Page('confirm.html', values)


async def delete(request: PageRequest, server_id: int) -> Response:
    """Delete a server that is not running."""
    row = await request.call('zato.server.get-by-id', {'id': server_id})
    await request.call('zato.server.delete', {'id': server_id})
    return Redirect('/servers', f'{row["name"]} is deleted.')


ROUTES = (
    ScreenRoute('GET', '/servers', show_servers),
    ScreenRoute('GET', '/servers/<int:server_id>/delete', show_delete),
    ScreenRoute('POST', '/servers/<int:server_id>/delete', delete),
)
