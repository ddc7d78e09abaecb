"""Actions on objects of any type, other than editing. Objects can be deleted, activated, deactivated and pinged, their
passwords can be changed, and several objects can be changed at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import FileDownload, Page, Redirect, Response
from zatotx.admin.screens.objects import IN_PLACE, find_row, find_type, list_url
from zatotx.admin.type_catalog import TypeDescription


async def show_delete(request: PageRequest, key: str, object_id: str) -> Response:
    """Show the confirmation for deleting an object, with the objects that depend on it."""
    one = await find_type(request, key)
    row = await find_row(request, one, object_id)
    return await _delete_page(request, one, row, [])


async def _delete_page(
    request: PageRequest, one: TypeDescription, row: dict[str, Any], messages: list[str], status: int = 200
) -> Page:
    usage = await request.call('zato.schema.get-usage', {'type': one.key, 'name': row['name']})
    values = {'title': f'Delete {one.title_in_text}', 'type': one, 'row': row, 'usage': usage, 'messages': messages,
              'list_url': list_url(one)}  # fmt: skip
    return Page('object_delete.html', values, status)


async def delete(request: PageRequest, key: str, object_id: str) -> Response:
    """Delete an object."""
    one = await find_type(request, key)
    row = await find_row(request, one, object_id)
    try:
        await request.call(one.service('delete'), {'id': object_id})
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        return await _delete_page(request, one, row, [str(error)], error.status)
    revisions = await _deletions(request, one, [row['name']])
    return Redirect(list_url(one), f'{one.title} {row["name"]} is deleted.', undo=revisions)


async def _deletions(request: PageRequest, one: TypeDescription, names: Sequence[str]) -> str:
    """Return the revisions in which objects were deleted just now, separated by commas; '' if they are unknown."""
    try:
        rows = await request.call('zato.history.get-list', {'type': one.key, 'limit': len(names) + 50})
    except ApiError:
        return ''
    found: dict[str, int] = {}
    for row in rows:  # the newest first
        if row['action'] == 'delete' and row['name'] in names:
            found.setdefault(row['name'], row['revision'])
    return ','.join(map(str, found.values()))


async def undo(request: PageRequest) -> Response:
    """Restore the objects that were deleted by the previous action."""
    done = await request.call('zato.history.undo', {'revisions': request.text('revisions')})
    back = request.text('back')
    return Redirect(back if back.startswith('/objects/') else '/history', f'Restored: {done["changed"]} objects.')


async def show_password(request: PageRequest, key: str, object_id: str) -> Response:
    """Show the form for a new password."""
    one = await find_type(request, key)
    return _password_page(one, await find_row(request, one, object_id))


def _password_page(one: TypeDescription, row: dict[str, Any], error: ApiError | None = None) -> Page:
    values = {'title': 'Change password', 'type': one, 'row': row, 'list_url': list_url(one),
              'messages': [] if error is None else error.messages,
              'errors': {} if error is None else error.field_errors}  # fmt: skip
    return Page('object_password.html', values, 200 if error is None else error.status)


async def change_password(request: PageRequest, key: str, object_id: str) -> Response:
    """Change the password of an object."""
    one = await find_type(request, key)
    row = await find_row(request, one, object_id)
    passwords = {name: request.text(name) for name in ('password1', 'password2')}
    try:
        await request.call(one.service('change-password'), {'id': object_id, **passwords})
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        return _password_page(one, row, error)
    return Redirect(list_url(one), f'The password of {row["name"]} is changed.')


async def ping(request: PageRequest, key: str, object_id: str) -> Response:
    """Ping the peer of a connection and show the result."""
    one = await find_type(request, key)
    row = await find_row(request, one, object_id)
    try:
        answer = await request.call(one.service('ping'), {'id': object_id})
    except ApiError as error:
        if error.status in (401, 403):
            raise
        values = {'is_ok': False, 'text': str(error), 'response_time': ''}
    else:
        values = {'is_ok': True, 'text': answer.get('info', ''), 'response_time': answer.get('response_time', '')}
    return Page('object_ping.html', {'title': 'Ping', 'type': one, 'row': row, 'list_url': list_url(one), **values})


async def switch(request: PageRequest, key: str, object_id: str) -> Response:
    """Activate or deactivate an object."""
    one = await find_type(request, key)
    is_active = request.text('is_active') == 'true'
    changed = await request.call(one.service('edit'), {**one.fixed_fields, 'id': object_id, 'is_active': is_active})
    return Redirect(_back(request, one), f'{changed["name"]} is {"active" if is_active else "inactive"}.')


async def change_many(request: PageRequest, key: str) -> Response:
    """Activate, deactivate or delete several objects. If the action fails for an object, the object is listed, and the
    other objects are changed nevertheless."""
    one = await find_type(request, key)
    ids, action = list(request.form.get('id', ())), request.text('action')
    if not ids:
        return Redirect(_back(request, one), 'Select rows first.')
    if action == 'export':
        done = await request.call('zato.schema.get-yaml', {'type': one.key, 'ids': ','.join(ids)})
        return FileDownload(done['yaml'].encode(), f'{one.key}-{done["revision"]}.yaml', 'application/yaml')
    rows = await _existing_rows(request, one, ids) if action == 'delete' else []
    if action == 'delete' and request.text('confirmed') != 'yes':
        return await _delete_many_page(request, one, rows)
    change = _change_for(request, one, action)
    errors = []
    for object_id in ids:
        try:
            await change(object_id)
        except ApiError as error:
            if error.status not in (*IN_PLACE, 404):
                raise
            errors.append(str(error))
    done = f'{len(ids) - len(errors)} of {len(ids)} done.'
    undo = await _deletions(request, one, [row['name'] for row in rows]) if rows and len(errors) < len(ids) else ''
    return Redirect(_back(request, one), ' '.join([done, *errors]), undo=undo)


async def _existing_rows(request: PageRequest, one: TypeDescription, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of those objects that somebody else has not deleted meanwhile."""
    rows = []
    for object_id in ids:
        try:
            rows.append(await find_row(request, one, object_id))
        except ApiError as error:
            if error.status != 404:
                raise
    return rows


async def _delete_many_page(request: PageRequest, one: TypeDescription, rows: Sequence[Mapping[str, Any]]) -> Page:
    """Ask for a confirmation, naming what depends on each object."""
    usages = {
        row['id']: await request.call('zato.schema.get-usage', {'type': one.key, 'name': row['name']}) for row in rows
    }
    values = {'title': f'Delete {one.heading}', 'type': one, 'rows': rows, 'usages': usages,
              'deletable': [row for row in rows if not usages[row['id']]], 'list_url': list_url(one),
              'back': request.text('back')}  # fmt: skip
    return Page('objects_delete.html', values)


def _change_for(request: PageRequest, one: TypeDescription, action: str) -> Callable[[str], Awaitable[Any]]:
    """Return the call of one object for an action of many. Raises ApiError."""
    if action == 'delete':
        return lambda object_id: request.call(one.service('delete'), {'id': object_id})
    if action not in ('on', 'off'):
        raise ApiError(400, ['Choose what to do with the selected rows'])
    return lambda object_id: request.call(
        one.service('edit'), {**one.fixed_fields, 'id': object_id, 'is_active': action == 'on'}
    )


def _back(request: PageRequest, one: TypeDescription) -> str:
    """Return the URL of the list as the user saw it."""
    back = request.text('back')
    return back if back.startswith(f'{list_url(one)}?') else list_url(one)


ROUTES = (
    ScreenRoute('GET', '/objects/<key>/<object_id>/delete', show_delete),
    ScreenRoute('POST', '/objects/<key>/<object_id>/delete', delete),
    ScreenRoute('GET', '/objects/<key>/<object_id>/password', show_password),
    ScreenRoute('POST', '/objects/<key>/<object_id>/password', change_password),
    ScreenRoute('POST', '/objects/<key>/<object_id>/ping', ping, changes=False),
    ScreenRoute('POST', '/objects/<key>/<object_id>/active', switch),
    ScreenRoute('POST', '/objects/<key>/many', change_many),
    ScreenRoute('POST', '/undo', undo),
)
