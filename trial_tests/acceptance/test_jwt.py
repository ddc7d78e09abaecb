"""Tokens on a running server of two workers, by curl and treq, with keys from an issuer that lives, turns and dies."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.client import HTTPConnectionPool

from trial_tests.support.broker import Broker
from trial_tests.support.guarded import Answered, curl, define, guarded, who
from trial_tests.support.issuer import IssuerServer
from trial_tests.support.rawhttp import basic
from trial_tests.support.tokens import SECRET, jwk, jwks, part, pem, private_key, signed
from trial_tests.support.waiting import until

ONE, TWO = private_key('RS256', 1), private_key('RS256', 2)
BOTH_WORKERS = 12  # requests on connections of their own, after which both have had some


def good(**changes: Any) -> dict[str, Any]:
    """Claims that hold now."""
    now = time.time()
    return {'iss': 'https://idp/', 'aud': 'zatotx', 'sub': 'joe', 'iat': now - 1, 'exp': now + 300, **changes}


class LiveTestCase(TestCase):
    def setUp(self) -> None:
        self.broker: Broker = guarded()
        self.issuer = IssuerServer()
        self.addCleanup(self.issuer.close)

    def define(self, name: str, **fields: Any) -> None:
        """A definition of that name, and its channel."""
        usual = {'type': 'jwt', 'algorithms': ['RS256'], 'issuer': 'https://idp/', 'audience': 'zatotx'}
        define(self.broker, {'name': name, **usual, **fields})

    def published(self, name: str, *keys: Any, **fields: Any) -> None:
        """Likewise, by keys that the issuer publishes; its cache may be as old as it likes."""
        self.issuer.publish(jwks(*keys), cache_control='max-age=3600')
        self.define(name, jwks_url=self.issuer.url, **fields)

    def ask(self, name: str, token: bytes) -> Answered:
        """The answer to a request with that token, on a connection of its own."""
        return curl('-H', f'Authorization: Bearer {token.decode()}', who(self.broker, name))

    def statuses(self, name: str, token: bytes) -> set[int]:
        """What the workers say, each."""
        return {self.ask(name, token).status for _ in range(BOTH_WORKERS)}

    def both_let_in(self, name: str, token: bytes) -> None:
        """Wait until each of the two workers has let somebody in: a busy machine may have one take a dozen in a row."""
        pids: set[int] = set()

        def both() -> bool:
            answer = self.ask(name, token)
            self.assertEqual(answer.status, 200, answer)
            pids.add(answer.json()['pid'])
            return len(pids) == 2

        until(both, 'an answer of each worker')

    def assert_refused(self, name: str, token: bytes) -> None:
        answer = self.ask(name, token)
        self.assertEqual((answer.status, answer.challenge), (401, 'Bearer realm="zatotx", error="invalid_token"'))
        details = answer.json()['zato_env']['details']
        self.assertEqual(details, 'You are not authorized to access this resource')


class TokenTests(LiveTestCase):
    def test_curl(self) -> None:
        """A token by a published key is let in by both workers, and the service sees who it is of; nothing sent is 401
        with the scheme, other credentials too."""
        self.published('live', jwk(ONE, kid='one'), roles=['partner'], roles_claim='scope')
        token = signed(good(scope='read write'), kid='one')
        self.assertEqual(self.statuses('live', token), {200})
        answer = self.ask('live', token).json()
        self.assertEqual((answer['name'], answer['username'], answer['kind']), ('live', 'joe', 'jwt'))
        self.assertEqual(answer['roles'], ['partner', 'read', 'write'])
        self.assertEqual(answer['claims']['aud'], 'zatotx')
        for words in ((), ('-u', 'joe:password')):
            missing = curl(*words, who(self.broker, 'live'))
            self.assertEqual((missing.status, missing.challenge), (401, 'Bearer realm="zatotx"'))

    async def test_treq(self) -> None:
        """Likewise by treq, twice by one connection: the second time the token is known."""
        await deferToThread(self.define, 'treq', public_key=pem(ONE))
        headers: dict[bytes | str, bytes | str] = {'Authorization': f'Bearer {signed(good()).decode()}'}
        pool = HTTPConnectionPool(reactor)
        self.addCleanup(pool.closeCachedConnections)
        for _ in range(2):
            answer = await treq.get(who(self.broker, 'treq'), headers=headers, pool=pool)
            self.assertEqual((answer.code, (await answer.json())['username']), (200, 'joe'))

    def test_every_algorithm(self) -> None:
        """HS, RS, PS, ES and EdDSA, each by a definition of its own."""
        names = ('HS256', 'RS512', 'PS256', 'ES256', 'ES512', 'EdDSA')
        sources = {name: {'secret': SECRET} if name == 'HS256' else {'public_key': pem(private_key(name))}
                   for name in names}  # fmt: skip
        define(self.broker, *[{'name': f'alg-{name}', 'type': 'jwt', 'algorithms': [name], **sources[name]}
                              for name in names])  # fmt: skip
        for name in names:
            self.assertEqual(self.ask(f'alg-{name}', signed(good(), name)).status, 200, name)
            other = 'HS256' if name != 'HS256' else 'RS256'
            self.assert_refused(f'alg-{name}', signed(good(), other))

    def test_bad_tokens(self) -> None:
        """none, alg confusion, wrong kid, embedded keys, huge exp, negative iat, repeated claims: all are one 401, no
        part of them stands in a log, and the log at debug says why."""
        self.published('bad', jwk(ONE, kid='one'))
        unsigned = part({'alg': 'none', 'typ': 'JWT'}) + b'.' + part(good()) + b'.'
        twice = json.dumps(good())[:-1] + ', "sub": "root"}'
        for token in (
            unsigned, signed(good(), 'HS256', key=pem(ONE).encode(), kid='one'), signed(good(), kid='unknown'),
            signed(good(), key=TWO, kid='one', jwk=jwk(TWO)), signed(good(exp=10**30), kid='one'),
            signed(good(iat=-1), kid='one'), signed(twice.encode(), kid='one'), signed(good(exp=1), kid='one'),
            signed(good(nbf=time.time() + 60), kid='one'), signed(good(iss='https://evil/'), kid='one'),
            signed(good(aud='others'), kid='one'), signed(good(exp='never'), kid='one'), b'x', b'a.b.c',
            signed(good(), kid='one')[:-4],
        ):  # fmt: skip
            self.assert_refused('bad', token)
            log = self.broker.log()
            self.assertFalse(any(piece.decode() in log for piece in token.split(b'.') if len(piece) > 20))
        for why in ('alg is none of the definition', 'no key matches the one', 'its exp is no date',
                    'its iat is no date', 'stands twice', 'signature does not match the key'):  # fmt: skip
            self.broker.logged("JWT definition 'bad' refused a token", why)

    def test_urls_in_tokens(self) -> None:
        """Nobody is asked for a key but the definition's own URL: a listener that tokens name sees no connection."""
        self.published('urls', jwk(ONE, kid='one'))
        with socket.socket() as trap:
            trap.bind(('127.0.0.1', 0))
            trap.listen()
            trap.setblocking(False)
            url = f'http://127.0.0.1:{trap.getsockname()[1]}/keys'
            for _ in range(3):
                self.assert_refused('urls', signed(good(iss=url), key=TWO, kid='two', jku=url, x5u=url))
            self.assertEqual(self.ask('urls', signed(good(), kid='one', jku=url)).status, 200)
            self.assertRaises(BlockingIOError, trap.accept)

    def test_groups(self) -> None:
        """A channel may take tokens or Basic auth: whoever comes with either is let in, others read both challenges."""
        define(
            self.broker,
            {'name': 'either.jwt', 'type': 'jwt', 'algorithms': ['RS256'], 'public_key': pem(ONE)},
            {'name': 'either.user', 'type': 'basic_auth', 'username': 'user', 'password': 'p'},
            groups=[{'name': 'either', 'members': ['either.jwt', 'either.user']}],
            channel_rest=[{'name': 'either', 'url_path': '/either', 'service': 'sec.who', 'groups': ['either'],
                           'data_format': 'json'}],
        )  # fmt: skip
        url = f'http://127.0.0.1:{self.broker.port()}/either'
        self.assertEqual(curl('-H', f'Authorization: Bearer {signed(good()).decode()}', url).json()['kind'], 'jwt')
        login = basic('user', 'p')['Authorization']
        self.assertEqual(curl('-H', f'Authorization: {login}', url).json()['kind'], 'basic_auth')
        self.assertEqual(curl('-H', f'Authorization: Bearer {signed(good(), key=TWO).decode()}', url).status, 401)


class ChangeTests(LiveTestCase):
    def test_a_secret_changes_live(self) -> None:
        """change-password is in force in both workers within a moment, for tokens accepted before too."""
        self.define('turning', algorithms=['HS256'], secret=SECRET)
        token = signed(good(), 'HS256')
        self.assertEqual(self.statuses('turning', token), {200})
        body = json.dumps({'name': 'turning', 'password1': SECRET[::-1], 'password2': SECRET[::-1]}).encode()
        self.assertEqual(self.broker.invoke('zato.security.jwt.change-password', body).status, 200)
        fresh = signed(good(), 'HS256', key=SECRET[::-1].encode())
        until(lambda: (self.statuses('turning', token), self.statuses('turning', fresh)) == ({401}, {200}),
              'both workers with the new secret')  # fmt: skip

    def test_keys_turn(self) -> None:
        """A new key is taken with the first token that names it; a token by a key that is gone is refused then, though
        it was accepted before, in the worker that has seen the new one."""
        self.published('rotating', jwk(ONE, kid='one'))
        old, new = signed(good(), kid='one'), signed(good(), key=TWO, kid='two')
        self.both_let_in('rotating', old)
        self.issuer.publish(jwks(jwk(TWO, kid='two')))
        until(lambda: self.statuses('rotating', new) == {200}, 'the new key')
        self.both_let_in('rotating', new)
        self.assertEqual(self.statuses('rotating', old), {401})

    def test_guessing_kids_costs_the_issuer_little(self) -> None:
        """A hundred tokens with kids that are made up have the issuer asked a few times, not a hundred."""
        self.published('guessed', jwk(ONE, kid='one'))
        self.assertEqual(self.statuses('guessed', signed(good(), kid='one')), {200})
        before = self.issuer.asked
        for number in range(100):
            self.assertEqual(self.ask('guessed', signed(good(), kid=f'guess {number}')).status, 401)
        self.assertLess(self.issuer.asked - before, 20)


class AwayTests(LiveTestCase):
    def test_an_issuer_that_dies(self) -> None:
        """Tokens by the keys that were there go on, new ones too, as long as the issuer is unavailable."""
        self.published('dying', jwk(ONE, kid='one'))
        self.both_let_in('dying', signed(good(), kid='one'))
        self.issuer.close()
        self.assertEqual(self.statuses('dying', signed(good(sub='jane'), kid='one')), {200})
        self.assertEqual(self.statuses('dying', signed(good(), key=TWO, kid='two')), {401})

    def test_an_issuer_that_was_never_there(self) -> None:
        """503 for what may be good, 401 for what is not, both without a long wait; served as soon as it comes."""
        self.issuer.publish(jwks(jwk(ONE, kid='one')))
        self.issuer.close()
        self.define('late', jwks_url=self.issuer.url)
        token = signed(good(), kid='one')
        self.assertEqual(self.statuses('late', token), {503})
        self.assert_refused('late', b'nonsense')
        self.assertIn('are unavailable, try again later', self.ask('late', token).json()['zato_env']['details'])
        self.broker.logged("The keys of JWT definition 'late' at http://127.0.0.1:")
        self.issuer.open()
        until(lambda: self.statuses('late', token) == {200}, 'both workers with keys')

    def test_an_issuer_that_is_frozen(self) -> None:
        """It takes connections and never answers: requests wait a little and get 503, others are served meanwhile."""
        self.define('quick', algorithms=['HS256'], secret=SECRET)
        self.issuer.publish(jwks(jwk(ONE, kid='one')))
        self.issuer.freeze()
        self.define('frozen', jwks_url=self.issuer.url)
        began = time.monotonic()
        self.assertEqual(self.ask('frozen', signed(good(), kid='one')).status, 503)
        self.assertLess(time.monotonic() - began, 30)
        self.assertEqual(self.ask('quick', signed(good(), 'HS256')).status, 200)
        self.issuer.thaw()
        until(lambda: self.statuses('frozen', signed(good(), kid='one')) == {200}, 'keys after all')
