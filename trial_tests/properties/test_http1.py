"""Properties of HTTP/1 parsing: messages are parsed as sent however they are split; invalid ones are rejected once."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.corpora import http1_cases, with_host
from trial_tests.support.parsed import one_by_one, outcome
from trial_tests.support.properties import holds
from zatotx.wire.http1.request_parser import (
    EndOfBody,
    HttpMessageRejected,
    HttpParserLimits,
    RequestHead,
    RequestParser,
)

TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DIGITS = st.text('0123456789abcdefABCDEF', min_size=2, max_size=2)
VISIBLE = bytes(octet for octet in range(0x21, 0x7F))


class Sent(NamedTuple):
    """A request as the client intends it."""

    method: str
    path: bytes
    query: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    chunks: list[int] | None  # sizes of chunks; None: Content-Length, where there is a body

    def octets(self) -> bytes:
        target = self.path + (b'?' + self.query if self.query else b'')
        lines = [b'%s %s HTTP/1.1' % (self.method.encode(), target), b'Host: a', *(b'%s: %s' % f for f in self.fields)]
        if self.chunks is not None:
            lines.append(b'Transfer-Encoding: chunked')
        elif self.body:
            lines.append(b'Content-Length: %d' % len(self.body))
        return b'\r\n'.join([*lines, b'', b'']) + self.coded()

    def coded(self) -> bytes:
        if self.chunks is None:
            return self.body
        edges = [0, *sorted({cut for cut in self.chunks if 0 < cut < len(self.body)}), len(self.body)]
        pieces = [self.body[a:b] for a, b in pairwise(edges) if a < b]
        return b''.join(b'%x\r\n%s\r\n' % (len(piece), piece) for piece in pieces) + b'0\r\n\r\n'


def pieces(data: bytes, cuts: set[int]) -> list[bytes]:
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


CUTS = st.sets(st.integers(0, 600), max_size=12)
ESCAPE = DIGITS.filter(lambda digits: digits != '00').map('%{}'.format)
SEGMENT = st.lists(st.sampled_from("abcXYZ0189-._~!$&'()*+,;=:@") | ESCAPE, max_size=6).map(''.join)
PATH = st.lists(SEGMENT, min_size=1, max_size=4).map(lambda segments: ('/' + '/'.join(segments)).encode())
FIELD = st.tuples(
    st.text(TOKEN, min_size=1, max_size=12).map(lambda name: b'X-' + name.encode()),
    st.binary(max_size=12).map(lambda value: bytes(o for o in value if o in VISIBLE or o >= 0x80)),
).filter(lambda field: b'_' not in field[0])
REQUEST = st.builds(
    Sent,
    method=st.sampled_from(['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']),
    path=PATH,
    query=st.lists(st.sampled_from('abc=&+%20;/?'), max_size=8).map(''.join).filter(
        lambda q: '%' not in q.replace('%20', '')).map(str.encode),
    fields=st.lists(FIELD, max_size=4),
    body=st.binary(max_size=60),
    chunks=st.none() | st.lists(st.integers(1, 59), max_size=5),
)
SHORT_CASES = [data for folder in ('valid', 'invalid') for data in map(with_host, http1_cases(folder).values())
               if len(data) < 500]
DAMAGE = st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=2) | st.sampled_from(
    [b'\r', b'\n', b'\r\n', b'\0', b' ', b'\t', b':', b';', b'%', b'_', b'0', b'\x80', b'\r\n\r\n']
)), max_size=5)  # fmt: skip


class RequestTests(SynchronousTestCase):
    @holds(sent=st.lists(REQUEST, min_size=1, max_size=3), cuts=CUTS)
    def test_what_was_sent(self, sent: list[Sent], cuts: set[int]) -> None:
        """Consecutive requests are parsed as sent, in any number of pieces, and nothing remains."""
        data = b''.join(each.octets() for each in sent)
        got = outcome(pieces(data, cuts))
        self.assertEqual((got.status, len(got.messages)), (0, len(sent)), (got.reason, data))
        for meant, message in zip(sent, got.messages, strict=True):
            head = message.head
            self.assertEqual((head.method, head.path, head.query), (meant.method, meant.path, meant.query))
            self.assertEqual(message.body, meant.body)
            named = [(name, value) for name, value in head.raw_headers if name.startswith(b'X-')]
            self.assertEqual(named, meant.fields)
        self.assertEqual(self.left(pieces(data, cuts)), (0, True))

    def left(self, sent: list[bytes]) -> tuple[int, bool]:
        """Returns the number of unread bytes, and whether the parser is between messages."""
        parser = RequestParser(HttpParserLimits())
        for piece in sent:
            parser.feed(piece)
            while parser.next() is not None:
                pass  # taken
        return parser.pending_bytes, parser.is_idle

    @holds(sent=st.lists(REQUEST, min_size=1, max_size=3), tail=st.binary(max_size=40), cuts=CUTS)
    def test_what_follows_changes_nothing(self, sent: list[Sent], tail: bytes, cuts: set[int]) -> None:
        """Data after complete requests does not change them."""
        data = b''.join(each.octets() for each in sent)
        alone = outcome([data])
        got = outcome(pieces(data + tail, cuts))
        self.assertEqual(got.messages[: len(sent)], alone.messages)

    @holds(sent=REQUEST, length=st.integers(0, 80), cuts=CUTS)
    def test_two_lengths(self, sent: Sent, length: int, cuts: set[int]) -> None:
        """A request with Transfer-Encoding and Content-Length, or two of either, never gets a body."""
        fields = [*sent.fields, (b'Content-Length', b'%d' % length)]
        if sent.chunks is None and not sent.body:
            fields.append((b'Content-Length', b'%d' % length))
        got = outcome(pieces(sent._replace(fields=fields).octets(), cuts))
        self.assertEqual((got.status, got.framing, got.messages), (400, True, ()))


class DamageTests(SynchronousTestCase):
    """Random bytes, and requests of the corpora with changed bytes."""

    def check(self, data: bytes, cuts: set[int]) -> None:
        whole = outcome([data])
        self.assertIn(whole.status, (0, 400, 413, 414, 417, 431, 501, 505))
        self.assertEqual(outcome(pieces(data, cuts)).verdict, whole.verdict)
        self.assertEqual(outcome(one_by_one(data)).verdict, whole.verdict)
        self.accounted(pieces(data, cuts))

    def accounted(self, sent: list[bytes]) -> None:
        """Checks that bodies are not longer than the input, unread data is buffered, and a rejected parser stays
        rejected without events."""
        parser, came, fed = RequestParser(HttpParserLimits()), 0, 0
        try:
            for piece in sent:
                parser.feed(piece)
                fed += len(piece)
                while (event := parser.next()) is not None:
                    came += len(event) if not isinstance(event, RequestHead | EndOfBody) else 0
                self.assertLessEqual(came + parser.pending_bytes, fed)
        except HttpMessageRejected as refused:
            for _ in range(2):
                again = self.assertRaises(HttpMessageRejected, parser.next)
                self.assertEqual((again.status, again.is_framing_error), (refused.status, refused.is_framing_error))

    @holds(data=st.binary(max_size=200), cuts=CUTS)
    def test_any_bytes(self, data: bytes, cuts: set[int]) -> None:
        """Random bytes give one result."""
        self.check(data, cuts)

    @holds(case=st.sampled_from(SHORT_CASES), changes=DAMAGE, cuts=CUTS)
    def test_damaged(self, case: bytes, changes: list[tuple[int, bytes]], cuts: set[int]) -> None:
        """Modified requests give one result."""
        for at, octets in changes:
            case = case[:at] + octets + case[at + 1 :]
        self.check(case, cuts)

    @holds(sent=st.lists(REQUEST, min_size=1, max_size=2), changes=DAMAGE, cuts=CUTS)
    def test_damaged_requests_of_our_own(
        self, sent: list[Sent], changes: list[tuple[int, bytes]], cuts: set[int]
    ) -> None:
        """Modified pipelined requests with bodies give one result."""
        data = b''.join(each.octets() for each in sent)
        for at, octets in changes:
            data = data[:at] + octets + data[at + 1 :]
        self.check(data, cuts)
