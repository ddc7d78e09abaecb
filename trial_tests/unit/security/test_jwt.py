"""Authentication by JWT: which signatures, headers and claims are accepted, and which never are."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.certificate import write_certificate
from trial_tests.support.tokens import GOOD, NOW, SECRET, part, pem, private_key, sign, signed
from zatotx.model.errors import Unauthorized
from zatotx.model.message import ANONYMOUS, ChannelSpec, Message, Principal
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.pipeline.security.authenticator import PrincipalCache
from zatotx.rules.security.jwt_validation import select_verification_key
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.validation import validate
from zatotx.security.jwt import CHALLENGE, JWT, Jwt
from zatotx.security.jwt.authenticator import (
    CACHE_SIZE,
    INVALID_TOKEN_CHALLENGE,
    JwtAuthenticator,
    SharedKeySource,
    make_jwt_authenticator,
)
from zatotx.testing.fake_fetcher import FakeFetcher
from zatotx.testing.log_recorder import LogRecorder
from zatotx.testing.pipeline_doubles import make_message
from zatotx.wire.jwk_and_jws import VerificationKey, key_from_pem, key_from_secret
from zatotx.wire.malformed import Malformed

SECURED = ChannelSpec(name='test', kind='http-soap', service='s', security='idp')
_SECRETS = ('HS256', 'HS384', 'HS512')
_PUBLIC = ('RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA')


def definition(*algorithms: str, **fields: Any) -> StoredObject:
    """Return a definition with the algorithm's key and all optional requirements."""
    names = algorithms or ('RS256',)
    source = {'secret': SECRET} if names[0] in _SECRETS else {'public_key': pem(private_key(names[0]))}
    values = {'name': 'idp', 'algorithms': list(names), 'issuer': 'https://idp/', 'audience': ['zatotx'], **source}
    return StoredObject(1, 'jwt', Jwt(**{**values, **fields}), 1)


def bearing(token: bytes, scheme: bytes = b'Bearer ') -> Message:
    return make_message(channel=SECURED, headers={b'authorization': scheme + token})


class JwtTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = NOW
        self.log = LogRecorder()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def check_of(self, stored: StoredObject) -> JwtAuthenticator:
        value = stored.value
        key = key_from_pem(value.public_key) if value.public_key else key_from_secret(value.secret)
        return JwtAuthenticator(stored, lambda changed: SharedKeySource(key), lambda: self.now)

    def admitted(self, check: JwtAuthenticator, token: bytes) -> Principal:
        found = check.check(bearing(token))
        assert isinstance(found, Principal)
        return found

    def refused(self, check: JwtAuthenticator, token: bytes, why: str) -> None:
        """All rejected tokens get the same response, and the reason is in the log only."""
        self.log.records.clear()
        error = self.assertRaises(Unauthorized, check.check, bearing(token))
        self.assertEqual((error.challenge, error.details), (INVALID_TOKEN_CHALLENGE, Unauthorized.default_message))
        (said,) = self.log.messages(logging.DEBUG)
        self.assertIn(why, said)
        for secret in token.split(b'.'):
            self.assertNotIn(secret.decode('latin-1') or '.', said)


class AcceptedTests(JwtTestCase):
    def test_every_algorithm(self) -> None:
        """A valid token of each algorithm is accepted, with its claims and user name on the principal."""
        for algorithm in (*_SECRETS, *_PUBLIC):
            principal = self.admitted(self.check_of(definition(algorithm)), signed(algorithm=algorithm))
            self.assertEqual((principal.name, principal.username, principal.kind), ('idp', 'joe', 'jwt'), algorithm)
            self.assertEqual(principal.claims['iss'], 'https://idp/')

    def test_ed448(self) -> None:
        """EdDSA covers both curves."""
        key = private_key('Ed448')
        check = self.check_of(definition('EdDSA', public_key=pem(key)))
        self.assertEqual(self.admitted(check, signed(algorithm='EdDSA', key=key)).username, 'joe')

    def test_seen_before(self) -> None:
        """A token is verified once; the same principal is returned until it expires, and then it is rejected."""
        check = self.check_of(definition())
        first = self.admitted(check, signed())
        self.assertIs(self.admitted(check, signed()), first)
        self.now = NOW + 59.9
        self.assertIs(self.admitted(check, signed()), first)
        self.now = NOW + 60
        self.refused(check, signed(), 'exp has passed')

    def test_a_changed_definition_forgets(self) -> None:
        """Changing a definition clears its cache of tokens."""
        guard = AuthenticationPolicy({'jwt': self.check_of})
        guard.apply(Snapshot(1, [definition()]))
        self.assertIsInstance(guard.check(bearing(signed())), Principal)
        guard.apply(Snapshot(2, [definition(issuer='https://other/')]))
        self.assertRaises(Unauthorized, guard.check, bearing(signed()))
        self.assertEqual(list(guard.findings()), [])

    def test_the_scheme_has_no_case(self) -> None:
        """RFC 9110 §11.1: `bearer` is Bearer, and additional spaces are not part of the token."""
        check = self.check_of(definition())
        self.assertIsInstance(check.check(bearing(signed(), b'bearer   ')), Principal)

    def test_what_is_not_asked_for(self) -> None:
        """Without issuer and audience, those claims are ignored; without `require_exp`, tokens need not expire."""
        check = self.check_of(definition(issuer='', audience=[], require_exp=False))
        self.assertEqual(self.admitted(check, signed({'aud': 'others'})).username, '')
        self.now += 10.0**8
        self.admitted(check, signed({'aud': 'others'}))

    def test_audiences(self) -> None:
        """One matching audience is enough; both sides may be a list or a string."""
        check = self.check_of(definition(audience=['zatotx', 'broker']))
        for aud in ('broker', ['x', 'zatotx'], [7, 'broker']):
            self.admitted(check, signed({**GOOD, 'aud': aud}))

    def test_leeway(self) -> None:
        """Clocks may differ by the leeway, but no more, for all three dates."""
        check = self.check_of(definition(leeway=30.0))
        self.admitted(check, signed({**GOOD, 'exp': NOW - 29}))
        self.admitted(check, signed({**GOOD, 'nbf': NOW + 30, 'iat': NOW + 30}))
        self.refused(check, signed({**GOOD, 'exp': NOW - 30}), 'exp has passed')
        self.refused(check, signed({**GOOD, 'nbf': NOW + 31}), 'nbf is yet to come')
        self.refused(check, signed({**GOOD, 'iat': NOW + 31}), 'iat is yet to come')

    def test_types(self) -> None:
        """Access tokens and tokens without or with an unknown type are accepted; types for other uses are rejected."""
        check = self.check_of(definition())
        for kind in ('JWT', 'at+jwt', 'application/at+JWT', 'Application/AT+JWT', '', 'Bearer'):
            self.admitted(check, signed(typ=kind))
        others: list[Any] = ['logout+jwt', 'LOGOUT+JWT', 'dpop+jwt', 'Application/secevent+JWT', 7, None]
        for other in others:
            self.refused(check, signed(typ=other), 'its typ is not')

    def test_claims_cannot_be_changed(self) -> None:
        """A principal is shared by requests, so services cannot modify its claims."""
        principal = self.admitted(self.check_of(definition()), signed())
        with self.assertRaises(TypeError):
            principal.claims['sub'] = 'root'  # type: ignore[index]


class IdentityTests(JwtTestCase):
    def test_username(self) -> None:
        """Another claim may contain the user name, also a number; lists and very long numbers are rejected."""
        check = self.check_of(definition(username_claim='email'))
        self.assertEqual(self.admitted(check, signed({**GOOD, 'email': 'joe@example.com'})).username, 'joe@example.com')
        self.assertEqual(self.admitted(check, signed({**GOOD, 'email': 17})).username, '17')
        for email in (['joe'], True, None, 10**400):
            self.refused(check, signed({**GOOD, 'email': email}), 'its email is no text')

    def test_roles(self) -> None:
        """Roles come from the definition and from its claim: a list, a string with spaces, or a nested value."""
        check = self.check_of(definition(roles=['partner'], roles_claim='realm_access.roles'))
        self.assertEqual(self.admitted(check, signed()).roles, {'partner'})
        with_roles: list[Any] = [{'realm_access': {'roles': ['a', 'b', 7]}}, {'realm_access.roles': 'a  b'}]
        for claims in with_roles:
            self.assertEqual(self.admitted(check, signed({**GOOD, **claims})).roles, {'partner', 'a', 'b'})
        without: list[Any] = [{'realm_access': 'a'},
                              {'realm_access': {'roles': {'a': 1}}}, {'realm_access.roles': None}]
        for claims in without:
            self.assertEqual(self.admitted(check, signed({**GOOD, **claims})).roles, {'partner'})

    def test_the_brokers_own_roles_are_not_the_issuers_to_give(self) -> None:
        """A token never grants administrator roles; only the definition may."""
        claims = {**GOOD, 'roles': ['admin', 'api', 'monitor', 'clerk']}
        self.assertEqual(self.admitted(self.check_of(definition(roles_claim='roles')), signed(claims)).roles, {'clerk'})
        check = self.check_of(definition(roles_claim='roles', roles=['api']))
        self.assertEqual(self.admitted(check, signed(claims)).roles, {'api', 'clerk'})


class RefusedTests(JwtTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.check = self.check_of(definition())

    def test_nothing_sent(self) -> None:
        """Without a token, or with another scheme, the challenge names the scheme but no error (RFC 6750 §3.1)."""
        for headers in ({}, {b'authorization': b'Basic dTpw'}, {b'authorization': signed()}):
            error = self.assertRaises(Unauthorized, self.check.check, make_message(channel=SECURED, headers=headers))
            self.assertEqual(error.challenge, CHALLENGE)

    def test_unsigned(self) -> None:
        """`none` is rejected in any case, with or without a signature, also for definitions with a secret."""
        for check in (self.check, self.check_of(definition('HS256'))):
            for name in ('none', 'None', 'NONE', 'nOnE', ''):
                unsigned = part({'alg': name, 'typ': 'JWT'}) + b'.' + part(GOOD) + b'.'
                self.refused(check, unsigned, 'alg is none of the definition')
                self.refused(check, unsigned + signed().split(b'.')[2], 'alg is none of the definition')

    def test_algorithm_confusion(self) -> None:
        """The public key is never used as a secret: a token signed by HMAC with its text or bytes is rejected, and so
        are other algorithms of the same key that the definition does not list."""
        for secret in (pem(private_key('RS256')).encode(), pem(private_key('RS256')).strip().encode()):
            self.refused(self.check, signed(algorithm='HS256', key=secret), 'alg is none of the definition')
            self.refused(self.check, signed(by='HS256', key=secret), 'signature does not match the key')
        for name in ('RS512', 'PS256'):
            self.refused(self.check, signed(algorithm=name, key=private_key('RS256')), 'alg is none of the definition')
        self.refused(self.check, signed(by='PS256', key=private_key('RS256')), 'signature does not match the key')

    def test_a_definition_that_names_too_much(self) -> None:
        """If an older version stored a definition with HS256 and RS256, its key is still used for RSA only."""
        check = self.check_of(definition('RS256', 'HS256'))
        confused = signed(algorithm='HS256', key=pem(private_key('RS256')).encode())
        self.refused(check, confused, 'signature does not match the key')
        self.admitted(check, signed())

    def test_alg_of_odd_kinds(self) -> None:
        """An alg must be a string, spelled as in the definition."""
        for name in (None, 7, ['RS256'], {'a': 1}, 'rs256', 'RS256 ', True):
            self.refused(self.check, signed(alg=name, by='RS256'), 'alg is none of the definition')
        header = part({'typ': 'JWT'})
        self.refused(self.check, header + b'.' + part(GOOD) + b'.AA', 'alg is none of the definition')

    def test_another_key(self) -> None:
        """A signature by another key is rejected."""
        self.refused(self.check, signed(key=private_key('RS256', 2)), 'signature does not match the key')

    def test_keys_in_the_token(self) -> None:
        """Keys and key URLs in a token are neither used nor fetched."""
        mine = private_key('RS256', 2)
        embedded = {'kty': 'RSA', 'n': 'AQAB', 'e': 'AQAB'}
        for header in ({'jwk': embedded}, {'jku': 'http://127.0.0.1:1/keys'}, {'x5u': 'http://127.0.0.1:1/c'},
                       {'x5c': ['MIIB']}, {'kid': '../../dev/null'}):
            self.refused(self.check, signed(key=mine, **header), 'signature does not match the key')
            self.admitted(self.check, signed(**header))

    def test_crit(self) -> None:
        """Tokens with critical extensions are rejected."""
        for crit in (['exp'], ['b64'], [], None, 'x'):
            self.refused(self.check, signed(crit=crit), 'it has a crit')
        self.refused(self.check, signed(b64=False), 'it has a b64')

    def test_kid_of_odd_kinds(self) -> None:
        """A kid must be a string."""
        kids: list[Any] = [7, ['a'], {}, True]
        for kid in kids:
            self.refused(self.check, signed(kid=kid), 'its kid is no text')

    def test_tampered(self) -> None:
        """A changed payload, header or signature bit is rejected."""
        header, payload, signature = signed().split(b'.')
        self.refused(self.check, b'.'.join([header, part({**GOOD, 'sub': 'root'}), signature]), 'signature does not')
        self.refused(self.check, b'.'.join([part({'alg': 'RS256'}), payload, signature]), 'signature does not')
        other = b'B' if signature[:1] == b'A' else b'A'
        self.refused(self.check, b'.'.join([header, payload, other + signature[1:]]), 'signature does not')
        self.refused(self.check, b'.'.join([header, payload, b'']), 'signature does not')

    def test_signatures_of_odd_lengths(self) -> None:
        """Truncated, longer and empty signatures of every algorithm are rejected without other errors."""
        for algorithm in (*_SECRETS, *_PUBLIC):
            check = self.check_of(definition(algorithm))
            text = part({'alg': algorithm}) + b'.' + part(GOOD)
            right = sign(text, algorithm, private_key(algorithm))
            for signature in (b'', b'\0', right[:-1], right + b'\0', right[::-1], bytes(len(right)), bytes(2000)):
                self.refused(check, text + b'.' + part(signature), 'signature does not match the key')

    def test_a_signature_of_the_other_form(self) -> None:
        """An ECDSA signature in DER, as OpenSSL writes it, is not valid in JWS."""
        key = private_key('ES256')
        text = part({'alg': 'ES256'}) + b'.' + part(GOOD)
        der = key.sign(text, ec.ECDSA(SHA256()))
        self.refused(self.check_of(definition('ES256')), text + b'.' + part(der), 'signature does not match the key')

    def test_no_token(self) -> None:
        """Other texts are rejected: too few or many parts, five as in an encrypted token, invalid base64url, spare
        bits, invalid JSON."""
        good = signed()
        header, payload, signature = good.split(b'.')
        self.refused(self.check, b'x', 'parts')
        self.refused(self.check, b'.'.join([header, payload]), '2 parts')
        self.refused(self.check, b'.'.join([header, b'', b'', payload, signature]), '5 parts')
        self.refused(self.check, good + b'=', 'base64url')
        self.refused(self.check, good.replace(b'.', b'.+', 1), 'base64url')
        self.refused(self.check, b'.'.join([header, payload + b'\xc3\xa9', signature]), 'base64url')
        self.refused(self.check, good + b', Bearer ' + good, 'parts')
        self.refused(self.check, b'.'.join([part(b'[]'), payload, signature]), 'no JSON object')
        self.refused(self.check, b'.'.join([part(b'{'), payload, signature]), 'ends too early')
        self.refused(self.check, b'.'.join([part(b'{"alg":"RS256"}\xff'), payload, signature]), '')
        self.refused(self.check, b'.'.join([header, part(b'"text"'), signature]), 'no JSON object')
        self.refused(self.check, b'.'.join([part(b'[' * 5000), payload, signature]), '')
        self.refused(self.check, b'x' * 20_000, 'longer than 16384 bytes')

    def test_spare_bits(self) -> None:
        """The unused bits of base64 cannot be used to write the same token differently."""
        good = signed({**GOOD, 'pad': ''})
        for text in (good, signed({**GOOD, 'pad': 'x'}), signed({**GOOD, 'pad': 'xx'})):
            payload = text.split(b'.')[1]
            if len(payload) % 4:
                last = bytes([payload[-1] + 1]) if payload[-1:] not in (b'Z', b'z', b'9', b'-', b'_') else b'_'
                self.refused(self.check, text.replace(payload, payload[:-1] + last), 'base64url')

    def test_repeated_members(self) -> None:
        """Duplicate members in the header or claims are rejected, at any depth and with any escapes."""
        twice = json.dumps(dict(GOOD))[:-1] + ', "sub": "root"}'
        escaped = json.dumps(dict(GOOD))[:-1] + ', "s\\u0075b": "root"}'
        deep = json.dumps(dict(GOOD))[:-1] + ', "a": [{"b": 1, "b": 2}]}'
        for text in (twice, escaped, deep):
            self.refused(self.check, signed(text.encode()), 'stands twice')
        header = part(b'{"alg": "RS256", "alg": "none"}')
        self.refused(self.check, header + b'.' + part(GOOD) + b'.AA', 'stands twice')

    def test_dates(self) -> None:
        """Invalid dates (negative and huge numbers, strings, lists, booleans, null) are rejected without other
        errors."""
        no_dates: list[Any] = [-1, -0.5, -(10**30), 10**30, 253_402_300_800, 1e300, 10**400, '1', '', [], {}, True,
                               None]
        for name in ('exp', 'nbf', 'iat'):
            for value in no_dates:
                self.refused(self.check, signed({**GOOD, name: value}), f'its {name} is no date')
        self.refused(self.check, signed(b'{"exp": 1e999}'), '')
        self.refused(self.check, signed(b'{"exp": NaN}'), '')
        self.refused(self.check, signed(b'{"exp": Infinity}'), '')
        self.admitted(self.check, signed({**GOOD, 'exp': 253_402_300_799}))
        self.admitted(self.check, signed({**GOOD, 'iat': 0}))

    def test_moments(self) -> None:
        """Expired tokens, tokens not yet valid, tokens from the future and tokens without an expiry are rejected."""
        self.refused(self.check, signed({**GOOD, 'exp': NOW}), 'exp has passed')
        self.refused(self.check, signed({**GOOD, 'nbf': NOW + 1}), 'nbf is yet to come')
        self.refused(self.check, signed({**GOOD, 'iat': NOW + 1}), 'iat is yet to come')
        self.refused(self.check, signed({name: GOOD[name] for name in GOOD if name != 'exp'}), 'it has no exp')

    def test_issuer_and_audience(self) -> None:
        """If configured, they must be present and equal."""
        for issuer in (None, '', 'https://idp', 'https://idp/ ', ['https://idp/'], 7):
            self.refused(self.check, signed({**GOOD, 'iss': issuer}), 'its iss is not')
        for audience in (None, '', 'zatotx ', ['x'], [], [None], {'zatotx': 1}, 7, 'zato'):
            self.refused(self.check, signed({**GOOD, 'aud': audience}), 'its aud is not')
        for name in ('iss', 'aud'):
            self.refused(self.check, signed({each: GOOD[each] for each in GOOD if each != name}), f'its {name} is not')

    def test_refusals_are_not_remembered_as_good(self) -> None:
        """A rejected token stays rejected and does not affect valid ones."""
        bad = signed(key=private_key('RS256', 2))
        for _ in range(3):
            self.refused(self.check, bad, 'signature does not match the key')
        self.admitted(self.check, signed())
        self.refused(self.check, bad, 'signature does not match the key')


class RememberedTests(SynchronousTestCase):
    def test_bounded(self) -> None:
        """The cache drops the oldest entry when full; storing a key again makes it the newest."""
        memory: PrincipalCache[int] = PrincipalCache(3)
        for key in (1, 2, 3, 1, 4):
            memory.store(key, ANONYMOUS, 10.0)
        self.assertEqual([key for key in range(5) if memory.get(key, 0.0)], [1, 3, 4])
        self.assertIsNone(memory.get(1, 10.0))
        memory.clear()
        self.assertIsNone(memory.get(3, 0.0))
        self.assertGreaterEqual(CACHE_SIZE, 1000)


class ChooseTests(SynchronousTestCase):
    def test_only_one_that_fits(self) -> None:
        """Keys are selected by kid and algorithm; without a kid only if one key fits. Keys are never tried one by
        one."""
        rsa_1, rsa_2 = (VerificationKey(n, frozenset({'RS256', 'PS256'}), f'r{n}') for n in (1, 2))
        curve = VerificationKey(3, frozenset({'ES256'}), 'e')
        keys = [rsa_1, rsa_2, curve]
        self.assertIs(select_verification_key(keys, 'RS256', 'r2'), rsa_2)
        self.assertIs(select_verification_key(keys, 'ES256', None), curve)
        self.assertIsNone(select_verification_key(keys, 'RS256', None))
        self.assertIsNone(select_verification_key(keys, 'RS256', 'e'))
        self.assertIsNone(select_verification_key(keys, 'RS256', 'unknown'))
        self.assertIsNone(select_verification_key([*keys, VerificationKey(4, rsa_1.algorithms, 'r1')], 'RS256', 'r1'))
        self.assertIsNone(select_verification_key([], 'RS256', None))


class DefinitionTests(SynchronousTestCase):
    def errors(self, **fields: Any) -> dict[str, str]:
        value, mistakes = validate(JWT, {'name': 'idp', **fields})
        self.assertEqual(value is None, bool(mistakes))
        return dict(mistakes)

    def assert_wrong(self, field: str, why: str, **fields: Any) -> None:
        found = self.errors(**fields)
        self.assertEqual(list(found), [field])
        self.assertIn(why, found[field])

    def test_good_ones(self) -> None:
        """Each source of keys with its algorithms is valid; a certificate works like its key."""
        self.assertEqual(self.errors(algorithms=['HS256', 'HS512'], secret=SECRET), {})
        self.assertEqual(self.errors(algorithms=['RS256', 'PS512'], public_key=pem(private_key('RS256'))), {})
        self.assertEqual(self.errors(algorithms=['ES384'], public_key=pem(private_key('ES384'))), {})
        self.assertEqual(self.errors(algorithms=['RS256', 'EdDSA'], jwks_url='https://idp.example/jwks?v=1'), {})
        certificate = write_certificate(Path(self.mktemp())).read_text()
        self.assertEqual(
            self.errors(algorithms=['ES256'], public_key=certificate[certificate.index('-----BEGIN CERT') :]), {}
        )

    def test_exactly_one_source(self) -> None:
        """Definitions without a key or with several are reported."""
        self.assert_wrong('secret', 'exactly one of secret, public_key, jwks_url', algorithms=['HS256'])
        self.assert_wrong('secret', "not secret and jwks_url; set the others to ''", algorithms=['HS256'],
                          secret=SECRET, jwks_url='https://idp/jwks')  # fmt: skip

    def test_algorithms_fit_the_source(self) -> None:
        """Secrets are for HMAC only and HMAC for secrets only; a key is for the algorithms of its type and curve."""
        public = pem(private_key('RS256'))
        self.assert_wrong('algorithms', 'not for RS256', algorithms=['HS256', 'RS256'], secret=SECRET)
        self.assert_wrong('algorithms', 'not for HS256', algorithms=['RS256', 'HS256'], public_key=public)
        self.assert_wrong('algorithms', 'not for ES256', algorithms=['ES256'], public_key=public)
        self.assert_wrong('algorithms', 'is for ES384, and not for ES256', algorithms=['ES256'],
                          public_key=pem(private_key('ES384')))  # fmt: skip
        self.assert_wrong('algorithms', 'not for HS512', algorithms=['HS512'], jwks_url='https://idp/jwks')

    def test_unknown_algorithms(self) -> None:
        """`none` in any case and misspelled names are rejected, and at least one algorithm is required."""
        for name in ('none', 'None', 'rs256', 'RS1024', ''):
            self.assert_wrong('algorithms', 'must be of: HS256', algorithms=[name], secret=SECRET)
        self.assertIn('algorithms', self.errors(algorithms=[], secret=SECRET))
        self.assertEqual(self.errors(secret=SECRET), {'algorithms': 'missing'})

    def test_weak_keys(self) -> None:
        """RSA below 2048 bits and secrets shorter than the hash are rejected (RFC 7518 §3.2, §3.3)."""
        weak = rsa.generate_private_key(65537, 1024)
        self.assert_wrong('public_key', '1024 bits', algorithms=['RS256'], public_key=pem(weak))
        self.assert_wrong('secret', 'has 31 bytes', algorithms=['HS256'], secret='x' * 31)
        self.assertEqual(self.errors(algorithms=['HS256'], secret='x' * 32), {})
        self.assert_wrong('secret', '48 bytes that HS384 needs', algorithms=['HS256', 'HS384'], secret='x' * 47)
        self.assertEqual(self.errors(algorithms=['HS384'], secret='é' * 24), {})

    def test_keys_that_are_none(self) -> None:
        """Private keys, other curves, texts that are not keys, and public keys as secrets are rejected without showing
        them."""
        private = private_key('RS256').private_bytes(*_private_form()).decode()
        self.assert_wrong('public_key', 'is a private key', algorithms=['RS256'], public_key=private)
        for text in ('x', '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----', '-----BEGIN CERTIFICATE-----'):
            self.assert_wrong('public_key', 'holds no public key', algorithms=['RS256'], public_key=text)
        other = pem(ec.generate_private_key(ec.SECP256K1()))
        self.assert_wrong('public_key', 'type or curve', algorithms=['ES256'], public_key=other)
        self.assert_wrong('secret', 'that others may know', algorithms=['HS256'], secret=pem(private_key('RS256')))

    def test_urls(self) -> None:
        """URLs are https, or http on loopback (contract §4), without credentials."""
        for url in ('https://idp/jwks', 'http://127.0.0.1:8080/jwks', 'http://[::1]/jwks', 'http://localhost/jwks'):
            self.assertEqual(self.errors(algorithms=['RS256'], jwks_url=url), {}, url)
        for url, why in (
            ('http://idp.example/jwks', 'plain http'), ('http://127.0.0.1.example.com/', 'plain http'),
            ('http://10.0.0.1/jwks', 'plain http'), ('http://127.0.0.1@evil.example/', 'no user name'),
            ('ftp://idp/jwks', 'begins with https'), ('file:///etc/passwd', 'begins with https'),
            ('idp/jwks', 'begins with https'), ('https://u:p@idp/jwks', 'no user name'),
            ('https://idp/jwks#a', 'fragment'), ('https://idp:x/', 'must be a URL'), ('https://[idp/', 'must be a URL'),
            ('https://idp/a b', 'not ASCII'), ('https://idp/é', 'not ASCII'), ('https:///jwks', 'begins with https'),
        ):  # fmt: skip
            self.assert_wrong('jwks_url', why, algorithms=['RS256'], jwks_url=url)

    def test_leeway_is_bounded(self) -> None:
        """The leeway is between zero and ten minutes."""
        for leeway in (-1, 601):
            self.assertIn('leeway', self.errors(algorithms=['HS256'], secret=SECRET, leeway=leeway))

    def test_silence(self) -> None:
        """No repr of a definition or its key shows the secret."""
        value = definition('HS256').value
        for each in (value, key_from_secret(SECRET), self.assertRaises(Malformed, key_from_secret, 'short secret')):
            self.assertNotIn('secret as', repr(each) + str(each))
            self.assertNotIn('short secret', repr(each) + str(each))


class MadeTests(JwtTestCase):
    def make(self, **fields: Any) -> JwtAuthenticator:
        return make_jwt_authenticator(definition(**fields), fetcher=FakeFetcher(), clock=Clock(), offload=_never)

    def test_of_a_definition(self) -> None:
        """A key or secret in the definition is usable at once, with the wall clock."""
        check = self.make()
        self.assertRaises(Unauthorized, check.check, bearing(signed({**GOOD, 'exp': 1})))
        self.assertIsInstance(check.check(bearing(signed({**GOOD, 'iat': 1, 'exp': 250_000_000_000}))), Principal)

    def test_of_one_that_is_not_valid_any_more(self) -> None:
        """A definition whose key is no longer valid rejects all tokens, and the log gives the reason."""
        check = self.make(public_key='', secret='short')
        self.assertIn("JWT definition 'idp' rejects all tokens: its key has 5", self.log.messages(logging.ERROR)[0])
        self.assertIn('has 5 bytes', next(check.findings()))
        self.assertRaises(Unauthorized, check.check, bearing(signed({**GOOD, 'iat': 1, 'exp': 250_000_000_000})))


def _never(*call: Any) -> Deferred[Any]:
    raise AssertionError('nothing is for a thread here')


def _private_form() -> tuple[Any, ...]:
    return Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
