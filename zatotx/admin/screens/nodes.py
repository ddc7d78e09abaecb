"""Screens of the servers and connectors of the cluster. They show the activity of nodes, and restart, drain, rename and
delete nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import time
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.balancer_status import BalancerUnavailableError
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.concurrency import run_together
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import Page, Redirect, Response
from zatotx.admin.screens.objects import IN_PLACE

SERVER, CONNECTOR = 'server', 'connector'  # roles
LISTS = {SERVER: ('/servers', 'Servers'), CONNECTOR: ('/connectors', 'Connectors')}
_RESTARTING = 'is restarting: it runs again when its uptime starts anew'
# What can be done with a node: the service, the label, the question, and what has been done.
ACTIONS = {
    'restart': ('zato.server.restart', 'Restart', 'Its running requests finish first. It checks its configuration'
                ' before it stops: if it could not start again, it runs on.', _RESTARTING),
    'drain': ('zato.server.drain', 'Drain', 'It gets no more requests from load balancers and fetches no more messages,'
              ' until it is resumed or restarted. What it is doing finishes.', 'is drained'),
    'resume': ('zato.server.resume', 'Resume', 'It gets requests and messages again.', 'is in service again'),
    'delete': ('zato.server.delete', 'Delete', 'It is removed from the cluster. Its directory stays.', 'is deleted'),
}  # fmt: skip


def role_of(row: Mapping[str, Any]) -> str:
    """Return the role of a node, which is server or connector. A node that is down does not report its role, so the
    role is derived from its name. Connectors have no address that clients use."""
    status = row['status']
    if status is not None:
        return str(status['role'])
    return CONNECTOR if row['name'].startswith('connector') else SERVER


def uptime(started: float, now: float) -> str:
    """Format a duration in its two largest units, such as 3 d 4 h."""
    seconds = max(0, int(now - started))
    parts = [(seconds // 86_400, 'd'), (seconds // 3600 % 24, 'h'), (seconds // 60 % 60, 'min'), (seconds % 60, 's')]
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return ' '.join(f'{count} {unit}' for count, unit in parts[first : first + 2] if count) or '0 s'


def node_views(request: PageRequest, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Convert rows of zato.server.get-status to the objects that templates show, with servers first. They contain the
    role, uptime and live figures of each node."""
    latest, now = request.live.latest, time()
    live = {} if latest is None else latest.nodes
    views = [
        {**row, 'role': role_of(row), 'live': live.get(row['name']),
         'uptime': uptime(row['status']['started'], now) if row['status'] else ''}
        for row in rows
    ]  # fmt: skip
    return sorted(views, key=lambda view: (view['role'] != SERVER, view['name']))


async def show_servers(request: PageRequest) -> Response:
    """Show the list of servers."""
    return await _show_list(request, SERVER)


async def show_connectors(request: PageRequest) -> Response:
    """Show the list of connectors."""
    return await _show_list(request, CONNECTOR)


async def _show_list(request: PageRequest, role: str) -> Page:
    rows, balanced = await run_together(request.call('zato.server.get-status'), find_balanced(request))
    nodes = node_views(request, rows)
    values = {
        'title': LISTS[role][1], 'role': role, 'nodes': [node for node in nodes if node['role'] == role],
        'balanced': balanced, 'rolling': request.rolling_restart,
    }  # fmt: skip
    return Page('nodes.html', values)


async def find_balanced(request: PageRequest) -> Mapping[str, Mapping[str, Any]]:
    """Return the status of servers according to the load balancer, by address. The result is empty if the load balancer
    does not respond."""
    if request.balancer_status is None:
        return {}
    try:
        return {row['address']: row for row in await request.balancer_status.servers()}
    except BalancerUnavailableError:
        return {}


async def _find(request: PageRequest, node_id: int) -> dict[str, Any]:
    for node in node_views(request, await request.call('zato.server.get-status')):
        if node['id'] == node_id:
            return node
    raise ApiError(404, [f'There is no server with the id {node_id}'])


async def show_node(request: PageRequest, node_id: int) -> Response:
    """Show the details of one node."""
    return await _node_page(request, await _find(request, node_id))


async def _node_page(request: PageRequest, node: Mapping[str, Any], *, name: str = '',
                     error: ApiError | None = None) -> Page:  # fmt: skip
    list_url, list_title = LISTS[node['role']]
    info, balanced = await run_together(request.call('zato.info.get-info'), find_balanced(request))
    values = {
        'title': node['name'], 'node': node, 'list_url': list_url, 'list_title': list_title,
        'info': info if info['name'] == node['name'] else {},
        'balanced': balanced.get(node['address']),
        'name': name or node['name'], 'messages': [] if error is None else error.messages,
        'errors': {} if error is None else error.field_errors,
    }  # fmt: skip
    return Page('node.html', values, 200 if error is None else error.status)


async def rename(request: PageRequest, node_id: int) -> Response:
    """Rename a node. The node restarts with the new name."""
    node, name = await _find(request, node_id), request.text('name').strip()
    try:
        await request.call('zato.server.edit', {'id': node_id, 'name': name})
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        return await _node_page(request, node, name=name, error=error)
    if name == node['name']:
        return Redirect(f'/servers/{node_id}', 'The name is unchanged.')
    return Redirect(LISTS[node['role']][0], f'{node["name"]} is now {name}, and {_RESTARTING}.')


async def show_action(request: PageRequest, node_id: int, action: str) -> Response:
    """Show the confirmation for an action on a node."""
    return _confirmation(await _find(request, node_id), action)


def _confirmation(node: Mapping[str, Any], action: str, error: ApiError | None = None) -> Page:
    if action not in ACTIONS:
        raise ApiError(404, [f'There is no action {action}'])
    _, label, text, _ = ACTIONS[action]
    values = {'title': f'{label} {node["role"]}', 'text': text, 'node': node, 'label': label, 'action': action,
              'back': LISTS[node['role']][0], 'messages': [] if error is None else error.messages}  # fmt: skip
    return Page('node_action.html', values, 200 if error is None else error.status)


async def execute(request: PageRequest, node_id: int, action: str) -> Response:
    """Execute an action on a node, such as a restart."""
    node = await _find(request, node_id)
    if action not in ACTIONS:
        raise ApiError(404, [f'There is no action {action}'])
    service, _, _, done = ACTIONS[action]
    try:
        await request.call(service, {'id': node_id})
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        return _confirmation(node, action, error)
    return Redirect(LISTS[node['role']][0], f'{node["name"]} {done}.')


async def show_rolling_restart(request: PageRequest) -> Response:
    """Show the rolling restart that is running or has ended, and the form that starts a rolling restart."""
    nodes = node_views(request, await request.call('zato.server.get-status'))
    names = [node['name'] for node in nodes if node['is_up'] and node['role'] == SERVER]
    values = {'title': 'Rolling restart', 'rolling': request.rolling_restart, 'names': names}
    return Page('rolling_restart.html', values)


async def start_rolling_restart(request: PageRequest) -> Response:
    """Restart all running servers one after another."""
    if not request.user.may_change:
        raise ApiError(403, ['Your role does not allow that.'])
    nodes = node_views(request, await request.call('zato.server.get-status'))
    names = [node['name'] for node in nodes if node['is_up'] and node['role'] == SERVER]

    async def is_balanced(address: str) -> bool:
        found = (await find_balanced(request)).get(address)
        return found is not None and found['state'] == 'UP'

    known = await find_balanced(request)
    uses_balancer = bool(known) and all(node['address'] in known for node in nodes if node['name'] in names)
    request.rolling_restart.start(names, request.caller, request.user.username, is_balanced if uses_balancer else None)
    return Redirect('/servers/restart', 'The rolling restart has begun.')


ROUTES = (
    ScreenRoute('GET', '/servers', show_servers),
    ScreenRoute('GET', '/connectors', show_connectors),
    ScreenRoute('GET', '/servers/restart', show_rolling_restart),
    ScreenRoute('POST', '/servers/restart', start_rolling_restart),
    ScreenRoute('GET', '/servers/<int:node_id>', show_node),
    ScreenRoute('POST', '/servers/<int:node_id>', rename),
    ScreenRoute('GET', '/servers/<int:node_id>/<action>', show_action),
    ScreenRoute('POST', '/servers/<int:node_id>/<action>', execute),
)
