"""Builds messages from the arguments of a call in a test. The messages are equal to those that a channel would
deliver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict
from urllib.parse import quote, urlencode

from attrs import frozen

from zatotx.model.job_run import job_headers
from zatotx.model.message import ANONYMOUS, ChannelSpec, HTTPView, Message, Principal
from zatotx.wire import json_codec
from zatotx.wire.xml.parser import is_element, serialize_document

BOUNDARY = 'zatotx-testing-boundary'
CONTENT_TYPE = f'multipart/form-data; boundary={BOUNDARY}'.encode('ascii')

File = bytes | tuple[str, bytes] | tuple[str, bytes, str]  # content; or file name, content, content type


def encode_multipart(fields: Mapping[str, Any], files: Mapping[str, File | list[File]]) -> bytes:
    """Encode form fields and files as a multipart body. The values of fields are texts, or lists of texts.

    Raises ValueError if a file contains the boundary.
    """
    parts = [*_fields(fields), *_files(files)]
    if any(BOUNDARY.encode('ascii') in content for _, content in parts):
        raise ValueError(f'A file of a test must not hold {BOUNDARY}')
    body = b''.join(b'--%b\r\n%b\r\n\r\n%b\r\n' % (BOUNDARY.encode('ascii'), head, content) for head, content in parts)
    return body + b'--%b--\r\n' % BOUNDARY.encode('ascii')


def _fields(fields: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in fields.items():
        for text in value if isinstance(value, list) else [value]:
            yield _head(name), str(text).encode('utf-8')


def _files(files: Mapping[str, File | list[File]]) -> Iterator[tuple[bytes, bytes]]:
    for name, content_or_list in files.items():
        for file in content_or_list if isinstance(content_or_list, list) else [content_or_list]:
            filename, content, *content_type = (name, file) if isinstance(file, bytes) else file
            head = _head(name, f'; filename="{filename}"')
            yield (
                head + f'\r\nContent-Type: {content_type[0] if content_type else "application/octet-stream"}'.encode(),
                content,
            )


def _head(name: str, parameters: str = '') -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{parameters}'.encode()


HTTP_CHANNEL, INVOKE_CHANNEL = 'http-soap', 'invoke'
NO_PAYLOAD = object()  # no payload
_FORMS = ('form', 'post')
XML = 'xml'


class Request(TypedDict, total=False):
    """The arguments of a call in a test, except for the payload. All arguments are optional."""

    channel: str  # the kind of channel: 'http-soap' (the default), 'invoke', 'amqp', 'scheduler' …
    channel_name: str  # 'test'
    data_format: str  # 'json' (the default), 'xml', 'form', or '' for raw bytes
    method: str  # HTTP method: POST with a payload, otherwise GET
    path: str  # '/'
    params: Mapping[str, str]  # path parameters, as from the channel's URL pattern
    query: Mapping[str, Any]  # name -> text, or a list for repeated parameters
    headers: Mapping[str, str]
    files: Mapping[str, File | list[File]]  # uploaded files beside the payload, a dict of fields: {'doc': b'…'}
    peer: str  # the client's address: '127.0.0.1'
    principal: str | Principal  # the caller: anonymous by default; a name is a Basic auth definition
    timeout: float  # seconds until the deadline: 60
    cid: str  # the correlation id
    job_type: str  # for the scheduler's channel: one_time, interval_based, cron_style
    job_name: str
    scheduled: datetime  # aware; default: now
    environ: Mapping[str, Any]  # the initial self.environ


_KNOWN = Request.__optional_keys__


@frozen
class BuiltRequest:
    """A message for the dispatcher, and the parts of the call that are not in the message."""

    message: Message
    invoke_payload: Any = NO_PAYLOAD  # the payload of a call by self.invoke, which is passed unchanged
    environ: Mapping[str, Any] | None = None


def build_message(service: str, payload: Any, request: Request, *, now: float, cid: str) -> BuiltRequest:
    """Build the message of a call. `now` is in seconds on the clock.

    Raises TypeError for an argument that Request does not have, and for a payload that the data format cannot
    represent.
    """
    unknown = sorted(set(request) - _KNOWN)
    if unknown:
        raise TypeError(f'A call has no {", ".join(unknown)}: there are {", ".join(sorted(_KNOWN))}')
    kind = request.get('channel', HTTP_CHANNEL)
    is_invoke = kind == INVOKE_CHANNEL
    data_format = request.get('data_format', '' if is_invoke or type(payload) is bytes else 'json')
    spec = ChannelSpec(name=request.get('channel_name', 'test'), kind=kind, service=service, data_format=data_format)
    headers = _headers(request)
    if 'files' in request:
        body = encode_multipart({} if payload is NO_PAYLOAD else payload, request['files'])
        headers[b'content-type'] = CONTENT_TYPE
    else:
        body = b'' if is_invoke else encode_payload(payload, data_format)
    http = _http(request, headers, payload is not NO_PAYLOAD or 'files' in request) if kind == HTTP_CHANNEL else None
    deadline = now + request.get('timeout', 60.0)
    message = Message(request.get('cid', cid), spec, service, headers, body, deadline, http)
    message.principal = _principal(request.get('principal', ANONYMOUS))
    invoke_payload = '' if payload is NO_PAYLOAD else payload
    return BuiltRequest(message, invoke_payload if is_invoke else NO_PAYLOAD, request.get('environ'))


def encode_payload(payload: Any, data_format: str) -> bytes:
    """Encode the payload as a message body. Raises TypeError.

    Bytes are unchanged, as is text without data format or as XML.
    """
    if payload is NO_PAYLOAD:
        return b''
    if isinstance(payload, bytes):
        return payload
    if data_format in _FORMS:
        return urlencode(payload, doseq=True).encode('ascii')
    if data_format in ('', XML) and isinstance(payload, str):
        return payload.encode('utf-8')
    if data_format == XML:
        if is_element(payload):
            return serialize_document(payload)
        raise TypeError(f'XML is given as text, bytes or an element, not as a {type(payload).__name__}')
    return json_codec.encode(payload)


def _headers(request: Request) -> dict[bytes, bytes]:
    fields = request.get('headers', {})
    headers = {name.lower().encode('ascii'): value.encode('utf-8') for name, value in fields.items()}
    if 'job_type' in request:
        scheduled = request.get('scheduled') or datetime.now(UTC)
        tick = round(scheduled.timestamp() * 1_000_000)
        headers |= job_headers(1, request.get('job_name', 'test'), request['job_type'], tick)
    return headers


def _http(request: Request, headers: Mapping[bytes, bytes], has_body: bool) -> HTTPView:
    path = request.get('path', '/')
    query = urlencode(request.get('query', {}), doseq=True).encode('ascii')
    target = quote(path, safe="/%:@!$&'()*+,;=~").encode('ascii') + (b'?' + query if query else b'')
    method = request.get('method', 'POST' if has_body else 'GET')
    peer = request.get('peer', '127.0.0.1')
    return HTTPView(method, target, path, query, headers, request.get('params', {}), peer)


def _principal(value: str | Principal) -> Principal:
    return value if isinstance(value, Principal) else Principal(value, value, 'basic_auth')
