"""Tests of authentication challenges."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.http.authentication import Challenge, parse_challenges, parse_parameters, quote_string


class ChallengeTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """RFC 9110 §11.6.1: a field may contain several challenges, with quoted or plain parameters, a token68, or
        neither."""
        for value, expected in (
            (b'Basic realm="a b"', [('basic', {'realm': 'a b'})]),
            (b'Digest realm="x", nonce="n,1", qop="auth,auth-int", stale=FALSE',
             [('digest', {'realm': 'x', 'nonce': 'n,1', 'qop': 'auth,auth-int', 'stale': 'FALSE'})]),
            (b'Negotiate', [('negotiate', {})]),
            (b'Negotiate YWJj==', [('negotiate', {})]),
            (b'Basic realm=a, Digest realm=b , nonce = "c"',
             [('basic', {'realm': 'a'}), ('digest', {'realm': 'b', 'nonce': 'c'})]),
            (b'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',
             [('newauth', {'realm': 'apps', 'type': '1', 'title': 'Login to "apps"'}), ('basic', {'realm': 'simple'})]),
            (b'Negotiate, Basic realm="x"', [('negotiate', {}), ('basic', {'realm': 'x'})]),
            (b', ,Bearer , error="invalid_token"', [('bearer', {'error': 'invalid_token'})]),
            (b'', []), (b'=', []), (b'Basic realm="a', [('basic', {})]), (b'Basic realm="a" b', [('basic', {})]),
        ):  # fmt: skip
            found = parse_challenges([value])
            self.assertEqual(found, [Challenge(scheme, params) for scheme, params in expected], value)

    def test_several_fields(self) -> None:
        """Challenges of several fields are returned in order; the first of two parameters with one name wins."""
        found = parse_challenges([b'Basic realm=a', b'Digest realm=b, realm=c'])
        self.assertEqual([one.params['realm'] for one in found], ['a', 'b'])

    def test_parameters(self) -> None:
        """Authentication-Info is parsed as a list of parameters."""
        self.assertEqual(parse_parameters(b'nextnonce="a\\"b", qop=auth, nc=00000001'),
                         {'nextnonce': 'a"b', 'qop': 'auth', 'nc': '00000001'})  # fmt: skip
        self.assertEqual(parse_parameters(b'nonsense'), {})

    def test_longest(self) -> None:
        """8,192 bytes of a field are parsed."""
        for before in (8_192 - 3, 8_192 - 2):
            field = b' ' * before + b'a=b'
            self.assertEqual(parse_parameters(field), {'a': 'b'} if before == 8_189 else {})
            self.assertEqual(len(parse_challenges([b',' * (before + 2) + b'x'])), 1 if before == 8_189 else 0)

    def test_quoted(self) -> None:
        """A quoted string is parsed back to the original text."""
        for text in ('', 'a', 'a"b\\c', '\\"'):
            self.assertEqual(parse_parameters(b'x=' + quote_string(text).encode()), {'x': text})
