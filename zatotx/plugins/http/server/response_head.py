"""The head of an answer: what the wire writes, around what a service asked for."""

from __future__ import annotations

from zatotx.model.message import Reply
from zatotx.wire.http1.response_writer import OWNED, field_lines, response_head

# Fields that the connection decides on: a service that sets them is not asked.
_OURS = (OWNED - {b'content-type'}) | {
    b'keep-alive', b'proxy-connection', b'te', b'trailer', b'upgrade', b'x-zato-cid',
}  # fmt: skip
BODILESS = frozenset({204, 304})  # RFC 9110 6.4.1


def build_response_head(reply: Reply, cid: str, length: int | None, ending: bytes) -> bytes:
    """The head of a final answer; `length` and `ending` as in wire.http1_write.response_head. Raises ValueError for
    a status or a field that cannot be sent."""
    status = reply.status
    if not 200 <= status <= 599:
        raise ValueError(f'{status} is not the status of a final answer, 200 to 599')
    if not reply.headers:
        return response_head(status, reply.content_type, length, cid, ending)
    content_type = reply.content_type
    fields = []
    for name, value in reply.headers:
        key = name.lower()
        if key == b'content-type':
            content_type = value
        elif key not in _OURS:
            fields.append((name, value))
    return response_head(status, content_type, length, cid, field_lines(fields) + ending)
