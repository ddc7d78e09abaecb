"""Whose request it is that comes through proxies: Forwarded (RFC 7239), X-Forwarded-…, and who is believed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.http.public_url import join_public_url, public_url_error
from zatotx.rules.http.trusted_proxies import (
    ANY,
    FORWARDED,
    X_FORWARDED,
    InvalidProxies,
    RequestOrigin,
    find_request_origin,
    parse_trusted_proxies,
)
from zatotx.wire.http.forwarded import (
    MAX_ELEMENTS,
    ForwardedHop,
    parse_forwarded,
    parse_forwarded_address,
    parse_host,
    parse_scheme,
    parse_x_forwarded_for,
    select_x_forwarded_element,
)
from zatotx.wire.malformed import Malformed

TRUSTED = parse_trusted_proxies(['10.0.0.0/8', '2001:db8::/32', 'unix'])
PEER = '10.0.0.1'


class ReadTests(SynchronousTestCase):
    def test_forwarded(self) -> None:
        """RFC 7239 §4 and §6: pairs in any order and case, quoted or not, addresses with ports; the last hop first."""
        for value, hops in (
            ('for=192.0.2.60;proto=http;by=203.0.113.43', [ForwardedHop('192.0.2.60', 'http')]),
            ('For="[2001:DB8:cafe::17]:4711"; Proto=HTTPS ;host="api.example.com:8443"',
             [ForwardedHop('2001:db8:cafe::17', 'https', 'api.example.com:8443')]),
            ('for=192.0.2.43, for="198.51.100.17:80"', [ForwardedHop('198.51.100.17'), ForwardedHop('192.0.2.43')]),
            ('for=unknown, for=_hidden, for="_SEVKISEK:_port", for="192.0.2.1:_x", for="[::1]:_x"',
             [ForwardedHop('::1'), ForwardedHop('192.0.2.1'), ForwardedHop(), ForwardedHop(), ForwardedHop()]),
            ('for="[::ffff:192.0.2.1]"', [ForwardedHop('192.0.2.1')]),
            ('by="a,b;c";for=192.0.2.1,, proto=https', [ForwardedHop('', 'https'), ForwardedHop('192.0.2.1')]),
            ('secret=x;for=192.0.2.1;;', [ForwardedHop('192.0.2.1')]), ('', []), (' , ', []),
        ):  # fmt: skip
            self.assertEqual(list(parse_forwarded(value)), hops, value)

    def test_forwarded_malformed(self) -> None:
        """What is no such element, an address that is none, a scheme and a host that are none."""
        for value in (
            'for', 'for=', '=192.0.2.1', 'for=192.0.2.1;for=192.0.2.2', 'for=2001:db8::1', 'for="2001:db8::1"',
            'for=[2001:db8::1', 'for="[192.0.2.1]"', 'for=192.0.2.1:x', 'for="192.0.2.1:70000"', 'for=192.0.2.256',
            'for=example.com', 'for="192.0.2.1', 'for=192.0.2.1"', 'for="192.0.2\\.1"', 'for="[fe80::1%eth0]"',
            'for=192.0.2.1;proto=ftp', 'for=192.0.2.1;host="a b"', 'for=192.0.2.1;host="a/b"', 'for=192.0.2.1;host=ä',
            'for = 192.0.2.1', '"' + ',' * 600, ','.join(['for=10.0.0.1'] * (MAX_ELEMENTS + 1)),
        ):  # fmt: skip
            with self.assertRaises(Malformed, msg=value):
                list(parse_forwarded(value))

    def test_a_client_spoils_nothing(self) -> None:
        """What stands before the element of a proxy is not looked at, not even for how it is quoted."""
        for junk in ('"', 'for="', 'nonsense', 'for=_x;for', '\\"'):
            self.assertEqual(next(parse_forwarded(f'{junk}, for=192.0.2.1')), ForwardedHop('192.0.2.1'), junk)

    def test_x_forwarded_for(self) -> None:
        """Addresses with and without brackets and ports; the last one first."""
        value = '192.0.2.1, 192.0.2.2:4711,2001:db8::1 ,[2001:db8::2]:80, unknown'
        self.assertEqual(list(parse_x_forwarded_for(value)), ['', '2001:db8::2', '2001:db8::1', '192.0.2.2',
                                                              '192.0.2.1'])  # fmt: skip
        for value in ('example.com', '192.0.2.1:', '1', '192.0.2.1;x', '_hidden', '192.0.2.1 192.0.2.2'):
            self.assertRaises(Malformed, list, parse_x_forwarded_for(value))


    def test_reasons(self) -> None:
        """What is wrong is said."""
        pairs, quoted = 'not of pairs name=value, each name once', 'a quoted string that does not end'
        token, port = 'neither a token nor a quoted string', 'Forwarded has a port that is none'
        for value, why in (
            ('for', pairs), ('=x', pairs), ('for=1.1.1.1;For=1.1.1.1', pairs), ('for=', token), ('for=a"', token),
            ('for=a b', token), ('for="a', quoted), ('for="', quoted), ('for="a"b"', quoted), ('for="a\\b"', quoted),
            ('for=1.1.1.1:x', port), ('for="[::1]x"', port), ('for="[::1]:65536"', port), ('for="1.1.1.1:"', port),
            ('for="[1.1.1.1]"', 'an address in brackets is none of IPv6'), ('for=x', 'an address is none'),
            ('for="[::1%x]"', 'an address has a zone'), ('proto=ftp', 'the scheme is neither http nor https'),
            ('host="a b"', 'the host is none'), ('host=\u00e4', 'the host is not ASCII'),
            ('"' + 'x' * 509 + ',"', pairs), ('"' + 'x' * 510 + ',"', 'an element is longer than 512 characters'),
            (','.join(['for=_x'] * 33), 'there are more than 32 elements'),
        ):  # fmt: skip
            said = str(self.assertRaises(Malformed, list, parse_forwarded(value)))
            self.assertIn(why, said, value)
        self.assertEqual(len(list(parse_forwarded(' , '.join(['for=_x'] * 32)))), 32)

    def test_addresses(self) -> None:
        """Addresses have their canonical form, with and without ports."""
        for text, address in (('1.1.1.1', '1.1.1.1'), ('1.1.1.1:65535', '1.1.1.1'), ('[2001:DB8::0]:1', '2001:db8::'),
                              ('::ffff:1.1.1.1', '1.1.1.1'), ('[::1]', '::1')):  # fmt: skip
            self.assertEqual(parse_forwarded_address(text), address)
        for text, why in (('1.1.1.1:', 'has a port that is none'), ('1.1.1.1:65536', 'has a port that is none'),
                          ('1.1.1.1:000001', 'has a port that is none'), ('1.1.1.1:\u0661', 'has a port that is none'),
                          ('[::1', 'in brackets is none'), ('[::1]x', 'in brackets is none'), ('', 'address is none'),
                          ('[1.1.1.1]', 'in brackets is none'), ('fe80::1%x', 'has a zone')):  # fmt: skip
            self.assertIn(why, str(self.assertRaises(Malformed, parse_forwarded_address, text)))
        self.assertEqual((parse_scheme('HTTPS'), parse_host('a:1')), ('https', 'a:1'))
        self.assertEqual(list(parse_forwarded('for=Unknown')), [ForwardedHop()])

    def test_elements_by_number(self) -> None:
        """The element that has so many others behind it; the first one where there are fewer."""
        for passed, element in ((0, 'c'), (1, 'b'), (2, 'a'), (3, 'a')):
            self.assertEqual(select_x_forwarded_element('a, b ,,c', passed), element)
        self.assertEqual(select_x_forwarded_element(' ,', 0), '')


class OriginTests(SynchronousTestCase):
    def origin(self, read: str = ANY, /, **fields: str) -> RequestOrigin:
        headers = {name.replace('_', '-').encode(): value.encode() for name, value in fields.items()}
        return find_request_origin(headers, PEER, TRUSTED, read)

    def test_chains(self) -> None:
        """The first address from the right that is no trusted proxy, whatever stands before it; the first one of all
        where all are."""
        for chain, address in (
            ('192.0.2.1', '192.0.2.1'), ('203.0.113.66, 192.0.2.1', '192.0.2.1'),
            ('203.0.113.66, 192.0.2.1, 10.0.0.7', '192.0.2.1'), ('192.0.2.1, ::ffff:10.0.0.7', '192.0.2.1'),
            ('10.0.0.8, 10.0.0.7', '10.0.0.8'), ('192.0.2.1, unknown, 10.0.0.7', '10.0.0.7'), ('', PEER),
        ):  # fmt: skip
            self.assertEqual(self.origin(x_forwarded_for=chain).address, address, chain)
            elements = ', '.join(f'for="{f"[{each}]" if ":" in each else each}"' for each in chain.split(', ') if each)
            self.assertEqual(self.origin(forwarded=elements).address, address, elements)

    def test_what_was_asked_for(self) -> None:
        """Scheme and host as the proxy next to the client has them."""
        elements = 'for=192.0.2.1;proto=http;host=evil', 'for=192.0.2.2;proto=https;host=api', 'for=10.0.0.7'
        self.assertEqual(self.origin(forwarded=','.join(elements)), RequestOrigin('192.0.2.2', 'https', 'api'))
        fields = {'x_forwarded_proto': 'http, https, http', 'x_forwarded_host': 'evil, api, inner'}
        self.assertEqual(self.origin(x_forwarded_for='192.0.2.2, 10.0.0.7', **fields),
                         RequestOrigin('192.0.2.2', 'https', 'api'))
        self.assertEqual(
            self.origin(x_forwarded_for='192.0.2.2', **fields), RequestOrigin('192.0.2.2', 'http', 'inner')
        )
        self.assertEqual(self.origin(x_forwarded_for='192.0.2.2, 10.0.0.7', x_forwarded_proto='https'),
                         RequestOrigin('192.0.2.2', 'https'))
        self.assertEqual(self.origin(x_forwarded_proto='https'), RequestOrigin(PEER, 'https'))
        self.assertEqual(self.origin(forwarded='proto=https;host=api'), RequestOrigin(PEER, 'https', 'api'))

    def test_both_kinds(self) -> None:
        """A proxy lets through what it does not write itself: where they disagree, neither is believed."""
        told = self.origin(forwarded='for=203.0.113.66', x_forwarded_for='192.0.2.1')
        self.assertEqual(told.address, PEER)
        self.assertIn('proxy_headers', told.error)
        self.assertEqual(self.origin(forwarded='for=203.0.113.66', x_forwarded_proto='https').address, PEER)
        self.assertEqual(
            self.origin(forwarded='for=192.0.2.1;host=evil;proto=https', x_forwarded_for='192.0.2.1',
                        x_forwarded_proto='https'), RequestOrigin('192.0.2.1', 'https'))
        for read, address in ((FORWARDED, '203.0.113.66'), (X_FORWARDED, '192.0.2.1')):
            told = self.origin(read, forwarded='for=203.0.113.66', x_forwarded_for='192.0.2.1')
            self.assertEqual(told, RequestOrigin(address))
        self.assertEqual(self.origin(FORWARDED, x_forwarded_for='192.0.2.1'), RequestOrigin(PEER))
        self.assertEqual(self.origin(X_FORWARDED, forwarded='for=192.0.2.1'), RequestOrigin(PEER))

    def test_malformed(self) -> None:
        """Nothing is taken beyond what is known, and it is said why."""
        for fields, address in (
            ({'forwarded': 'nonsense'}, PEER), ({'forwarded': 'nonsense, for=10.0.0.7'}, '10.0.0.7'),
            ({'x_forwarded_for': 'nonsense'}, PEER),
            ({'x_forwarded_for': '192.0.2.1', 'x_forwarded_proto': 'x'}, '192.0.2.1'),
            ({'x_forwarded_for': '192.0.2.1', 'x_forwarded_host': 'a b'}, '192.0.2.1'),
        ):  # fmt: skip
            told = self.origin(**fields)
            self.assertEqual((told.address, told.proto, told.host), (address, '', ''), fields)
            self.assertTrue(told.error)

    def test_who_is_trusted(self) -> None:
        """By address, network, or the word for Unix sockets."""
        for address, is_trusted in (
            ('10.255.0.1', True), ('::ffff:10.0.0.1', True), ('2001:db8::1', True), ('unix', True), ('11.0.0.1', False),
            ('::ffff:11.0.0.1', False), ('2001:db9::1', False), ('', False),
        ):  # fmt: skip
            self.assertEqual(TRUSTED.trusts(address), is_trusted, address)
        self.assertFalse(parse_trusted_proxies(['192.0.2.1']).trusts('unix'))
        self.assertEqual((bool(parse_trusted_proxies([])), bool(parse_trusted_proxies(['unix']))), (False, True))

    def test_no_proxies(self) -> None:
        """All words that name none are told at once."""
        why = str(self.assertRaises(InvalidProxies, parse_trusted_proxies, ['10.0.0.1/8', 'nginx', '10.0.0.1', '*']))
        for word in ("'10.0.0.1/8' is no address", 'has host bits set', "'nginx'", "'*'"):
            self.assertIn(word, why)


class PublicUrlTests(SynchronousTestCase):
    def test_urls(self) -> None:
        """http and https, with a path perhaps; nothing that a client would misread."""
        for url in ('', 'https://api.example.com', 'http://10.0.0.1:8080/', 'https://[2001:db8::1]/esb/v1'):
            self.assertEqual(public_url_error(url), '', url)
        for url in ('api.example.com', 'ftp://a', 'https://', 'https://u:p@a', 'https://a/?x', 'https://a/#x',
                    'https://a:99999', 'https://a/b c', 'https://ä', 'https://a/"'):
            self.assertTrue(public_url_error(url), url)

    def test_reasons(self) -> None:
        """What is wrong is said."""
        form, bare = 'must be a URL like', 'must be without ? and #'
        for url, why in (('ftp://a', form), ('https://', form), ('https://:80', form), ('https://u@a', form),
                         ('https://\u00e4', form), ('https://[', form), ('https://a/b c', 'must be percent-encoded'),
                         ('https://a/?', bare), ('https://a/#', bare)):  # fmt: skip
            self.assertIn(why, public_url_error(url))
        self.assertEqual(public_url_error("https://a/-._~!$&'()*+,;=:@%20"), '')

    def test_joined(self) -> None:
        """With one slash between."""
        for url in ('https://a/esb', 'https://a/esb/'):
            self.assertEqual(join_public_url(url, '/crm'), 'https://a/esb/crm')
