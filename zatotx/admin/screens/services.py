"""Screens of services: list, details, invocation, upload, versions, and settings."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.rendering import as_json
from zatotx.admin.responses import FileDownload, Page, Redirect, Response
from zatotx.admin.screens.objects import IN_PLACE
from zatotx.admin.tables import Column, page_of

FORMATS = (('json', 'JSON'), ('', 'Text'), ('xml', 'XML'))
EMPTY_UPLOAD = 'Choose a Python file, x.py, or a package, x.zip.'


async def show_list(request: PageRequest) -> Response:
    """Show the services. Built-in services are shown on demand only."""
    rows = await request.call('zato.service.get-list', {})
    shows_internal = request.argument('internal') == '1'
    own = [row for row in rows if shows_internal or not row['is_internal']]
    columns = (Column('name', 'Name'), Column('file', 'File'), Column('usage', 'Calls'), Column('is_active', 'Active'))
    values = {'title': 'Services', 'table': page_of(own, request), 'columns': columns, 'request': request,
              'shows_internal': shows_internal, 'messages': [], 'report': None}  # fmt: skip
    return Page('services.html', values)


async def _service(request: PageRequest, service_id: int) -> dict[str, Any]:
    """Return the row of a service. Raises ApiError."""
    for row in await request.call('zato.service.get-list', {}):
        if row['id'] == service_id:
            found: dict[str, Any] = row
            return found
    raise ApiError(404, ['There is no such service.'])


async def show_detail(request: PageRequest, service_id: int) -> Response:
    """Show the details of one service."""
    return await _detail_page(request, await _service(request, service_id))


async def _detail_page(request: PageRequest, row: Mapping[str, Any], **more: Any) -> Page:
    channels = await request.call('zato.service.get-channel-list', {'id': row['id']})
    deployments = await request.call('zato.service.get-deployment-info-list', {'id': row['id']})
    versions = await _versions(request, row['file']) if row['file'] else []
    wsdl = await request.call('zato.service.has-wsdl', {'name': row['name']})
    values = {
        'title': row['name'], 'service': row, 'has_wsdl': wsdl['has_wsdl'], 'channels': channels,
        'versions': versions, 'formats': FORMATS,
        'deployments': [{**one, **msgspec.json.decode(one['details'])} for one in deployments],
        'source': await _source(request, row['name']), 'payload': '', 'data_format': 'json', 'answer': None,
        'messages': [], **more,
    }  # fmt: skip
    return Page('service.html', values)


async def _versions(request: PageRequest, file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await request.call('zato.hot-deploy.get-versions', {'name': file})
    return sorted(found, key=lambda version: -version['number'])


async def _source(request: PageRequest, name: str) -> dict[str, Any]:
    try:
        found = await request.call('zato.service.get-source-info', {'name': name})
    except ApiError as error:
        if error.status == 401:
            raise
        return {'path': '', 'lines': [], 'reason': str(error)}
    text = b64decode(found['source']).decode('utf-8', 'replace')
    return {'path': found['source_path'], 'lines': text.splitlines(), 'reason': ''}


async def invoke(request: PageRequest, service_id: int) -> Response:
    """Invoke a service with the payload in the form, and show its response."""
    row = await _service(request, service_id)
    payload, data_format = request.text('payload'), request.text('data_format')
    sent = {'name': row['name'], 'payload': b64encode(payload.encode()).decode(), 'data_format': data_format}
    typed = {'payload': payload, 'data_format': data_format}
    try:
        answer = await request.call('zato.service.invoke', sent)
    except ApiError as error:
        if error.status == 401:
            raise
        failure = {'is_ok': False, 'text': str(error), 'status': error.status}
        return await _detail_page(request, row, answer=failure, **typed)
    text = b64decode(answer['response']).decode('utf-8', 'replace')
    return await _detail_page(request, row, answer={'is_ok': True, 'text': pretty(text), 'status': 200}, **typed)


def pretty(text: str) -> str:
    """Indent JSON; return other text unchanged."""
    try:
        return as_json(msgspec.json.decode(text))
    except msgspec.DecodeError:
        return text


async def upload(request: PageRequest) -> Response:
    """Deploy a file on all servers, and show the result of each."""
    file = request.files.get('file')
    if file is None or not file.filename:
        return await _upload_failed(request, [EMPTY_UPLOAD], 400)
    name = file.filename.replace('\\', '/').rpartition('/')[2]
    payload = {'payload': b64encode(file.content).decode(), 'payload_name': name}
    try:
        report = await request.call('zato.service.upload-package', payload)
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        return await _upload_failed(request, [*error.messages, *error.field_errors.values()], error.status)
    refused = [f'{server}: {reason}' for server, reason in report['refused'].items()]
    missing = [f'{server} has not reported yet' for server in report['missing']]
    if refused or missing:
        return await _upload_failed(request, [*refused, *missing], 200)
    services = ', '.join(report['services']) or 'no services'
    return Redirect('/services', f'Version {report["number"]} of {report["file"]} runs on every server: {services}.')


async def _upload_failed(request: PageRequest, messages: list[str], status: int) -> Page:
    page = await show_list(request)
    assert isinstance(page, Page)
    return Page(page.template, {**page.values, 'messages': messages}, status)


async def edit(request: PageRequest, service_id: int) -> Response:
    """Edit the settings of a service: active, slow threshold, concurrency limit, roles."""
    row = await _service(request, service_id)
    roles = [role.strip() for role in request.text('roles').split('\n') if role.strip()]
    payload: dict[str, Any] = {
        'id': service_id, 'slow_threshold': request.text('slow_threshold'), 'roles': roles,
        'max_in_flight': request.text('max_in_flight'), 'revision': request.text('revision'),
    }  # fmt: skip
    if not row['is_internal']:
        payload['is_active'] = bool(request.text('is_active'))
    try:
        await request.call('zato.service.edit', payload)
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        messages = [*error.messages, *(f'{name}: {text}' for name, text in error.field_errors.items())]
        page = await _detail_page(request, {**row, **payload}, messages=messages)
        return Page(page.template, page.values, error.status)
    return Redirect(f'/services/{service_id}', f'{row["name"]} is saved.')


async def roll_back(request: PageRequest, service_id: int) -> Response:
    """Activate another version of the file of a service."""
    row = await _service(request, service_id)
    payload = {'name': row['file'], 'number': request.text('number')}
    report = await request.call('zato.service.rollback', payload)
    return Redirect(f'/services/{service_id}', f'Version {report["number"]} of {report["file"]} is active.')


async def show_delete(request: PageRequest, service_id: int) -> Response:
    """Show the confirmation for deleting a service."""
    row = await _service(request, service_id)
    values = {'title': 'Delete service', 'text': 'Its settings are deleted. No deployed file defines it any more.',
              'name': row['name'], 'back': '/services', 'label': 'Delete'}  # fmt: skip
    return Page('confirm.html', values)


async def delete(request: PageRequest, service_id: int) -> Response:
    """Delete a service that no deployed file defines."""
    row = await _service(request, service_id)
    await request.call('zato.service.delete', {'id': service_id})
    return Redirect('/services', f'{row["name"]} is deleted.')


async def upload_wsdl(request: PageRequest, service_id: int) -> Response:
    """Store a WSDL document that replaces the generated one. Without a file, remove it."""
    row = await _service(request, service_id)
    file = request.files.get('wsdl')
    content, name = (b'', '') if file is None else (file.content, file.filename)
    payload = {'name': row['name'], 'wsdl': b64encode(content).decode() if content else '', 'wsdl_name': name}
    await request.call('zato.service.set-wsdl', payload)
    text = f'The WSDL of {row["name"]} is {name}.' if content else f'{row["name"]} has no WSDL of its own any more.'
    return Redirect(f'/services/{service_id}', text)


async def download_wsdl(request: PageRequest, service_id: int) -> Response:
    """Download the uploaded WSDL document."""
    row = await _service(request, service_id)
    found = await request.call('zato.service.get-wsdl', {'service': row['name']})
    return FileDownload(b64decode(found['wsdl']), found['wsdl_name'] or 'service.wsdl', 'text/xml')


async def download_source(request: PageRequest, service_id: int) -> Response:
    """Download the source file of a service."""
    row = await _service(request, service_id)
    found = await request.call('zato.service.get-source-info', {'name': row['name']})
    name = found['source_path'].rpartition('/')[2] or 'source.py'
    return FileDownload(b64decode(found['source']), name, 'text/x-python; charset=utf-8')


ROUTES = (
    ScreenRoute('GET', '/services', show_list),
    ScreenRoute('POST', '/services', upload),
    ScreenRoute('GET', '/services/<int:service_id>', show_detail),
    ScreenRoute('POST', '/services/<int:service_id>', edit),
    ScreenRoute('POST', '/services/<int:service_id>/invoke', invoke, changes=False),
    ScreenRoute('POST', '/services/<int:service_id>/rollback', roll_back),
    ScreenRoute('GET', '/services/<int:service_id>/delete', show_delete),
    ScreenRoute('POST', '/services/<int:service_id>/delete', delete),
    ScreenRoute('GET', '/services/<int:service_id>/source', download_source),
    ScreenRoute('GET', '/services/<int:service_id>/wsdl', download_wsdl),
    ScreenRoute('POST', '/services/<int:service_id>/wsdl', upload_wsdl),
)
