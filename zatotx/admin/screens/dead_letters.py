"""Screens for dead letters, which are messages whose processing failed permanently: list, view, edit, replay,
delete."""

from __future__ import annotations

from typing import Any

import msgspec

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.rendering import as_json
from zatotx.admin.responses import Page, Redirect, Response
from zatotx.admin.screens.objects import IN_PLACE
from zatotx.admin.tables import Column, page_of

MAX_ROWS = 1_000
COLUMNS = (
    Column('service', 'Service'), Column('cause', 'Cause'), Column('attempts', 'Attempts', is_number=True),
    Column('first_failed', 'First failed'), Column('last_failed', 'Last failed'),
)  # fmt: skip


async def show_list(request: PageRequest) -> Response:
    """Show the list of dead letters."""
    rows = await request.call('zato.dead-letter.get-list', {'limit': MAX_ROWS})
    values = {'title': 'Dead letters', 'table': page_of(rows, request), 'columns': COLUMNS, 'request': request,
              'is_cut': len(rows) == MAX_ROWS, 'limit': MAX_ROWS}  # fmt: skip
    return Page('dead_letters.html', values)


async def show_one(request: PageRequest, letter_id: str) -> Response:
    """Show one dead letter with its payload."""
    return _letter_page(await request.call('zato.dead-letter.get', {'id': letter_id}))


def _letter_page(letter: dict[str, Any], messages: list[str] | None = None, status: int = 200, **typed: Any) -> Page:
    payload = letter['payload']
    text = payload if isinstance(payload, str) else as_json(payload)
    values = {'title': 'Dead letter', 'letter': letter, 'payload': text, 'service': letter['service'],
              'messages': messages or [], **typed}  # fmt: skip
    return Page('dead_letter.html', values, status)


async def edit(request: PageRequest, letter_id: str) -> Response:
    """Edit the payload or the service of a dead letter."""
    text, service = request.text('payload'), request.text('service')
    letter = await request.call('zato.dead-letter.get', {'id': letter_id})
    payload: Any = text
    if not isinstance(letter['payload'], str):
        try:
            payload = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            return _letter_page(letter, [f'The payload is not JSON: {error}'], 400, payload=text, service=service)
    try:
        await request.call('zato.dead-letter.edit', {'id': letter_id, 'payload': payload, 'service': service})
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        return _letter_page(letter, [str(error)], error.status, payload=text, service=service)
    return Redirect(f'/dead-letters/{letter_id}', 'The dead letter is saved.')


async def replay(request: PageRequest) -> Response:
    """Replay dead letters."""
    done = await request.call('zato.dead-letter.replay', _selection(request))
    return Redirect('/dead-letters', f'{done["replayed"]} messages run again.')


async def purge(request: PageRequest) -> Response:
    """Delete dead letters, after a confirmation."""
    if request.text('confirmed') != 'yes':
        values = {'title': 'Purge dead letters', 'ids': list(request.form.get('id', ()))}
        return Page('dead_letters_purge.html', values)
    done = await request.call('zato.dead-letter.purge', _selection(request))
    return Redirect('/dead-letters', f'{done["purged"]} dead letters are deleted.')


def _selection(request: PageRequest) -> dict[str, Any]:
    """Return the dead letters that a form names; raises ApiError if there are none."""
    ids = list(request.form.get('id', ()))
    if not ids:
        raise ApiError(400, ['Select dead letters first.'])
    return {'ids': ids}


ROUTES = (
    ScreenRoute('GET', '/dead-letters', show_list),
    ScreenRoute('POST', '/dead-letters/replay', replay),
    ScreenRoute('POST', '/dead-letters/purge', purge),
    ScreenRoute('GET', '/dead-letters/<letter_id>', show_one),
    ScreenRoute('POST', '/dead-letters/<letter_id>', edit),
)
