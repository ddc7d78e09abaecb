"""Who we are to the peers of outgoing connections: Basic Auth, API keys, Digest Auth."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.calling import Asking, Bodies, WithConnections, all_of, collecting, crm, stored
from trial_tests.support.digest_peer import DigestPeer
from zatotx import ServiceUnavailable
from zatotx.plugins.http.rest.digest_authorizer import DigestChallenge, DigestSession, strongest_challenge
from zatotx.plugins.http.test.upstream_servers import Request, Upstream, reactor, says
from zatotx.schema.secrets import combine_dual_secret
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.security.apikey import ApiKey
from zatotx.security.basic_auth import BasicAuth
from zatotx.security.digest_credentials import DigestAuth
from zatotx.wire.http.authentication import parse_challenges

TITLE = 'Outgoing connection CRM (rest)'
HASH = '$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA'


def unsealed(text: str) -> str:
    """The test's own encryption."""
    return text.removeprefix('enc:')[::-1]


def basic(password: str = 'pä:ss', **fields: Any) -> StoredObject:
    """A definition whose password can be opened."""
    sealed = f'enc:{password[::-1]}'
    return stored(
        BasicAuth(name='CRM.user', username='užer', password=combine_dual_secret(HASH, sealed), **fields), 'basic_auth'
    )


class WithIdentity(WithConnections):
    def logged_in(self, upstream: Upstream, definition: StoredObject, **fields: Any) -> Any:
        """A connection that says who it is by a definition."""
        context = {'decrypt': unsealed}
        return self.crm(upstream, definition, context=context, security=definition.name, **fields)


class StaticTests(WithIdentity):
    def setUp(self) -> None:
        super().setUp()
        self.peer = self.listen(says())

    @property
    def last(self) -> Request:
        return self.peer.requests[-1]

    async def test_basic_auth(self) -> None:
        """In UTF-8 (RFC 7617), with the first request; a service's own field counts more."""
        rest = self.logged_in(self.peer, basic())
        await rest.get()
        scheme, _, token = self.last.headers[b'authorization'].partition(b' ')
        self.assertEqual((scheme, b64decode(token).decode()), (b'Basic', 'užer:pä:ss'))
        await rest.get(headers={'authorization': 'Bearer mine'})
        self.assertEqual(self.last.headers[b'authorization'], b'Bearer mine')

    async def test_a_password_that_is_a_hash_only(self) -> None:
        """One that was set before both forms were kept: calls say what to do; the others are not touched."""
        definition = stored(BasicAuth(name='CRM.user', username='u', password=HASH), 'basic_auth')
        node = self.node(stored(crm(self.peer, security='CRM.user')), definition, stored(crm(self.peer, name='Other')))
        door = node.namespaces['rest'](Asking())
        fault = self.assertRaises(ServiceUnavailable, door.__getitem__, 'CRM')
        self.assertEqual(fault.msg, f'{TITLE} cannot be used: the password of its security definition CRM.user is '
                                    'known as a hash only: change it, to the same if it is to stay')
        self.assertEqual(list(node.findings()), [fault.msg])
        self.assertEqual((await door['Other'].get()).status_code, 200)
        self.flushLoggedErrors()

    async def test_api_keys(self) -> None:
        """In a header field or in the query; never to another host."""
        await self.logged_in(self.peer, stored(ApiKey(name='K', password='k&1', header='X-Key'), 'apikey')).get()
        self.assertEqual(self.last.headers[b'x-key'], b'k&1')
        definition = stored(ApiKey(name='K', password='k&1', query='api_key'), 'apikey')
        for url_path, params, target in (('', None, b'/?api_key=k%261'),
                                         ('/a?b=1', {'c': 2}, b'/a?b=1&c=2&api_key=k%261')):
            rest = self.logged_in(self.peer, definition, url_path=url_path)
            await rest.get(params=params)
            self.assertEqual(self.last.target, target)
        self.assertNotIn('k%261', await rest.ping())
        self.assertIn(b'api_key=k%261', self.last.target)

    async def test_stays_with_its_host(self) -> None:
        """A redirection to another host takes no credentials along, whatever the name of their field."""
        other = self.listen(says(b'200 OK', b'there'))
        peer = self.listen(says(b'302 Found', b'', b'Location: http://127.0.0.1:%d/' % other.port))
        for definition, name in ((basic(), b'authorization'),
                                 (stored(ApiKey(name='K', password='k', header='X-Odd'), 'apikey'), b'x-odd')):
            self.assertEqual((await self.logged_in(peer, definition, follow_redirects='any').get()).text, 'there')
            self.assertIn(name, peer.requests[-1].headers)
            self.assertNotIn(name, other.requests[-1].headers)

    async def test_definitions_that_are_no_use(self) -> None:
        """One that is inactive, and one of a type for channels only: the connection cannot be used, and says why."""
        other = StoredObject(9, 'jwt', ApiKey(name='CRM.user'), 1)
        for definition, why in ((basic(is_active=False), 'its security definition CRM.user is inactive'),
                                (other, 'its security definition CRM.user is of type jwt, which is for channels only')):
            node = self.node(stored(crm(self.peer, security='CRM.user')), definition)
            fault = self.assertRaises(ServiceUnavailable, node.namespaces['rest'](Asking()).get, 'CRM')
            self.assertEqual(fault.msg, f'{TITLE} cannot be used: {why}')
            self.flushLoggedErrors()

    async def test_a_new_password(self) -> None:
        """Is used by the next call."""
        node = self.node(stored(crm(self.peer, security='CRM.user')), basic(), decrypt=unsealed)
        rest = node.namespaces['rest'](Asking())['CRM']
        for password in ('one', 'two'):
            await node.apply(Snapshot(2, [stored(crm(self.peer, security='CRM.user')), basic(password)]))
            await rest.get()
            token = self.last.headers[b'authorization'].split()[1]
            self.assertEqual(b64decode(token).decode(), f'užer:{password}')


class DigestTests(WithIdentity):
    def peer(self, bodies: Bodies | None = None, **settings: Any) -> tuple[DigestPeer, Upstream]:
        digest = DigestPeer(**settings)
        upstream = self.listen(digest.answer)
        return digest, upstream if bodies is None else collecting(upstream, bodies)

    def rest(self, upstream: Upstream, digest: DigestPeer, **fields: Any) -> Any:
        definition = DigestAuth(name='CRM.digest', username=digest.username, password=digest.password)
        return self.logged_in(upstream, stored(definition, 'digest_auth'), **fields)

    async def test_one_challenge(self) -> None:
        """The first request is challenged, all later ones answer before they are asked, each with the next nc."""
        digest, upstream = self.peer()
        rest = self.rest(upstream, digest, url_path='/a/{id}')
        for number in range(5):
            response = await rest.post('body', params={'id': number, 'q': 'ž'})
            self.assertEqual((response.status_code, response.text), (200, 'in:body'))
        self.assertEqual((digest.challenged, digest.refused, len(upstream.requests)), (1, ['none'], 6))

    async def test_all_forms(self) -> None:
        """Each algorithm, with and without sessions and qop; user names that are hashed or not ASCII."""
        for settings in (
            {'algorithms': ('MD5',)}, {'algorithms': ('',)}, {'algorithms': ('SHA-256',)},
            {'algorithms': ('SHA-512-256',)}, {'algorithms': ('MD5-sess',)}, {'algorithms': ('SHA-256-sess',)},
            {'algorithms': ('MD5',), 'qop': ''}, {'qop': 'auth-int,auth'}, {'userhash': True},
            {'username': 'Jäsøn', 'password': 'Secret, or not?', 'userhash': True},
            {'username': 'Jäsøn'}, {'realm': "it's, a realm"}, {'algorithms': ('token', 'SHA-256')},
        ):  # fmt: skip
            digest, upstream = self.peer(**settings)
            rest = self.rest(upstream, digest)
            for _ in range(3):
                self.assertEqual((await rest.get()).status_code, 200, (settings, digest.refused))
            self.assertEqual(digest.challenged, 1, settings)

    async def test_the_strongest(self) -> None:
        """Of several challenges the best hash is answered, in whatever order they come."""
        digest, upstream = self.peer(algorithms=('MD5', 'SHA-256'))
        await self.rest(upstream, digest).get()
        self.assertIn(b'algorithm=SHA-256', upstream.requests[-1].headers[b'authorization'])

    async def test_a_nonce_that_is_used_up(self) -> None:
        """Is answered anew, and the call notices nothing."""
        digest, upstream = self.peer(uses=2)
        rest = self.rest(upstream, digest)
        for _ in range(6):
            self.assertEqual((await rest.get()).status_code, 200)
        self.assertEqual(digest.refused, ['none', 'stale', 'stale'])

    async def test_the_next_nonce(self) -> None:
        """Where the peer says which one comes next, that is used."""
        digest, upstream = self.peer(announces=True)
        rest = self.rest(upstream, digest)
        for _ in range(4):
            await rest.get()
        counts = [count for count in digest.known.values() if count]
        self.assertEqual((digest.refused, counts), (['none'], [1, 1, 1, 1]))

    async def test_a_wrong_password(self) -> None:
        """Is an answer like any other: nobody tries for ever."""
        digest, upstream = self.peer()
        definition = DigestAuth(name='D', username=digest.username, password='wrong')
        rest = self.logged_in(upstream, stored(definition, 'digest_auth'))
        self.assertEqual((await rest.get()).status_code, 401)
        self.assertEqual(len(upstream.requests), 2)

    async def test_what_cannot_be_answered(self) -> None:
        """Other schemes and unknown algorithms: 401 is the answer."""
        for line in (b'Basic realm="x"', b'Digest realm="x", nonce="y", algorithm=NEW', b'Digest realm="x"',
                     b'Digest realm="x", nonce="y", qop="auth-int"'):  # fmt: skip
            upstream = self.listen(says(b'401 x', b'', b'WWW-Authenticate: ' + line))
            self.assertEqual((await self.rest(upstream, DigestPeer()).get()).status_code, 401)
            self.assertEqual(len(upstream.requests), 1)

    async def test_many_at_once(self) -> None:
        """Each nc is used once, on however many connections."""
        digest, upstream = self.peer()
        rest = self.rest(upstream, digest)
        await rest.get()
        answers = await all_of(*[rest.get() for _ in range(50)])
        self.assertEqual({answer.status_code for answer in answers}, {200})

    async def test_a_body_that_can_be_sent_once(self) -> None:
        """The peer may refuse before it is sent (Expect: 100-continue), so that it still can be."""
        digest, upstream = self.peer()

        async def pieces() -> AsyncIterator[bytes]:
            yield b'abc'

        response = await self.rest(upstream, digest).post(pieces())
        self.assertEqual((response.status_code, digest.refused), (200, ['none']))
        self.assertEqual(upstream.requests[0].headers[b'expect'], b'100-continue')

    async def test_curl_agrees(self) -> None:
        """curl logs in where we do: the peer of these tests is no invention of ours."""
        for algorithm in ('MD5', 'SHA-256'):
            digest, upstream = self.peer(algorithms=(algorithm,))
            command = ['-s', '--digest', '-u', f'{digest.username}:{digest.password}', '-d', 'body',
                       f'http://127.0.0.1:{upstream.port}/a?b=c']  # fmt: skip
            out, _, code = await getProcessOutputAndValue('curl', command, reactor=reactor)
            self.assertEqual((out, code), (b'in:body', 0), digest.refused)
            self.assertEqual((await self.rest(upstream, digest).post('body')).text, 'in:body')


class VectorTests(SynchronousTestCase):
    """RFC 7616 §3.9."""

    def answered(self, algorithm: str) -> str:
        [asked] = [strongest_challenge(parse_challenges([
            b'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=%b, '
            b'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
            b'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
            % algorithm.encode(),
        ]))]  # fmt: skip
        assert isinstance(asked, DigestChallenge)
        cnonce = 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ'
        return DigestSession(asked, 'Mufasa', 'Circle of Life', cnonce).authorization('GET', '/dir/index.html')

    def test_3_9_1(self) -> None:
        """The responses that the RFC has."""
        self.assertIn('response="8ca523f5e9506fed4657c9700eebdbec"', self.answered('MD5'))
        self.assertIn('response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"',
                      self.answered('SHA-256'))  # fmt: skip

    def test_secrets_are_not_shown(self) -> None:
        """Not in the repr of a session."""
        asked = strongest_challenge(parse_challenges([b'Digest realm="x", nonce="y"']))
        assert asked is not None
        self.assertNotIn('Circle', repr(DigestSession(asked, 'Mufasa', 'Circle of Life')))
