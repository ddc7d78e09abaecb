"""Incremental parser of HTTP/1.0 and 1.1 responses (RFC 9110, RFC 9112). No I/O, no Twisted.

    parser = ResponseParser(ANSWER_LIMITS)
    parser.expect_response('GET')
    parser.feed(data)
    while (event := parser.next()) is not None:
        ...  # ResponseHead, any number of 1xx before the final one; then any number of bytes, then EndOfBody

As strict as the request parser, and its result never depends on how the input was split. Responses whose end is
ambiguous are rejected: otherwise the next request on that connection could receive another request's response.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import httptools
import msgspec

from zatotx.wire.http1.chunked_decoder import END, ChunkedDecoder, EndOfBody
from zatotx.wire.http1.header_fields import (
    VALUE_CHARACTERS,
    check_field_lengths,
    check_lookalike_names,
    is_persistent,
    parse_content_length,
)
from zatotx.wire.http1.message_limits import HttpMessageRejected, HttpParserLimits
from zatotx.wire.http1.parser_base import (
    CHUNKED,
    END_OF_MESSAGE,
    FINISHED,
    FIXED_LENGTH,
    HEAD,
    UNTIL_CLOSE,
    HttpMessageParser,
)
from zatotx.wire.http1.request_head import VERSIONS, parse_fields

__all__ = [
    'END',
    'RESPONSE_LIMITS',
    'EndOfBody',
    'HttpMessageRejected',
    'HttpParserLimits',
    'ResponseHead',
    'ResponseParser',
]

# Response heads are larger than request heads: cookies, policies. Callers limit the size of the body.
RESPONSE_LIMITS = HttpParserLimits(head=65_536, fields=200, field=32_768, body=1 << 62)

_MAX_CACHED_HEAD = 1024  # maximum size in bytes of a cached head
_MAX_INTERIM = 16  # maximum number of interim responses before the final one
_START = b'HTTP/1.'
# Fields that determine framing or interpretation: a duplicate, even with the same value, makes the response ambiguous.
_SINGLETONS = frozenset((b'content-length', b'content-range', b'content-type', b'location', b'transfer-encoding'))


class ResponseHead(msgspec.Struct, gc=False, frozen=True):
    """The parsed head of a response. Responses with identical heads may share one object, so it must not be
    modified."""

    status: int
    reason: bytes
    version: tuple[int, int]  # (1, 1) or (1, 0)
    headers: dict[bytes, bytes]  # by lower-case name; repeated ones joined by ', ', for Set-Cookie the first
    raw_headers: list[tuple[bytes, bytes]]  # as sent, in order
    length: int | None  # body length in bytes; 0 = no body; None = chunked, or until the connection closes
    chunked: bool
    keep_alive: bool


def parse_response_head(method: str, head: bytes, limits: HttpParserLimits, *, upgrade: bool = False) -> ResponseHead:
    """Parse a complete response head, from the status line to the empty line. `method` is the method of the request;
    `upgrade` says whether the request asked for another protocol, so that status 101 is possible.

    Raises HttpMessageRejected: 431 for too many or too long fields, 400 for everything else.
    """
    lines = head.count(b'\r\n')
    if head.translate(None, VALUE_CHARACTERS) != b'\r\n' * lines:
        raise HttpMessageRejected(
            400, 'A control character stands in the head, or a line of it does not end as it should'
        )
    version, status, reason = _parse_status_line(head[: head.index(b'\r\n')])
    if status == 101 and not upgrade:
        raise HttpMessageRejected(400, 'The peer changes to another protocol, which nobody asked for')
    if len(head) > limits.field:
        check_field_lengths(head, limits.field)
    raw = parse_fields(head, httptools.HttpResponseParser)
    if len(raw) != lines - 2:
        raise HttpMessageRejected(400, 'A field of the head goes on in a second line')
    if len(raw) > limits.fields:
        raise HttpMessageRejected(431, f'The head has more than {limits.fields} fields')
    headers = {name.lower(): value for name, value in raw}
    if len(headers) != len(raw):
        headers = _combine_fields(raw)
    if b'_' in head:
        check_lookalike_names(headers)
    length, chunked = _body_framing(method, status, version, headers)
    keep_alive = is_persistent(version, headers.get(b'connection')) and (length is not None or chunked)
    return ResponseHead(status, reason, version, headers, raw, length, chunked, keep_alive)


class ResponseParser(HttpMessageParser):
    """Parses the responses of one connection. Each response must be announced with `expect_response`."""

    __slots__ = ('_expected', '_head', '_head_bytes', '_interim', '_method', '_upgrade')

    def __init__(self, limits: HttpParserLimits) -> None:
        super().__init__(limits)
        self._method = ''
        self._expected = False
        self._upgrade = False
        self._interim = 0
        self._head_bytes = b''  # the last head as received: many servers repeat identical heads within a second
        self._head: ResponseHead | None = None

    def expect_response(self, method: str, *, upgrade: bool = False) -> None:
        """Announce the response to a request with this method. `upgrade`: the request asks for another protocol (RFC
        9110 §7.8). If the response is 101, all that follows its head is returned as pieces of its body."""
        self._expected = True
        self._upgrade = upgrade
        if method != self._method:
            self._method = method
            self._head = None  # the cached head of a HEAD response looks the same but has no body

    def feed_repeated(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Take input that is a whole response with exactly the previous head, and return head and body: what `feed`,
        `next` and `take_whole_body` do, in one step. Otherwise returns None, and the input is not taken."""
        head, size = self._head, len(self._head_bytes)
        if head is None or head.length is None or len(data) != size + head.length or not self._expected:
            return None
        if self._state != HEAD or self._position != len(self._buffer) or not data.startswith(self._head_bytes):
            return None
        self._expected = False
        self._interim = 0
        return head, data[size:]

    def next(self) -> ResponseHead | bytes | EndOfBody | None:
        """Return the next event, or None if more input is needed. Pieces of a body are never empty. The head of an
        interim response (status below 200) is followed by another head.

        Raises HttpMessageRejected if the response is invalid, and again on every later call.
        """
        if self._error is not None:
            raise self._error
        try:
            if self._state == HEAD:
                return self._next_head()
            return self._next_until_end() if self._state == UNTIL_CLOSE else self._next_body_event()
        except HttpMessageRejected as error:
            self._error = error
            self._finish_parsing()
            raise

    def feed_eof(self) -> EndOfBody | None:
        """Signal that the peer has closed the connection cleanly. Call it after `next` has returned None. Returns END
        if that ends the response, None between responses. Raises HttpMessageRejected (400) inside a response, or a
        previous rejection again."""
        if self._error is not None:
            raise self._error
        if self._state == UNTIL_CLOSE:
            self._finish_parsing()
            return END
        if self._state == FINISHED or (self._state == HEAD and not self.pending_bytes):
            return None
        self._error = HttpMessageRejected(400, 'The connection ended inside an answer')
        self._finish_parsing()
        raise self._error

    def _next_head(self) -> ResponseHead | None:
        buffer, start = self._buffer, self._position
        if start == len(buffer):
            return None
        if not self._expected:
            raise HttpMessageRejected(400, 'Bytes came that belong to no answer')
        if self._head is not None and buffer.startswith(self._head_bytes, start):
            return self._enter_body(self._head, start + len(self._head_bytes))
        prefix = buffer[start : start + len(_START)]
        if not _START.startswith(prefix):
            raise HttpMessageRejected(400, 'The answer does not begin with HTTP/1')
        end = buffer.find(b'\r\n\r\n', start + self._searched) + 4
        if end < 4 or end - start > self._limits.head:
            self._searched = self._searched or 1
            self._check_incomplete_head()
            return None
        head_bytes = bytes(buffer[start:end])
        head = parse_response_head(self._method, head_bytes, self._limits, upgrade=self._upgrade)
        if head.status == 101:
            self._enter_body(head, end)
            self._state = UNTIL_CLOSE
            return head
        if head.status < 200:
            return self._pass_interim(head, end)
        if len(head_bytes) <= _MAX_CACHED_HEAD and head.keep_alive:
            self._head, self._head_bytes = head, head_bytes
        return self._enter_body(head, end)

    def _pass_interim(self, head: ResponseHead, end: int) -> ResponseHead:
        self._interim += 1
        if self._interim > _MAX_INTERIM:
            raise HttpMessageRejected(400, f'More than {_MAX_INTERIM} interim answers came before one that is final')
        self._position = end
        self._searched = 0
        return head

    def _enter_body(self, head: ResponseHead, end: int) -> ResponseHead:
        """Enter the body after a head that ends at `end`."""
        self._position = end
        self._searched = self._interim = 0
        self._expected = False
        self._keep_alive = head.keep_alive
        if head.length is not None:
            self._state = FIXED_LENGTH if head.length else END_OF_MESSAGE
            self._body_remaining = head.length
        elif head.chunked:
            self._state = CHUNKED
            self._chunks = ChunkedDecoder(self._limits)
        else:
            self._state = UNTIL_CLOSE
        return head

    def _next_until_end(self) -> bytes | None:
        piece = bytes(self._buffer[self._position :])
        self._position = len(self._buffer)
        return piece or None

    def _finish_parsing(self) -> None:
        super()._finish_parsing()
        self._head = None


@lru_cache(maxsize=256)
def _parse_status_line(line: bytes) -> tuple[tuple[int, int], int, bytes]:
    """Return version, status and reason. Accepts a missing space before a missing reason, since many servers omit
    it."""
    version = VERSIONS.get(line[:8])
    digits = line[9:12]
    if version is None or line[8:9] != b' ' or not digits.isdigit() or line[12:13] not in (b' ', b''):
        raise HttpMessageRejected(
            400, 'The first line of the answer is not HTTP/1.1 or HTTP/1.0, a status and a reason'
        )
    status = int(digits)
    if len(digits) < 3 or status < 100:
        raise HttpMessageRejected(400, 'The status of the answer is not one from 100 to 999')
    return version, status, line[13:]


def _combine_fields(raw: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for name, value in raw:
        key = name.lower()
        if key not in fields:
            fields[key] = value
        elif key in _SINGLETONS:
            raise HttpMessageRejected(400, f'The field {key.decode("ascii")} stands twice')
        elif key != b'set-cookie':  # cookies may contain commas
            fields[key] += b', ' + value
    return fields


def _body_framing(
    method: str, status: int, version: tuple[int, int], headers: dict[bytes, bytes]
) -> tuple[int | None, bool]:
    """Return the length of the body and whether it is chunked (RFC 9112 §6.3)."""
    if method == 'CONNECT' and 200 <= status < 300:
        return 0, False  # regardless of the fields: the tunnel follows
    coding, value = headers.get(b'transfer-encoding'), headers.get(b'content-length')
    length = None if value is None else parse_content_length(value)
    bodiless = status < 200 or status == 204
    if coding is not None:
        if value is not None:
            raise HttpMessageRejected(400, 'Content-Length and Transfer-Encoding stand in one head')
        if version != (1, 1):
            raise HttpMessageRejected(400, 'Transfer-Encoding does not exist in HTTP/1.0')
        if coding.lower() != b'chunked':
            raise HttpMessageRejected(400, 'Transfer-Encoding is not chunked, and nothing else was asked for')
    if bodiless and (coding is not None or length):
        raise HttpMessageRejected(400, f'An answer of status {status} has no body, and its head says that it has one')
    if bodiless or status == 304 or method == 'HEAD':
        return 0, False
    return length, coding is not None
