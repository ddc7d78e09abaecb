"""Tests of forms, query strings, paths, Basic credentials and traceparent."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote, urlencode

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.wire.http.authentication import parse_basic, parse_bearer
from zatotx.wire.http.host_names import is_address, is_loopback, normalize_host
from zatotx.wire.http.traceparent import TraceContext, continue_trace, parse_traceparent
from zatotx.wire.http.urlencoded import (
    MAX_PAIRS,
    decode_form,
    decode_path,
    decode_segment,
    looks_like_json,
    percent_decode,
    query_parameter,
)
from zatotx.wire.malformed import Malformed

TEXT = st.text(st.characters(exclude_categories=['Cs']), max_size=8)


class FormTests(SynchronousTestCase):
    def test_pairs(self) -> None:
        """Names and values are decoded; repeated names have lists in order; a name without '=' has the empty text."""
        self.assertEqual(decode_form(b''), {})
        self.assertEqual(
            decode_form(b'a=1&b=x+y%20z&a=2&&c&=d&e=f=g&a=&%C3%A9=%2B'),
            {'a': ['1', '2', ''], 'b': 'x y z', 'c': '', '': 'd', 'e': 'f=g', 'é': '+'},
        )
        self.assertEqual(decode_form(b'a=1;b=2'), {'a': '1;b=2'})

    def test_malformed(self) -> None:
        """A % without two hex digits and invalid UTF-8 are rejected."""
        for data in (b'a=%', b'a=%4', b'%zz=1', b'a=%C3', b'a=\xff', b'a=%+1', b'a=%ED%A0%80'):
            self.assertRaises(Malformed, decode_form, data)

    def test_bounded(self) -> None:
        """The maximum number of pairs is accepted, one more is rejected."""
        self.assertEqual(len(decode_form(b'&'.join(b'%d=' % number for number in range(MAX_PAIRS)))), MAX_PAIRS)
        self.assertRaises(Malformed, decode_form, b'&' * MAX_PAIRS)
        self.assertRaises(Malformed, decode_form, b'a&b&c', 2)
        self.assertEqual((MAX_PAIRS, decode_form(b'a&b&c', 3)), (1000, {'a': '', 'b': '', 'c': ''}))
        for data, why in ((b'&' * 1000, 'there are more than 1000 pairs'), (b'a=%', 'a % is not followed by two hex'),
                          (b'%ff', 'a name or value is not UTF-8')):  # fmt: skip
            self.assertIn(why, str(self.assertRaises(Malformed, decode_form, data)))

    def test_what_looks_like_json(self) -> None:
        """Forms do not begin with a bracket or a quotation mark, within 64 bytes of blanks."""
        for data in (b'{}', b'[1]', b'"a"', b'\n {', b' ' * 63 + b'{'):
            self.assertTrue(looks_like_json(data), data)
        for data in (b'', b'a={}', b'1', b'%7b', b' ' * 64 + b'{'):
            self.assertFalse(looks_like_json(data), data)

    def test_one_parameter(self) -> None:
        """One parameter of a query is found by its decoded name, and may not be there twice."""
        query = b'a=1&b=x+y%20z&%63=2&d&=e&a+b=3'
        for name, value in ((b'a', b'1'), (b'b', b'x y z'), (b'c', b'2'), (b'd', b''), (b'', b'e'), (b'a b', b'3'),
                            (b'z', None)):  # fmt: skip
            self.assertEqual(query_parameter(query, name), value, name)
        self.assertRaises(Malformed, query_parameter, b'a=1&%61=', b'a')

    @holds(fields=st.dictionaries(TEXT, TEXT | st.lists(TEXT, min_size=2, max_size=3), max_size=4))
    def test_what_the_standard_library_writes(self, fields: dict[str, str | list[str]]) -> None:
        """The output of urlencode is parsed back to the original."""
        self.assertEqual(decode_form(urlencode(fields, doseq=True).encode('ascii')), fields)


class TargetTests(SynchronousTestCase):
    def test_percent_decode(self) -> None:
        """Escapes in either case are decoded; + is unchanged."""
        self.assertEqual(percent_decode(b'%41%2f%2F%ff+%00'), b'A//\xff+\0')
        for data in (b'%', b'a%4', b'%g0', b'%%41'):
            self.assertRaises(Malformed, percent_decode, data)

    def test_paths_and_segments(self) -> None:
        """Paths and segments are decoded to text; invalid UTF-8 and NUL are rejected."""
        self.assertEqual(decode_path(b'/a/b'), '/a/b')
        self.assertEqual(decode_path(b'/caf%C3%A9%20/x'), '/café /x')
        self.assertEqual(decode_segment(b'a%2Fb'), 'a/b')
        for path in (b'/%ff', b'/\xff', b'/%00', b'/%zz', b'/%C0%AF', b'/\0%41'):
            self.assertRaises(Malformed, decode_path, path)

    @holds(text=st.text(st.characters(exclude_categories=['Cs'], exclude_characters='\0')))
    def test_what_the_standard_library_writes(self, text: str) -> None:
        """The output of quote is decoded back to the original."""
        self.assertEqual(decode_segment(quote(text, safe='').encode('ascii')), text)


class CredentialsTests(SynchronousTestCase):
    def test_basic(self) -> None:
        """The user name ends at the first colon; both parts are UTF-8 and may be empty; the scheme is
        case-insensitive."""
        for pair in (('user', 'pass'), ('ü', 'p:ä:'), ('', ''), ('a b', '日本')):
            token = b64encode(':'.join(pair).encode())
            self.assertEqual(parse_basic(b'Basic ' + token), pair)
            self.assertEqual(parse_basic(b'bASIC  ' + token), pair)

    def test_malformed(self) -> None:
        """Other input is Malformed, and the message does not contain the input."""
        bad = [b'', b'Basic', b'Basic ', b'Bearer abc', b'Basic !!!!', b'Basic dTpw=', b'Basic dT pw', b'Basic dTp\xff',
               b'Basic ' + b64encode(b'nocolon'), b'Basic ' + b64encode(b'u:\xff'), b'Basic ' + b64encode(b'u:p\n'),
               b'Basic ' + b64encode(b'u\0:p'), b'Basic\tdTpw', b'dTpw', b'Basic ' + b64encode(b'u:' + b'x' * 9000)]
        for value in bad:
            text = str(self.assertRaises(Malformed, parse_basic, value))
            self.assertNotIn('nocolon', text)
            self.assertNotIn('dTp', text)


    def test_reasons(self) -> None:
        """What is wrong is said, with exact bounds."""
        for value, why in (
            (b'Basic ' + b' ' * 8_186 + b'x', 'the credentials are longer than 8192 bytes'),
            (b'Basic ' + b' ' * 8_182 + b'dTpw', ''), (b'Bearer dTpw', 'not of the scheme Basic'),
            (b'Basic dTp', 'not base64 of UTF-8'), (b'Basic dTpw=', 'not base64 of UTF-8'),
            (b'Basic dQ==', 'not a username, a colon and a password'), (b'Basic /w==', 'not base64 of UTF-8'),
            (b'Basic ' + b64encode(b'u:\x7f'), 'without control characters'),
        ):  # fmt: skip
            if why:
                self.assertIn(why, str(self.assertRaises(Malformed, parse_basic, value)))
            else:
                self.assertEqual(parse_basic(value), ('u', 'p'))
        self.assertEqual((parse_bearer(b'Bearer  x '), parse_bearer(b'BEARER a b')), (b'x', b'a b'))
        for value in (b'Basic x', b'', b'Bearerx'):
            self.assertRaises(Malformed, parse_bearer, value)


class HostTests(SynchronousTestCase):
    def test_canonical_form(self) -> None:
        """Names are lower case ASCII, addresses in their shortest form."""
        for host, expected in (
            ('A.Example', 'a.example'), ('a.', 'a.'), ('b\u00fccher.example', 'xn--bcher-kva.example'),
            ('a_b-1', 'a_b-1'), ('[::0001]', '::1'), ('::0001', '::1'), ('127.0.0.1', '127.0.0.1'),
            ('[127.0.0.1]', '127.0.0.1'), ('a' * 63, 'a' * 63),
            ('.'.join(['a' * 49] * 5) + 'aaaa', '.'.join(['a' * 49] * 5) + 'aaaa'),
        ):  # fmt: skip
            self.assertEqual(normalize_host(host), expected)
        for host in ('', '.', 'a..b', 'a b', 'a/b', 'a' * 64, '.'.join(['a' * 49] * 5) + 'aaaaa', '[a', 'a]', '[::1',
                     'a:b', '.a', 'a..'):  # fmt: skip
            self.assertIn(
                'neither a name nor an address', str(self.assertRaises(Malformed, normalize_host, host)), host
            )
        self.assertIn('IDNA', str(self.assertRaises(Malformed, normalize_host, '\u2260')))

    def test_kinds(self) -> None:
        """Addresses and this machine's names are recognized."""
        for host, address, loopback in (
            ('127.0.0.1', True, True), ('::1', True, True), ('127.1', False, False), ('10.0.0.1', True, False),
            ('fe80::1%x', True, False), ('localhost', False, True), ('a.localhost', False, True), ('a1', False, False),
            ('alocalhost', False, False), ('localhost.a', False, False), ('', False, False), ('a:b', False, False),
        ):  # fmt: skip
            self.assertEqual((is_address(host), is_loopback(host)), (address, loopback), host)


class TraceTests(SynchronousTestCase):
    given = b'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

    def test_parse(self) -> None:
        """A valid field is parsed, and formatted to the same field."""
        trace = parse_traceparent(self.given)
        self.assertEqual(trace, TraceContext('4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7', True))
        self.assertEqual(str(trace).encode(), self.given)

    def test_ill_formed(self) -> None:
        """Wrong lengths, upper case, zero ids, version ff and trailing data in version 00 are rejected."""
        for bad in (b'', self.given[:-1], self.given + b'0', self.given + b'-x', self.given.upper(),
                    b'ff' + self.given[2:], b'00-' + b'0' * 32 + self.given[35:], self.given[:36] + b'0' * 16 + b'-01',
                    b'0g' + self.given[2:], self.given.replace(b'-', b'_'), b'000' + self.given[2:],
                    self.given + b', ' + self.given,
                    self.given[:-2] + b'0x', b'\xff' * 55):
            self.assertIsNone(parse_traceparent(bad), bad)
            self.assertEqual(continue_trace(bad), '')

    def test_later_versions(self) -> None:
        """Future versions are parsed by their known parts and may have trailing data."""
        for later in (b'01' + self.given[2:], b'cc' + self.given[2:] + b'-what-ever'):
            self.assertEqual(parse_traceparent(later), parse_traceparent(self.given))
        self.assertIsNone(parse_traceparent(b'cc' + self.given[2:] + b'x'))

    def test_continued(self) -> None:
        """The propagated context has the same trace id and flag, a new span id and version 00."""
        for flags, kept in ((b'01', '01'), (b'00', '00'), (b'03', '01'), (b'fe', '00')):
            version, trace_id, span, sampled = continue_trace(self.given[:-2] + flags).split('-')
            self.assertEqual((version, trace_id, sampled), ('00', '4bf92f3577b34da6a3ce929d0e0e4736', kept))
            self.assertEqual(len(span), 16)
            self.assertNotEqual(span, '00f067aa0ba902b7')
