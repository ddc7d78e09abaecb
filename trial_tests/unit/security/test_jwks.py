"""Published key sets: which keys are used, when they are fetched, and which requests wait for that."""

from __future__ import annotations

import json
import logging
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.tokens import GOOD, NOW, SECRET, jwk, jwks, part, private_key, signed
from zatotx.interfaces.outgoing import IFetcher
from zatotx.model.errors import ServiceUnavailable, Timeout, Unauthorized
from zatotx.model.message import ChannelSpec, Message, Principal
from zatotx.rules.security.jwt_validation import (
    DEFAULT_LIFETIME,
    MAX_LIFETIME,
    MAX_STALE,
    MIN_LIFETIME,
    response_freshness_lifetime,
)
from zatotx.schema.snapshot import StoredObject
from zatotx.security.jwt import Jwt
from zatotx.security.jwt.authenticator import JwtAuthenticator, make_jwt_authenticator
from zatotx.security.jwt.jwks import FETCH_TIMEOUT, MAX_DOCUMENT_SIZE, MAX_WAIT, MAX_WAITING
from zatotx.testing.fake_fetcher import FakeFetcher
from zatotx.testing.log_recorder import LogRecorder
from zatotx.testing.pipeline_doubles import make_message
from zatotx.wire.jwk_and_jws import key_from_jwk, parse_key_set
from zatotx.wire.malformed import Malformed

URL = 'https://idp.example/jwks'
SECURED = ChannelSpec(name='test', kind='http-soap', service='s', security='idp')
ONE, TWO, THREE = (private_key('RS256', number) for number in (1, 2, 3))
OLD = jwks(jwk(ONE, kid='one'))
NEW = jwks(jwk(TWO, kid='two'))


def token(key: Any = ONE, **header: Any) -> bytes:
    """Return a token that is valid for the whole test."""
    return signed({**GOOD, 'exp': NOW + 10 * MAX_STALE}, key=key, **header)


class Issuer(SynchronousTestCase):
    """A definition whose keys are at URL, the issuer's present keys, and a clock for both kinds of time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.fetcher = FakeFetcher()
        self.fetcher.serve(URL, OLD)
        self.log = LogRecorder()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def make(self, *algorithms: str) -> JwtAuthenticator:
        definition = Jwt(name='idp', algorithms=list(algorithms or ('RS256', 'ES256')), jwks_url=URL)
        check = make_jwt_authenticator(StoredObject(1, 'jwt', definition, 1), fetcher=self.fetcher, clock=self.clock,
                               offload=lambda function, *args: succeed(function(*args)))  # fmt: skip
        check._now = lambda: NOW + self.clock.seconds()
        return check

    def asked(self, check: JwtAuthenticator, text: bytes) -> Deferred[Any]:
        """Check a request with that token, as the pipeline does."""

        async def wait() -> Principal:
            found = check.check(bearing(text))
            return found if isinstance(found, Principal) else await found

        return Deferred.fromCoroutine(wait())

    def admitted(self, check: JwtAuthenticator, text: bytes) -> None:
        """The token is accepted at once."""
        self.assertEqual(self.successResultOf(self.asked(check, text)).username, 'joe')

    def refused(self, check: JwtAuthenticator, text: bytes) -> None:
        """The token is rejected at once with 401."""
        self.failureResultOf(self.asked(check, text), Unauthorized)

    def away(self) -> None:
        """Make the URL unreachable from now on."""
        self.fetcher.documents.clear()


def bearing(text: bytes) -> Message:
    return make_message(channel=SECURED, headers={b'authorization': b'Bearer ' + text})


class FetchingTests(Issuer):
    def test_before_the_first_request(self) -> None:
        """The keys are fetched once, when the definition is created, before any request."""
        check = self.make()
        self.assertEqual(self.fetcher.fetched_urls, [URL])
        self.admitted(check, token(kid='one'))
        self.admitted(check, token())
        self.assertEqual(self.fetcher.fetched_urls, [URL])
        self.assertTrue(IFetcher.providedBy(self.fetcher))

    def test_one_at_a_time(self) -> None:
        """Concurrent requests share one fetch, and all continue after it."""
        self.fetcher.holding = True
        check = self.make()
        waiting = [self.asked(check, token(kid='one')) for _ in range(5)]
        for each in waiting:
            self.assertNoResult(each)
        self.assertEqual(len(self.fetcher.fetched_urls), 1)
        self.fetcher.release()
        for each in waiting:
            self.assertEqual(self.successResultOf(each).username, 'joe')

    def test_beside_the_requests(self) -> None:
        """Keys are refreshed before they expire while requests continue; accepted tokens are checked again by then, so
        that the refresh is triggered."""
        check = self.make()
        self.admitted(check, token(kid='one'))
        self.clock.advance(0.79 * DEFAULT_LIFETIME)
        self.admitted(check, token(kid='one'))
        self.assertEqual(len(self.fetcher.fetched_urls), 1)
        self.fetcher.holding = True
        self.clock.advance(0.02 * DEFAULT_LIFETIME)
        self.admitted(check, token(kid='one'))
        self.assertEqual(len(self.fetcher.fetched_urls), 2)
        self.admitted(check, token(kid='one'))
        self.assertEqual(len(self.fetcher.fetched_urls), 2)
        self.fetcher.release()
        self.admitted(check, token(kid='one'))

    def test_after_a_long_rest(self) -> None:
        """If the keys expired without requests, the next request waits for new ones."""
        check = self.make()
        self.admitted(check, token(kid='one'))
        self.clock.advance(2 * DEFAULT_LIFETIME)
        self.fetcher.holding = True
        waiting = self.asked(check, token(kid='one'))
        self.assertNoResult(waiting)
        self.fetcher.release()
        self.assertEqual(self.successResultOf(waiting).username, 'joe')

    def test_not_everybody_waits(self) -> None:
        """About a thousand requests may wait for the keys; further ones are told to retry."""
        self.fetcher.holding = True
        check = self.make()
        text = token(kid='one')
        waiting = [self.asked(check, text) for _ in range(MAX_WAITING)]
        self.failureResultOf(self.asked(check, text), ServiceUnavailable)
        self.fetcher.release()
        for each in waiting:
            self.successResultOf(each)

    def test_cancelled(self) -> None:
        """Cancelling a waiting request does not affect the others."""
        self.fetcher.holding = True
        check = self.make()
        gone, stays = self.asked(check, token(kid='one')), self.asked(check, token(kid='one'))
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.fetcher.release()
        self.assertEqual(self.successResultOf(stays).username, 'joe')
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_bug_is_told_of(self) -> None:
        """An unexpected exception of the fetcher is logged and the fetch retried; the server continues."""
        self.fetcher.documents[URL] = ZeroDivisionError()
        check = self.make()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.fetcher.serve(URL, OLD)
        self.clock.advance(1.0)
        self.admitted(check, token(kid='one'))


class AwayTests(Issuer):
    def test_never_there(self) -> None:
        """Without keys, tokens that may be valid get 503, and invalid ones 401."""
        self.away()
        check = self.make()
        self.failureResultOf(self.asked(check, token(kid='one')), ServiceUnavailable)
        self.refused(check, b'nonsense')
        self.refused(check, signed({**GOOD, 'exp': NOW - 1}, kid='one'))
        self.refused(check, signed(algorithm='HS256', kid='one'))

    def test_patience(self) -> None:
        """No request waits longer than the limit from the start of a fetch; later ones do not wait at all."""
        self.fetcher.holding = True
        check = self.make()
        first = self.asked(check, token(kid='one'))
        self.clock.advance(MAX_WAIT / 2)
        second = self.asked(check, token(kid='one'))
        self.clock.advance(MAX_WAIT / 2)
        for each in (first, second, self.asked(check, token(kid='one'))):
            self.failureResultOf(each, ServiceUnavailable)
        self.assertEqual(len(self.fetcher.fetched_urls), 1)
        self.clock.advance(FETCH_TIMEOUT)
        self.fetcher.release()
        self.admitted(check, token(kid='one'))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_old_keys_stay(self) -> None:
        """While the issuer is unreachable, the previous keys are used; the problem and its end are logged once each."""
        check = self.make()
        self.away()
        self.clock.advance(2 * DEFAULT_LIFETIME)
        for _ in range(50):
            self.admitted(check, token(kid='one'))
            self.clock.advance(60.0)
        (said,) = self.log.messages(logging.WARNING)
        self.assertIn("The keys of JWT definition 'idp' at https://idp.example/jwks: nobody is at", said)
        self.assertIn("JWT definition 'idp' has no keys, or only outdated ones: nobody", next(check.findings()))
        self.fetcher.serve(URL, NEW)
        self.clock.advance(60.0)
        self.admitted(check, token(TWO, kid='two'))
        self.refused(check, token(kid='one'))
        self.assertIn('are available again', self.log.messages(logging.INFO)[-1])
        self.assertEqual(list(check.findings()), [])

    def test_a_frozen_issuer_delays_one_request(self) -> None:
        """Once the issuer is known not to respond, requests use the previous keys without waiting."""
        check = self.make()
        self.clock.advance(2 * DEFAULT_LIFETIME)
        self.fetcher.holding = True
        waiting = self.asked(check, token(kid='one'))
        self.clock.advance(MAX_WAIT)
        self.assertEqual(self.successResultOf(waiting).username, 'joe')
        self.fetcher.documents[URL] = Timeout(None, 'idp.example gave no answer within 10 s')
        for _ in range(20):
            self.clock.advance(5.0)
            self.fetcher.release()
            self.admitted(check, token(kid='one'))
        self.assertIn('gave no answer', self.log.messages(logging.WARNING)[0])

    def test_not_for_ever(self) -> None:
        """Keys are rejected after the issuer was unreachable for a day."""
        check = self.make()
        self.away()
        self.clock.advance(DEFAULT_LIFETIME + MAX_STALE - 1)
        self.admitted(check, token(kid='one'))
        self.clock.advance(1.0)
        self.failureResultOf(self.asked(check, token(kid='one')), ServiceUnavailable)

    def test_not_asked_all_the_time(self) -> None:
        """An unreachable issuer is queried every few seconds, not for each request."""
        self.away()
        check, text = self.make(), token(kid='one')
        for _ in range(600):
            self.failureResultOf(self.asked(check, text), ServiceUnavailable)
            self.clock.advance(0.1)
        self.assertLess(len(self.fetcher.fetched_urls), 12)
        self.assertGreater(len(self.fetcher.fetched_urls), 5)

    def test_answers_that_are_no_keys(self) -> None:
        """Other statuses, other documents and documents above the size limit count as an unreachable issuer."""
        check = self.make()
        for body, status in (
            (OLD, 500),
            (OLD, 302),
            (OLD, 204),
            (b'', 200),
            (b'<html>', 200),
            (b'[]', 200),
            (b'{}', 200),
            (b'{"keys": {}}', 200),
            (b'{"keys": [], "keys": []}', 200),
            (b' ' * (MAX_DOCUMENT_SIZE + 1), 200),
            (jwks(*[jwk(ONE, kid='one')] * 101), 200),
        ):
            self.fetcher.serve(URL, body, status=status)
            before = len(self.fetcher.fetched_urls)
            self.clock.advance(2 * DEFAULT_LIFETIME)
            self.admitted(check, token(kid='one'))
            self.assertEqual(len(self.fetcher.fetched_urls), before + 1)

    def test_keys_that_were_withdrawn(self) -> None:
        """An issuer with an empty key set has withdrawn its keys: tokens are rejected, and the log gives the reason if
        there were unusable keys."""
        check = self.make()
        self.fetcher.serve(URL, jwks(jwk(ONE, kid='one', use='enc')))
        self.clock.advance(DEFAULT_LIFETIME)
        self.refused(check, token(kid='one'))
        self.assertIn('key 1 is not for verifying signatures', self.log.messages(logging.WARNING)[0])


class RotationTests(Issuer):
    def test_a_new_key(self) -> None:
        """A token with an unknown kid causes one fetch, and is accepted with the new key."""
        check = self.make()
        self.admitted(check, token(kid='one'))
        self.fetcher.serve(URL, jwks(jwk(ONE, kid='one'), jwk(TWO, kid='two')))
        self.clock.advance(1.0)
        self.admitted(check, token(TWO, kid='two'))
        self.assertEqual(len(self.fetcher.fetched_urls), 2)
        self.admitted(check, token(kid='one'))

    def test_a_key_that_is_gone(self) -> None:
        """Cached tokens of a removed key are rejected as soon as the removal is known."""
        check = self.make()
        self.admitted(check, token(kid='one'))
        self.fetcher.serve(URL, NEW)
        self.clock.advance(1.0)
        self.admitted(check, token(TWO, kid='two'))
        self.refused(check, token(kid='one'))

    def test_a_kid_that_means_another_key(self) -> None:
        """The same applies if the new key has the kid of the old one."""
        check = self.make()
        self.admitted(check, token(kid='one'))
        self.fetcher.serve(URL, jwks(jwk(TWO, kid='one')))
        self.clock.advance(DEFAULT_LIFETIME)
        self.admitted(check, token(TWO, kid='one'))
        self.refused(check, token(kid='one'))

    def test_guessed_kids(self) -> None:
        """Made-up kids cause at most one fetch every ten seconds, and do not delay tokens with known keys."""
        check, known = self.make(), token(kid='one')
        for number in range(120):
            self.refused(check, token(THREE, kid=f'guess {number}'))
            self.admitted(check, known)
            self.clock.advance(0.5)
        self.assertLess(len(self.fetcher.fetched_urls), 12)

    def test_a_guess_waits_no_longer_than_others(self) -> None:
        """A token with an unknown kid is rejected when its fetch takes too long; the keys are kept."""
        check = self.make()
        self.clock.advance(1.0)
        self.fetcher.holding = True
        waiting = self.asked(check, token(TWO, kid='two'))
        self.assertNoResult(waiting)
        self.admitted(check, token(kid='one'))
        self.clock.advance(MAX_WAIT)
        self.failureResultOf(waiting, Unauthorized)
        self.fetcher.serve(URL, NEW)
        self.fetcher.release()
        self.admitted(check, token(TWO, kid='two'))

    def test_two_rotations_soon_after_each_other(self) -> None:
        """After a useful fetch, the next unknown kid is fetched without a delay."""
        check = self.make()
        for number in range(2, 6):
            self.clock.advance(1.0)
            key = private_key('RS256', number)
            self.fetcher.serve(URL, jwks(jwk(key, kid=str(number))))
            self.admitted(check, token(key, kid=str(number)))

    def test_without_a_kid(self) -> None:
        """A token without a kid is accepted if exactly one key fits its algorithm; otherwise nothing is fetched for
        it."""
        self.fetcher.serve(URL, jwks(jwk(ONE, kid='one'), jwk(private_key('ES256'), kid='curve')))
        check = self.make()
        self.admitted(check, token())
        self.admitted(check, signed({**GOOD, 'exp': NOW + 1e6}, 'ES256'))
        self.fetcher.serve(URL, jwks(jwk(ONE, kid='one'), jwk(TWO, kid='two')))
        self.clock.advance(DEFAULT_LIFETIME)
        self.refused(check, token())
        asked = len(self.fetcher.fetched_urls)
        self.clock.advance(30.0)
        self.refused(check, token())
        self.assertEqual(len(self.fetcher.fetched_urls), asked)

    def test_the_alg_is_the_keys(self) -> None:
        """A token is rejected if its alg does not fit the key of its kid, or contradicts the key's own alg."""
        self.fetcher.serve(URL, jwks(jwk(ONE, kid='one', alg='RS256'), jwk(private_key('ES256'), kid='curve')))
        check = self.make('RS256', 'PS256', 'ES256')
        self.admitted(check, token(kid='one'))
        self.refused(check, signed({**GOOD, 'exp': NOW + 1e6}, 'PS256', key=ONE, kid='one'))
        self.refused(check, token(kid='curve'))
        self.refused(check, signed({**GOOD, 'exp': NOW + 1e6}, 'ES256', kid='one'))

    def test_urls_in_tokens(self) -> None:
        """Only the URL of the definition is ever fetched (contract §4)."""
        check = self.make()
        self.clock.advance(20.0)
        urls = {'jku': 'https://evil.example/a', 'x5u': 'https://evil.example/b', 'iss': 'https://evil.example/c'}
        self.refused(check, token(THREE, kid='https://evil.example/d', jwk=jwk(THREE), **urls))
        self.assertEqual(set(self.fetcher.fetched_urls), {URL})

    def test_the_hash_of_a_public_key(self) -> None:
        """A set of public keys verifies no HMAC, whatever the set or the token contains."""
        text = json.dumps({'kty': 'oct', 'k': part(SECRET.encode()).decode(), 'alg': 'HS256', 'use': 'sig', 'kid': 's'})
        self.fetcher.serve(URL, b'{"keys": [' + text.encode() + b']}')
        check = self.make('RS256', 'HS256')  # as no definition can say it
        self.refused(check, signed({**GOOD, 'exp': NOW + 1e6}, 'HS256', kid='s'))


class KeyTests(SynchronousTestCase):
    def wrong(self, **members: Any) -> str:
        error = self.assertRaises(Malformed, key_from_jwk, {**jwk(ONE), **members})
        return str(error)

    def test_every_type(self) -> None:
        """RSA, the three curves and both Edwards curves support their algorithms."""
        for name in ('RS256', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed448'):
            key = key_from_jwk(jwk(private_key(name), kid='k'))
            self.assertIn({'Ed448': 'EdDSA'}.get(name, name), key.algorithms)
            self.assertEqual(key.kid, 'k')
        self.assertEqual(key_from_jwk(jwk(ONE)).algorithms, key_from_jwk(jwk(ONE, use=None)).algorithms)

    def test_what_it_is_for(self) -> None:
        """Keys with `use` other than sig or `key_ops` without verify are not used (contract §4); missing members allow
        everything."""
        for use in ('enc', '', 'SIG', 7, ['sig']):
            self.assertEqual(self.wrong(use=use), 'is not for verifying signatures')
        for operations in (['sign'], [], 'verify', None, {'verify': 1}, ['Verify']):
            self.assertEqual(self.wrong(key_ops=operations), 'is not for verifying signatures')
        self.assertTrue(key_from_jwk(jwk(ONE, use=None, key_ops=['sign', 'verify'])).algorithms)

    def test_alg(self) -> None:
        """A key with an alg is used for that algorithm only; an alg that does not fit makes it unusable."""
        self.assertEqual(key_from_jwk(jwk(ONE, alg='PS384')).algorithms, {'PS384'})
        for alg in ('RSA-OAEP', 'HS256', 'none', 'ES256', '', 7, None, ['RS256']):
            self.assertEqual(self.wrong(alg=alg), 'has an alg that does not fit it')

    def test_private_and_shared_ones(self) -> None:
        """Published private keys and symmetric keys are not used."""
        document = get_default_algorithms()['RS256'].to_jwk(ONE, as_dict=True)
        self.assertIn('private', str(self.assertRaises(Malformed, key_from_jwk, document)))
        self.assertIn('no type', self.wrong(kty='oct', k='AAAA'))

    def test_weak_ones(self) -> None:
        """RSA with 1024 bits, unsupported curves and key-exchange keys are rejected."""
        weak = jwk(rsa.generate_private_key(65537, 1024))
        self.assertIn('1024 bits', str(self.assertRaises(Malformed, key_from_jwk, weak)))
        other = jwk(ec.generate_private_key(ec.SECP256K1()))
        self.assertIn('type or curve', str(self.assertRaises(Malformed, key_from_jwk, other)))
        x = X25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        exchange = {'kty': 'OKP', 'crv': 'X25519', 'x': part(x).decode()}
        self.assertEqual(str(self.assertRaises(Malformed, key_from_jwk, exchange)), 'cannot be read')

    def test_broken_ones(self) -> None:
        """Missing members, wrong types, invalid base64 and points not on the curve are rejected."""
        broken: list[dict[str, Any]] = [{'n': ''}, {'n': 7}, {'n': None}, {'e': 'AA'}, {'n': '!'}, {'n': []}, {'e': {}}]
        for members in broken:
            self.assertTrue(self.wrong(**members))
        types: list[Any] = [None, 7, [], {}, 'rsa', '']
        for kty in types:
            self.assertEqual(self.wrong(kty=kty), 'is of no type that has public keys')
        self.assertEqual(self.wrong(kid=7), 'has a kid that is no text')
        curve = jwk(private_key('ES256'))
        for changed in ({'x': curve['y']}, {'crv': 'P-384'}, {'crv': None}, {'y': 'AA'}):
            error = self.assertRaises(Malformed, key_from_jwk, {**curve, **changed})
            self.assertEqual(str(error), 'cannot be read')

    def test_a_set(self) -> None:
        """Unusable keys are skipped and reported by position; duplicate keys count once."""
        body = json.dumps({'keys': [jwk(ONE, kid='a'), jwk(ONE, kid='a'), 7, jwk(TWO, use='enc'), jwk(TWO, kid='b')]})
        keys, wrong = parse_key_set(body.encode())
        self.assertEqual([key.kid for key in keys], ['a', 'b'])
        self.assertEqual(wrong, ['key 3 is of no type that has public keys', 'key 4 is not for verifying signatures'])

    def test_a_large_set(self) -> None:
        """A thousand keys are accepted; more are rejected with their number."""
        many = [jwk(ONE, kid=str(number)) for number in range(1_001)]
        keys, wrong = parse_key_set(json.dumps({'keys': many[1:]}).encode())
        self.assertEqual((len(keys), wrong), (1_000, []))
        error = self.assertRaises(Malformed, parse_key_set, json.dumps({'keys': many}).encode())
        self.assertEqual(str(error), 'the document has 1001 keys: more than 1000')


class LifetimeTests(SynchronousTestCase):
    def test_by_the_answer(self) -> None:
        """The lifetime is Cache-Control's max-age minus Age, within bounds; no-store responses are fetched again
        soon."""
        for field, age, seconds in (
            (b'', b'', DEFAULT_LIFETIME), (b'public', b'', DEFAULT_LIFETIME), (b'max-age=600', b'', 600.0),
            (b'public, MAX-AGE = 600', b'', DEFAULT_LIFETIME), (b'public, Max-Age=600', b'200', 400.0),
            (b'max-age="120"', b'', 120.0), (b'max-age=600', b'nonsense', 600.0), (b'max-age=1', b'', MIN_LIFETIME),
            (b'max-age=100', b'1000', MIN_LIFETIME), (b'max-age=' + b'9' * 400, b'', MAX_LIFETIME),
            (b'max-age=-1', b'', MIN_LIFETIME), (b'max-age=86400', b'', MAX_LIFETIME), (b'no-store', b'', MIN_LIFETIME),
            (b'no-cache, max-age=600', b'', MIN_LIFETIME), (b'private="a, b",max-age=60', b'', 60.0),
        ):  # fmt: skip
            self.assertEqual(response_freshness_lifetime({b'cache-control': field, b'age': age}), seconds, field)
        self.assertEqual(response_freshness_lifetime({}), DEFAULT_LIFETIME)
