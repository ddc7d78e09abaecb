"""Tests of the response parser: what it accepts and rejects, its limits, and independence of how the input is split."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.answered import Reading, reading
from trial_tests.support.answers_corpus import BAD, ODD, SHORT
from trial_tests.support.parsed import one_by_one
from trial_tests.support.properties import holds
from zatotx.wire.http1.response_parser import (
    END,
    RESPONSE_LIMITS,
    EndOfBody,
    HttpMessageRejected,
    HttpParserLimits,
    ResponseHead,
    ResponseParser,
    _body_framing,
)


def pieces(data: bytes, cuts: set[int]) -> list[bytes]:
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


class CorpusTests(SynchronousTestCase):
    def read(self, data: bytes, method: str = 'GET') -> Reading:
        """Returns the events for these bytes; checks that one piece and single bytes give the same."""
        whole = reading([data], [method])
        parts = one_by_one(data) if len(data) < 3000 else pieces(data, set(range(0, len(data), 97)))
        self.assertEqual(reading(parts, [method]).verdict, whole.verdict, data[:80])
        return whole

    def test_bad_answers(self) -> None:
        """Invalid responses are rejected before their end is reported."""
        for name, data in BAD.items():
            got = self.read(data)
            self.assertIn(got.status, (400, 431), name)
            self.assertNotIn(END, got.ends, name)

    def test_short_answers(self) -> None:
        """A truncated response is rejected."""
        for name, data in SHORT.items():
            got = self.read(data)
            self.assertEqual((got.status, END in got.ends), (400, False), name)

    def test_odd_answers(self) -> None:
        """Unusual but unambiguous responses are accepted."""
        for name, (data, body) in ODD.items():
            got = self.read(data)
            self.assertEqual((got.status, got.bodies, got.reason), (0, (body,), ''), name)

    def test_nothing_at_all(self) -> None:
        """A connection that ends before a response, or after a complete one, is not an error."""
        self.assertEqual(self.read(b'').verdict, ((), (), (), 0))
        self.assertEqual(self.read(b'HTTP/1.1 100 Continue\r\n\r\n').status, 0)

    def test_what_follows_an_answer(self) -> None:
        """Data after a response is rejected, but the response is not affected."""
        data = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
        for more in (b'x', b'\r\n', b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno'):
            got = self.read(data + more)
            self.assertEqual((got.status, got.bodies), (400, (b'ok',)), more)


class AnswerTests(SynchronousTestCase):
    def head(self, data: bytes, method: str = 'GET') -> ResponseHead:
        got = reading([data], [method])
        self.assertEqual(got.status, 0, got.reason)
        return got.heads[-1]

    def test_an_answer_as_values(self) -> None:
        """Version, status, reason and fields are as sent; names are also available in lower case."""
        head = self.head(b'HTTP/1.1 404 Not  Found\r\nX-Thing:  a b \t\r\nx-thing: c\r\nSet-Cookie: a=1, b\r\n'
                         b'Set-Cookie: c\r\nContent-Length: 2\r\n\r\nok')
        self.assertEqual((head.version, head.status, head.reason, head.length), ((1, 1), 404, b'Not  Found', 2))
        self.assertEqual(head.headers, {b'x-thing': b'a b, c', b'set-cookie': b'a=1, b', b'content-length': b'2'})
        self.assertEqual(head.raw_headers[:2], [(b'X-Thing', b'a b'), (b'x-thing', b'c')])
        self.assertEqual(len(head.raw_headers), 5)

    def test_trailers(self) -> None:
        """Trailers are separate from the header fields."""
        got = reading([b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nDigest: x\r\n\r\n'])
        self.assertEqual((got.bodies, got.ends), ((b'a',), (EndOfBody(((b'Digest', b'x'),)),)))
        self.assertNotIn(b'digest', got.heads[0].headers)

    def test_what_a_head_answers(self) -> None:
        """A response to HEAD has no body, whatever its fields; the same head for GET has one."""
        for framing in (b'Content-Length: 2', b'Transfer-Encoding: chunked', b'A: b'):
            data = b'HTTP/1.1 200 OK\r\n' + framing + b'\r\n\r\n'
            got = reading([data + data], ['HEAD', 'HEAD'])
            self.assertEqual((got.status, got.bodies), (0, (b'', b'')), framing)
        data = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n'
        self.assertEqual(reading([data + data + b'ok' + data], ['HEAD', 'GET', 'HEAD']).bodies, (b'', b'ok', b''))

    def test_what_a_connect_answers(self) -> None:
        """A 2xx response to CONNECT has no body, whatever its fields; the data after it belongs to the tunnel."""
        parser = ResponseParser(RESPONSE_LIMITS)
        parser.expect_response('CONNECT')
        parser.feed(b'HTTP/1.1 200 Go\r\nContent-Length: 5\r\n\r\n\x16\x03')
        head = parser.next()
        assert isinstance(head, ResponseHead)
        self.assertEqual((head.status, head.length, parser.take_whole_body(), parser.pending_bytes), (200, 0, b'', 2))
        self.assertEqual(reading([b'HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno'], ['CONNECT']).bodies, (b'no',))

    def test_whether_the_connection_goes_on(self) -> None:
        """Persistence follows from version and Connection; it is never kept after a body that ends with the
        connection."""
        for line, fields, goes_on in (
            (b'HTTP/1.1', b'Content-Length: 0', True), (b'HTTP/1.0', b'Content-Length: 0', False),
            (b'HTTP/1.1', b'Content-Length: 0\r\nConnection: x, Close', False),
            (b'HTTP/1.0', b'Content-Length: 0\r\nConnection: Keep-Alive', True),
            (b'HTTP/1.1', b'Connection: keep-alive', False), (b'HTTP/1.0', b'Connection: keep-alive', False),
        ):  # fmt: skip
            parser = ResponseParser(RESPONSE_LIMITS)
            parser.expect_response('GET')
            parser.feed(line + b' 200 OK\r\n' + fields + b'\r\n\r\n')
            head = parser.next()
            assert isinstance(head, ResponseHead)
            self.assertEqual(head.keep_alive, goes_on, fields)
            if head.length is not None:
                parser.take_whole_body()
                self.assertEqual(parser.is_finished, not goes_on)

    def test_one_go(self) -> None:
        """A complete small body is returned at once after its head; an incomplete one in pieces."""
        parser = ResponseParser(RESPONSE_LIMITS)
        data = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n'
        parser.expect_response('GET')
        parser.feed(data + b'abcd')
        parser.next()
        self.assertEqual((parser.take_whole_body(), parser.pending_bytes), (b'abcd', 0))
        parser.expect_response('GET')
        parser.feed(data + b'ab')
        parser.next()
        self.assertEqual((parser.take_whole_body(), parser.next(), parser.next()), (None, b'ab', None))
        parser.feed(b'cd')
        self.assertEqual((parser.next(), parser.next()), (b'cd', END))

    def test_a_head_that_comes_again(self) -> None:
        """Identical heads are parsed once and share an object."""
        data = b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n'
        got = reading([data + b'a' + data + b'b'], ['GET', 'GET'])
        self.assertEqual(got.bodies, (b'a', b'b'))
        self.assertIs(got.heads[0], got.heads[1])
        other = reading([data + b'a' + data + b'b'], ['GET', 'POST'])
        self.assertEqual(other.verdict, got.verdict)

    def test_a_refusal_is_for_ever(self) -> None:
        """After a rejection, every call raises it again, and input is discarded."""
        parser = ResponseParser(RESPONSE_LIMITS)
        parser.expect_response('GET')
        parser.feed(b'nonsense')
        first = self.assertRaises(HttpMessageRejected, parser.next)
        parser.feed(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
        self.assertIs(self.assertRaises(HttpMessageRejected, parser.next), first)
        self.assertIs(self.assertRaises(HttpMessageRejected, parser.feed_eof), first)
        self.assertEqual((parser.is_finished, parser.pending_bytes), (True, 0))

    def test_nobody_asked(self) -> None:
        """Data before a request is rejected."""
        parser = ResponseParser(RESPONSE_LIMITS)
        parser.feed(b'HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n')
        self.assertIn('no answer', self.assertRaises(HttpMessageRejected, parser.next).reason)

    def test_limits(self) -> None:
        """The limits of head, field count and field size are exact."""
        fields = b'A: b\r\nContent-Length: 0\r\n'
        data = b'HTTP/1.1 200 OK\r\n' + fields + b'\r\n'
        for limits, status in (
            (HttpParserLimits(head=len(data)), 0),
            (HttpParserLimits(head=len(data) - 1), 431),
            (HttpParserLimits(fields=2), 0),
            (HttpParserLimits(fields=1), 431),
            (HttpParserLimits(field=19), 0),
            (HttpParserLimits(field=18), 431),
        ):
            for parts in ([data], one_by_one(data)):
                self.assertEqual(reading(parts, limits=limits).status, status, limits)

    def test_reasons(self) -> None:
        """Each error is found as soon as it is there, and its reason is given."""
        start = b'HTTP/1.1 200 OK\r\n'
        control = 'A control character stands in the head, or a line of it does not end as it should'
        first = 'The first line of the answer is not HTTP/1.1 or HTTP/1.0, a status and a reason'
        status = 'The status of the answer is not one from 100 to 999'
        body = 'has no body, and its head says that it has one'
        for data, reason in (
            (b'HTTP/1.1 200 OK\nA: b\r\n\r\n', control), (start + b'A: \x01\r\n\r\n', control),
            (start + b'A: b\nC', 'A line feed without a carriage return stands in the head'),
            (b'HTTQ', 'The answer does not begin with HTTP/1'), (b'HTTP/2', 'The answer does not begin with HTTP/1'),
            (b'HTTP/1.2 200 OK\r\n\r\n', first), (b'HTTP/1.1 20 OK\r\n\r\n', first),
            (b'HTTP/1.1 2000 OK\r\n\r\n', first), (b'HTTP/1.1_200 OK\r\n\r\n', first),
            (b'HTTP/1.1 099 OK\r\n\r\n', status), (b'HTTP/1.1 20\r\n\r\n', status),
            (b'HTTP/1.1 101 OK\r\n\r\n', 'The peer changes to another protocol, which nobody asked for'),
            (start + b'Location: a\r\nlocation: a\r\n\r\n', 'The field location stands twice'),
            (start + b'Content_Length: a\r\n\r\n',
             'The field content_length is spelled with _ where the field it imitates has -'),
            (b'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', 'Transfer-Encoding does not exist in HTTP/1.0'),
            (start + b'Transfer-Encoding: gzip\r\n\r\n',
             'Transfer-Encoding is not chunked, and nothing else was asked for'),
            (b'HTTP/1.1 204 OK\r\nContent-Length: 1\r\n\r\n', f'An answer of status 204 {body}'),
            (b'HTTP/1.1 199 OK\r\nTransfer-Encoding: chunked\r\n\r\n', f'An answer of status 199 {body}'),
            (b'HTTP/1.1 100 OK\r\n\r\n' * 17, 'More than 16 interim answers came before one that is final'),
            (start + b'Content-Length: 0\r\n\r\nx', 'Bytes came that belong to no answer'),
        ):  # fmt: skip
            got = reading([data], eof=False)
            self.assertEqual((got.status, got.reason), (400, reason), data)

    def test_upgrade(self) -> None:
        """101 is accepted after a request that asked for another protocol; what follows is its data."""
        parser = ResponseParser(RESPONSE_LIMITS)
        parser.expect_response('GET', upgrade=True)
        parser.feed(b'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nHTTP/1.1 200')
        head = parser.next()
        self.assertIsInstance(head, ResponseHead)
        self.assertEqual((head.status, parser.take_rest(), parser.is_finished), (101, b'HTTP/1.1 200', True))  # type: ignore[union-attr]
        parser = ResponseParser(RESPONSE_LIMITS)
        parser.expect_response('GET', upgrade=True)
        parser.feed(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
        self.assertEqual([type(parser.next()) for _ in range(2)], [ResponseHead, EndOfBody])

    def test_what_llhttp_finds(self) -> None:
        """What llhttp rejects first is checked here too, so that it does not depend on the library."""
        headers = {b'transfer-encoding': b'chunked', b'content-length': b'1'}
        self.assertIn('stand in one head', self.assertRaises(
            HttpMessageRejected, _body_framing, 'GET', 200, (1, 1), headers).reason)  # fmt: skip

    def test_bounds(self) -> None:
        """Statuses, interim responses and CONNECT have exact bounds."""
        interim = b'HTTP/1.1 100 OK\r\n\r\n' * 16
        twice = interim + b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n' + interim
        got = reading([twice], ['GET', 'GET'], eof=False)
        self.assertEqual((got.status, len(got.heads)), (0, 33))
        for status, method, length in ((999, 'GET', None), (200, 'CONNECT', 0), (299, 'CONNECT', 0),
                                       (300, 'CONNECT', None), (304, 'GET', 0), (204, 'GET', 0), (205, 'GET', None),
                                       (200, 'HEAD', 0)):  # fmt: skip
            head = self.head(b'HTTP/1.1 %d\r\n\r\n' % status, method)
            self.assertEqual((head.length, head.keep_alive), (length, length == 0), status)
        self.assertEqual(self.head(b'HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n').length, 0)
        self.assertEqual(self.head(b'HTTP/1.1 304 No\r\nContent-Length: 7\r\n\r\n').length, 0)
        self.assertEqual(msgspec.structs.asdict(RESPONSE_LIMITS), {
            'head': 65_536, 'fields': 200, 'field': 32_768, 'target': 8_192, 'body': 2**62,
            'chunk_extensions': 4_096, 'trailers': 8_192,
        })  # fmt: skip

    def test_shared_heads(self) -> None:
        """Heads of at most 1,024 bytes share an object; larger ones, and those before the end of a connection, do
        not."""
        data = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: '
        for size, shared in ((1024, True), (1025, False)):
            head = data + b'b' * (size - len(data) - 4) + b'\r\n\r\n'
            got = reading([head, head], ['GET', 'GET'])
            self.assertEqual((got.status, got.heads[0] is got.heads[1]), (0, shared))

    def test_ends(self) -> None:
        """The end of the connection ends a response without a length, and no other one; afterwards nothing follows."""
        for data, end in ((b'HTTP/1.1 200 OK\r\n\r\nab', END), (b'', None)):
            parser = ResponseParser(RESPONSE_LIMITS)
            parser.expect_response('GET')
            parser.feed(data)
            while parser.next() is not None:
                pass
            self.assertIs(parser.feed_eof(), end)
            self.assertEqual((parser.is_finished, parser.feed_eof(), parser.pending_bytes), (end is END, None, 0))
        for data in (b'H', b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na'):
            parser = ResponseParser(RESPONSE_LIMITS)
            parser.expect_response('GET')
            parser.feed(data)
            while parser.next() is not None:
                pass
            refused = self.assertRaises(HttpMessageRejected, parser.feed_eof)
            self.assertEqual((refused.reason, parser.is_finished), ('The connection ended inside an answer', True))


CUTS = st.sets(st.integers(0, 400), max_size=12)
SHORT_CASES = [data for data in (*BAD.values(), *SHORT.values(), *(odd[0] for odd in ODD.values())) if len(data) < 500]
METHODS = st.lists(st.sampled_from(['GET', 'POST', 'HEAD', 'CONNECT']), min_size=1, max_size=3)
DAMAGE = st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=2) | st.sampled_from(
    [b'\r', b'\n', b'\r\n', b'\0', b' ', b'\t', b':', b';', b'_', b'0', b'\x80', b'\r\n\r\n', b'1', b'2']
)), max_size=5)  # fmt: skip
NAME = st.text('ABCXYZabcxyz019-.~', min_size=1, max_size=8).map(lambda name: b'X-' + name.encode())
VALUE = st.binary(max_size=12).map(lambda value: bytes(octet for octet in value if octet > 0x20 and octet != 0x7F))
BODY = st.binary(max_size=60)
CHUNKS = st.none() | st.lists(st.integers(1, 59), max_size=5)


class PropertyTests(SynchronousTestCase):
    def check(self, data: bytes, methods: list[str], cuts: set[int]) -> None:
        whole = reading([data], methods)
        self.assertIn(whole.status, (0, 400, 413, 431))
        self.assertEqual(reading(pieces(data, cuts), methods).verdict, whole.verdict)
        self.assertEqual(reading(one_by_one(data), methods).verdict, whole.verdict)

    @holds(data=st.binary(max_size=120), methods=METHODS, cuts=CUTS)
    def test_any_bytes(self, data: bytes, methods: list[str], cuts: set[int]) -> None:
        """Any input gives the same result however it is split."""
        self.check(data, methods, cuts)
        self.check(b'HTTP/1.1 200 OK\r\n' + data, methods, cuts)

    @holds(cases=st.lists(st.sampled_from(SHORT_CASES), min_size=1, max_size=2), changes=DAMAGE, methods=METHODS,
           cuts=CUTS)  # fmt: skip
    def test_damaged(
        self, cases: list[bytes], changes: list[tuple[int, bytes]], methods: list[str], cuts: set[int]
    ) -> None:
        """Corrupted responses give the same result however they are split."""
        data = b''.join(cases)
        for at, octets in changes:
            data = data[:at] + octets + data[at + 1 :]
        self.check(data, methods, cuts)

    @holds(sent=st.lists(st.tuples(st.lists(st.tuples(NAME, VALUE), max_size=4), BODY, CHUNKS), min_size=1, max_size=3),
           cuts=CUTS)  # fmt: skip
    def test_what_was_sent(
        self, sent: list[tuple[list[tuple[bytes, bytes]], bytes, list[int] | None]], cuts: set[int]
    ) -> None:
        """Consecutive responses are parsed as sent, in any number of pieces."""
        data = b''.join(self.octets(*each) for each in sent)
        got = reading(pieces(data, cuts), ['GET'] * len(sent))
        self.assertEqual((got.status, got.bodies), (0, tuple(body for _, body, _ in sent)), got.reason)
        for head, (fields, _, _) in zip(got.heads, sent, strict=True):
            self.assertEqual([field for field in head.raw_headers if field[0].startswith(b'X-')], fields)

    def octets(self, fields: list[tuple[bytes, bytes]], body: bytes, chunks: list[int] | None) -> bytes:
        framing = b'Transfer-Encoding: chunked' if chunks is not None else b'Content-Length: %d' % len(body)
        lines = [b'HTTP/1.1 200 OK', *(b'%b: %b' % field for field in fields), framing]
        head = b'\r\n'.join(lines) + b'\r\n\r\n'
        if chunks is None:
            return head + body
        parts = [part for part in pieces(body, set(chunks)) if part]
        return head + b''.join(b'%x\r\n%b\r\n' % (len(part), part) for part in parts) + b'0\r\n\r\n'


class RepeatedResponseTests(SynchronousTestCase):
    def test_repeated_responses(self) -> None:
        """`feed_repeated` takes a whole response with the previous head, and leaves all other input."""
        head = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n'
        parser = ResponseParser(RESPONSE_LIMITS)
        parser.expect_response('GET')
        self.assertIsNone(parser.feed_repeated(head + b'ab'))
        parser.feed(head + b'ab')
        first = parser.next()
        self.assertEqual(parser.take_whole_body(), b'ab')
        self.assertIsNone(parser.feed_repeated(head + b'cd'), 'no response is expected')
        parser.expect_response('GET')
        for other in (head + b'c', head + b'cde', head.replace(b'OK', b'KO') + b'cd'):
            self.assertIsNone(parser.feed_repeated(other))
        self.assertEqual(parser.feed_repeated(head + b'cd'), (first, b'cd'))
        self.assertTrue(parser.is_between_messages)
        parser.expect_response('GET')
        parser.feed(head[:5])
        self.assertIsNone(parser.feed_repeated(head + b'cd'), 'after the beginning of a response')
        parser = ResponseParser(RESPONSE_LIMITS)
        parser.expect_response('GET')
        parser.feed(head + b'ab')
        parser.next()
        parser.take_whole_body()
        parser.expect_response('HEAD')
        self.assertIsNone(parser.feed_repeated(head), 'the response to another method')
