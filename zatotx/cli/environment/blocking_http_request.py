"""Sends a blocking HTTP request to a running server. The timeout applies to the whole request."""

from __future__ import annotations

import base64
import http.client
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from zatotx.cli.environment.environment_layout import UserCredentials
from zatotx.cli.environment.listen_addresses import ListenAddress

CHUNK = 65536


class BlockingRequest(NamedTuple):
    method: str
    target: str
    headers: Mapping[str, str] = {}
    body: bytes = b''


class BlockingResponse(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class UnreachableError(Exception):
    """No connection could be established, so nothing was processed and another server may be tried."""


class IncompleteResponseError(Exception):
    """The request was sent but no complete response was received, so it may have been processed."""


def send_request(address: ListenAddress, request: BlockingRequest, timeout: float) -> BlockingResponse:
    """Send a request, and return the response within `timeout` seconds. Raises UnreachableError or
    IncompleteResponseError with a message for the user."""
    end = time.monotonic() + timeout
    connection = connect_directly(address, timeout)
    try:
        return send_and_receive(connection, request, end)
    except TimeoutError:
        raise IncompleteResponseError(f'{address.url} did not respond within {timeout:g} s') from None
    except (OSError, http.client.HTTPException) as error:
        raise IncompleteResponseError(f'{address.url} closed the connection: {error}') from None
    finally:
        connection.close()


def connect_directly(address: ListenAddress, timeout: float) -> http.client.HTTPConnection:
    """Connect to the address directly, without a proxy."""
    connection: http.client.HTTPConnection
    try:
        if address.scheme == 'https':
            context = tls_context(address.certificate)
            connection = http.client.HTTPSConnection(address.host, address.port, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout)
        connection.connect()
    except OSError as error:
        raise UnreachableError(f'{address.url} is unreachable: {error.strerror or error}') from None
    return connection


def tls_context(certificate: Path | None) -> ssl.SSLContext:
    """Return a TLS context that trusts exactly one certificate, or the certificate authorities of the system if none is
    given."""
    if certificate is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False  # exactly this certificate is trusted, so its names do not matter
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def send_and_receive(connection: http.client.HTTPConnection, request: BlockingRequest, end: float) -> BlockingResponse:
    """Send the request and read the whole response. Each step may take the time that remains until `end`."""
    headers = {'Connection': 'close', **request.headers}
    connection.request(request.method, request.target, body=request.body or None, headers=headers)
    response = connection.getresponse()
    names = {name.lower(): value for name, value in response.getheaders()}
    expected = response.length  # None if the body is chunked or ends with the connection
    if expected is None and not response.chunked and 'close' not in names.get('connection', ''):
        raise http.client.IncompleteRead(b'')  # indistinguishable from a truncated head
    body = read_body(connection, response, end)
    if expected is not None and len(body) != expected:
        raise http.client.IncompleteRead(body, expected - len(body))
    return BlockingResponse(response.status, names, body)


def read_body(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, end: float) -> bytes:
    """Read the body of a response until the time `end` on the monotonic clock. Raises TimeoutError."""
    pieces = []
    while piece := response.read1(CHUNK):
        pieces.append(piece)
        remaining = end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        if connection.sock is not None:
            connection.sock.settimeout(remaining)
    return b''.join(pieces)


def basic_auth_header(user: UserCredentials) -> str:
    """Return the Authorization header of a user for Basic authentication."""
    pair = f'{user.username}:{user.password}'.encode()
    return 'Basic ' + base64.b64encode(pair).decode('ascii')
