"""Properties of tokens and certificate names: no input causes an unexpected exception, and every token has one
interpretation."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.issuing import NOW as THEN
from trial_tests.support.issuing import Issuer
from trial_tests.support.properties import holds
from trial_tests.support.tokens import GOOD, NOW, SECRET, part, sign
from zatotx.model.errors import Unauthorized
from zatotx.model.message import Principal
from zatotx.rules.security.client_certificate_validation import (
    ClientCertificateRejected,
    parse_client_certificate_chain,
)
from zatotx.schema.snapshot import StoredObject
from zatotx.security.jwt import Jwt
from zatotx.security.jwt.authenticator import JwtAuthenticator, SharedKeySource
from zatotx.security.mtls import Mtls
from zatotx.security.mtls.authenticator import MtlsAuthenticator
from zatotx.testing.pipeline_doubles import make_message
from zatotx.wire.certificates import is_same_name, parse_certificate_name, parse_name
from zatotx.wire.jwk_and_jws import key_from_secret, parse_key_set
from zatotx.wire.malformed import Malformed

TEXT = st.text(st.characters(exclude_categories=['Cs']), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6,
)  # fmt: skip
CLAIMS = st.dictionaries(st.sampled_from(['exp', 'nbf', 'iat', 'iss', 'aud', 'sub', 'roles', 'x']), VALUES)
HEADERS = st.dictionaries(st.sampled_from(['alg', 'typ', 'kid', 'crit', 'jwk', 'jku', 'x5c', 'b64']), VALUES)
MEMBERS = st.sampled_from(['kty', 'use', 'key_ops', 'alg', 'kid', 'n', 'e', 'crv', 'x', 'y', 'd', 'k'])
LIKELY = st.sampled_from(['RSA', 'EC', 'OKP', 'oct', 'AQAB', 'P-256', 'Ed25519', 'sig'])
JWKS = st.dictionaries(MEMBERS, VALUES | LIKELY)
DAMAGE = st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=2)), min_size=1, max_size=3)

TERMS = Jwt(name='t', algorithms=['HS256'], secret=SECRET, audience=['zatotx'], roles_claim='roles')
TOKENS = StoredObject(1, 'jwt', TERMS, 1)
BANK = Issuer('Bank CA')
PARTNER = BANK.issue(names=['DNS:a.example'])
PARTNERS = StoredObject(2, 'mtls', Mtls(name='p', ca=BANK.pem, subject='CN=partner,O=Bank'), 1)


def signed(header: Any, claims: Any) -> bytes:
    text = part(header) + b'.' + part(claims)
    return text + b'.' + part(sign(text, 'HS256', SECRET.encode()))


def damaged(data: bytes, damage: list[tuple[int, bytes]]) -> bytes:
    for place, put in damage:
        place %= len(data)
        data = data[:place] + put + data[place + 1 :]
    return data


class TokenTests(SynchronousTestCase):
    def check(self, credentials: bytes) -> Principal | None:
        """Returns the principal, None if the token is rejected. Other exceptions fail the test."""
        check = JwtAuthenticator(TOKENS, lambda changed: SharedKeySource(key_from_secret(SECRET)), lambda: NOW)
        try:
            found = check.check(make_message(headers={b'authorization': credentials}))
        except Unauthorized:
            return None
        assert isinstance(found, Principal)
        return found

    @holds(text=st.binary(max_size=200))
    def test_any_bytes(self, text: bytes) -> None:
        """Arbitrary bytes are rejected."""
        for scheme in (b'', b'Bearer ', b'bearer\t'):
            self.assertIsNone(self.check(scheme + text))

    @holds(header=HEADERS, claims=CLAIMS)
    def test_any_header_and_claims(self, header: dict[str, Any], claims: dict[str, Any]) -> None:
        """Correctly signed tokens are accepted if they meet the definition's requirements, and rejected otherwise."""
        found = self.check(b'Bearer ' + signed({'alg': 'HS256', **header}, {**GOOD, **claims}))
        if found is not None:
            self.assertEqual(header.get('alg', 'HS256'), 'HS256')
            self.assertNotIn('crit', header)
            ends = found.claims['exp']
            self.assertTrue(type(ends) in (int, float) and ends > NOW)
            self.assertFalse(found.roles & {'admin', 'api', 'monitor'})

    @holds(damage=DAMAGE)
    def test_damage(self, damage: list[tuple[int, bytes]]) -> None:
        """A modified token is rejected."""
        good = signed({'alg': 'HS256'}, GOOD)
        text = damaged(good, damage)
        self.assertEqual(self.check(b'Bearer ' + text) is not None, text.strip(b' ') == good)

    @holds(keys=st.lists(JWKS | VALUES, max_size=3))
    def test_any_key_set(self, keys: list[Any]) -> None:
        """Any key set yields keys, and a sentence for each invalid one."""
        body = json.dumps({'keys': keys}).encode()
        try:
            found, wrong = parse_key_set(body)
        except Malformed:
            return
        self.assertLessEqual(len(found) + len(wrong), len(keys))


class CertificateTests(SynchronousTestCase):
    @holds(damage=DAMAGE)
    def test_damage(self, damage: list[tuple[int, bytes]]) -> None:
        """A modified certificate is rejected without an unexpected exception."""
        der = damaged(PARTNER.der, damage)
        inbound = make_message()
        assert inbound.http is not None
        inbound.http.certificates = (der,)
        try:
            MtlsAuthenticator(PARTNERS, lambda: THEN).check(inbound)
        except Unauthorized:
            return
        self.assertEqual(der, PARTNER.der)

    def test_an_unknown_version(self) -> None:
        """A certificate of an X.509 version that does not exist is rejected like any other that cannot be read."""
        version_3 = b'\xa0\x03\x02\x01\x02'
        self.assertIn(version_3, PARTNER.der)
        der = PARTNER.der.replace(version_3, b'\xa0\x03\x02\x01\x01', 1)
        error = self.assertRaises(ClientCertificateRejected, parse_client_certificate_chain, [der])
        self.assertIn('cannot be read', str(error))

    @holds(values=st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=20),
                           min_size=1, max_size=4))  # fmt: skip
    def test_names_come_back(self, values: list[str]) -> None:
        """A subject with arbitrary texts is parsed from its RFC 4514 form, in either order."""
        types = ('CN', 'O', 'OU', 'L')
        written = ','.join(f'{type_}={_escaped(value)}' for type_, value in zip(types, values, strict=False))
        name = parse_name(written)
        self.assertEqual([next(iter(each))[1] for each in name], values)
        self.assertTrue(is_same_name(name, name[::-1]))

    @holds(text=st.text(max_size=40))
    def test_any_text(self, text: str) -> None:
        """Any text is a name or gives an error sentence, quickly."""
        began = time.thread_time()
        try:
            parse_name(text)
        except Malformed as wrong:
            self.assertTrue(str(wrong))
        self.assertLess(time.thread_time() - began, 1)

    def test_what_cryptography_writes(self) -> None:
        """The form of a name written by cryptography is parsed to the same name."""
        for subject in ('CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h', 'CN=\\#x,O=\\ y\\ ', 'CN=é,OU=a,OU=b',
                        'UID=1+CN=2,DC=x,DC=y'):  # fmt: skip
            name = BANK.issue(subject).certificate.subject
            self.assertTrue(is_same_name(parse_name(name.rfc4514_string()), parse_certificate_name(name)), subject)


def _escaped(value: str) -> str:
    """Escapes a value by RFC 4514 §2.4."""
    return ''.join(f'\\{each}' if each in ',+"\\<>;= #' else each for each in value)
