"""Screens of services: the list of services, upload, deletion, and the OpenAPI document."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.rendering import as_json
from zatotx.admin.responses import FileDownload, Page, Redirect, Response
from zatotx.admin.screens.objects import IN_PLACE
from zatotx.admin.tables import Column, page_of

EMPTY_UPLOAD = 'Choose a Python file, x.py, or a package, x.zip.'


@frozen
class Verdict:
    """The result of deploying a version of a file on one server."""

    server: str
    text: str
    state: str  # on, mid, off


async def show_list(request: PageRequest) -> Response:
    """Show the list of services. The built-in services of zatotx are shown on demand only."""
    return await _list_page(request)


async def _list_page(request: PageRequest, status: int = 200, **more: Any) -> Page:
    rows = await request.call('zato.service.get-list', {})
    shows_internal = request.argument('internal') == '1'
    own = [row for row in rows if shows_internal or not row['is_internal']]
    columns = (Column('name', 'Name'), Column('file', 'File'), Column('usage', 'Calls', is_number=True),
               Column('is_active', 'Active'))  # fmt: skip
    values = {'title': 'Services', 'table': page_of(own, request), 'columns': columns, 'request': request,
              'shows_internal': shows_internal, 'messages': [], 'deployment': None, 'verdicts': [],
              'ids': {}, **more}  # fmt: skip
    if values['deployment']:
        values['ids'] = {row['name']: row['id'] for row in rows}
    return Page('services.html', values, status)


async def upload(request: PageRequest) -> Response:
    """Deploy an uploaded file on all servers, and show the result of each server."""
    file = request.files.get('file')
    if file is None or not file.filename:
        return await _list_page(request, 400, messages=[EMPTY_UPLOAD])
    name = file.filename.replace('\\', '/').rpartition('/')[2]
    payload = {'payload': b64encode(file.content).decode(), 'payload_name': name}
    try:
        report = await request.call('zato.service.upload-package', payload)
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        messages = [*error.messages, *error.field_errors.values()]
        return await _list_page(request, error.status, messages=messages)
    servers = await request.call('zato.server.get-status')
    return await _list_page(request, deployment=report, verdicts=verdicts(report, servers))


def verdicts(report: Mapping[str, Any], servers: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Return the result of a deployment for each node. `servers` are rows of zato.server.get-status."""
    names = {row['name']: row['is_up'] for row in servers}
    found = []
    for name in sorted({*names, *report['refused'], *report['missing']}):
        if name in report['refused']:
            found.append(Verdict(name, report['refused'][name], 'off'))
        elif name in report['missing']:
            found.append(Verdict(name, 'Has not reported yet', 'mid'))
        elif names[name]:
            found.append(Verdict(name, 'Runs it', 'on'))
        else:
            found.append(Verdict(name, 'Is down: it runs the version when it starts', 'mid'))
    return found


async def show_delete(request: PageRequest, service_id: int) -> Response:
    """Show the confirmation for deleting a service."""
    row = await request.call('zato.service.get-by-id', {'id': service_id})
    values = {'title': 'Delete service', 'text': 'Its settings are deleted. No deployed file defines it any more.',
              'name': row['name'], 'back': '/services', 'label': 'Delete'}  # fmt: skip
    return Page('confirm.html', values)


async def delete(request: PageRequest, service_id: int) -> Response:
    """Delete a service that is no longer defined by any file."""
    row = await request.call('zato.service.get-by-id', {'id': service_id})
    await request.call('zato.service.delete', {'id': service_id})
    return Redirect('/services', f'{row["name"]} is deleted.')


async def download_openapi(request: PageRequest) -> Response:
    """Send the OpenAPI document of all REST channels to the browser."""
    document = await request.call('zato.openapi.get')
    return FileDownload(as_json(document).encode(), 'openapi.json', 'application/json')


ROUTES = (
    ScreenRoute('GET', '/services', show_list),
    ScreenRoute('POST', '/services', upload),
    ScreenRoute('GET', '/services/openapi.json', download_openapi),
    ScreenRoute('GET', '/services/<int:service_id>/delete', show_delete),
    ScreenRoute('POST', '/services/<int:service_id>/delete', delete),
)
