"""Parses and validates request lines and request heads.

llhttp (through httptools) parses the fields: it is strict about names, values, line ends and folding. What it accepts
is validated here and in `fields` and `request_target`.
"""

from __future__ import annotations

from typing import Any

import httptools
import msgspec

from zatotx.wire.http1.header_fields import (
    HEX_PAIRS,
    check_field_lengths,
    check_lookalike_names,
    check_transfer_encoding,
    combine_fields,
    is_authority,
    is_field_name_token,
    is_persistent,
    parse_content_length,
)
from zatotx.wire.http1.message_limits import HttpMessageRejected, HttpParserLimits

_SCHEMES = (b'http', b'https')


def split_target(method: str, target: bytes) -> tuple[bytes, bytes, bytes]:
    """Split a request target into path, query and authority.

    Path and query are raw, without '?'; a fragment, which clients should not send, is removed. The authority is b'' in
    origin-form; in absolute-form it is the target's host and port without user information, which replaces Host (RFC
    9112 §3.2.2). llhttp checks that all octets are visible ASCII. Rejects with 400: a form that the method does not
    allow, '%' without two hex digits, an encoded NUL in the path.
    """
    if b'%' in target:
        _check_escapes(target)
    if method == 'CONNECT':
        return _authority_form(target)
    if target.startswith(b'/'):
        if b'#' in target:
            target = target.partition(b'#')[0]
        path, _, query = target.partition(b'?')
        return path, query, b''
    if target == b'*' and method == 'OPTIONS':
        return target, b'', b''
    return _absolute_form(target)


def _check_escapes(target: bytes) -> None:
    if not HEX_PAIRS.issuperset(piece[:2] for piece in target.split(b'%')[1:]):
        raise HttpMessageRejected(400, 'The request target has a % that is not followed by two hex digits')
    if b'%00' in target.partition(b'?')[0]:
        raise HttpMessageRejected(400, 'The path of the request target has an encoded NUL')


def _authority_form(target: bytes) -> tuple[bytes, bytes, bytes]:
    if not is_authority(target) or not target.rpartition(b':')[2].isdigit():
        raise HttpMessageRejected(400, 'The target of CONNECT is not a host and a port')
    return target, b'', target


def _absolute_form(target: bytes) -> tuple[bytes, bytes, bytes]:
    scheme, separator, rest = target.partition(b'://')
    if not separator or scheme.lower() not in _SCHEMES:
        raise HttpMessageRejected(400, 'The request target is neither a path nor an absolute http or https URL')
    end = min(position if position >= 0 else len(rest) for position in map(rest.find, (b'/', b'?', b'#')))
    authority = rest[:end].rpartition(b'@')[2]
    if not is_authority(authority):
        raise HttpMessageRejected(400, 'The authority of the request target is not a host with an optional port')
    path, _, query = rest[end:].partition(b'#')[0].partition(b'?')
    return path or b'/', query, authority


# The methods that llhttp supports.
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
# Maximum length of a request line without its target: the longest method, two spaces, the version.
MAX_LINE_WITHOUT_TARGET = max(map(len, METHODS)) + 2 + len(b'HTTP/1.1')


class RequestHead(msgspec.Struct, gc=False, frozen=True):
    """The parsed head of a request. Requests with identical heads may share one object, so it must not be modified."""

    method: str
    target: bytes  # as sent
    # raw: without query and fragment; for absolute-form the path of the URL; '*' and the target of CONNECT unchanged
    path: bytes
    query: bytes  # raw, without '?'
    version: tuple[int, int]  # (1, 1) or (1, 0)
    headers: dict[bytes, bytes]  # by lower-case name; `host` is the effective one, see `split_target`
    raw_headers: list[tuple[bytes, bytes]]  # as sent, in order
    length: int | None  # body length in bytes; 0 = no body; None = chunked
    keep_alive: bool
    expects: bytes  # the lower-case value of Expect, or b''; always b'' for HTTP/1.0 (RFC 9110 §10.1.1)


class RequestLine(msgspec.Struct, gc=False, frozen=True):
    """A validated request line."""

    text: bytes  # as sent, without its line end
    method: str
    target: bytes
    version: tuple[int, int]
    path: bytes  # these three as returned by `split_target`
    query: bytes
    authority: bytes


def parse_request_line(line: bytes, limits: HttpParserLimits) -> RequestLine:
    """Parse a request line without its line ending. Raises HttpMessageRejected, with status 400 if the line is
    malformed, 414 if the target is too long, 501 for an unknown method, and 505 for a version other than HTTP/1.

    llhttp checks that the target is visible ASCII when the head is complete.
    """
    parts = line.split(b' ')
    if len(parts) != 3:
        raise HttpMessageRejected(
            400, 'The request line is not a method, a target and a version with one space between each'
        )
    method, version = METHODS.get(parts[0]), VERSIONS.get(parts[2])
    if method is None or version is None:
        version = _fallback_version(parts[0], parts[2])
        if method is None:
            raise HttpMessageRejected(501, 'The method of the request is not known here', is_framing_error=True)
    if len(parts[1]) > limits.target:
        raise HttpMessageRejected(414, f'The request target is longer than {limits.target} bytes')
    return RequestLine(line, method, parts[1], version, *split_target(method, parts[1]))


def _fallback_version(method: bytes, version: bytes) -> tuple[int, int]:
    """Return the version to use for a request with an unknown version or method: HTTP/1.2 to 1.9 are treated as 1.1
    (RFC 9110 §2.5). Rejects malformed ones with 400, another major version with 505."""
    if not is_field_name_token(method):
        raise HttpMessageRejected(400, 'The request line does not begin with a method')
    name, major, dot, minor = version[:5], version[5:6], version[6:7], version[7:]
    if name != b'HTTP/' or dot != b'.' or not major.isdigit() or not minor.isdigit() or len(minor) != 1:
        raise HttpMessageRejected(400, 'The request line does not end in a version of HTTP')
    if major != b'1':
        raise HttpMessageRejected(505, 'HTTP/1.1 and HTTP/1.0 are spoken here', is_framing_error=True)
    return (1, 0) if minor == b'0' else (1, 1)


def parse_request_head(line: RequestLine, head: bytes, limits: HttpParserLimits) -> RequestHead:
    """Parse a complete request head, from the request line (already parsed as `line`) to the empty line.

    Raises HttpMessageRejected: 400, 413 by Content-Length, 431 for too many or too long fields, 501 by
    Transfer-Encoding.
    """
    if line.text[-1] > _MINOR_1:  # llhttp does not support later versions
        raw = parse_fields(b'%b1%b' % (line.text[:-1], head[len(line.text) :]))
    else:
        raw = parse_fields(head)
    if len(head) > limits.field:
        check_field_lengths(head, limits.field)
    if len(raw) > limits.fields:
        raise HttpMessageRejected(431, f'The head has more than {limits.fields} fields')
    headers = {name.lower(): value for name, value in raw}
    if len(headers) != len(raw):
        headers = combine_fields(raw)
    if b'_' in head:
        check_lookalike_names(headers)
    version = line.version
    get = headers.get
    host = get(b'host')
    if host is None:
        if version == (1, 1):
            raise HttpMessageRejected(400, 'A request of HTTP/1.1 must have the field Host')
    elif not is_authority(host):
        raise HttpMessageRejected(400, 'The field Host is not a host with an optional port')
    if line.authority:
        headers[b'host'] = line.authority
    expects = get(b'expect', b'').lower() if version == (1, 1) else b''
    keep_alive = is_persistent(version, get(b'connection'))
    length = _body_length(version, get(b'content-length'), get(b'transfer-encoding'), limits.body)
    return RequestHead(
        line.method, line.target, line.path, line.query, version, headers, raw, length, keep_alive, expects
    )


class _FieldCollector:
    """Collects the fields in llhttp's callback."""

    __slots__ = ('raw',)

    def __init__(self) -> None:
        self.raw: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.raw.append((name, value.rstrip()))  # llhttp strips only the whitespace before a value


def parse_fields(head: bytes, parser: Any = httptools.HttpRequestParser) -> list[tuple[bytes, bytes]]:
    """Return the header fields of a complete head. Both the request parser and the response parser use this function.
    Raises HttpMessageRejected (400)."""
    collector = _FieldCollector()
    try:
        parser(collector).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # CONNECT, or an upgrade request, which is ignored
    except httptools.HttpParserError as error:
        raise HttpMessageRejected(400, f'The head is not HTTP/1: {error}') from None
    return collector.raw


def _body_length(version: tuple[int, int], value: bytes | None, coding: bytes | None, max_body: int) -> int | None:
    if coding is not None:
        if value is not None:
            raise HttpMessageRejected(400, 'Content-Length and Transfer-Encoding stand in one head')
        if version != (1, 1):
            raise HttpMessageRejected(400, 'Transfer-Encoding does not exist in HTTP/1.0')
        check_transfer_encoding(coding)
        return None
    if value is None:
        return 0
    length = parse_content_length(value)
    if length > max_body:
        raise HttpMessageRejected(413, f'The body is longer than {max_body} bytes')
    return length
