"""Lists and forms of configuration objects. They are generated from the descriptions of object types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.concurrency import run_together
from zatotx.admin.form_conflict import Difference, find_differences
from zatotx.admin.forms import MAX_SELECT, Choices, FormData, build_form, known_errors, to_request
from zatotx.admin.kept_form import REDISPLAY
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import Page, Redirect, Response
from zatotx.admin.tables import ListView, columns_of, fetch_page
from zatotx.admin.type_catalog import TypeDescription

IN_PLACE = frozenset({400, 409})  # statuses of rejected forms, which are shown again with what was typed
UNAVAILABLE = frozenset({0, 429, 502, 503, 504})  # statuses of changes that may be tried again as they are
_SUGGESTED = 500  # names that a text field suggests
_NO_TYPE = 'The cluster has no objects of this type'


async def find_type(request: PageRequest, key: str) -> TypeDescription:
    """Return the object type with the given key. Raises ApiError."""
    found = (await request.catalog()).get(key)
    if found is None:
        raise ApiError(404, [f'{_NO_TYPE}: {key}'])
    return found


async def find_row(request: PageRequest, description: TypeDescription, object_id: str) -> dict[str, Any]:
    """Return the row of an object. Raises ApiError."""
    payload = {**description.fixed_fields, 'id': object_id}
    row: dict[str, Any] = await request.call(description.service('get-by-id'), payload)
    return row


async def show_list(request: PageRequest, key: str) -> Response:
    """Show one page of the objects of a type."""
    one = await find_type(request, key)
    table = await fetch_page(request, one.service('get-list'), dict(one.fixed_fields))
    actions = frozenset(one.actions)
    view = ListView(columns_of(one), 'is_active' in one.field_names, actions)
    return Page('objects.html', {'title': one.heading, 'type': one, 'table': table, 'view': view, 'request': request})


async def show_create(request: PageRequest, key: str) -> Response:
    """Show the form for a new object. With the parameter `from`, the form contains a copy of an existing object."""
    one = await find_type(request, key)
    row = None
    if source := request.argument('from'):
        row = {**await find_row(request, one, source), 'id': ''}
        row['name'] = f'{row["name"]} (copy)'
    return await form_page(request, one, row=row, is_new=True)


async def create(request: PageRequest, key: str) -> Response:
    """Create an object."""
    one = await find_type(request, key)
    if request.text(REDISPLAY):
        return await form_page(request, one, is_new=True, typed=request.form)
    try:
        made = await request.call(one.service('create'), to_request(one, request.form))
    except ApiError as error:
        return await form_page(request, one, is_new=True, typed=request.form, error=error)
    return Redirect(list_url(one), f'{one.title} {made["name"]} is created.')


async def show_edit(request: PageRequest, key: str, object_id: str) -> Response:
    """Show the form for an existing object."""
    one = await find_type(request, key)
    return await form_page(request, one, row=await find_row(request, one, object_id))


async def edit(request: PageRequest, key: str, object_id: str) -> Response:
    """Edit an object, unless it was changed after the form was loaded."""
    one = await find_type(request, key)
    payload = {**to_request(one, request.form), 'id': object_id, 'revision': request.text('revision')}
    row = {'id': object_id, 'name': request.text('name'), 'revision': request.text('revision')}
    if request.text(REDISPLAY):
        return await form_page(request, one, row=row, typed=request.form)
    try:
        changed = await request.call(one.service('edit'), payload)
    except ApiError as error:
        return await _rejected_edit(request, one, row, error)
    return Redirect(list_url(one), f'{one.title} {changed["name"]} is saved.')


async def _rejected_edit(
    request: PageRequest, one: TypeDescription, row: Mapping[str, Any], error: ApiError
) -> Page:  # fmt: skip
    """Return the form with what was typed. If somebody else has changed the object meanwhile, both values are shown,
    and the form has the new revision: to save it then is a decision. If it was deleted, it can be created again."""
    if error.status == 404:
        gone = ApiError(409, ['Somebody has deleted it meanwhile. What you typed is below: it can be created again.'])
        return await form_page(request, one, is_new=True, typed=request.form, error=gone)
    if error.status != 409:
        return await form_page(request, one, row=row, typed=request.form, error=error)
    current = await find_row(request, one, str(row['id']))
    if str(current.get('revision')) == str(row['revision']):  # it is another conflict, such as a name that is taken
        return await form_page(request, one, row=row, typed=request.form, error=error)
    differences = find_differences(one, request.form, current)
    new = {**row, 'revision': current['revision']}
    return await form_page(request, one, row=new, typed=request.form, error=error, differences=differences)


async def form_page(
    request: PageRequest, one: TypeDescription, *, row: Mapping[str, Any] | None = None, is_new: bool = False,
    typed: FormData | None = None, error: ApiError | None = None, differences: Sequence[Difference] | None = None,
) -> Page:  # fmt: skip
    """Return the page with the edit form and its validation errors. An error that was not caused by the user's input is
    raised again."""
    if error is not None and error.status not in IN_PLACE | UNAVAILABLE:
        raise error
    field_errors = {} if error is None else error.field_errors
    try:
        choices = await find_choices(request, one)
    except ApiError:
        if error is None or error.status not in UNAVAILABLE:
            raise
        choices = {}  # what was typed is more important than suggestions
    form = build_form(one, row=row, typed=typed, choices=choices, errors=field_errors)
    known = known_errors(one, field_errors)
    messages = [] if error is None else error.messages
    messages = [*messages, *(f'{path}: {text}' for path, text in field_errors.items() if path not in known)]
    values = {
        'title': f'{"Create" if is_new else "Edit"} {one.title_in_text}', 'type': one, 'form': form,
        'row': row or {}, 'is_new': is_new, 'messages': messages, 'has_errors': error is not None,
        'differences': differences, 'list_url': list_url(one),
    }  # fmt: skip
    return Page('object_form.html', values, 200 if error is None else error.status or 503)


async def find_choices(request: PageRequest, one: TypeDescription) -> Choices:
    """Return the names of the objects that the reference fields of a type may refer to. Raises ApiError."""
    references = [info for info in one.fields if info.reference]
    limits = {info.reference_types: _SUGGESTED if info.reference == 'service' else MAX_SELECT + 1
              for info in references}  # fmt: skip
    found = await run_together(*(_names_of(request, types, limit) for types, limit in limits.items()))
    by_types = dict(zip(limits, found, strict=True))
    return {info.name: by_types[info.reference_types] for info in references}


async def _names_of(request: PageRequest, types: Sequence[str], limit: int) -> list[str]:
    if not types:
        return []
    rows = await request.call('zato.schema.get-choices', {'types': ','.join(types), 'limit': limit})
    return [row['name'] for row in rows]


def list_url(one: TypeDescription) -> str:
    """Return the URL of the list of an object type."""
    return one.list_url


ROUTES = (
    ScreenRoute('GET', '/objects/<key>', show_list),
    ScreenRoute('GET', '/objects/<key>/create', show_create),
    ScreenRoute('POST', '/objects/<key>/create', create, redisplays=True),
    ScreenRoute('GET', '/objects/<key>/<object_id>', show_edit),
    ScreenRoute('POST', '/objects/<key>/<object_id>', edit, redisplays=True),
)
