"""One HTTP request to a running server, bounded in time as a whole."""

from __future__ import annotations

import base64
import http.client
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from zatotx.cli.environment.layout import Credentials
from zatotx.cli.environment.listen_addresses import ListenAddress

CHUNK = 65536


class Request(NamedTuple):
    method: str
    target: str
    headers: Mapping[str, str] = {}
    body: bytes = b''


class HttpResponse(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class UnreachableError(Exception):
    """Nobody took the request: nothing was done, another server may be asked."""


class CutOffError(Exception):
    """The request was sent and no whole answer came back: it may have been done."""


def send_request(address: ListenAddress, request: Request, timeout: float) -> HttpResponse:
    """One request, answered within `timeout` seconds. Raises UnreachableError or CutOffError, each with a sentence."""
    end = time.monotonic() + timeout
    connection = connect(address, timeout)
    try:
        return exchange(connection, request, end)
    except TimeoutError:
        raise CutOffError(f'{address.url} gave no answer within {timeout:g} s') from None
    except (OSError, http.client.HTTPException) as error:
        raise CutOffError(f'{address.url} broke the connection off: {error}') from None
    finally:
        connection.close()


def connect(address: ListenAddress, timeout: float) -> http.client.HTTPConnection:
    """A connection to the address and to nobody else."""
    connection: http.client.HTTPConnection
    try:
        if address.scheme == 'https':
            context = tls_context(address.certificate)
            connection = http.client.HTTPSConnection(address.host, address.port, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout)
        connection.connect()
    except OSError as error:
        raise UnreachableError(f'{address.url} does not answer: {error.strerror or error}') from None
    return connection


def tls_context(certificate: Path | None) -> ssl.SSLContext:
    """Whom to believe over TLS: the holder of this very certificate, or whom the system believes."""
    if certificate is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False  # the very certificate is known, whatever names are in it
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def exchange(connection: http.client.HTTPConnection, request: Request, end: float) -> HttpResponse:
    """Send and read to the end, with the time that is left for each step."""
    headers = {'Connection': 'close', **request.headers}
    connection.request(request.method, request.target, body=request.body or None, headers=headers)
    response = connection.getresponse()
    names = {name.lower(): value for name, value in response.getheaders()}
    expected = response.length  # None where the body is chunked or ends with the connection
    if expected is None and not response.chunked and 'close' not in names.get('connection', ''):
        raise http.client.IncompleteRead(b'')  # a head that was cut off looks like this too
    body = read(connection, response, end)
    if expected is not None and len(body) != expected:
        raise http.client.IncompleteRead(body, expected - len(body))
    return HttpResponse(response.status, names, body)


def read(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, end: float) -> bytes:
    """The body, by `end` on the monotonic clock. Raises TimeoutError."""
    pieces = []
    while piece := response.read1(CHUNK):
        pieces.append(piece)
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if connection.sock is not None:
            connection.sock.settimeout(left)
    return b''.join(pieces)


def basic_auth(user: Credentials) -> str:
    """The Authorization field of a user."""
    pair = f'{user.username}:{user.password}'.encode()
    return 'Basic ' + base64.b64encode(pair).decode('ascii')
