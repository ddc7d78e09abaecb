"""Tests of rules of the HTTP client: scopes of addresses, cached lookups, TLS errors, and names of SOAP messages."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.http import dns_cache, tls_errors
from zatotx.rules.http.dns_cache import AddressScope, DnsCache, LookupResult, address_scope, interleave_families
from zatotx.rules.http.tls_errors import (
    describe_certificate_error,
    describe_handshake_error,
    describe_late_handshake_error,
)
from zatotx.wire.soap.soap_action import (
    operation_message_namespace,
    operation_name,
    response_name,
    service_namespace_urn,
)


class ScopeTests(SynchronousTestCase):
    def test_scopes(self) -> None:
        """An address has the scope of the machine that it may reach, however it is written."""
        for scope, addresses in {
            AddressScope.LOOPBACK: ('127.0.0.1', '127.9.9.9', '0.0.0.0', '::1', '::', '::ffff:127.0.0.1',
                                    '64:ff9b::7f00:1', '2002:7f00:1::', '::127.0.0.1'),
            AddressScope.LINK_LOCAL: ('169.254.169.254', 'fe80::1', 'fe80::1%eth0', '::ffff:169.254.1.1'),
            AddressScope.PRIVATE: ('10.0.0.1', '192.168.1.1', '172.16.0.1', '100.64.0.1', 'fc00::1', 'fec0::1',
                                   '224.0.0.1', 'ff02::1', '240.0.0.1', '64:ff9b::a00:1', '2002:a00:1::', '::10.0.0.1',
                                   '255.255.255.255', 'ff0e::1', '::2'),
            AddressScope.PUBLIC: ('8.8.8.8', '2606:4700::1111', '::ffff:8.8.8.8', '64:ff9b::808:808', '2002:808:808::',
                                  '::8.8.8.8', '64:ff9b::8.8.8.8%eth0'),
        }.items():  # fmt: skip
            for address in addresses:
                self.assertEqual(address_scope(address), scope, address)


class DnsTests(SynchronousTestCase):
    def test_families_alternate(self) -> None:
        """The family of the first address begins; repeated addresses count once."""
        for addresses, ordered in (
            (('1', '2', ':1', ':2', '3'), ('1', ':1', '2', ':2', '3')), ((':1', ':2', '1'), (':1', '1', ':2')),
            (('1', '1', ':1', '1'), ('1', ':1')), ((), ()), (('1', '2'), ('1', '2')),
        ):  # fmt: skip
            self.assertEqual(interleave_families(addresses), ordered)

    def test_times(self) -> None:
        """Addresses are kept for 30 seconds, failures for two."""
        cache = DnsCache()
        cache.put('good', LookupResult(('1',)), 100.0)
        cache.put('bad', LookupResult((), 'no'), 100.0)
        self.assertEqual(cache.get('good', 129.9), LookupResult(('1',)))
        self.assertEqual(cache.get('bad', 101.9), LookupResult((), 'no'))
        self.assertEqual((cache.get('good', 130.0), cache.get('bad', 102.0), len(cache)), (None, None, 0))
        self.assertIsNone(cache.get('other', 0.0))

    def test_bounded(self) -> None:
        """The names that were used least recently are dropped."""
        self.assertEqual(dns_cache._MAX_NAMES, 1_000)
        self.patch(dns_cache, '_MAX_NAMES', 3)
        cache = DnsCache()
        for name in 'abc':
            cache.put(name, LookupResult(('1',)), 0.0)
        cache.get('a', 1.0)
        cache.put('b', LookupResult(('2',)), 0.0)
        cache.put('d', LookupResult(('1',)), 0.0)
        self.assertEqual([name for name in 'abcd' if cache.get(name, 1.0)], ['a', 'b', 'd'])


class TlsErrorTests(SynchronousTestCase):
    def test_certificates(self) -> None:
        """Each code has its description; of an issuer it is said that the certificate rests on it."""
        untrusted = 'is not signed by an authority that is trusted here'
        for code in (2, 20, 21, 22, 24, 27):
            for of_peer in (True, False):
                self.assertEqual(describe_certificate_error(code, of_peer=of_peer), untrusted)
        for code, said in ((7, 'is not signed by the authority that it names'), (9, 'is not valid yet'),
                           (10, 'has expired'), (18, 'is signed by itself, and is not itself trusted here'),
                           (23, 'was revoked'), (26, 'is not made for servers'), (66, 'has too weak a key'),
                           (67, 'is signed by an authority with too weak a key'),
                           (68, 'is signed with too weak a hash'), (99, 'is not acceptable (error 99 of OpenSSL)'),
                           (19, "is signed by an authority of the peer's own, which is not trusted here")):  # fmt: skip
            self.assertEqual(describe_certificate_error(code, of_peer=True), said)
            self.assertEqual(describe_certificate_error(code, of_peer=False), f'rests on one that {said}')

    def test_handshakes(self) -> None:
        """The most specific part of OpenSSL's reasons decides; others are shown as they are."""
        for reason, said in tls_errors._HANDSHAKE_ERRORS:
            self.assertEqual(describe_handshake_error(['x', f'SSLv3 {reason.upper()} y']), said)
        both = ['certificate required', 'http request']
        self.assertEqual(describe_handshake_error(both), 'wants a client certificate')
        self.assertEqual(describe_handshake_error(['odd', 'thing']), 'ended the TLS handshake (odd, thing)')
        self.assertEqual(describe_handshake_error([]), 'ended the TLS handshake (without a word)')
        late = [reason for reason, _ in tls_errors._HANDSHAKE_ERRORS if describe_late_handshake_error([reason])]
        self.assertEqual(late, [
            'certificate required', 'alert unknown ca', 'alert certificate expired', 'alert certificate revoked',
            'alert certificate unknown', 'alert bad certificate', 'alert unsupported certificate',
            'alert access denied',
        ])  # fmt: skip


class SoapNameTests(SynchronousTestCase):
    def test_operations(self) -> None:
        """An operation is named by its channel, its SOAPAction, or its service."""
        for action, service, operation, name in (
            ('http://a/b', 's', 'op', 'op'), ('http://bank.example/crm/getBalance', 's', '', 'getBalance'),
            ('urn:crm:get#', 's', '', 'get'), ('urn:a/get it!/', 's', '', 'get_it_'), ('', 'crm.get-balance-now', '',
            'getBalanceNow'), ('', 'plain', '', 'plain'), ('', 'a.1st', '', '_1st'), ('urn:-.x.-', 's', '', 'x'),
            ('urn:.-', 'a.b', '', 'b'), ('/', 'a.b', '', 'b'), ('', '', '', '_'), ('', 'a.-x', '', 'X'),
            ('urn:_x', 's', '', '_x'), ('', 'a.x y', '', 'x_y'),
        ):  # fmt: skip
            self.assertEqual(operation_name(action, service, operation), name, (action, service))
        self.assertEqual(response_name('get'), 'getResponse')

    def test_namespaces(self) -> None:
        """The service's own namespace comes first, then its channel's, then a URN of its name."""
        self.assertEqual(operation_message_namespace('urn:c', 's', 'urn:d'), 'urn:d')
        self.assertEqual(operation_message_namespace('urn:c', 's', ''), 'urn:c')
        self.assertEqual(
            (operation_message_namespace('', 'a b', ''), service_namespace_urn("a/b-c'")), ('urn:a%20b', 'urn:a/b-c%27')
        )
