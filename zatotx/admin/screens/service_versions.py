"""Screens of the versions of a service's file. They show the list of versions and the difference between two versions,
and roll back to a version."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.line_diff import diff_files
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import Page, Redirect, Response
from zatotx.admin.screens.service_detail import find_service
from zatotx.admin.screens.services import verdicts


async def show_versions(request: PageRequest, service_id: int) -> Response:
    """Show the versions of a file, and the difference between the versions `old` and `new`. By default, these are the
    latest two versions."""
    row = await find_service(request, service_id)
    versions = await _versions(request, row['file'])
    numbers = [version['number'] for version in versions]
    default = (numbers[1], numbers[0]) if len(numbers) > 1 else (0, 0)
    old, new = (_number(request.argument(name), known) for name, known in zip(('old', 'new'), default, strict=True))
    values: dict[str, Any] = {
        'title': f'{row["name"]}: versions', 'tab': 'versions', 'service': row, 'versions': versions,
        'old': old, 'new': new, 'files': await _diff(request, row['file'], old, new) if old and new else None,
    }  # fmt: skip
    return Page('service_versions.html', values)


def _number(text: str, default: int) -> int:
    return int(text) if text.isdecimal() else default


async def _versions(request: PageRequest, file: str) -> list[dict[str, Any]]:
    if not file:
        return []
    found: list[dict[str, Any]] = await request.call('zato.hot-deploy.get-versions', {'name': file})
    return sorted(found, key=lambda version: -version['number'])


async def _diff(request: PageRequest, file: str, old: int, new: int) -> Any:
    if not file:
        raise ApiError(404, ['The service has no versions: it is part of zatotx.'])
    return diff_files(await _files(request, file, old), await _files(request, file, new))


async def _files(request: PageRequest, file: str, number: int) -> Mapping[str, bytes]:
    found = await request.call('zato.hot-deploy.get-source', {'name': file, 'number': number})
    return {one['path']: b64decode(one['content']) for one in found['files']}


async def show_rollback(request: PageRequest, service_id: int) -> Response:
    """Show the changes that activating a version would make, and ask for a confirmation."""
    row = await find_service(request, service_id)
    number = _number(request.argument('number'), 0)
    versions = await _versions(request, row['file'])
    chosen = next((version for version in versions if version['number'] == number), None)
    if chosen is None:
        raise ApiError(404, [f'No version {number} of {row["file"]} is stored.'])
    active = next((version['number'] for version in versions if version['active']), 0)
    files = await _diff(request, row['file'], active, number) if active else []
    values = {'title': f'Activate version {number}', 'tab': 'versions', 'service': row, 'chosen': chosen,
              'active': active, 'files': files}  # fmt: skip
    return Page('service_rollback.html', values)


async def roll_back(request: PageRequest, service_id: int) -> Response:
    """Activate another version of the file of a service."""
    row = await find_service(request, service_id)
    payload = {'name': row['file'], 'number': request.text('number')}
    report = await request.call('zato.service.rollback', payload)
    servers = await request.call('zato.server.get-status')
    refused = [f'{one.server}: {one.text}.' for one in verdicts(report, servers) if one.state != 'on']
    text = f'Version {report["number"]} of {report["file"]} is active. {" ".join(refused)}'
    return Redirect(f'/services/{service_id}/versions', text.strip())


ROUTES = (
    ScreenRoute('GET', '/services/<int:service_id>/versions', show_versions),
    ScreenRoute('GET', '/services/<int:service_id>/rollback', show_rollback),
    ScreenRoute('POST', '/services/<int:service_id>/rollback', roll_back),
)
