"""Tests of the rules for tokens alone: when keys are fetched, what a JWT and a WS-Security token must have."""

from __future__ import annotations

from math import inf
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.security.jwt_validation import (
    DEFAULT_LIFETIME,
    MAX_LIFETIME,
    MAX_STALE,
    MIN_LIFETIME,
    JwksRefreshState,
    JwtRequirements,
    TokenRejected,
    read_token_header,
    response_freshness_lifetime,
    token_roles,
    token_username,
    validate_token_claims,
)
from zatotx.rules.security.wss_validation import (
    MAX_CLOCK_SKEW,
    NonceCheck,
    WssRequirements,
    WssTokenRejected,
    validate_security_header,
)
from zatotx.security.wss import Wss, wss_requirements
from zatotx.wire.soap.ws_security import SecurityHeader, Timestamp, UsernameToken, password_digest

NOW = 1_000_000.0


class RefreshTests(SynchronousTestCase):
    def fetched(self, lifetime: float = 100.0, *, fruitful: bool = True) -> JwksRefreshState:
        state = JwksRefreshState()
        state.record_fetch(NOW)
        state.record_success(NOW, lifetime, has_requested_key=fruitful)
        return state

    def test_lifetimes(self) -> None:
        """The lifetime is that of the response, less its age, within ten seconds and an hour."""
        self.assertEqual((DEFAULT_LIFETIME, MIN_LIFETIME, MAX_LIFETIME, MAX_STALE), (300.0, 10.0, 3600.0, 86_400.0))
        for control, age, seconds in (
            (None, None, 300.0), (b'public', None, 300.0), (b'public, Max-Age=60', None, 60.0),
            (b'max-age="60"', b'10', 50.0), (b'max-age=60', b'60', 10.0), (b'max-age=9', None, 10.0),
            (b'max-age=99999999999999999999', None, 3600.0), (b'max-age=3600', b'99999999999999999999', 10.0),
            (b'max-age=60, no-store', None, 10.0), (b'no-cache', None, 10.0), (b'max-age=x', None, 10.0),
            (b'max-age', None, 10.0), (b'max-age=4000', b'300', 3600.0), (b'max-age=60', b'-5', 60.0),
        ):  # fmt: skip
            headers = {name: value for name, value in ((b'cache-control', control), (b'age', age)) if value is not None}
            self.assertEqual(response_freshness_lifetime(headers), seconds, (control, age))

    def test_before_the_first_fetch(self) -> None:
        """Without keys every request waits, and a fetch is due at once."""
        state = JwksRefreshState()
        self.assertTrue(
            state.must_wait(0.0) and state.has_no_usable_keys(0.0) and state.is_due(0.0) and state.may_fetch(0.0)
        )

    def test_times(self) -> None:
        """Keys are refreshed after four fifths of their lifetime, waited for after it, and lost a day later."""
        state = self.fetched()
        for after, due, wait, lost in ((79.9, False, False, False), (80.0, True, False, False),
                                       (99.9, True, False, False), (100.0, True, True, False),
                                       (86_499.9, True, True, False), (86_500.0, True, True, True)):  # fmt: skip
            now = NOW + after
            self.assertEqual(
                (state.is_due(now), state.must_wait(now), state.has_no_usable_keys(now)), (due, wait, lost), after
            )
        self.assertEqual([state.cache_time(NOW + after) for after in (0.0, 30.0, 79.5, 90.0)], [80.0, 50.0, 1.0, 1.0])

    def test_while_the_issuer_is_away(self) -> None:
        """After a failure nobody waits while there are keys at all."""
        state = self.fetched()
        state.record_failure()
        self.assertFalse(state.must_wait(NOW + 100.0))
        self.assertTrue(state.must_wait(NOW + 86_500.0))
        state.record_success(NOW, 100.0, has_requested_key=True)
        self.assertTrue(state.must_wait(NOW + 100.0))

    def test_pauses(self) -> None:
        """Fetches that fail, or do not bring the key, follow each other after one to ten seconds."""
        state = self.fetched()
        self.assertEqual([state.may_fetch(NOW + after) for after in (0.9, 1.0)], [False, True])
        pauses = []
        for _ in range(5):
            state.record_failure()
            pauses.append(state._pause)
        self.assertEqual(pauses, [2.0, 4.0, 8.0, 10.0, 10.0])
        state.record_success(NOW, 100.0, has_requested_key=False)
        self.assertEqual(state._pause, 10.0)
        state.record_success(NOW, 100.0, has_requested_key=True)
        self.assertEqual(state._pause, 1.0)
        state.record_fetch(NOW + 85.0)
        self.assertEqual([state.is_due(NOW + after) for after in (85.9, 86.0)], [False, True])
        fresh = JwksRefreshState()
        fresh.record_fetch(NOW)
        fresh.record_failure()
        self.assertEqual([fresh.is_due(NOW + after) for after in (0.9, 1.0)], [False, True])


TERMS = JwtRequirements(algorithms=frozenset(['RS256']), issuer='i', audience=frozenset(['a', 'b']), leeway=10.0,
                        require_exp=True, username_claim='sub', roles_claim='r')  # fmt: skip
CLAIMS = {'exp': NOW, 'iss': 'i', 'aud': 'a'}


class JwtTests(SynchronousTestCase):
    def test_headers(self) -> None:
        """Algorithm and kid are read; types for other purposes, extensions and odd values are rejected."""
        header: dict[str, Any]
        for header, found in (({}, ('RS256', None)), ({'kid': 'k'}, ('RS256', 'k')), ({'typ': 'JWT'}, ('RS256', None)),
                              ({'typ': 'application/AT+jwt'}, ('RS256', None)), ({'typ': 'x'}, ('RS256', None)),
                              ({'jwk': {}, 'x5u': ''}, ('RS256', None))):  # fmt: skip
            self.assertEqual(read_token_header({'alg': 'RS256', **header}, TERMS), found)
        for header, why in (
            ({'alg': None}, 'its alg is none of the definition'),
            ({'alg': 'none'}, 'its alg is none of the definition'),
            ({'alg': ['RS256']}, 'its alg is none of the definition'), ({'crit': []}, 'it has a crit'),
            ({'b64': True}, 'it has a b64'), ({'kid': 1}, 'its kid is no text'),
            ({'typ': 1}, 'its typ is not of tokens'), ({'typ': 'dpop+jwt'}, 'its typ is not of tokens'),
            ({'typ': 'Application/logout+JWT'}, 'its typ is not of tokens'),
        ):  # fmt: skip
            given = {'alg': 'RS256', **header}
            self.assertIn(why, str(self.assertRaises(TokenRejected, read_token_header, given, TERMS)))

    def refused(self, why: str, claims: dict[str, Any], now: float = NOW) -> None:
        given = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
        self.assertEqual(str(self.assertRaises(TokenRejected, validate_token_claims, given, TERMS, now)), why)

    def test_times(self) -> None:
        """The leeway is exact, on both ends; dates are numbers up to the year 9999."""
        self.assertEqual(validate_token_claims(CLAIMS, TERMS, NOW + 9.9), NOW + 10.0)
        self.refused('its exp has passed', {}, NOW + 10.0)
        for name in ('nbf', 'iat'):
            self.assertEqual(validate_token_claims({**CLAIMS, name: NOW + 10.0}, TERMS, NOW), NOW + 10.0)
            self.refused(f'its {name} is yet to come', {name: NOW + 10.1})
            validate_token_claims({**CLAIMS, name: 0}, TERMS, NOW)
        for name in ('exp', 'nbf', 'iat'):
            for value in (-1, 253_402_300_800, '1', True, inf):
                self.refused(f'its {name} is no date', {name: value})
        self.assertEqual(validate_token_claims({**CLAIMS, 'exp': 253_402_300_799}, TERMS, NOW), 253_402_300_809.0)
        self.refused('it has no exp', {'exp': None})
        endless = msgspec.structs.replace(TERMS, require_exp=False)
        self.assertEqual(validate_token_claims({'iss': 'i', 'aud': ['x', 'b', 1]}, endless, NOW), inf)

    def test_whose_it_is(self) -> None:
        """Issuer and audience are checked if the definition has them."""
        for issuer in ('x', None, ['i']):
            self.refused('its iss is not the issuer of the definition', {'iss': issuer})
        for audience in ('x', None, ['x'], {'a': 1}, 1):
            self.refused('its aud is not the audience of the definition', {'aud': audience})
        free = msgspec.structs.replace(TERMS, issuer='', audience=frozenset())
        self.assertEqual(validate_token_claims({'exp': NOW}, free, NOW), NOW + 10.0)

    def test_users(self) -> None:
        """The user name is text, or an integer of at most 64 bits."""
        value: Any
        for value, name in (('joe', 'joe'), ('', ''), (7, '7'), (-7, '-7'), (2**64 - 1, str(2**64 - 1))):
            self.assertEqual(token_username({'sub': value}, TERMS), name)
        self.assertEqual(token_username({}, TERMS), '')
        for value in (2**64, -(2**64), True, 1.5, ['joe'], None):
            self.assertIn('its sub is no text', str(self.assertRaises(TokenRejected, token_username, {'sub': value},
                                                                      TERMS)))  # fmt: skip

    def test_roles(self) -> None:
        """Roles are words of a text or texts of a list, at a name or a path; never the broker's own."""
        for claims, claim, roles in (
            ({'r': 'a b'}, 'r', {'a', 'b'}), ({'r': ['a', 1, 'b c']}, 'r', {'a', 'b c'}), ({'r': 5}, 'r', set()),
            ({}, 'r', set()), ({'r': 'a'}, '', set()), ({'r': 'admin api monitor operator viewer x'}, 'r', {'x'}),
            ({'x': {'y': ['a']}}, 'x.y', {'a'}), ({'x.y': 'b', 'x': {'y': 'a'}}, 'x.y', {'b'}),
            ({'x': 'a'}, 'x.y', set()),
        ):  # fmt: skip
            self.assertEqual(token_roles(claims, msgspec.structs.replace(TERMS, roles_claim=claim)), roles)


WSS = WssRequirements('joe', b'x', False, False, 300.0, 360.0)
TOKEN = UsernameToken('joe', 'x', False)


def at(token: UsernameToken, seconds: float, nonce: bytes = b'n') -> UsernameToken:
    return msgspec.structs.replace(token, created=str(seconds), created_at=NOW + seconds, nonce=nonce)


class WssTests(SynchronousTestCase):
    def check(self, *tokens: UsernameToken, stamp: Timestamp | None = None, terms: WssRequirements = WSS) -> NonceCheck:
        return validate_security_header(SecurityHeader(tokens, stamp), terms, NOW)

    def refused(self, why: str, *tokens: UsernameToken, guessed: bool = False, stamp: Timestamp | None = None,
                terms: WssRequirements = WSS) -> None:  # fmt: skip
        error = self.assertRaises(WssTokenRejected, self.check, *tokens, stamp=stamp, terms=terms)
        self.assertEqual((str(error), error.has_wrong_credentials), (why, guessed))

    def test_credentials(self) -> None:
        """Name, secret and type of the secret must be those of the definition."""
        self.assertEqual(self.check(TOKEN), NonceCheck(b'', 360.0))
        wrong = 'Username or Password is wrong'
        for name, password in (('jim', 'x'), ('joe', 'y'), ('joe', ' x')):
            self.refused(wrong, UsernameToken(name, password, False), guessed=True)
        unset = msgspec.structs.replace(WSS, password=b'')
        self.refused(wrong, UsernameToken('joe', '', False), guessed=True, terms=unset)
        self.refused('the Password is of another type than the definition has', UsernameToken('joe', 'x', True))
        digest = msgspec.structs.replace(WSS, digest=True)
        sent = UsernameToken('joe', f' {password_digest(b"n", "c", b"x").decode()} ', True, b'n', 'c')
        self.assertEqual(self.check(sent, terms=digest).nonce, b'n')
        self.refused(wrong, msgspec.structs.replace(sent, nonce=b'm'), guessed=True, terms=digest)
        self.refused('the Password is of another type than the definition has', TOKEN, terms=digest)

    def test_several_tokens(self) -> None:
        """The token of the definition's user is used; two of them are ambiguous."""
        other = UsernameToken('jim', 'y', False)
        self.assertEqual(self.check(other, TOKEN), self.check(TOKEN, other))
        self.refused('two tokens have the same Username', TOKEN, other, TOKEN)
        self.refused('Username or Password is wrong', other, other, guessed=True)

    def test_times(self) -> None:
        """A token may be a minute from the future, and as old as its lifetime; the same holds for the message."""
        self.assertEqual(MAX_CLOCK_SKEW, 60.0)
        for seconds in (60.0, 0.0, -300.0):
            self.check(at(TOKEN, seconds))
            self.check(TOKEN, stamp=Timestamp(NOW + seconds))
        for seconds, why in ((60.1, 'it was created in the future'), (-300.1, 'it is stale')):
            self.refused(why, at(TOKEN, seconds))
            self.refused(why, TOKEN, stamp=Timestamp(NOW + seconds))
        self.check(TOKEN, stamp=Timestamp(None, NOW - 60.0))
        self.refused('it has expired', TOKEN, stamp=Timestamp(None, NOW - 60.1))
        self.check(TOKEN, stamp=Timestamp(NOW + 5.0, NOW + 5.0))
        self.refused('it expires before it was created', TOKEN, stamp=Timestamp(NOW + 5.0, NOW + 4.9))

    def test_complete(self) -> None:
        """Nonce and Created may be required."""
        terms = msgspec.structs.replace(WSS, requires_nonce_and_created=True)
        self.check(at(TOKEN, 0.0), terms=terms)
        for token in (TOKEN, at(TOKEN, 0.0, b''), msgspec.structs.replace(TOKEN, nonce=b'n')):
            self.refused('it has no Nonce, or no Created', token, terms=terms)

    def test_how_long_a_nonce_is_remembered(self) -> None:
        """A nonce is remembered as configured, and a second longer than its token is valid."""
        for seconds, ttl in ((60.0, 361.0), (59.0, 360.0), (-100.0, 360.0)):
            self.assertEqual(self.check(at(TOKEN, seconds)), NonceCheck(b'n', ttl))
        endless = msgspec.structs.replace(WSS, lifetime=inf)
        self.assertEqual(self.check(at(TOKEN, -9e5), terms=endless).ttl, 360.0)
        self.assertEqual(self.check(msgspec.structs.replace(TOKEN, nonce=b'n')).ttl, 360.0)

    def test_of_a_definition(self) -> None:
        """The fields of a definition are the requirements; secrets are not shown."""
        definition = Wss(name='w', username='joe', password='\u017c', reject_stale_tokens=False)
        terms = wss_requirements(definition)
        self.assertEqual((terms.username, terms.password, terms.lifetime), ('joe', '\u017c'.encode(), inf))
        limited = wss_requirements(msgspec.structs.replace(definition, reject_stale_tokens=True, reject_expiry_limit=7))
        self.assertEqual((limited.lifetime, repr(limited)), (7.0, "Terms('joe')"))
