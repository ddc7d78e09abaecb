"""The home screen: an overview of the cluster, problems that need attention, recent changes, and logging out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from zatotx.admin.application import ScreenRoute
from zatotx.admin.balancer_status import BalancerUnavailableError
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.concurrency import run_together
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import EventStream, Page, Redirect, Response
from zatotx.admin.screens.nodes import node_views

RECENT = 8  # changes
MAX_DEAD_LETTERS = 100  # that are counted
BAD, WARNING = 'bad', 'warn'  # severities
_FIRST_STEPS = (
    ('Services', '/services', 'Upload a service: a Python file with a class.'),
    ('REST channels', '/objects/channel_rest', 'Create a channel: the URL under which it is called.'),
    ('Basic auth', '/objects/basic_auth', 'Create credentials: who may call it.'),
)


@frozen
class Notice:
    """A notice on the home screen about a problem that needs attention."""

    severity: str  # BAD or WARNING
    text: str
    url: str  # of the screen where it can be looked at or mended


async def show_home(request: PageRequest) -> Response:
    """Show the home page."""
    rows, info, catalog, counted, history, balancer, dead_letters = await run_together(
        request.call('zato.server.get-status'), request.call('zato.info.get-info'), request.catalog(),
        request.call('zato.schema.get-counts'), _recent_changes(request), _balancer_notices(request),
        _dead_letters(request),
    )  # fmt: skip
    nodes = node_views(request, rows)
    counts = [(one.heading, one.list_url, counted.get(one.key, 0)) for one in catalog]
    services = counted.get('service', 0)
    titles = {one.key: one.title for one in catalog}
    changes = [{**row, 'type': titles.get(row['type'], row['type'])} for row in history]
    notices = [*node_notices(nodes), *balancer, *dead_letter_notices(dead_letters)]
    values = {
        'title': 'Home', 'nodes': nodes, 'notices': sorted(notices, key=lambda notice: notice.severity != BAD),
        'live': request.live.latest, 'info': info, 'counts': [each for each in counts if each[2]],
        'unused': [each for each in counts if not each[2]], 'service_count': services, 'changes': changes,
        'first_steps': () if services else _FIRST_STEPS,
    }  # fmt: skip
    return Page('home.html', values)


async def _dead_letters(request: PageRequest) -> int:
    try:
        return len(await request.call('zato.dead-letter.get-list', {'limit': MAX_DEAD_LETTERS}))
    except ApiError as error:
        if error.status == 401:
            raise
        return 0  # the findings say that the ODB is unavailable


async def _recent_changes(request: PageRequest) -> list[dict[str, Any]]:
    """Return the latest changes that people made; starts of servers register services, which is no news."""
    news: list[dict[str, Any]] = []
    try:
        for limit in (3 * RECENT, 30 * RECENT):  # most often the first suffices
            rows = await request.call('zato.history.get-list', {'limit': limit, 'without_values': True})
            news = [row for row in rows if row['source'] != 'start' and is_news(row)]
            if len(news) >= RECENT or len(rows) < limit:
                break
    except ApiError as error:
        if error.status == 401:
            raise
    return news[:RECENT]


def is_news(row: Mapping[str, Any]) -> bool:
    """Return whether a history entry is a change that a user made. Logins, and the rows that a deployment creates for
    services, do not count."""
    return not row['action'].startswith('log') and (row['type'], row['action']) != ('service', 'create')


def node_notices(nodes: Sequence[Mapping[str, Any]]) -> list[Notice]:
    """Return the notices about nodes: the nodes that are not running, and the problems that the other nodes report."""
    found = []
    for node in nodes:
        url = f'/servers/{node["id"]}'
        if not node['is_up']:
            found.append(Notice(BAD, f'{node["name"]} is down', url))
        elif node['state'] == 'not answering':
            found.append(Notice(BAD, f'{node["name"]} does not answer', url))
        elif node['state'] == 'drained':
            found.append(Notice(WARNING, f'{node["name"]} is drained', url))
        findings = node['status']['findings'] if node['status'] else ()
        found += [Notice(WARNING, f'{node["name"]}: {finding}', url) for finding in findings]
    if nodes and not any(node['is_leader'] for node in nodes):
        found.append(Notice(WARNING, 'No server leads the scheduler: jobs do not run', '/scheduler'))
    return found


def dead_letter_notices(count: int) -> list[Notice]:
    """Return a notice if there are dead letters."""
    if not count:
        return []
    more = ' or more' if count >= MAX_DEAD_LETTERS else ''
    text = f'{count}{more} messages were' if count > 1 else 'One message was'
    return [Notice(WARNING, f'{text} given up, to be replayed or purged', '/dead-letters')]


async def _balancer_notices(request: PageRequest) -> list[Notice]:
    if request.balancer_status is None:
        return []
    try:
        return balancer_notices(await request.balancer_status.servers())
    except BalancerUnavailableError as error:
        return [Notice(WARNING, str(error), '/load-balancer')]


def balancer_notices(servers: Any) -> list[Notice]:
    """Return a notice for each server to which the load balancer sends no requests."""
    words = {'DOWN': 'is down', 'MAINT': 'is in maintenance', 'DRAIN': 'is drained'}
    return [
        Notice(BAD if row['state'] == 'DOWN' else WARNING,
               f'{row["name"]} {words[row["state"]]} for the load balancer', '/load-balancer')
        for row in servers if row['state'] in words
    ]  # fmt: skip


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
