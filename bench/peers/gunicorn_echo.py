"""gunicorn with one gevent worker and a minimal WSGI callable, the stack of Zato 1.1 to 3.x.

    python -m bench.peers.gunicorn_echo PORT
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]


def echo(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]) -> Iterable[bytes]:
    """Return the body of the request."""
    body = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Type', 'application/json'), ('Content-Length', str(len(body)))])
    return [body]


class Server(BaseApplication):  # type: ignore[misc]
    """A gunicorn server that is started from Python instead of the command line."""

    def __init__(self, port: int) -> None:
        self._port = port
        super().__init__()

    def load_config(self) -> None:
        """Use one worker, so that one core is compared with one core."""
        self.cfg.set('bind', f'127.0.0.1:{self._port}')
        self.cfg.set('worker_class', 'gevent')
        self.cfg.set('workers', 1)
        self.cfg.set('loglevel', 'warning')

    def load(self) -> Any:
        """The WSGI application."""
        return echo


if __name__ == '__main__':
    port = int(sys.argv[1])
    sys.argv[1:] = []  # or gunicorn takes them for its own
    Server(port).run()
