"""Screens of the recorded calls of a service, which are the last sample and the slow responses."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import Page, Redirect, Response
from zatotx.admin.screens.objects import IN_PLACE
from zatotx.admin.screens.service_detail import find_service
from zatotx.admin.screens.service_invoker import pretty
from zatotx.admin.tables import Column, page_of

COLUMNS = (Column('req_ts', 'Time'), Column('proc_time', 'Duration ms', is_number=True), Column('channel', 'Channel'),
           Column('cid', 'cid'))  # fmt: skip


async def show_samples(request: PageRequest, service_id: int) -> Response:
    """Show the last sample and the slow responses of a service."""
    return await _page(request, await find_service(request, service_id))


async def _page(request: PageRequest, row: Mapping[str, Any], error: ApiError | None = None) -> Page:
    name = {'name': row['name']}
    sample = await request.call('zato.service.get-request-response', name)
    slow = await request.call('zato.service.slow-response.get-list', name)
    frequency = sample['sample_req_resp_freq'] if error is None else request.text('frequency')
    values = {
        'title': f'{row["name"]}: samples', 'tab': 'samples', 'service': row, 'table': page_of(slow, request),
        'columns': COLUMNS, 'request': request, 'frequency': frequency,
        'messages': [] if error is None else [*error.messages, *error.field_errors.values()],
        'sample': {**sample, 'request': _text(sample['sample_req']), 'response': _text(sample['sample_resp'])},
    }  # fmt: skip
    return Page('service_samples.html', values, 200 if error is None else error.status)


def _text(encoded: str) -> str:
    return pretty(b64decode(encoded).decode('utf-8', 'replace')) if encoded else ''


async def configure(request: PageRequest, service_id: int) -> Response:
    """Set the frequency with which calls are recorded as samples."""
    row = await find_service(request, service_id)
    payload = {'name': row['name'], 'sample_req_resp_freq': request.text('frequency').strip()}
    try:
        await request.call('zato.service.configure-request-response', payload)
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        return await _page(request, row, error)
    return Redirect(f'/services/{service_id}/samples', 'Saved.')


async def show_slow(request: PageRequest, service_id: int, cid: str) -> Response:
    """Show a slow response together with its request."""
    row = await find_service(request, service_id)
    found = await request.call('zato.service.slow-response.get', {'name': row['name'], 'cid': cid})
    values = {'title': f'{row["name"]}: slow response', 'tab': 'samples', 'service': row, 'slow': found,
              'request_text': _text(found['req']), 'response_text': _text(found['resp'])}  # fmt: skip
    return Page('service_slow.html', values)


ROUTES = (
    ScreenRoute('GET', '/services/<int:service_id>/samples', show_samples),
    ScreenRoute('POST', '/services/<int:service_id>/samples', configure),
    ScreenRoute('GET', '/services/<int:service_id>/slow/<cid>', show_slow),
)
