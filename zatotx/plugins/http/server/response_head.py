"""The head of a response: what HTTP requires, plus the fields that the service set."""

from __future__ import annotations

from zatotx.model.message import Reply
from zatotx.wire.http1.response_writer import RESERVED_FIELDS, write_field_lines, write_response_head

# Fields that the connection sets: those of a service are ignored.
_SERVER_FIELDS = (RESERVED_FIELDS - {b'content-type'}) | {
    b'keep-alive', b'proxy-connection', b'te', b'trailer', b'upgrade', b'x-zato-cid',
}  # fmt: skip
BODILESS = frozenset({204, 304})  # RFC 9110 6.4.1


def build_response_head(reply: Reply, cid: str, length: int | None, ending: bytes) -> bytes:
    """Build the head of a final response; `length` and `ending` as in wire.http1.response_writer.response_head. Raises
    ValueError for a status or a field that cannot be sent."""
    status = reply.status
    if not 200 <= status <= 599:
        raise ValueError(f'{status} is not the status of a final answer, 200 to 599')
    if not reply.headers:
        return write_response_head(status, reply.content_type, length, cid, ending)
    content_type = reply.content_type
    fields = []
    for name, value in reply.headers:
        key = name.lower()
        if key == b'content-type':
            content_type = value
        elif key not in _SERVER_FIELDS:
            fields.append((name, value))
    return write_response_head(status, content_type, length, cid, write_field_lines(fields) + ending)
