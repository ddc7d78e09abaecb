"""Has a client that sent its FIN gone away, or does it only send no more?

TCP says the same in both cases, until we write: a socket that is closed answers with a reset. So while a service runs
for a client that has half-closed, we write the one thing HTTP/1.1 lets a server say at any time before an answer, an
interim `100 Continue` (RFC 9110 15.2), and look a moment later whether a reset came. Nobody there: the service is
cancelled. Somebody there (`printf … | nc -N`): the answer comes when it is ready. HTTP/1.0 knows no interim answers:
such a client must not half-close, and is taken for gone.
"""

from __future__ import annotations

from socket import SO_ERROR, SOL_SOCKET
from typing import Any

from zatotx.plugins.http.turn import Turn


def may_probe(turn: Turn) -> bool:
    """Whether an interim answer may be sent before the answer of this turn."""
    return turn.head is not None and turn.head.version == (1, 1)


def is_gone(transport: Any) -> bool:
    """Whether the client's system has said that nobody is there any more."""
    handle = transport.getHandle()
    return bool(handle.getsockopt(SOL_SOCKET, SO_ERROR))
