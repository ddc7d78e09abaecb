"""The home screen: an overview of the cluster, problems that need attention, recent changes, and logging out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import EventStream, Page, Redirect, Response
from zatotx.admin.server_state import is_up

RECENT = 8  # changes
_FIRST_STEPS = (
    ('Services', '/services', 'Upload a service: a Python file with a class.'),
    ('REST channels', '/objects/channel_rest', 'Create a channel: the URL under which it is called.'),
    ('Basic auth', '/objects/basic_auth', 'Create credentials: who may call it.'),
)


async def show_home(request: PageRequest) -> Response:
    """Show the home page."""
    servers = await request.call('zato.server.get-list')
    findings = await request.call('zato.health.findings')
    info = await request.call('zato.info.get-info')
    catalog = await request.catalog()
    counted = await request.call('zato.schema.get-counts')
    counts = [(one.heading, one.key, counted.get(one.key, 0)) for one in catalog]
    services = counted.get('service', 0)
    titles = {one.key: one.title for one in catalog}
    changes = [{**row, 'type': titles.get(row['type'], row['type'])} for row in await _recent_changes(request)]
    values = {
        'title': 'Home', 'servers': [{**row, 'is_up': is_up(row)} for row in servers],
        'attention': attention(servers, findings['findings'], await _dead_letters(request)),
        'info': info, 'counts': counts, 'service_count': services, 'changes': changes,
        'first_steps': () if services else _FIRST_STEPS,
    }  # fmt: skip
    return Page('home.html', values)


async def _dead_letters(request: PageRequest) -> int:
    try:
        return len(await request.call('zato.dead-letter.get-list', {}))
    except ApiError as error:
        if error.status == 401:
            raise
        return 0  # the findings say that the ODB is unavailable


async def _recent_changes(request: PageRequest) -> list[dict[str, Any]]:
    """Return the latest changes that people made; starts of servers register services, which is no news."""
    try:
        rows = await request.call('zato.history.get-list', {'limit': 60})
    except ApiError as error:
        if error.status == 401:
            raise
        return []
    return [row for row in rows if row['source'] != 'start' and is_news(row)][:RECENT]


def is_news(row: Mapping[str, Any]) -> bool:
    """Return whether a history entry is a change that a user made: not a login, and not a row that a deployment creates
    for a service."""
    return not row['action'].startswith('log') and (row['type'], row['action']) != ('service', 'create')


def attention(servers: list[dict[str, Any]], findings: list[str], dead_letters: int) -> list[tuple[str, str]]:
    """Return the problems that need attention, as sentences with links."""
    down = [(f'{row["name"]} is down.', '/servers') for row in servers if not is_up(row)]
    waiting = [(f'{dead_letters} messages were given up and wait for a decision.', '/dead-letters')]
    return [*down, *((finding, '/servers') for finding in findings), *(waiting if dead_letters else [])]


async def send_live_figures(request: PageRequest) -> Response:
    """Stream the live statistics to a browser."""
    return EventStream()


async def log_out(request: PageRequest) -> Response:
    """End the session."""
    await request.call('zato.admin.logout')
    return Redirect('/login', ends_session=True)


ROUTES = (
    ScreenRoute('GET', '/', show_home),
    ScreenRoute('GET', '/live', send_live_figures),
    ScreenRoute('POST', '/logout', log_out, changes=False),
)
