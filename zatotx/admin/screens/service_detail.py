"""The screen of one service. It shows the declared input and output, the deployments, the users and the settings of the
service, and its source, WSDL and OpenAPI document."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.python_highlighter import highlight
from zatotx.admin.rendering import as_json, shown_value
from zatotx.admin.responses import FileDownload, Page, Redirect, Response
from zatotx.admin.screens.objects import IN_PLACE
from zatotx.admin.service_io import ServiceIo
from zatotx.admin.type_catalog import Catalog
from zatotx.rules.openapi.document_builder import path_template

SETTINGS = {'is_active': 'Active', 'slow_threshold': 'Slow threshold', 'max_in_flight': 'Concurrent calls',
            'roles': 'Roles'}  # fmt: skip
_REST, _SOAP = ('channel', 'plain_http'), ('channel', 'soap')


async def find_service(request: PageRequest, service_id: int) -> dict[str, Any]:
    """Return the row of a service. Raises ApiError."""
    row: dict[str, Any] = await request.call('zato.service.get-by-id', {'id': service_id})
    return row


async def fetch_io(request: PageRequest, name: str) -> ServiceIo:
    """Return the declared input and output of a service, or an empty result if no deployed file defines the service.
    Raises ApiError."""
    try:
        return ServiceIo.from_response(await request.call('zato.service.get-input-output', {'name': name}))
    except ApiError as error:
        if error.status != 404:
            raise
        return ServiceIo()


async def show_detail(request: PageRequest, service_id: int) -> Response:
    """Show all details of a service except its source code."""
    return await _detail_page(request, await find_service(request, service_id))


async def _detail_page(
    request: PageRequest, row: Mapping[str, Any], messages: list[str] | None = None, status: int = 200
) -> Page:
    channels = await request.call('zato.service.get-channel-list', {'id': row['id']})
    deployments = await request.call('zato.service.get-deployment-info-list', {'id': row['id']})
    wsdl = await request.call('zato.service.has-wsdl', {'name': row['name']})
    catalog = await request.catalog()
    values = {
        'title': row['name'], 'tab': 'overview', 'service': row, 'io': await fetch_io(request, row['name']),
        'has_wsdl': wsdl['has_wsdl'], 'channels': [_channel_row(one, catalog) for one in channels],
        'has_rest': any(_faces(one) == _REST for one in channels),
        'has_soap': any(_faces(one) == _SOAP for one in channels),
        'deployments': [{**one, **msgspec.json.decode(one['details'])} for one in deployments],
        'messages': messages or [],
    }  # fmt: skip
    return Page('service.html', values, status)


def _faces(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row.get('connection'), row.get('transport')


def _channel_row(row: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
    """Return name, address, type and page of a channel."""
    type_ = catalog.get(row['object_type'])
    address = row.get('url_path') or row.get('queue') or row.get('address') or ''
    return {'name': row['name'], 'address': address, 'is_active': row.get('is_active', True),
            'title': type_.title if type_ else '', 'url': f'{type_.list_url}/{row["id"]}' if type_ else ''}  # fmt: skip


async def edit(request: PageRequest, service_id: int) -> Response:
    """Change the settings of a service: whether it is active, its slow threshold, its limit of concurrent calls, and
    its roles."""
    row = await find_service(request, service_id)
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
        if error.status == 409:
            messages += [f'{SETTINGS[name]}: {shown_value(row[name])} is saved, you typed {shown_value(value)}'
                         for name, value in payload.items()
                         if name in SETTINGS and shown_value(value) != shown_value(row[name])]  # fmt: skip
        return await _detail_page(request, {**row, **payload, 'revision': row['revision']}, messages, error.status)
    return Redirect(f'/services/{service_id}', f'{row["name"]} is saved.')


# -- source


async def show_source(request: PageRequest, service_id: int) -> Response:
    """Show the source file of a service, with syntax highlighting."""
    row = await find_service(request, service_id)
    values: dict[str, Any] = {'title': f'{row["name"]}: source', 'tab': 'source', 'service': row,
                              'lines': [], 'info': {}, 'reason': ''}  # fmt: skip
    try:
        found = await request.call('zato.service.get-source-info', {'name': row['name']})
    except ApiError as error:
        if error.status != 404:
            raise
        return Page('service_source.html', {**values, 'reason': str(error)})
    text = b64decode(found['source']).decode('utf-8', 'replace')
    return Page('service_source.html', {**values, 'info': found, 'lines': highlight(text)})


async def download_source(request: PageRequest, service_id: int) -> Response:
    """Send the source file of a service to the browser."""
    row = await find_service(request, service_id)
    found = await request.call('zato.service.get-source-info', {'name': row['name']})
    name = found['source_path'].rpartition('/')[2] or 'source.py'
    return FileDownload(b64decode(found['source']), name, 'text/x-python; charset=utf-8')


# -- WSDL and OpenAPI


async def upload_wsdl(request: PageRequest, service_id: int) -> Response:
    """Store an uploaded WSDL, which replaces the generated WSDL. If no file is sent, remove the stored WSDL."""
    row = await find_service(request, service_id)
    file = request.files.get('wsdl')
    content, name = (b'', '') if file is None else (file.content, file.filename)
    payload = {'name': row['name'], 'wsdl': b64encode(content).decode() if content else '', 'wsdl_name': name}
    try:
        await request.call('zato.service.set-wsdl', payload)
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        messages = [*error.messages, *(f'{name}: {text}' for text in error.field_errors.values())]
        return await _detail_page(request, row, messages, error.status)
    text = f'The WSDL of {row["name"]} is {name}.' if content else f'{row["name"]} has no WSDL of its own any more.'
    return Redirect(f'/services/{service_id}', text)


async def download_wsdl(request: PageRequest, service_id: int) -> Response:
    """Send the uploaded WSDL of a service to the browser."""
    row = await find_service(request, service_id)
    found = await request.call('zato.service.get-wsdl', {'service': row['name']})
    return FileDownload(b64decode(found['wsdl']), found['wsdl_name'] or 'service.wsdl', 'text/xml')


async def download_openapi(request: PageRequest, service_id: int) -> Response:
    """Send the part of the OpenAPI document that describes the REST channels of a service."""
    row = await find_service(request, service_id)
    channels = await request.call('zato.service.get-channel-list', {'id': service_id})
    document = select_operations(await request.call('zato.openapi.get'), channels)
    return FileDownload(as_json(document).encode(), f'{row["name"]}.openapi.json', 'application/json')


def select_operations(document: Mapping[str, Any], channels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an OpenAPI document that contains only the operations of the given REST channels."""
    wanted = {(path_template(one['url_path']), one['method'].lower()) for one in channels if _faces(one) == _REST}
    paths: dict[str, Any] = {}
    for path, item in document['paths'].items():
        kept = {method: operation for method, operation in item.items()
                if (path, method) in wanted or (path, '') in wanted}  # fmt: skip
        if kept:
            paths[path] = kept
    tags = {tag for item in paths.values() for operation in item.values() for tag in operation['tags']}
    return {**document, 'paths': paths, 'tags': [tag for tag in document['tags'] if tag['name'] in tags]}


ROUTES = (
    ScreenRoute('GET', '/services/<int:service_id>', show_detail),
    ScreenRoute('POST', '/services/<int:service_id>', edit),
    ScreenRoute('GET', '/services/<int:service_id>/source', show_source),
    ScreenRoute('GET', '/services/<int:service_id>/source/download', download_source),
    ScreenRoute('GET', '/services/<int:service_id>/openapi.json', download_openapi),
    ScreenRoute('GET', '/services/<int:service_id>/wsdl', download_wsdl),
    ScreenRoute('POST', '/services/<int:service_id>/wsdl', upload_wsdl),
)
