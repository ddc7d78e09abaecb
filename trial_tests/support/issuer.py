"""An issuer of tokens on the loopback: publishes keys at a URL as a test says, refuses, or does not answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any


class IssuerServer:
    """`url`: where the keys are. `asked` counts the requests for them."""

    def __init__(self) -> None:
        self.asked = 0
        self._answers: dict[str, tuple[int, Mapping[str, str], bytes]] = {}
        self._flowing = Event()
        self._flowing.set()
        self._lock = Lock()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}/jwks'

    def publish(self, body: bytes, *, path: str = '/jwks', status: int = 200, **headers: str) -> str:
        """Put it there, with those header fields (`cache_control`): its URL."""
        self._answers[path] = status, {name.replace('_', '-'): value for name, value in headers.items()}, body
        return f'http://127.0.0.1:{self.port}{path}'

    def freeze(self) -> None:
        """Take connections, and answer nothing until `thaw`."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def open(self) -> None:
        """Listen, by the port of before where there was one."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with issuer._lock:
                    issuer.asked += 1
                issuer._flowing.wait(30)
                status, headers, body = issuer._answers.get(self.path, (404, {}, b''))
                with suppress(ConnectionError):  # whoever asked may have lost patience
                    self.send_response(status)
                    for name, value in {**headers, 'Content-Length': str(len(body))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(('127.0.0.1', self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Nobody listens any more."""
        self.thaw()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
