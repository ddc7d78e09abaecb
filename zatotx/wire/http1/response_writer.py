"""Heads and bodies of HTTP/1.1 answers, as bytes. No I/O.

    stamp = Stamp(time.time())                       # once a second
    head = response_head(200, b'application/json', len(body), cid, stamp.keep)
    transport.writeSequence([head, body])

An answer always says HTTP/1.1, to a client of HTTP/1.0 too (RFC 9110 §6.2); what differs for that client is the field
Connection and that chunks do not exist: its streamed answers have no length (None) and end with the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from zatotx.wire.http1.fields import is_token, is_value

CHUNKED = -1  # as a length: the body comes in chunks
CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'
LAST_CHUNK = b'0\r\n\r\n'
# Fields that the writer owns. `field_lines` refuses them: two of one kind would make two messages of one.
OWNED = frozenset((b'connection', b'content-length', b'content-type', b'date', b'server', b'transfer-encoding'))

_SERVER = b'Server: zatotx\r\n'
_STATUS_LINES = {int(status): b'HTTP/1.1 %d %b\r\n' % (status, status.phrase.encode('ascii')) for status in HTTPStatus}
_BODILESS = frozenset((*range(100, 200), 204, 304))  # no field that frames (RFC 9110 §8.6, RFC 9112 §6.1)


def http_date(now: float) -> bytes:
    """`now` (seconds since the epoch) as fields have it: b'Tue, 24 Nov 2026 08:00:00 GMT'."""
    return formatdate(now, usegmt=True).encode('ascii')


class DateStamp:
    """The end of every head that is made within one second: Date, Server, Connection and the empty line.

    `keep` for a client of HTTP/1.1 whose connection goes on, `keep_1_0` for one of HTTP/1.0, `close` for a last answer.
    """

    __slots__ = ('close', 'keep', 'keep_1_0')

    def __init__(self, now: float) -> None:
        common = b'Date: %b\r\n%b' % (http_date(now), _SERVER)
        self.keep = common + b'\r\n'
        self.keep_1_0 = common + b'Connection: keep-alive\r\n\r\n'
        self.close = common + b'Connection: close\r\n\r\n'


def response_head(status: int, content_type: bytes, length: int | None, cid: str, ending: bytes) -> bytes:
    """The head of an answer, up to its empty line.

    `content_type` b'' = no such field. `length`: of the body in bytes, of a HEAD what a GET would have; CHUNKED; None =
    until the connection closes. Where `status` has no body, no field frames it. `ending` is one of a Stamp's, after the
    `field_lines` of other fields. Raises ValueError where a value could end its field, or the status is none.
    """
    start = _start(status, content_type)
    if not cid.isalnum() and not is_value(cid.encode('ascii')):
        raise ValueError(f'The cid {cid!r} has control characters')
    if length is None or status in _BODILESS:
        fields = f'X-Zato-CID: {cid}\r\n'
    elif length >= 0:
        fields = f'Content-Length: {length}\r\nX-Zato-CID: {cid}\r\n'
    else:
        fields = f'Transfer-Encoding: chunked\r\nX-Zato-CID: {cid}\r\n'
    return start + fields.encode('ascii') + ending


def field_lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Other fields of an answer as lines, b'' for none. Raises ValueError, naming the field, where a name is not legal
    or is one of OWNED, or a value has control characters."""
    lines = []
    for name, value in fields:
        if not is_token(name):
            raise ValueError(f'The name of the field {name!r} has characters that no name may have')
        if name.lower() in OWNED:
            raise ValueError(f'The field {name.decode("ascii")} is written by the server and cannot be set')
        if not is_value(value):
            raise ValueError(f'The value of the field {name.decode("ascii")} has control characters')
        lines.append(b'%b: %b\r\n' % (name, value))
    return b''.join(lines)


def chunk(data: bytes) -> bytes:
    """`data` as one chunk. No data is no chunk: an empty one would end the body."""
    return b'%x\r\n%b\r\n' % (len(data), data) if data else b''


def chunk_parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """`data`, not empty, as one chunk in three parts for writeSequence: large data is not copied."""
    return b'%x\r\n' % len(data), data, b'\r\n'


def last_chunk(trailers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """The end of a chunked body. Raises ValueError as `field_lines` does."""
    return b'0\r\n%b\r\n' % field_lines(trailers) if trailers else LAST_CHUNK


@lru_cache(maxsize=256)
def _start(status: int, content_type: bytes) -> bytes:
    """Status line and Content-Type, checked: there are few of them."""
    line = _STATUS_LINES.get(status)
    if line is None:
        if not 100 <= status <= 999:
            raise ValueError(f'{status} is not an HTTP status: choose one from 100 to 999')
        line = b'HTTP/1.1 %d \r\n' % status
    if not is_value(content_type):
        raise ValueError(f'The content type {content_type!r} has control characters')
    return b'%bContent-Type: %b\r\n' % (line, content_type) if content_type else line
