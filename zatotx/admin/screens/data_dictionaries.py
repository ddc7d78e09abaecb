"""Screens of the data dictionary, with which users manage entries and translations, translate a value, and import and
export the dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import FileDownload, Page, Redirect, Response
from zatotx.admin.screens.objects import IN_PLACE
from zatotx.admin.tables import Column, page_of

ENTRY, TRANSLATION = ('system', 'key', 'value'), ('system1', 'key1', 'value1', 'system2', 'key2', 'value2')
SERVICES = {'entries': 'zato.kvdb.data-dict.dictionary', 'translations': 'zato.kvdb.data-dict.translation'}
FIELDS = {'entries': ENTRY, 'translations': TRANSLATION}
TITLES = {'entries': 'Data dictionaries', 'translations': 'Translations'}
MAX_AFFECTED = 50  # translations that the confirmation of a deletion lists
LABELS = {
    'system': 'System', 'key': 'Key', 'value': 'Value', 'system1': 'System 1', 'key1': 'Key 1', 'value1': 'Value 1',
    'system2': 'System 2', 'key2': 'Key 2', 'value2': 'Value 2',
}  # fmt: skip


def _check(what: str) -> str:
    """Return the kind of rows that a URL names. Raises ApiError."""
    if what not in SERVICES:
        raise ApiError(404, ['There is no such page.'])
    return what


async def show_list(request: PageRequest, what: str) -> Response:
    """Show the list of entries or translations. `what` selects one of them."""
    rows = await request.call(f'{SERVICES[_check(what)]}.get-list')
    columns = [Column(name, LABELS[name]) for name in FIELDS[what]]
    values = {'title': TITLES[what], 'what': what, 'table': page_of(rows, request), 'columns': columns,
              'request': request}  # fmt: skip
    return Page('dictionary.html', values)


async def show_create(request: PageRequest, what: str) -> Response:
    """Show the form for a new entry or translation."""
    return await _form_page(request, _check(what), {})


async def show_edit(request: PageRequest, what: str, row_id: int) -> Response:
    """Show the form for an existing entry or translation."""
    return await _form_page(request, what, await _row(request, _check(what), row_id))


async def _row(request: PageRequest, what: str, row_id: int) -> dict[str, Any]:
    for row in await request.call(f'{SERVICES[what]}.get-list'):
        if row['id'] == row_id:
            found: dict[str, Any] = row
            return found
    raise ApiError(404, ['There is no such row.'])


async def _form_page(request: PageRequest, what: str, row: dict[str, Any], error: ApiError | None = None) -> Page:
    entries = await request.call(f'{SERVICES["entries"]}.get-list')
    names = {kind: sorted({entry[kind] for entry in entries}) for kind in ENTRY}
    values = {
        'title': f'{"Edit" if row.get("id") else "Create"} {"entry" if what == "entries" else "translation"}',
        'what': what, 'row': row, 'labels': LABELS, 'fields': FIELDS[what], 'suggestions': names,
        'messages': [] if error is None else error.messages, 'errors': {} if error is None else error.field_errors,
    }  # fmt: skip
    return Page('dictionary_form.html', values, 200 if error is None else error.status)


async def create(request: PageRequest, what: str) -> Response:
    """Create an entry or translation."""
    return await _save(request, _check(what), 'create', {})


async def edit(request: PageRequest, what: str, row_id: int) -> Response:
    """Edit an entry or translation."""
    return await _save(request, _check(what), 'edit', {'id': row_id})


async def _save(request: PageRequest, what: str, action: str, payload: dict[str, Any]) -> Response:
    row = {**payload, **{name: request.text(name) for name in FIELDS[what]}}
    try:
        await request.call(f'{SERVICES[what]}.{action}', row)
    except ApiError as error:
        if error.status not in (*IN_PLACE, 404):
            raise
        return await _form_page(request, what, row, error)
    return Redirect(f'/key-value/{what}', 'Saved.')


async def show_delete(request: PageRequest, what: str, row_id: int) -> Response:
    """Show the confirmation for deleting an entry or translation."""
    row = await _row(request, _check(what), row_id)
    affected = await _translations_of(request, row) if what == 'entries' else []
    values = {'title': 'Delete', 'back': f'/key-value/{what}', 'translations': affected[:MAX_AFFECTED],
              'count': len(affected), 'name': ' / '.join(row[name] for name in FIELDS[what])}  # fmt: skip
    return Page('dictionary_delete.html', values)


async def _translations_of(request: PageRequest, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the translations from and to an entry."""
    wanted = tuple(entry[name] for name in ENTRY)
    return [row for row in await request.call(f'{SERVICES["translations"]}.get-list')
            if wanted in ((row['system1'], row['key1'], row['value1']), (row['system2'], row['key2'], row['value2']))]


async def delete(request: PageRequest, what: str, row_id: int) -> Response:
    """Delete an entry or translation."""
    await request.call(f'{SERVICES[_check(what)]}.delete', {'id': row_id})
    return Redirect(f'/key-value/{what}', 'Deleted.')


async def show_translate(request: PageRequest) -> Response:
    """Show the form for translating a value, and the result."""
    given = {name: request.argument(name) for name in TRANSLATION[:5]}
    result = None
    if all(given.values()):
        result = await request.call('zato.kvdb.data-dict.translation.translate', given)
    entries = await request.call(f'{SERVICES["entries"]}.get-list')
    values = {'title': 'Translate', 'row': given, 'labels': LABELS, 'fields': TRANSLATION[:5], 'result': result,
              'suggestions': {kind: sorted({entry[kind] for entry in entries}) for kind in ENTRY}}  # fmt: skip
    return Page('translate.html', values)


async def export(request: PageRequest) -> Response:
    """Export the whole data dictionary as a file."""
    done = await request.call('zato.kvdb.data-dict.impexp.export')
    return FileDownload(done['data'].encode(), 'data-dictionary.txt', 'text/plain')


async def replace(request: PageRequest) -> Response:
    """Replace the whole data dictionary with an exported file."""
    file = request.files.get('file')
    data = request.text('data') if file is None else file.content.decode('ascii', 'replace')
    if not data.strip():
        raise ApiError(400, ['Choose a file that was exported here.'])
    is_confirmed = request.text('confirmed') == 'yes'
    done = await request.call('zato.kvdb.data-dict.impexp.import', {'data': data, 'dry_run': not is_confirmed})
    if not is_confirmed:
        return Page('dictionary_import.html', {'title': 'Import', 'data': data, 'plan': done})
    text = f'Imported: {done["entries"]} entries, {done["translations"]} translations.'
    return Redirect('/key-value/entries', text)


ROUTES = (
    ScreenRoute('GET', '/key-value/translate', show_translate),
    ScreenRoute('POST', '/key-value/export', export, changes=False),
    ScreenRoute('POST', '/key-value/import', replace),
    ScreenRoute('GET', '/key-value/<what>', show_list),
    ScreenRoute('GET', '/key-value/<what>/create', show_create),
    ScreenRoute('POST', '/key-value/<what>/create', create),
    ScreenRoute('GET', '/key-value/<what>/<int:row_id>', show_edit),
    ScreenRoute('POST', '/key-value/<what>/<int:row_id>', edit),
    ScreenRoute('GET', '/key-value/<what>/<int:row_id>/delete', show_delete),
    ScreenRoute('POST', '/key-value/<what>/<int:row_id>/delete', delete),
)
