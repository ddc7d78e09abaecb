"""Screens of the history of configuration changes. They show the author and the differences of each change, and restore
a revision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import FileDownload, Page, Redirect, Response
from zatotx.admin.tables import Column, page_of

MAX_ROWS = 500  # of the history that a table pages through: a filter by type or name leads to older ones
COLUMNS = (
    Column('at', 'When'), Column('who', 'Who'), Column('action', 'Action'), Column('type', 'Type'),
    Column('name', 'Name'), Column('revision', 'Revision'),
)  # fmt: skip


async def show_history(request: PageRequest) -> Response:
    """Show the most recent configuration changes. Changes that servers make when they start are shown on demand
    only."""
    filters = {name: request.argument(name) for name in ('type', 'name') if request.argument(name)}
    rows = await request.call('zato.history.get-list', {'limit': MAX_ROWS, 'without_values': True, **filters})
    shows_starts = request.argument('starts') == '1'
    shown = [row for row in rows if shows_starts or row['source'] != 'start']
    catalog = await request.catalog()
    types = [(one.key, one.heading) for one in catalog]
    titles = {one.key: one.title for one in catalog}
    shown = [{**row, 'type': titles.get(row['type'], row['type'].capitalize())} for row in shown]
    values = {'title': 'History', 'table': page_of(shown, request), 'columns': COLUMNS, 'request': request,
              'shows_starts': shows_starts, 'types': types, 'type': request.argument('type'),
              'name': request.argument('name'), 'is_cut': len(rows) == MAX_ROWS, 'limit': MAX_ROWS}  # fmt: skip
    return Page('history.html', values)


async def show_revision(request: PageRequest, revision: int) -> Response:
    """Show the changes that were made in one revision, with old and new values."""
    rows = await request.call('zato.history.get-list', {'revision': revision, 'limit': 200})
    titles = {one.key: one.title for one in await request.catalog()}
    entries = [{**row, 'title': titles.get(row['type'], row['type'].replace('_', ' ').capitalize()),
                'differences': differences(row['old'], row['new'])} for row in rows]  # fmt: skip
    values = {'title': f'Revision {revision}', 'revision': revision, 'entries': entries}
    return Page('history_revision.html', values)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the fields that differ. Each is returned with its name, its old value and its new value."""
    names = dict.fromkeys((*old, *new))
    return [(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


async def show_restore(request: PageRequest, revision: int) -> Response:
    """Show the changes that restoring a revision would make."""
    plan = await request.call('zato.history.restore', {'revision': revision, 'dry_run': True})
    values = {'title': f'Restore revision {revision}', 'revision': revision, 'plan': plan}
    return Page('history_restore.html', values)


async def restore(request: PageRequest, revision: int) -> Response:
    """Restore the configuration of a revision."""
    done = await request.call('zato.history.restore', {'revision': revision})
    text = f'Revision {revision} is restored as revision {done["revision"]}: {done["changed"]} changes.'
    return Redirect('/history', text)


async def download(request: PageRequest, revision: int) -> Response:
    """Download the configuration at a revision as YAML, without secrets."""
    found = await request.call('zato.history.export', {'revision': revision})
    return FileDownload(found['yaml'].encode(), f'revision-{revision}.yaml', 'application/yaml')


ROUTES = (
    ScreenRoute('GET', '/history', show_history),
    ScreenRoute('GET', '/history/<int:revision>', show_revision),
    ScreenRoute('GET', '/history/<int:revision>/restore', show_restore),
    ScreenRoute('POST', '/history/<int:revision>/restore', restore),
    ScreenRoute('GET', '/history/<int:revision>/yaml', download),
)
