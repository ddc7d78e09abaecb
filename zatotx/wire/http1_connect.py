"""CONNECT to a proxy: the request as bytes, and the head of the answer (RFC 9110 §9.3.6, RFC 9112). Pure."""

from __future__ import annotations

import msgspec

from zatotx.wire.http1_bounds import Refused
from zatotx.wire.http1_fields import field_line
from zatotx.wire.malformed import Malformed

__all__ = ['ConnectAnswer', 'Malformed', 'connect_answer', 'connect_request']

_LONGEST = 32_768  # bytes of all heads together, interim ones too


class ConnectAnswer(msgspec.Struct, frozen=True):
    """The final answer. `rest`: bytes after its head, of the tunnel if there is one."""

    status: int
    rest: bytes


def connect_request(authority: bytes, authorization: bytes = b'') -> bytes:
    """`authority`: host:port. `authorization`: the value of Proxy-Authorization, b'' = none."""
    known = b'Proxy-Authorization: %b\r\n' % authorization if authorization else b''
    return b'CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n' % (authority, authority, known)


def connect_answer(data: bytes) -> ConnectAnswer | None:
    """The final answer in all that has come so far; None = its head is not whole. Framing fields of a 2xx mean nothing
    (RFC 9110 §9.3.6). Raises Malformed."""
    while True:
        head, end, rest = data.partition(b'\r\n\r\n')
        if len(data) - len(rest) > _LONGEST:
            raise Malformed(f'the head is longer than {_LONGEST} bytes')
        if not end:
            _check_begin(data)
            return None
        status = _status(head)
        if status >= 200:
            return ConnectAnswer(status, rest)
        data = rest


def _status(head: bytes) -> int:
    line, *fields = head.split(b'\r\n')
    version, status = line[:9], line[9:12]
    if version not in (b'HTTP/1.1 ', b'HTTP/1.0 ') or not status.isdigit() or line[12:13] not in (b'', b' '):
        raise Malformed('the first line is no status line of HTTP/1')
    try:
        for field in fields:
            field_line(field)
    except Refused as refused:
        raise Malformed(refused.reason) from None
    if not 100 <= int(status) <= 599:
        raise Malformed('the status is not from 100 to 599')
    return int(status)


def _check_begin(data: bytes) -> None:
    if not data.startswith(b'HTTP/1.'[: len(data)]):
        raise Malformed('it does not begin with HTTP/1')
