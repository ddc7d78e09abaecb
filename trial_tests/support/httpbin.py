"""What treq's own tests ask of httpbin, served in this process. The package itself wants greenlet below 3, which gevent
does not.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from email import message_from_bytes
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

Handler = Callable[..., bytes]


class HTTPBin(Resource):
    """All of it: `/name/argument/…` is answered by the method `on_name(request, *arguments)`."""

    isLeaf = True

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock

    def render(self, request: Any) -> Any:
        name, *arguments = [part.decode() for part in request.postpath]
        handler: Handler | None = getattr(self, 'on_' + name.replace('-', '_'), None)
        if name == 'delay':
            self._delay(request, float(arguments[0]))
            return NOT_DONE_YET
        if handler is None:
            request.setResponseCode(404)
            return b''
        return handler(request, *arguments)

    def on_get(self, request: Any) -> bytes:
        return said(request, {'headers': sent(request)})

    def on_post(self, request: Any) -> bytes:
        request.content.seek(0)
        body = request.content.read()
        kind = request.getHeader(b'content-type') or b''
        form, files = parts(kind, body) if kind.startswith(b'multipart/') else ({}, {})
        text = '' if form or files else body.decode()
        return said(request, {'headers': sent(request), 'data': text, 'form': form, 'files': files})

    on_put = on_patch = on_delete = on_post

    def on_gzip(self, request: Any) -> bytes:
        request.setHeader(b'Content-Encoding', b'gzip')
        return gzip.compress(said(request, {'gzipped': True}))

    def on_redirect_to(self, request: Any) -> bytes:
        return moved(request, request.args[b'url'][0])

    def on_relative_redirect(self, request: Any, times: str) -> bytes:
        return moved(request, b'/get')

    on_redirect = on_relative_redirect

    def on_basic_auth(self, request: Any, user: str, password: str) -> bytes:
        known = (request.getUser(), request.getPassword()) == (user.encode(), password.encode())
        if not known:
            request.setResponseCode(401)
            request.setHeader(b'WWW-Authenticate', b'Basic realm="httpbin"')
        return said(request, {'authenticated': known, 'user': user})

    def on_cookies(self, request: Any, setting: str = '') -> bytes:
        if setting:
            for name, values in request.args.items():
                request.addCookie(name, values[0])
            return moved(request, b'/cookies')
        return said(request, {'cookies': {
            name.decode(): value.decode() for name, value in request.received_cookies.items()
        }})  # fmt: skip

    def _delay(self, request: Any, seconds: float) -> None:
        waiting: Deferred[None] = deferLater(self._clock, seconds, request.finish)
        waiting.addErrback(lambda failure: failure.trap(CancelledError))
        request.notifyFinish().addErrback(lambda failure: waiting.cancel())


def said(request: Any, values: dict[str, object]) -> bytes:
    """An answer in JSON."""
    request.setHeader(b'Content-Type', b'application/json')
    return json.dumps(values).encode()


def moved(request: Any, where: bytes) -> bytes:
    """A redirection."""
    request.setResponseCode(302)
    request.setHeader(b'Location', where)
    return b''


def sent(request: Any) -> dict[str, str]:
    """The fields of a request."""
    fields = request.requestHeaders.getAllRawHeaders()
    return {name.decode(): ','.join(value.decode() for value in values) for name, values in fields}


def parts(kind: bytes, body: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """The fields and the files of a form."""
    form: dict[str, str] = {}
    files: dict[str, str] = {}
    message = message_from_bytes(b'Content-Type: ' + kind + b'\r\n\r\n' + body)
    for part in message.get_payload():
        assert not isinstance(part, str)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        into = form if part.get_filename() is None else files
        into[str(part.get_param('name', header='content-disposition'))] = content.decode()
    return form, files
