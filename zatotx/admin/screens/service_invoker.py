"""The screen that invokes a service. Its form is generated from the declared input of the service, and it shows the
history of the session."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.invocation_history import shorten
from zatotx.admin.page_request import PageRequest
from zatotx.admin.rendering import as_json
from zatotx.admin.responses import Page, Response
from zatotx.admin.screens.service_detail import fetch_io, find_service
from zatotx.admin.service_io import PREFIX, ServiceIo
from zatotx.wire.url_masking import is_secret_name

FORMATS = (('json', 'JSON'), ('', 'Text'), ('xml', 'XML'))
MASK = '******'


async def show_form(request: PageRequest, service_id: int) -> Response:
    """Show the form that invokes a service. With the parameter `again`, the form contains the input of an earlier
    invocation of the session."""
    row = await find_service(request, service_id)
    for one in request.invocations.of(request.caller.token, row['name']):
        if str(one.number) == request.argument('again'):
            typed = {'payload': [one.payload], 'data_format': [one.data_format]}
            return await _form_page(request, row, await fetch_io(request, row['name']), typed)
    return await _form_page(request, row, await fetch_io(request, row['name']), {})


async def _form_page(
    request: PageRequest, row: Mapping[str, Any], io: ServiceIo, typed: Mapping[str, Any], *,
    answer: Mapping[str, Any] | None = None, errors: Mapping[str, str] | None = None,
) -> Page:  # fmt: skip
    text = {name: (typed.get(name) or [''])[0] for name in ('payload', 'async')}
    values = {
        'title': f'Invoke {row["name"]}', 'tab': 'invoke', 'service': row, 'io': io, 'formats': FORMATS,
        'controls': io.controls(typed, errors or {}), 'answer': answer, 'payload': text['payload'],
        'data_format': (typed.get('data_format') or ['json'])[0], 'is_async': bool(text['async']),
        'history': request.invocations.of(request.caller.token, row['name']),
    }  # fmt: skip
    return Page('service_invoke.html', values)


async def invoke(request: PageRequest, service_id: int) -> Response:
    """Invoke a service with the input that the user has typed, and show the response."""
    row = await find_service(request, service_id)
    io = await fetch_io(request, row['name'])
    payload, data_format = request.text('payload'), request.text('data_format', 'json')
    if not payload.strip() and any(name.startswith(PREFIX) for name in request.form):
        payload, data_format = as_json(io.payload(request.form)), 'json'
    sent = {'name': row['name'], 'payload': b64encode(payload.encode()).decode(), 'data_format': data_format,
            'async': bool(request.text('async'))}  # fmt: skip
    began, errors = request.invocations.clock.seconds(), {}
    try:
        answer = _read_answer(await request.call('zato.service.invoke', sent))
    except ApiError as error:
        if error.status == 401:
            raise
        errors = error.field_errors
        texts = [*error.messages, *(f'{name}: {text}' for name, text in errors.items())]
        answer = {'is_ok': False, 'text': '\n'.join(texts), 'status': error.status}
    answer['milliseconds'] = round(1000 * (request.invocations.clock.seconds() - began), 1)
    request.invocations.add(
        request.caller.token, service=row['name'], payload=shorten(mask_secrets(payload, io.secret_names())),
        data_format=data_format, is_ok=answer['is_ok'], status=answer['status'], response=shorten(answer['text']),
        milliseconds=answer['milliseconds'],
    )  # fmt: skip
    return await _form_page(request, row, io, request.form, answer=answer, errors=errors)


def _read_answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    text = b64decode(answer['response']).decode('utf-8', 'replace')
    text = f'It runs later, under the cid {text}.' if 'cid' in answer else pretty(text)
    return {'is_ok': True, 'text': text, 'status': 200}


def pretty(text: str) -> str:
    """Return JSON text with indentation. Other text is returned unchanged."""
    try:
        return as_json(msgspec.json.decode(text))
    except msgspec.DecodeError:
        return text


def mask_secrets(payload: str, names: Collection[str]) -> str:
    """Return a payload in the form in which the history keeps it. The values of `names`, and of names that suggest a
    secret, are masked."""
    try:
        document = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return payload
    found = {name for name in document if name in names or is_secret_name(name)} if isinstance(document, dict) else ()
    return as_json({name: MASK if name in found else value for name, value in document.items()}) if found else payload


ROUTES = (
    ScreenRoute('GET', '/services/<int:service_id>/invoke', show_form),
    ScreenRoute('POST', '/services/<int:service_id>/invoke', invoke, changes=False),
)
