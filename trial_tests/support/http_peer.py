"""Another system, for servers of tests to call: each path has a habit. It runs in threads of the test's process, as
tests that drive a real server wait for it in a blocking way.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HttpPeer:
    """`port` is where it listens. `asked` has the fields of each request by its path, `count` how many there were."""

    def __init__(self) -> None:
        self.asked: dict[str, dict[str, str]] = {}
        self.bodies: dict[str, bytes] = {}
        self.count: Counter[str] = Counter()
        self.busy = 0  # how many of the next requests are answered with 503
        self.released = threading.Event()  # ends those that are not answered
        self._server = _Server(('127.0.0.1', 0), _handler(self))
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nobody is there any more."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error: calls that are late do."""


def _handler(peer: HttpPeer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get('content-length', '0')))
            path = self.path.partition('?')[0]
            peer.asked[path] = {name.lower(): value for name, value in self.headers.items()}
            peer.bodies[path] = body
            peer.count[path] += 1
            if peer.busy > 0:
                peer.busy -= 1
                self.say(503, b'busy', 'text/plain')
            elif path == '/mute':
                peer.released.wait(30)
            elif path == '/large':
                self.say(200, b'0123456789' * 100_000, 'application/octet-stream')
            elif path == '/fails':
                self.say(500, b'broken', 'text/plain')
            else:
                said = {'method': self.command, 'target': self.path, 'body': body.decode('utf-8', 'replace')}
                self.say(200, json.dumps(said).encode(), 'application/json')

        do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

        def say(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header('Content-Type', content_type)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            if self.command != 'HEAD':
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Handler
