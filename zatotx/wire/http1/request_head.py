"""The head of a request: its line and its fields, checked as a whole.

llhttp (through httptools) reads the fields: it is exact about names, values, line ends and folds. What it lets
through is checked here and in `http1_fields` and `http1_target`.
"""

from __future__ import annotations

from typing import Any

import httptools
import msgspec

from zatotx.wire.http1.fields import (
    check_chunked,
    check_lengths,
    check_names,
    combine_fields,
    content_length,
    is_authority,
    is_token,
    keeps_alive,
)
from zatotx.wire.http1.limits import MessageRejected, ParserLimits
from zatotx.wire.http1.request_target import split_target

# The methods that llhttp knows, as both it and we write them.
METHODS = {
    name.encode('ascii'): name
    for name in (
        'ACL', 'BIND', 'CHECKOUT', 'CONNECT', 'COPY', 'DELETE', 'GET', 'HEAD', 'LINK', 'LOCK', 'M-SEARCH', 'MERGE',
        'MKACTIVITY', 'MKCALENDAR', 'MKCOL', 'MOVE', 'NOTIFY', 'OPTIONS', 'PATCH', 'POST', 'PROPFIND', 'PROPPATCH',
        'PURGE', 'PUT', 'QUERY', 'REBIND', 'REPORT', 'SEARCH', 'SOURCE', 'SUBSCRIBE', 'TRACE', 'UNBIND', 'UNLINK',
        'UNLOCK', 'UNSUBSCRIBE',
    )
}  # fmt: skip
VERSIONS = {b'HTTP/1.1': (1, 1), b'HTTP/1.0': (1, 0)}
_MINOR_1 = ord('1')
# What a request line has beside its target: the longest method, two spaces, the version.
LINE_BESIDE_TARGET = max(map(len, METHODS)) + 2 + len(b'HTTP/1.1')


class RequestHead(msgspec.Struct, gc=False, frozen=True):
    """A request without its body. Requests with the same head may share one: read it, change nothing in it."""

    method: str
    target: bytes  # as sent
    path: bytes  # raw: without query and fragment; of an absolute-form target its path; '*' and CONNECT as they are
    query: bytes  # raw, without '?'
    version: tuple[int, int]  # (1, 1) or (1, 0)
    headers: dict[bytes, bytes]  # by lower-case name; `host` is the one in force, see `split_target`
    raw_headers: list[tuple[bytes, bytes]]  # as sent, in order
    length: int | None  # of the body in bytes; 0 = none; None = chunked
    keep_alive: bool
    expects: bytes  # the value of Expect in lower case, or b''; of HTTP/1.0 always b'' (RFC 9110 §10.1.1)


class RequestLine(msgspec.Struct, gc=False, frozen=True):
    """The first line of a request, checked."""

    text: bytes  # as sent, without its end
    method: str
    target: bytes
    version: tuple[int, int]
    path: bytes  # these three as `split_target` gives them
    query: bytes
    authority: bytes


def request_line(line: bytes, limits: ParserLimits) -> RequestLine:
    """Read a request line without its end. Raises Refused: 400, 414 where the target is too long, 501 where the method
    is not known, 505 where it is not HTTP/1.

    That the octets of the target are visible ASCII is llhttp's to see, when the head is whole.
    """
    parts = line.split(b' ')
    if len(parts) != 3:
        raise MessageRejected(
            400, 'The request line is not a method, a target and a version with one space between each'
        )
    method, version = METHODS.get(parts[0]), VERSIONS.get(parts[2])
    if method is None or version is None:
        version = _served_as(parts[0], parts[2])
        if method is None:
            raise MessageRejected(501, 'The method of the request is not known here', framing=True)
    if len(parts[1]) > limits.target:
        raise MessageRejected(414, f'The request target is longer than {limits.target} bytes')
    return RequestLine(line, method, parts[1], version, *split_target(method, parts[1]))


def _served_as(method: bytes, version: bytes) -> tuple[int, int]:
    """The version to serve a request by whose version or method is none of ours: HTTP/1.2 to 1.9 as 1.1 (RFC 9110
    §2.5). Refused: 400 where either is malformed, 505 for another major version."""
    if not is_token(method):
        raise MessageRejected(400, 'The request line does not begin with a method')
    name, major, dot, minor = version[:5], version[5:6], version[6:7], version[7:]
    if name != b'HTTP/' or dot != b'.' or not major.isdigit() or not minor.isdigit() or len(minor) != 1:
        raise MessageRejected(400, 'The request line does not end in a version of HTTP')
    if major != b'1':
        raise MessageRejected(505, 'HTTP/1.1 and HTTP/1.0 are spoken here', framing=True)
    return (1, 0) if minor == b'0' else (1, 1)


def request_head(line: RequestLine, head: bytes, limits: ParserLimits) -> RequestHead:
    """Read a whole head, from its request line (already read as `line`) to its empty line.

    Raises Refused: 400, 413 by Content-Length, 431 for too many or too long fields, 501 by Transfer-Encoding.
    """
    if line.text[-1] > _MINOR_1:  # llhttp knows no later version
        raw = raw_fields(b'%b1%b' % (line.text[:-1], head[len(line.text) :]))
    else:
        raw = raw_fields(head)
    if len(head) > limits.field:
        check_lengths(head, limits.field)
    if len(raw) > limits.fields:
        raise MessageRejected(431, f'The head has more than {limits.fields} fields')
    headers = {name.lower(): value for name, value in raw}
    if len(headers) != len(raw):
        headers = combine_fields(raw)
    if b'_' in head:
        check_names(headers)
    version = line.version
    get = headers.get
    host = get(b'host')
    if host is None:
        if version == (1, 1):
            raise MessageRejected(400, 'A request of HTTP/1.1 must have the field Host')
    elif not is_authority(host):
        raise MessageRejected(400, 'The field Host is not a host with an optional port')
    if line.authority:
        headers[b'host'] = line.authority
    expects = get(b'expect', b'').lower() if version == (1, 1) else b''
    keep_alive = keeps_alive(version, get(b'connection'))
    length = _body_length(version, get(b'content-length'), get(b'transfer-encoding'), limits.body)
    return RequestHead(
        line.method, line.target, line.path, line.query, version, headers, raw, length, keep_alive, expects
    )


class _Collector:
    """What llhttp calls for each field."""

    __slots__ = ('raw',)

    def __init__(self) -> None:
        self.raw: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.raw.append((name, value.rstrip()))  # llhttp strips the space before a value only


def raw_fields(head: bytes, parser: Any = httptools.HttpRequestParser) -> list[tuple[bytes, bytes]]:
    """The fields of a whole head, of a request or, with its parser, of an answer. Raises Refused: 400."""
    collector = _Collector()
    try:
        parser(collector).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # CONNECT, or a wish to upgrade, which is ignored
    except httptools.HttpParserError as error:
        raise MessageRejected(400, f'The head is not HTTP/1: {error}') from None
    return collector.raw


def _body_length(version: tuple[int, int], value: bytes | None, coding: bytes | None, most: int) -> int | None:
    if coding is not None:
        if value is not None:
            raise MessageRejected(400, 'Content-Length and Transfer-Encoding stand in one head')
        if version != (1, 1):
            raise MessageRejected(400, 'Transfer-Encoding does not exist in HTTP/1.0')
        check_chunked(coding)
        return None
    if value is None:
        return 0
    length = content_length(value)
    if length > most:
        raise MessageRejected(413, f'The body is longer than {most} bytes')
    return length
