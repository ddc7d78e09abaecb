"""Tells whether a half-closed client has disconnected or only stopped sending.

TCP sends a FIN in both cases; only when we write does a closed socket answer with a reset. So while a service runs for
a half-closed client, we send an interim `100 Continue`, which HTTP/1.1 allows at any time before a response (RFC 9110
15.2), and check for a reset a moment later. After a reset the service is cancelled; otherwise (`printf … | nc -N`) the
response is sent when it is ready. HTTP/1.0 has no interim responses: such a client must not half-close, and is treated
as disconnected.
"""

from __future__ import annotations

from socket import SO_ERROR, SOL_SOCKET
from typing import Any

from zatotx.plugins.http.server.buffered_writer import BufferedWriter
from zatotx.plugins.http.server.response_writer import ResponseWriter
from zatotx.wire.http1.response_writer import CONTINUE

DISCONNECTED, PROBING, UNKNOWN = 'gone', 'asked', 'unknown'


def probe_client(transport: Any, responses: ResponseWriter, writer: BufferedWriter, *, is_probed: bool) -> str:
    """Return what is known of a half-closed client. Sends the probe, once, if an interim response may be sent: before
    the next response, and not in the middle of one."""
    if transport.getHandle().getsockopt(SOL_SOCKET, SO_ERROR):
        return DISCONNECTED
    if is_probed or not responses.requests or responses.stream is not None or writer.is_backlogged:
        return UNKNOWN
    head = responses.requests[0].head
    if head is None or head.version != (1, 1):
        return DISCONNECTED
    responses.write(CONTINUE)
    return PROBING
