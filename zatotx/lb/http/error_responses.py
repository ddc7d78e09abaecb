"""Creates the responses that the load balancer sends itself, without a server. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from zatotx.interfaces.load_balancer import LocalResponse
from zatotx.lb.config.model import ERROR_503, ErrorBody
from zatotx.lb.http.response_rewriting import CLOSE
from zatotx.model.cid import new_cid
from zatotx.wire import json_codec

BAD_GATEWAY = 'The server did not respond as HTTP requires'
FORBIDDEN = 'Requests from this address are not allowed'
GATEWAY_TIMEOUT = 'The server did not respond in time'
HEAD_TIMEOUT = 'The head of the request did not arrive in time'
BODY_TIMEOUT = 'The body of the request did not arrive in time'
METHOD_NOT_ALLOWED = 'The method CONNECT is not allowed here'
NO_BACKEND = 'No backend is configured for this request'
TOO_MANY_REQUESTS = 'Too many requests from this address'
UNSUPPORTED_EXPECTATION = 'There is no expectation but 100-continue that can be met here'
_JSON = 'application/json'
_RETRY = ((b'Retry-After', b'1'),)
_NO_BODIES: Mapping[int, ErrorBody] = {}


def error_response(
    status: int, details: str, bodies: Mapping[int, ErrorBody] = _NO_BODIES,
    fields: tuple[tuple[bytes, bytes], ...] = (),
) -> LocalResponse:
    """Create an error response with the body that is configured for the status, or otherwise in Zato's JSON format. A
    temporary error (429, 503) has a Retry-After field."""
    if status in (429, 503) and not any(name == b'Retry-After' for name, _ in fields):
        fields += _RETRY
    body = bodies.get(status) or (ERROR_503 if status == 503 else None)
    if body is not None:
        return LocalResponse(status, body.content_type, body.body, fields)
    return LocalResponse(status, _JSON, json_codec.write_error(new_cid(), details), fields)


def redirect_response(location: bytes) -> LocalResponse:
    """Create a permanent redirect that preserves the method and body (RFC 9110 §15.4.9)."""
    return LocalResponse(308, 'text/plain', b'', ((b'Location', location),))


def serialize_response(response: LocalResponse, connection: bytes, *, has_body: bool = True) -> bytes:
    """Serialize a complete response. `connection` has the same meaning as in `write_response`. `has_body` is False for
    responses to HEAD."""
    lines = [b'%b: %b\r\n' % field for field in response.fields]
    head = b'HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nServer: zatotx-lb\r\n%b%b\r\n' % (
        response.status, _phrase(response.status), response.content_type.encode('latin-1'), len(response.body),
        b''.join(lines), connection,
    )  # fmt: skip
    return head + response.body if has_body else head


def serialize_error_response(status: int, details: str, bodies: Mapping[int, ErrorBody] = _NO_BODIES) -> bytes:
    """Serialize an error response. The connection is closed after this response."""
    return serialize_response(error_response(status, details, bodies), CLOSE)


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode('ascii')
    except ValueError:
        return b''
