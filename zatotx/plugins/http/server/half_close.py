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

from zatotx.plugins.http.server.buffered_writer import BufferedWriter
from zatotx.plugins.http.server.response_writer import ResponseWriter
from zatotx.wire.http1.response_writer import CONTINUE

GONE, ASKED, UNKNOWN = 'gone', 'asked', 'unknown'


def probe_client(transport: Any, answers: ResponseWriter, outlet: BufferedWriter, *, probed: bool) -> str:
    """What is known now of a client that has half-closed. Asks it, once, where an interim answer may be sent: before
    the answer that is due next, and not into the middle of one."""
    if transport.getHandle().getsockopt(SOL_SOCKET, SO_ERROR):
        return GONE
    if probed or not answers.turns or answers.stream is not None or outlet.behind:
        return UNKNOWN
    head = answers.turns[0].head
    if head is None or head.version != (1, 1):
        return GONE
    answers.write(CONTINUE)
    return ASKED
