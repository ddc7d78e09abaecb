"""Tests of the forms of keys, signed tokens and certificate names: every reason to reject one, and exact limits."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.issuing import Issuer
from trial_tests.support.tokens import jwk, part, private_key
from zatotx.wire.certificates import (
    is_same_name,
    parse_alternative_name,
    parse_certificates,
    parse_fingerprint,
    parse_name,
    parse_revocation_lists,
)
from zatotx.wire.jwk_and_jws import (
    HMAC_BYTES,
    MAX_LENGTH,
    key_from_jwk,
    key_from_secret,
    parse_compact_jws,
    parse_key_set,
)
from zatotx.wire.malformed import Malformed

RSA, CURVE = jwk(private_key('RS256'), kid='r'), jwk(private_key('ES256'))


class KeyTests(SynchronousTestCase):
    def test_secrets(self) -> None:
        """A secret is as long as the hash of each algorithm that it may be used with."""
        self.assertEqual(HMAC_BYTES, {'HS256': 32, 'HS384': 48, 'HS512': 64})
        for size, algorithms in ((32, ['HS256']), (47, ['HS256']), (48, ['HS256', 'HS384']), (63, ['HS256', 'HS384']),
                                 (64, ['HS256', 'HS384', 'HS512'])):  # fmt: skip
            self.assertEqual(sorted(key_from_secret('x' * size).algorithms), algorithms)
        self.assertEqual(str(self.assertRaises(Malformed, key_from_secret, 'x' * 31)),
                         'has 31 bytes, and the shortest hash needs 32')  # fmt: skip

    def test_reasons(self) -> None:
        """What no key for verifying signatures has is rejected."""
        for change, why in (
            ({'kty': 'oct'}, 'is of no type that has public keys'), ({'kty': ['RSA']}, 'is of no type that has public'),
            ({'d': 'x'}, 'is a private key that was published'), ({'use': 'enc'}, 'is not for verifying signatures'),
            ({'key_ops': ['sign']}, 'is not for verifying signatures'), ({'key_ops': 'verify'}, 'is not for verifying'),
            ({'kid': 1}, 'has a kid that is no text'), ({'n': '!'}, 'cannot be read'), ({'n': None}, 'cannot be read'),
            ({'alg': 'ES256'}, 'has an alg that does not fit it'), ({'alg': None}, 'has an alg that does not fit it'),
        ):  # fmt: skip
            self.assertIn(why, str(self.assertRaises(Malformed, key_from_jwk, {**RSA, **change})), change)
        for change in ({'use': 'sig'}, {'key_ops': ['sign', 'verify']}, {'kid': None}, {'alg': 'PS512'}):
            self.assertTrue(key_from_jwk({**RSA, **change}).algorithms)
        self.assertEqual(key_from_jwk(RSA).algorithms, {'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'})
        self.assertEqual((key_from_jwk(CURVE).algorithms, key_from_jwk(CURVE).kid), ({'ES256'}, None))
        self.assertFalse(key_from_jwk({**RSA, 'alg': 'RS256'}).verifies('PS256', b'', b''))

    def test_sets(self) -> None:
        """Unique keys are returned in order; what is wrong with the others is said by their number."""
        def read(entries: Any) -> Any:
            return parse_key_set(json.dumps({'keys': entries}).encode())

        keys, errors = read([RSA, 5, CURVE, RSA, {**RSA, 'kid': 'other'}, {**CURVE, 'use': 'enc'}])
        self.assertEqual([key.kid for key in keys], ['r', None, 'other'])
        self.assertEqual(errors, ['key 2 is of no type that has public keys', 'key 6 is not for verifying signatures'])
        self.assertEqual(len(read([RSA] * 1_000)[0]), 1)
        self.assertEqual(str(self.assertRaises(Malformed, read, [5] * 1_001)),
                         'the document has 1001 keys: more than 1000')  # fmt: skip
        nothing: tuple[Any, ...] = (None, {}, 'x')
        for entries in nothing:
            self.assertIn('has no list called keys', str(self.assertRaises(Malformed, read, entries)))


class TokenTests(SynchronousTestCase):
    def test_parts(self) -> None:
        """A token has three parts in base64url, and at most 16 KiB."""
        header = part({'alg': 'x'})
        found = parse_compact_jws(header + b'.YQ.Yg')
        self.assertEqual((found.header, found.signed_data, found.payload, found.signature),
                         ({'alg': 'x'}, header + b'.YQ', b'a', b'b'))  # fmt: skip
        longest = header + b'.' + b'A' * (16_384 - len(header) - 2) + b'.'
        self.assertEqual((MAX_LENGTH, len(longest)), (16_384, 16_384))
        self.assertIn('than 16384 bytes', str(self.assertRaises(Malformed, parse_compact_jws, longest + b'AA')))
        for text, why in ((b'a.b', 'the token has 2 parts, and a signed one has 3'), (b'...', 'the token has 4 parts'),
                          (header + b'.YR.', 'is not in base64url'), (header + b'.A.', 'is not in base64url'),
                          (header + b'.YQ=.', 'is not in base64url'), (b'YQ.YQ.', 'invalid')):  # fmt: skip
            self.assertIn(why, str(self.assertRaises(Malformed, parse_compact_jws, text)))


class NameTests(SynchronousTestCase):
    def test_alternative_names(self) -> None:
        """The kind is given, or obvious; hosts are case-insensitive."""
        for text, name in (
            ('DNS: A.b ', ('dns', 'a.b')), ('uri:X:y', ('uri', 'X:y')), ('IP:::01', ('ip', '::1')),
            ('Email:Joe@A.b', ('email', 'Joe@a.b')), (' A.b', ('dns', 'a.b')), ('spiffe://X', ('uri', 'spiffe://X')),
            ('::01 ', ('ip', '::1')), ('10.0.0.1', ('ip', '10.0.0.1')), ('Joe@A.b', ('email', 'Joe@a.b')),
            ('x:Joe@A.b', ('uri', 'x:Joe@A.b')),
        ):  # fmt: skip
            self.assertEqual(parse_alternative_name(text), name, text)
        for text in ('', ' ', 'DNS:', 'IP:x', 'ip: ', 'email: '):
            self.assertIn('is neither of DNS:host', str(self.assertRaises(Malformed, parse_alternative_name, text)))

    def test_distinguished_names(self) -> None:
        """Names are read in the forms of RFC 4514 and of OpenSSL; the position of an error is given."""
        common, bank = ('2.5.4.3', 'a'), ('2.5.4.10', 'b')
        for text, name in (
            ('CN=a,O=b', (frozenset([common]), frozenset([bank]))), ('cn = a , o = "b"', (frozenset([common]),
             frozenset([bank]))), ('CN=a+O=b', (frozenset([common, bank]),)), ('2.5.4.3=a', (frozenset([common]),)),
            ('CN=\\61', (frozenset([common]),)), ('CN=\\,\\+\\"', (frozenset([('2.5.4.3', ',+"')]),)),
            ('CN="a,\\"b"', (frozenset([('2.5.4.3', 'a,"b')]),)),
            ('CN=\\C3\\A9', (frozenset([('2.5.4.3', '\u00e9')]),)),
        ):  # fmt: skip
            self.assertEqual(parse_name(text), name, text)
        for text, why in (
            ('', 'see character 1'), ('CN=a,', 'see character 6'), ('CN=a,b', 'see character 6'),
            ('CN="a', 'see character 1'),
            ('XX=a', 'XX is no attribute that is known here'), ('CN=', 'has an attribute without a value'),
            ('CN=#04', 'or with one in hexadecimal'), ('CN=\\ff', 'has escaped bytes that are no UTF-8'),
        ):  # fmt: skip
            self.assertIn(why, str(self.assertRaises(Malformed, parse_name, text)), text)

    def test_same_names(self) -> None:
        """With unique types order does not matter; with repeated ones only the whole order may be reversed."""
        for one, other, same in (
            ('CN=a,O=b,C=c', 'O=b,C=c,CN=a', True), ('CN=a,O=b', 'CN=a', False),
            ('OU=a,OU=b,O=c', 'O=c,OU=b,OU=a', True), ('OU=a,OU=b,O=c', 'OU=b,OU=a,O=c', False),
            ('OU=a,OU=b', 'OU=a,OU=b', True), ('CN=a+O=b', 'CN=a,O=b', False),
            ('OU=a,OU=b', 'OU=a', False),
        ):  # fmt: skip
            self.assertEqual(is_same_name(parse_name(one), parse_name(other)), same, (one, other))

    def test_certificates(self) -> None:
        """Up to a hundred certificates and lists are read; private keys and other texts are rejected."""
        issuer = Issuer()
        self.assertEqual(len(parse_certificates(issuer.pem * 100)), 100)
        self.assertEqual(len(parse_revocation_lists(f'x\n{issuer.revoked() * 100}')), 100)
        for text, why in ((issuer.pem * 101, 'holds more than 100 certificates'),
                          ('', 'holds no certificate in PEM form'),
                          (f'{issuer.pem}\n-----BEGIN PRIVATE KEY-----', 'has a private key in it')):  # fmt: skip
            self.assertIn(why, str(self.assertRaises(Malformed, parse_certificates, text)))
        for text in ('', issuer.pem, issuer.revoked() * 101, issuer.revoked().replace('M', '!')):
            self.assertIn('holds no certificate revocation list',
                          str(self.assertRaises(Malformed, parse_revocation_lists, text)))  # fmt: skip
        self.assertEqual(parse_fingerprint(' ' + ':'.join(['AB'] * 32)), b'\xab' * 32)
        for text in ('ab' * 31, 'ab' * 33, 'xy' * 32, ''):
            self.assertIn('is no SHA-256 fingerprint', str(self.assertRaises(Malformed, parse_fingerprint, text)))
