"""uvicorn in its fastest configuration: uvloop, httptools, a minimal ASGI callable, no access log.

    python -m bench.peers.uvicorn_echo PORT
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

_JSON = [(b'content-type', b'application/json')]


async def echo(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Return the body of the request."""
    body, more = b'', True
    while more:
        event = await receive()
        body += event.get('body', b'')
        more = event.get('more_body', False)
    length = (b'content-length', b'%d' % len(body))
    await send({'type': 'http.response.start', 'status': 200, 'headers': [*_JSON, length]})
    await send({'type': 'http.response.body', 'body': body})


def main(port: int) -> None:
    """Serve until the process is killed."""
    uvicorn.run(
        echo,
        host='127.0.0.1',
        port=port,
        loop='uvloop',
        http='httptools',
        lifespan='off',
        log_level='warning',
        access_log=False,
    )


if __name__ == '__main__':
    main(int(sys.argv[1]))
