"""Tests of the request parser: what it accepts, what it rejects and why, and its limits."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.parsed import Message, Outcome, one_by_one, outcome
from zatotx.wire.http1.header_fields import (
    TOKEN_CHARACTERS,
    check_transfer_encoding,
    is_authority,
    parse_content_length,
)
from zatotx.wire.http1.request_head import METHODS, _body_length
from zatotx.wire.http1.request_parser import (
    END,
    EndOfBody,
    HttpMessageRejected,
    HttpParserLimits,
    RequestHead,
    RequestParser,
)


def request(*fields: bytes, line: bytes = b'GET / HTTP/1.1', body: bytes = b'', host: bytes = b'Host: a') -> bytes:
    lines = [line, *([host] if host else []), *fields]
    return b'\r\n'.join(lines) + b'\r\n\r\n' + body


def chunked(body: bytes) -> bytes:
    return request(b'Transfer-Encoding: chunked', line=b'POST / HTTP/1.1', body=body)


class Case(SynchronousTestCase):
    def sent(self, data: bytes, limits: HttpParserLimits | None = None) -> Outcome:
        """Returns the events for these bytes; checks that one piece and single bytes give the same."""
        got = outcome([data], limits)
        self.assertEqual(outcome(one_by_one(data), limits).verdict, got.verdict, data[:80])
        return got

    def taken(self, data: bytes, limits: HttpParserLimits | None = None) -> Message:
        got = self.sent(data, limits)
        self.assertEqual((got.status, len(got.messages)), (0, 1), (data[:80], got.reason))
        return got.messages[0]

    def refused(self, data: bytes, status: int = 400, limits: HttpParserLimits | None = None) -> Outcome:
        got = self.sent(data, limits)
        self.assertEqual((got.status, got.framing), (status, status in (400, 501, 505)), (data[:80], got.reason))
        self.assertFalse(any(message.end for message in got.messages))
        return got


class HeadTests(Case):
    def test_a_request_as_values(self) -> None:
        """Method, target, path, query, version and fields are as sent; names are also available in lower case."""
        message = self.taken(request(
            b'Content-Length: 2', b'X-Thing:  a b \t', b'x-thing: c', b'Cookie: p=1', b'Cookie: q=2',
            line=b'POST /a%20b/c?x=1&y HTTP/1.1', body=b'{}',
        ))
        head = message.head
        self.assertEqual((head.method, head.target, head.path, head.query), ('POST', b'/a%20b/c?x=1&y', b'/a%20b/c',
                         b'x=1&y'))
        self.assertEqual((head.version, head.length, head.keep_alive, head.expects), ((1, 1), 2, True, b''))
        self.assertEqual(head.headers, {
            b'host': b'a', b'content-length': b'2', b'x-thing': b'a b, c', b'cookie': b'p=1; q=2',
        })
        self.assertEqual(head.raw_headers[2:4], [(b'X-Thing', b'a b'), (b'x-thing', b'c')])
        self.assertEqual((message.body, message.end), (b'{}', END))

    def test_methods(self) -> None:
        """Methods that llhttp supports are accepted in upper case only; another token gives 501, other text 400."""
        for method in METHODS:
            target = b'a:1' if method == b'CONNECT' else b'/'
            self.assertEqual(self.taken(request(line=method + b' ' + target + b' HTTP/1.1')).head.method,
                             METHODS[method])
        for method in (b'get', b'FOO', b'PRI', b'DESCRIBE', b'-BLARGH', b'X' * 100):
            self.refused(request(line=method + b' / HTTP/1.1'), 501)
        for method in (b'G\xc3\x89T', b'', b'GET\0', b'GET:'):
            self.refused(request(line=method + b' / HTTP/1.1'))

    def test_versions(self) -> None:
        """HTTP/1.0 is kept, later minor versions are treated as 1.1; another major version gives 505 whatever the
        method, other text 400."""
        self.assertEqual(self.taken(request(line=b'GET / HTTP/1.0')).head.version, (1, 0))
        for version in (b'HTTP/1.2', b'HTTP/1.9'):
            head = self.taken(request(line=b'GET / ' + version)).head
            self.assertEqual((head.version, head.keep_alive, head.headers), ((1, 1), True, {b'host': b'a'}))
            self.refused(request(line=b'GET / ' + version, host=b''))
            self.refused(request(line=b'FOO / ' + version), 501)
        for version in (b'HTTP/0.9', b'HTTP/2.0', b'HTTP/3.1'):
            self.refused(request(line=b'GET / ' + version), 505)
        for version in (b'HTTP/11', b'http/1.1', b'HTTP/1.1 ', b'HTTP/01.1', b'HTTP/1.10', b'HTTP/1.', b'HTTP/2',
                        b'HTTP/1,1', b'HTTP/2.\xb2', b''):
            for method in (b'GET', b'FOO'):
                self.refused(request(line=method + b' / ' + version))
        self.refused(b'GET /\r\n')
        self.refused(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505)

    def test_spaces_of_the_request_line(self) -> None:
        """The request line has exactly one space on either side of the target."""
        for line in (b' GET / HTTP/1.1', b'GET  / HTTP/1.1', b'GET /  HTTP/1.1', b'GET\t/ HTTP/1.1',
                     b'GET / x HTTP/1.1'):
            self.refused(request(line=line))

    def test_empty_lines_before_a_request(self) -> None:
        """Up to four empty lines before a request are skipped (RFC 9112 §2.2), a fifth is rejected."""
        self.taken(b'\r\n' * 4 + request())
        self.refused(b'\r\n' * 5 + request())
        self.refused(b'\n' + request())
        self.assertEqual(len(self.sent(request() + b'\r\n' + request() + b'\r\n' * 4 + request()).messages), 3)

    def test_octets_of_names(self) -> None:
        """A field name is a token: any other octet in it is rejected."""
        for octet in range(256):
            field = b'A' + bytes((octet,)) + b'B: x'
            if octet in TOKEN_CHARACTERS or octet == ord(':'):
                self.taken(request(field))
            else:
                self.refused(request(field))
        self.refused(request(b': x'))
        self.refused(request(b'A'))

    def test_octets_of_values(self) -> None:
        """A field value has no control characters except tab."""
        for octet in range(256):
            field = b'A: x' + bytes((octet,)) + b'y'
            if octet == 9 or (octet >= 32 and octet != 127):
                self.taken(request(field))
            else:
                self.refused(request(field))

    def test_whitespace_of_fields(self) -> None:
        """Space before a colon, folded lines and a space before the first field are rejected."""
        for field in (b'A : x', b'A\t: x', b' A: x', b'A: x\r\n y', b'A: x\r\n\ty', b'A:\r\n x', b'A: x\r\n '):
            self.refused(request(field))
            self.refused(request(field, host=b'') if field == b' A: x' else request(field))

    def test_line_ends(self) -> None:
        """A bare CR or LF is rejected anywhere, and immediately if the head could otherwise continue indefinitely."""
        for data in (b'GET / HTTP/1.1\nHost: a\r\n\r\n', b'GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n',
                     b'GET / HTTP/1.1\r\nHost: a\rB: c\r\n\r\n', b'GET / HTTP/1.1\r\nHost: a\r\n\n',
                     b'GET / HTTP/1.1\r\nHost: a\n\n', b'GET / HTTP/1.1\r\r\nHost: a\r\n\r\n', b'\n\n'):
            self.refused(data)
        for data in (b'GET / HTTP/1.1\n', b'GET / HTTP/1.1\r\nHost: a\n', b'nonsense\r\n', b'\x16\x03\x01\x02\r\n'):
            self.assertEqual(outcome([data], eof=False).status, 400, data)

    def test_upgrade_is_ignored(self) -> None:
        """An Upgrade field has no effect."""
        message = self.taken(request(b'Upgrade: websocket', b'Connection: upgrade', b'Content-Length: 2', body=b'ab'))
        self.assertEqual((message.body, message.head.keep_alive), (b'ab', True))

    def test_repeated_singletons(self) -> None:
        """Fields with a single value must not be repeated, even with the same value; list fields may be."""
        for name in (b'Host', b'Content-Type', b'Authorization', b'Expect', b'Range', b'If-Range', b'Date'):
            self.refused(request(name + b': a', name.lower() + b': a', host=b'' if name == b'Host' else b'Host: a'))
        self.assertEqual(self.taken(request(b'Accept: a', b'Accept: b')).head.headers[b'accept'], b'a, b')

    def test_underscores_that_imitate(self) -> None:
        """Names that equal a framing, routing or authorization field when _ is replaced by - are rejected; others are
        accepted."""
        for name in (b'Content_Length', b'Transfer_Encoding', b'CONTENT_TYPE', b'transfer-Encoding_', b'X_Thing',
                     b'a_b'):
            if name in (b'transfer-Encoding_', b'X_Thing', b'a_b'):
                self.taken(request(name + b': 1'))
            else:
                self.refused(request(name + b': 1'))


class TargetTests(Case):
    def path(self, target: bytes, method: bytes = b'GET') -> tuple[bytes, bytes]:
        head = self.taken(request(line=method + b' ' + target + b' HTTP/1.1')).head
        self.assertEqual(head.target, target)
        return head.path, head.query

    def test_origin_form(self) -> None:
        """A path with an optional query is accepted; a fragment is removed; slashes are unchanged."""
        self.assertEqual(self.path(b'/'), (b'/', b''))
        self.assertEqual(self.path(b'/a/b?c?d=/e'), (b'/a/b', b'c?d=/e'))
        self.assertEqual(self.path(b'/a#b?c'), (b'/a', b''))
        self.assertEqual(self.path(b'/a?b#c'), (b'/a', b'b'))
        self.assertEqual(self.path(b'///a//"{|}"'), (b'///a//"{|}"', b''))

    def test_absolute_form(self) -> None:
        """For an http or https URL, its path is used, and its authority replaces Host (RFC 9112 §3.2.2)."""
        for target, path, host in (
            (b'http://b.example/x?y', b'/x', b'b.example'), (b'HTTPS://u:p@b:8080/x?y', b'/x', b'b:8080'),
            (b'http://b?y', b'/', b'b'), (b'http://[::1]:80/#f', b'/', b'[::1]:80'),
        ):
            head = self.taken(request(line=b'GET ' + target + b' HTTP/1.1')).head
            self.assertEqual((head.path, head.headers[b'host']), (path, host))
        self.assertEqual(self.taken(request(line=b'GET http://b/ HTTP/1.0', host=b'')).head.headers[b'host'], b'b')
        self.refused(request(line=b'GET http://b/ HTTP/1.1', host=b''))
        for target in (b'http:///x', b'ftp://b/x', b'http:/x', b'http://b:x/', b'http://a b/', b'http://u@/', b'x',
                       b''):
            self.refused(request(line=b'GET ' + target + b' HTTP/1.1'))

    def test_asterisk_and_authority_forms(self) -> None:
        """`*` is accepted for OPTIONS only, host and port for CONNECT only."""
        self.assertEqual(self.path(b'*', b'OPTIONS'), (b'*', b''))
        self.assertEqual(self.path(b'a.example:443', b'CONNECT'), (b'a.example:443', b''))
        for line in (b'GET *', b'OPTIONS *x', b'GET a:443', b'CONNECT /', b'CONNECT a', b'CONNECT a:',
                     b'CONNECT http://a/', b'CONNECT a:b', b'CONNECT *'):
            self.refused(request(line=line + b' HTTP/1.1'))

    def test_octets_and_escapes(self) -> None:
        """Targets are visible ASCII; a % is followed by two hex digits; the path has no encoded NUL."""
        for octet in range(256):
            line = b'GET /' + bytes((octet,)) + b'x?y HTTP/1.1'
            if 0x21 <= octet < 0x7F and octet != ord('%'):
                self.taken(request(line=line))
            else:
                self.refused(request(line=line))
        for target in (b'/%', b'/%4', b'/%zz', b'/a%2', b'/%00', b'/a?%', b'/a?b=%4g', b'/%u0041', b'/%+1'):
            self.refused(request(line=b'GET ' + target + b' HTTP/1.1'))
        self.path(b'/%2f%FF?a=%00')


class HostTests(Case):
    def test_one_well_formed_host(self) -> None:
        """HTTP/1.1 requires one Host, a name or address with an optional port; for HTTP/1.0 it is optional."""
        self.refused(request(host=b''))
        self.taken(request(line=b'GET / HTTP/1.0', host=b''))
        for host in (b'a', b'a.b:80', b'0.0.0.0=5000', b'[::1]', b'[::1]:8080', b'a:', b'a_b', b'%61', b"!$&'()*+,;="):
            self.taken(request(host=b'Host: ' + host))
        for host in (b'', b'a b', b'a/b', b'u@a', b'a:b', b'a:80:80', b'a:99999', b'[::1', b'::1', b'[]', b'[x]',
                     b'[::1]x', b'a?b', b'a#b', b'\xc3\xa9', b'%6', b'%zz', b'a"b', b'x' * 300, b'[::1]:x', b':80',
                     b'a:+8'):
            self.refused(request(host=b'Host: ' + host))
            self.refused(request(line=b'GET / HTTP/1.0', host=b'Host: ' + host))

    def test_addresses_as_the_standard_library_sees_them(self) -> None:
        """Bracketed addresses are accepted exactly if ipaddress accepts them."""
        texts = ['::', '::1', '1::', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '1::2::3', ':::', ':1',
                 '1:', '::1.2.3.4', '1.2.3.4::', '::1.2.3', '::256.1.1.1', '1:2:3:4:5:6:1.2.3.4',
                 '1:2:3:4:5:6:7:1.2.3.4', 'g::', '12345::', '::1.2.3.4:5', '1.2.3.4', '', 'fe80::1', '::ffff:1.2.3.4',
                 '1::2:3:4:5:6:7:8', '1:::2']
        for text in texts:
            try:
                legal = bool(IPv6Address(text))
            except AddressValueError:
                legal = False
            self.assertEqual(is_authority(f'[{text}]'.encode()), legal, text)


class FramingTests(Case):
    def test_content_length(self) -> None:
        """Content-Length is one decimal number; anything else is rejected."""
        self.assertEqual(self.taken(request(b'Content-Length: 003', body=b'abc')).body, b'abc')
        self.assertEqual(self.taken(request(b'Content-Length: 0')).head.length, 0)
        for value in (b'5, 5', b'+1', b'-0', b'0_1', b'0 1', b'1.0', b'0x1', b'', b'1' * 20, b'0' * 20, b'\xb2', b'1;'):
            self.refused(request(b'Content-Length: ' + value, body=b'abcde'))
        self.refused(request(b'Content-Length: 1', b'Content-Length: 1', body=b'a'))
        self.refused(request(b'Content-Length: 1', b'content-length: 2', body=b'ab'))

    def test_transfer_encoding(self) -> None:
        """Only chunked is accepted, never with Content-Length or in HTTP/1.0. Other codings before it give 501, since
        they would not be decoded. If chunked is not the last coding, or is repeated, the length is unknown."""
        for value in (b'chunked', b'Chunked'):
            message = self.taken(request(b'Transfer-Encoding: ' + value, body=b'1\r\na\r\n0\r\n\r\n'))
            self.assertEqual((message.head.length, message.body), (None, b'a'))
        for value in (b'gzip, chunked', b'deflate, chunked', b'identity ,\tchunked', b'br, chunked',
                      b'gzip, br, chunked', b'a;q = 1;b=c, chunked', b'gzip\r\nTransfer-Encoding: chunked'):
            self.refused(request(b'Transfer-Encoding: ' + value, body=b'1\r\na\r\n0\r\n\r\n'), 501)
        for value in (b'gzip', b'identity', b'chunked, chunked', b'chunked, gzip', b'chunked;q=1', b'xchunked',
                      b'chunked,', b',chunked', b'', b'"chunked"', b'gz ip, chunked', b'chunked;q=1, chunked',
                      b'gzip, chunked, chunked', b'gzip;, chunked', b'gzip;q, chunked', b'gzip;a=",b", chunked',
                      b'chunked\r\nTransfer-Encoding: identity'):
            self.refused(request(b'Transfer-Encoding: ' + value, body=b'1\r\na\r\n0\r\n\r\n'))
        self.refused(request(b'Transfer-Encoding: chunked', b'Content-Length: 1', body=b'0\r\n\r\n'))
        self.refused(request(b'Content-Length: 0', b'Transfer-Encoding: chunked', body=b'0\r\n\r\n'))
        self.refused(request(b'Transfer-Encoding: chunked', line=b'POST / HTTP/1.0', body=b'0\r\n\r\n'))

    def test_chunk_sizes(self) -> None:
        """A chunk size has 1 to 16 hex digits, followed immediately by the end of the line or an extension."""
        self.assertEqual(self.taken(chunked(b'00a\r\n0123456789\r\nB\r\n0123456789a\r\n000\r\n\r\n')).body,
                         b'01234567890123456789a')
        for size in (b'', b' 1', b'1 ', b'+1', b'-1', b'1_0', b'0x1', b'g', b'\t1', b'0' * 17, b'1 ;a', b'1\n',
                     b'\xb2'):
            self.refused(chunked(size + b'\r\na\r\n0\r\n\r\n'))

    def test_chunk_ends(self) -> None:
        """A chunk ends with CR LF; a body ends with an empty line."""
        for body in (b'1\r\nab\r\n0\r\n\r\n', b'1\r\na\n0\r\n\r\n', b'1\r\na\rx0\r\n\r\n', b'1\r\na0\r\n\r\n',
                     b'1\na\r\n0\r\n\r\n', b'0\r\n', b'0\r\nPOST / HTTP/1.1\r\n\r\n', b'0\n\n', b'1\r\na\r\n',
                     b'1\r\n'):
            self.refused(chunked(body))

    def test_chunk_extensions(self) -> None:
        """Valid extensions are ignored, and their total size is limited per body."""
        for extension in (b';a', b';a=b', b'; a = b ;c', b';a="b;\\"c"', b';a=""', b';a;b;c'):
            self.assertEqual(self.taken(chunked(b'1' + extension + b'\r\na\r\n0' + extension + b'\r\n\r\n')).body, b'a')
        for extension in (b';', b';;a', b';a=', b';a="b', b';a b', b';a=b\x01', b';a=b\rc', b';a="\x7f"', b';=b',
                          b';a;'):
            self.refused(chunked(b'1' + extension + b'\r\na\r\n0\r\n\r\n'))
        limits = HttpParserLimits(chunk_extensions=6)
        self.taken(chunked(b'1;ab\r\na\r\n1;ab\r\na\r\n0\r\n\r\n'), limits)
        self.refused(chunked(b'1;ab\r\na\r\n1;abc\r\na\r\n0\r\n\r\n'), limits=limits)
        self.refused(chunked(b'1;' + b'a' * 5000), limits=HttpParserLimits())

    def test_trailers(self) -> None:
        """Trailers come with the end, separate from the head; framing, routing and authorization fields are
        rejected."""
        message = self.taken(chunked(b'0\r\nX-Sum: 1\r\nVary:\t* \r\n\r\n'))
        self.assertEqual(message.end, EndOfBody(((b'X-Sum', b'1'), (b'Vary', b'*'))))
        self.assertNotIn(b'x-sum', message.head.headers)
        for line in (b'Content-Length: 1', b'transfer-encoding: chunked', b'Host: b', b'Authorization: x',
                     b'Content_Length: 1', b'Content-Encoding: gzip', b'Cookie: a', b'A : b', b' a: b', b'A: b\r\n c',
                     b'A', b': b', b'A: \x01', b'A\xff: b', b'A: b\nC: d', b'Expect: 100-continue', b'Trailer: a',
                     b'X-Forwarded-For: 1'):
            self.refused(chunked(b'0\r\n' + line + b'\r\n\r\n'))

    def test_end_of_input(self) -> None:
        """A connection may end between messages; an end inside a message rejects it."""
        whole = chunked(b'1\r\na\r\n0\r\nA: b\r\n\r\n')
        for at in range(1, len(whole)):
            self.assertEqual(outcome([whole[:at]]).status, 400, whole[:at])
        self.taken(whole)
        self.assertEqual(outcome([b'']).verdict, ((), 0, False))
        self.assertEqual(outcome([b'\r\n']).status, 0)

    def test_junk_after_a_message(self) -> None:
        """Data after a message is parsed as the next request, and rejected if it is not one."""
        got = self.sent(request(b'Content-Length: 1', body=b'ajunk\r\n\r\n') + request())
        self.assertEqual((got.status, len(got.messages), got.messages[0].body), (400, 1, b'a'))


class ConnectionTests(Case):
    def kept(self, *fields: bytes, version: bytes = b'1.1') -> bool:
        return self.taken(request(*fields, line=b'GET / HTTP/' + version)).head.keep_alive

    def test_keep_alive(self) -> None:
        """HTTP/1.1 connections persist unless close is sent, 1.0 only with keep-alive; close takes precedence."""
        self.assertTrue(self.kept())
        self.assertTrue(self.kept(b'Connection: keep-alive'))
        self.assertFalse(self.kept(b'Connection: Close'))
        self.assertFalse(self.kept(b'Connection: x', b'Connection: keep-alive ,close'))
        self.assertTrue(self.kept(b'Connection: closed'))
        self.assertFalse(self.kept(version=b'1.0'))
        self.assertTrue(self.kept(b'Connection: Keep-Alive', version=b'1.0'))
        self.assertFalse(self.kept(b'Connection: keep-alive, close', version=b'1.0'))

    def test_nothing_follows_the_last_message(self) -> None:
        """After a message that closes the connection, input is discarded and uses no memory."""
        parser = RequestParser(HttpParserLimits())
        parser.feed(request(b'Connection: close') + b'x' * 100)
        self.assertIsInstance(parser.next(), RequestHead)
        self.assertIs(parser.next(), END)
        parser.feed(b'y' * 100)
        self.assertIsNone(parser.next())
        parser.feed_eof()
        self.assertEqual((parser.is_finished, parser.pending_bytes), (True, 0))

    def test_expect(self) -> None:
        """Expect is returned in lower case; it is ignored for HTTP/1.0 (RFC 9110 §10.1.1)."""
        self.assertEqual(self.taken(request(b'Expect: 100-Continue')).head.expects, b'100-continue')
        self.assertEqual(self.taken(request(b'Expect: tea')).head.expects, b'tea')
        self.assertEqual(self.taken(request(b'Expect: 100-continue', line=b'GET / HTTP/1.0')).head.expects, b'')

    def test_pipelined_requests_come_one_by_one(self) -> None:
        """Input that was not requested stays buffered; `pending` returns its size, `idle` whether there is none."""
        one = request(b'Content-Length: 3', body=b'abc')
        parser = RequestParser(HttpParserLimits())
        self.assertTrue(parser.is_idle)
        parser.feed(one + one[:-1])
        self.assertIsInstance(parser.next(), RequestHead)
        self.assertEqual(parser.next(), b'abc')
        self.assertIs(parser.next(), END)
        self.assertEqual(parser.pending_bytes, len(one) - 1)
        self.assertFalse(parser.is_idle)
        self.assertIsInstance(parser.next(), RequestHead)
        self.assertEqual(parser.next(), b'ab')
        self.assertIsNone(parser.next())
        parser.feed(b'c')
        self.assertEqual((parser.next(), parser.next(), parser.is_idle), (b'c', END, True))

    def test_a_refusal_stays(self) -> None:
        """After a rejection, every call raises the same error with the request line, and nothing is buffered."""
        parser = RequestParser(HttpParserLimits(fields=1))
        parser.feed(request(b'A: b', line=b'GET /secret HTTP/1.1'))
        for _ in range(2):
            refused = self.assertRaises(HttpMessageRejected, parser.next)
            self.assertEqual((refused.status, refused.request_line), (431, b'GET /secret HTTP/1.1'))
            self.assertIn('431', str(refused))
        parser.feed(b'x' * 1000)
        self.assertEqual((parser.pending_bytes, parser.is_finished), (0, True))
        self.assertIs(self.assertRaises(HttpMessageRejected, parser.feed_eof), refused)


class LimitTests(Case):
    def test_head(self) -> None:
        """A head of the maximum size is accepted, one byte more gives 431 without waiting for its end."""
        head = request(b'A: ' + b'b' * 100)
        self.taken(head, HttpParserLimits(head=len(head)))
        self.refused(head, 431, HttpParserLimits(head=len(head) - 1))
        self.assertEqual(outcome([head[:-4] + b'c' * 100], HttpParserLimits(head=len(head)), eof=False).status, 431)

    def test_fields(self) -> None:
        """100 fields are accepted, 101 give 431."""
        self.taken(request(*(b'F%d: x' % number for number in range(99))))
        self.refused(request(*(b'F%d: x' % number for number in range(100))), 431)

    def test_field(self) -> None:
        """A field line of 8,190 bytes including its end is accepted, a longer one gives 431."""
        self.taken(request(b'A: ' + b'x' * (8_190 - 5)))
        self.refused(request(b'A: ' + b'x' * (8_190 - 4)), 431)

    def test_target(self) -> None:
        """A target of 8,192 bytes is accepted, a longer one gives 414 without waiting for its end."""
        self.taken(request(line=b'GET /' + b'x' * 8_191 + b' HTTP/1.1'))
        self.refused(request(line=b'GET /' + b'x' * 8_192 + b' HTTP/1.1'), 414)
        self.assertEqual(outcome([b'GET /' + b'x' * 9_000], eof=False).status, 414)

    def test_body(self) -> None:
        """A body over the limit gives 413: by Content-Length before any of it arrives, by chunks when it exceeds the
        limit."""
        limits = HttpParserLimits(body=4)
        self.taken(request(b'Content-Length: 4', body=b'abcd'), limits)
        self.refused(request(b'Content-Length: 5'), 413, limits)
        self.refused(request(b'Content-Length: ' + b'9' * 18), 413)
        self.assertEqual(self.taken(chunked(b'3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n'), limits).body, b'abcd')
        self.refused(chunked(b'3\r\nabc\r\n2\r\n'), 413, limits)
        self.refused(chunked(b'f' * 16 + b'\r\n'), 413)

    def test_trailers(self) -> None:
        """Trailers within the limits are accepted; larger or more of them give 431."""
        limits = HttpParserLimits(trailers=8, fields=2)
        self.taken(chunked(b'0\r\nA: bcd\r\n\r\n'), limits)
        self.refused(chunked(b'0\r\nA: bcdef\r\n\r\n'), 431, limits)
        self.refused(chunked(b'0\r\nA: bcd\r\nA: b\r\n\r\n'), 431, limits)
        self.refused(chunked(b'0\r\nA: b\r\nA: b\r\nA: b\r\n\r\n'), 431, HttpParserLimits(fields=2))
        self.refused(chunked(b'0\r\n' + b'x' * 9000), 431)

    def test_memory_is_bounded_at_every_stage(self) -> None:
        """However a message is stalled, no more of it is buffered than its limit."""
        for start in (b'', b'GET / HTTP/1.1\r\nA: ', b'GET / HTTP/1.1\r\n', chunked(b''), chunked(b'0;'),
                      chunked(b'0\r\n')):
            parser = RequestParser(HttpParserLimits())
            parser.feed(start)
            most = 0
            try:
                for _ in range(200):
                    while parser.next() is not None:
                        pass
                    parser.feed(b'x' * 1000)
                    most = max(most, parser.pending_bytes)
            except HttpMessageRejected as refused:
                self.assertIn(refused.status, (400, 414, 431))
                self.assertEqual(parser.pending_bytes, 0)
            else:
                self.fail(f'{start!r} goes on for ever')
            self.assertLess(most, 34_000)


class ReasonTests(SynchronousTestCase):
    def test_reasons(self) -> None:
        """Each error is found as soon as its line is there, and its reason is given."""
        feed = 'A line feed without a carriage return stands '
        line, version, chunk = ('The request line is not a method, a target and a version with one space between each',
                                'The request line does not end in a version of HTTP', b'POST / HTTP/1.1\r\nHost: a\r\n'
                                b'Transfer-Encoding: chunked\r\n\r\n')  # fmt: skip
        form = 'The request target is neither a path nor an absolute http or https URL'
        head = b'GET / HTTP/1.1\r\nHost: a\r\n'
        for data, status, reason in (
            (b'\n', 400, f'{feed}before or in the request line'),
            (b'GET / HTTP/1.1\n', 400, f'{feed}before or in the request line'),
            (b'\r\n' * 5, 400, 'More than 4 empty lines stand before a request'),
            (b'GET  / HTTP/1.1\r\n', 400, line), (b'GET /\r\n', 400, line), (b'GET / a HTTP/1.1\r\n', 400, line),
            (b'G(T / HTTP/1.1\r\n', 400, 'The request line does not begin with a method'),
            (b'GET / HTTX/1.1\r\n', 400, version), (b'GET / HTTP/1.\r\n', 400, version),
            (b'GET / HTTP/1.11\r\n', 400, version), (b'GET / HTTP/x.1\r\n', 400, version),
            (b'GET / HTTP/1.x\r\n', 400, version), (b'GET / HTTP/1x1\r\n', 400, version),
            (b'GET / HTTP/2.0\r\n', 505, 'HTTP/1.1 and HTTP/1.0 are spoken here'),
            (b'LIST / HTTP/1.1\r\n', 501, 'The method of the request is not known here'),
            (b'LIST / HTTP/2.1\r\n', 505, 'HTTP/1.1 and HTTP/1.0 are spoken here'),
            (b'GET /%zz HTTP/1.1\r\n', 400, 'The request target has a % that is not followed by two hex digits'),
            (b'GET /%00 HTTP/1.1\r\n', 400, 'The path of the request target has an encoded NUL'),
            (b'CONNECT a HTTP/1.1\r\n', 400, 'The target of CONNECT is not a host and a port'),
            (b'CONNECT a: HTTP/1.1\r\n', 400, 'The target of CONNECT is not a host and a port'),
            (b'GET x HTTP/1.1\r\n', 400, form), (b'GET * HTTP/1.1\r\n', 400, form),
            (b'OPTIONS ** HTTP/1.1\r\n', 400, form), (b'GET ftp://a HTTP/1.1\r\n', 400, form),
            (b'GET http://:80/ HTTP/1.1\r\n', 400,
             'The authority of the request target is not a host with an optional port'),
            (head + b'A: b\nC', 400, f'{feed}in the head'),
            (b'GET / HTTP/1.1\r\n\r\n', 400, 'A request of HTTP/1.1 must have the field Host'),
            (b'GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 400, 'The field Host is not a host with an optional port'),
            (b'GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n', 400,
             'Transfer-Encoding does not exist in HTTP/1.0'),
            (head + b'Transfer-Encoding: gzip, chunked\r\n\r\n', 501, 'Transfer-Encoding has a coding beside chunked'),
            (head + b'Host: b\r\n\r\n', 400, 'The field host stands twice'),
            (head + b'Content_Length: 1\r\n\r\n', 400,
             'The field content_length is spelled with _ where the field it imitates has -'),
            (chunk + b'1\r\nab', 400, 'A chunk is longer than its size says'),
        ):  # fmt: skip
            got = outcome([data], eof=False)
            self.assertEqual((got.status, got.reason), (status, reason), data)
            self.assertEqual(outcome(one_by_one(data), eof=False).status, status, data)
            if not data.startswith(chunk) and feed not in reason:
                self.assertEqual(outcome([data[:-1]], eof=False).status, 0, data)

    def test_what_llhttp_finds(self) -> None:
        """What llhttp rejects first is checked here too, so that it does not depend on the library."""
        for value in (b'', b'+1', b'1' * 20):
            self.assertRaises(HttpMessageRejected, parse_content_length, value)
        self.assertEqual(parse_content_length(b'9' * 19), 10**19 - 1)
        self.assertIn('stand in one head', self.assertRaises(
            HttpMessageRejected, _body_length, (1, 1), b'1', b'chunked', 9).reason)  # fmt: skip
        for value in (b'gzip', b'chunked, gzip', b'chunked, chunked', b'gz ip, chunked', b'gzip;a, chunked', b''):
            refused = self.assertRaises(HttpMessageRejected, check_transfer_encoding, value)
            self.assertEqual((refused.status, refused.is_framing_error), (400, True), value)
        check_transfer_encoding(b'\tCHUNKED ')

    def test_usual_limits(self) -> None:
        """The defaults are those of the documentation."""
        self.assertEqual(msgspec.structs.asdict(HttpParserLimits()), {
            'head': 32_768, 'fields': 100, 'field': 8_190, 'target': 8_192, 'body': 20_971_520,
            'chunk_extensions': 4_096, 'trailers': 8_192,
        })  # fmt: skip

    def test_bounds(self) -> None:
        """Empty lines, hosts and ports have exact limits."""
        self.assertEqual(outcome([b'\r\n' * 4 + request()]).status, 0)
        self.assertEqual(outcome([b'\r\n' * 4 + request() + b'\r\n' * 4 + request()]).status, 0)
        for value, legal in (
            (b'a:65535', True), (b'a:65536', False), (b'a:00080', True), (b'a:000080', False),
            (b'a' * 261, True), (b'a' * 262, False), (b'[::1]:65535', True), (b'[::1]:65536', False), (b'%41', True),
            (b'%4', False), (b'a%', False), (b'[1:2:3:4:5:6:255.255.255.255]', True), (b'[::1.2.3.0256]', False),
            (b'[::1.2.3.256]', False), (b'[::1.2.3.4444]', False), (b'[1:2:3:4:5:6:7::]', True),
            (b'[1:2:3:4:5:6:7:8::]', False), (b'[::a.2.3.4]', False), (b'[::1.2.3.4.5]', False), (b'[abcd::]', True),
        ):  # fmt: skip
            self.assertEqual(is_authority(value), legal, value)

    def test_what_a_rejected_head_was(self) -> None:
        """A head that ends early is rejected with its request line, if that was complete."""
        for data, line in ((b'GET / HT', b''), (b'GET / HTTP/1.1\r\nHost', b'GET / HTTP/1.1')):
            parser = RequestParser(HttpParserLimits())
            parser.feed(data)
            self.assertIsNone(parser.next())
            refused = self.assertRaises(HttpMessageRejected, parser.feed_eof)
            self.assertEqual((refused.reason, refused.request_line), ('The connection ended inside a request', line))
            self.assertEqual((parser.is_finished, parser.pending_bytes, parser.is_idle), (True, 0, False))

    def test_cached_heads(self) -> None:
        """Identical heads of at most 1,024 bytes share an object, until `forget`; heads that close the connection do
        not, nor do those in another place."""
        short, long = (request(b'A: ' + b'b' * (size - len(request(b'A: ')))) for size in (1024, 1025))
        for data, shared in ((short, True), (long, False)):
            parser = RequestParser(HttpParserLimits())
            heads = []
            for _ in range(2):
                parser.feed(data)
                heads.append(parser.next())
                self.assertEqual(parser.take_whole_body(), b'')
            self.assertEqual(heads[0] is heads[1], shared)
        parser = RequestParser(HttpParserLimits())
        parser.feed(short + short[:-1])
        head = parser.next()
        self.assertIs(parser.next(), END)
        self.assertIsNone(parser.next())
        parser.feed(b'\n' + short)
        again = parser.next()
        self.assertEqual((again, parser.take_whole_body()), (head, b''))
        self.assertIs(parser.next(), again)
        parser.take_whole_body()
        self.assertTrue(parser.is_between_messages)
        parser.clear_cache()
        parser.feed(short)
        self.assertIsNot(parser.next(), again)

    def test_forget_within_a_message(self) -> None:
        """What has not been read stays when the caches are discarded."""
        parser = RequestParser(HttpParserLimits())
        parser.feed(request() + request()[:10])
        self.assertIsInstance(parser.next(), RequestHead)
        self.assertIs(parser.next(), END)
        parser.clear_cache()
        self.assertEqual(parser.pending_bytes, 10)
        parser.feed(request()[10:])
        self.assertIsInstance(parser.next(), RequestHead)

    def test_repeated_requests(self) -> None:
        """`take_repeated` returns the body of a request whose head is that of the last one and whose body is complete;
        `next` parses every other request, whatever was tried before."""
        parser = RequestParser(HttpParserLimits())
        one, two = request(b'Content-Length: 2', body=b'ab'), request(b'Content-Length: 2', b'X: 1', body=b'cd')

        def parsed() -> tuple[RequestHead, bytes | None]:
            head = parser.next()
            assert isinstance(head, RequestHead)
            return head, parser.take_whole_body()

        parser.feed(one + one[:-2] + b'xy' + two + one)
        first, body = parsed()
        self.assertEqual((body, parser.take_repeated(first), parser.take_repeated(first)), (b'ab', b'xy', None))
        second, body = parsed()
        self.assertEqual((second.headers[b'x'], body), (b'1', b'cd'))
        self.assertIsNone(parser.take_repeated(first))  # the last head is another one
        third, body = parsed()
        self.assertEqual((third, body, parser.is_idle), (first, b'ab', True))
        for position in range(len(one)):  # incomplete
            parser.feed(one[:position])
            self.assertIsNone(parser.take_repeated(third))
            if position % 2:
                self.assertIsNone(parser.next() if position < len(one) - 2 else None)
            parser.feed(one[position:])
            taken = parser.take_repeated(third)
            self.assertEqual(taken if taken is not None else parsed()[1], b'ab', position)
            self.assertTrue(parser.is_idle)

    def test_whole_repeated_requests(self) -> None:
        """`feed_repeated_request` takes input that is one request with the previous head, and leaves other input."""
        one = request(b'Content-Length: 2', body=b'ab')
        parser = RequestParser(HttpParserLimits())
        self.assertIsNone(parser.feed_repeated_request(one), 'there is no previous head')
        parser.feed(one)
        parser.next()
        self.assertIsNone(parser.feed_repeated_request(one), 'inside a message')
        self.assertEqual(parser.take_whole_body(), b'ab')
        for other in (one[:-1], one + b'G', request(b'Content-Length: 3', body=b'a'), b'\r\n' + one[:-2]):
            self.assertIsNone(parser.feed_repeated_request(other))
        self.assertEqual(parser.feed_repeated_request(one[:-2] + b'xy'), b'xy')
        self.assertTrue(parser.is_idle)
        parser.feed(one[:1])
        self.assertIsNone(parser.feed_repeated_request(one), 'after the beginning of another request')
        parser.feed(one[1:])
        parser.next()
        self.assertEqual(parser.take_whole_body(), b'ab')
        parser.clear_cache()
        self.assertIsNone(parser.feed_repeated_request(one), 'the previous head is dropped')

    def test_chunked_requests_are_not_taken_whole(self) -> None:
        """The length of a chunked body is not known; after the last request nothing is taken."""
        parser = RequestParser(HttpParserLimits())
        parser.feed(chunked(b'0\r\n\r\n'))
        parser.next()
        self.assertIs(parser.next(), END)
        self.assertIsNone(parser.feed_repeated_request(chunked(b'0\r\n\r\n')))
        last = request(b'Connection: close', b'Content-Length: 1', body=b'x')
        parser.feed(last)
        parser.next()
        self.assertEqual(parser.take_whole_body(), b'x')
        self.assertIsNone(parser.feed_repeated_request(last))

    def test_what_is_not_taken_as_repeated(self) -> None:
        """A chunked body has no known length, and what is inside a body is no request."""
        parser = RequestParser(HttpParserLimits())
        parser.feed(chunked(b'0\r\n\r\n') + chunked(b'0\r\n\r\n'))
        head = parser.next()
        self.assertIsInstance(head, RequestHead)
        self.assertIs(parser.next(), END)
        assert isinstance(head, RequestHead)
        self.assertIsNone(parser.take_repeated(head))
        inner = request(b'Content-Length: 100')
        parser = RequestParser(HttpParserLimits())
        parser.feed(inner + inner)
        head = parser.next()
        assert isinstance(head, RequestHead)
        self.assertIsNone(parser.take_repeated(head))
        self.assertEqual(parser.next(), inner)  # of the body

    def test_whole_bodies(self) -> None:
        """`take_whole` returns a complete body of known length only, and ends the message."""
        parser = RequestParser(HttpParserLimits())
        parser.feed(request(b'Content-Length: 2', body=b'a'))
        parser.next()
        self.assertIsNone(parser.take_whole_body())
        parser.feed(b'b' + chunked(b'0\r\n\r\n'))
        self.assertEqual((parser.take_whole_body(), parser.is_between_messages), (b'ab', False))
        parser.next()
        self.assertIsNone(parser.take_whole_body())
        self.assertIs(parser.next(), END)
        parser.feed(request(b'Connection: close', b'Content-Length: 1', body=b'xy'))
        parser.next()
        self.assertEqual((parser.take_whole_body(), parser.is_finished, parser.pending_bytes), (b'x', True, 0))

    def test_repeated_requests_without_body(self) -> None:
        """`feed_repeated` takes a whole request that has the previous head and no body, and leaves all other input."""
        plain = request()
        parser = RequestParser(HttpParserLimits())
        self.assertIsNone(parser.feed_repeated(plain))
        parser.feed(plain)
        head = parser.next()
        self.assertIsNone(parser.feed_repeated(plain), 'inside a message')
        self.assertIs(parser.next(), END)
        for other in (plain[:-1], plain + b'G', request(b'A: b')):
            self.assertIsNone(parser.feed_repeated(other))
        self.assertIs(parser.feed_repeated(plain), head)
        self.assertTrue(parser.is_between_messages)
        parser.feed(b'G')
        self.assertIsNone(parser.feed_repeated(plain), 'after the beginning of another request')
        parser = RequestParser(HttpParserLimits())
        parser.feed(request(b'Content-Length: 2', body=b'ab'))
        parser.next()
        self.assertEqual(parser.take_whole_body(), b'ab')
        self.assertIsNone(parser.feed_repeated(request(b'Content-Length: 2', body=b'')), 'a body follows')
