"""OAuth 2.0 as a client: one token for the cluster, renewed before its end by one node at a time."""

from __future__ import annotations

from time import time
from typing import Any

from attrs import evolve
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.authorization_server import JSON, AuthorizationServer
from trial_tests.support.calling import Asking, WithConnections, all_of, crm, started, stored
from trial_tests.support.ports import free_port
from trial_tests.support.valkey import Valkey
from zatotx import BadGateway, ServiceUnavailable, Timeout
from zatotx.odb.secrets import Secrets, new_key
from zatotx.plugins.http.outgoing import HttpOutgoingConnections
from zatotx.plugins.http.rest.oauth2_tokens import (
    AccessToken,
    TokenRefused,
    definition_fingerprint,
    parse_token_response,
)
from zatotx.plugins.http.test.upstream_servers import reactor, says, silent
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.lease_store import RedisLeaseBackend
from zatotx.redis.leases import LeaseStore
from zatotx.schema.snapshot import Snapshot
from zatotx.schema.validation import validate
from zatotx.security.oauth2_client import OAUTH2_CLIENT, OAuth2Client
from zatotx.testing.memory_redis_components import EpochSequence

TITLE = 'Outgoing connection CRM (rest) cannot be used: security definition CRM.token (oauth2_client)'
KEY = 'oauth2'


class WithAuthorization(WithConnections):
    def setUp(self) -> None:
        super().setUp()
        self.server = AuthorizationServer()
        self.tokens = self.listen(self.server.token)
        self.peer = self.listen(self.server.resource)

    def definition(self, **fields: Any) -> OAuth2Client:
        server = self.server
        given = {'name': 'CRM.token', 'token_url': f'http://127.0.0.1:{self.tokens.port}/token',
                 'client_id': server.client_id, 'client_secret': server.client_secret, **fields}  # fmt: skip
        return OAuth2Client(**given)

    def connections(self, definition: OAuth2Client | None = None, **context: Any) -> HttpOutgoingConnections:
        """A worker with the connection CRM, which has tokens of the definition."""
        security = stored(definition or self.definition(), 'oauth2_client')
        return self.node(stored(crm(self.peer, security='CRM.token')), security, **context)

    def rest(self, definition: OAuth2Client | None = None, call: Asking | None = None, **context: Any) -> Any:
        return self.connections(definition, **context).namespaces['rest'](call or Asking())['CRM']

    async def said(self, rest: Any) -> str:
        """The token that the peer was shown, or the status where it did not like it."""
        response = await rest.get()
        return response.text if response.ok else str(response.status_code)

    def at(self, now: list[float]) -> Any:
        """A connection whose tokens see another time."""
        node = self.connections()
        make: Any = node.builder.credentials['CRM.token'][1].make_authorizer
        make().fetcher = evolve(make().fetcher, now=lambda: now[0])
        return node.namespaces['rest'](Asking())['CRM']


class TokenTests(WithAuthorization):
    """One worker, without Redis."""

    async def test_one_for_many_calls(self) -> None:
        """It is asked for once, with the first call, and shown with each."""
        rest = self.rest(self.definition(scopes=['a', 'b'], extra_fields={'audience': 'crm'}))
        self.assertEqual([await self.said(rest) for _ in range(3)], ['t1', 't1', 't1'])
        self.assertEqual(self.server.forms, [
            {'grant_type': ['client_credentials'], 'scope': ['a b'], 'audience': ['crm']},
        ])  # fmt: skip

    async def test_in_the_form(self) -> None:
        """For servers that do not take HTTP Basic Auth."""
        self.assertEqual(await self.said(self.rest(self.definition(client_auth='post'))), 't1')
        self.assertNotIn(b'authorization', self.tokens.requests[0].headers)

    async def test_many_at_once(self) -> None:
        """Fifty calls that find no token wait for one."""
        self.server.delay = 0.1
        rest = self.rest()
        self.assertEqual(set(await all_of(*[self.said(rest) for _ in range(50)])), {'t1'})
        self.assertEqual(self.server.given, 1)

    async def test_renewed_before_its_end(self) -> None:
        """While a new one is on its way, calls go on with the old one, and none waits."""
        self.server.expires_in = 10  # renewed after 3, of use for 5
        now = [1000.0]
        rest = self.at(now)
        self.assertEqual(await self.said(rest), 't1')
        now[0] += 2.9
        self.assertEqual(await self.said(rest), 't1')
        self.server.delay = 1.0
        now[0] += 0.2
        self.assertEqual([await self.said(rest) for _ in range(3)], ['t1', 't1', 't1'])
        while (token := await self.said(rest)) == 't1':
            await deferLater(reactor, 0.05)
        self.assertEqual((token, self.server.given), ('t2', 2))

    async def test_after_its_end(self) -> None:
        """It is not shown any more, and the call waits for a new one."""
        self.server.expires_in = 10
        now = [1000.0]
        rest = self.at(now)
        await self.said(rest)
        now[0] += 6
        self.assertEqual(await self.said(rest), 't2')

    async def test_withdrawn(self) -> None:
        """A peer that does not like a token any more gets a new one, once, and the call notices nothing, whatever its
        method; where it does not like that either, its answer is the answer."""
        rest = self.rest()
        await self.said(rest)
        self.server.withdraw()
        response = await rest.post('body')
        self.assertEqual((response.text, self.server.given), ('t2', 2))
        self.peer.answer = says(b'401 Unauthorized')
        self.assertEqual(await self.said(rest), '401')
        self.assertEqual(self.server.given, 3)

    async def test_withdrawn_for_many(self) -> None:
        """They all get the same new one."""
        rest = self.rest()
        await self.said(rest)
        self.server.withdraw()
        self.server.delay = 0.1
        self.assertEqual(set(await all_of(*[self.said(rest) for _ in range(20)])), {'t2'})

    async def test_for_several_connections(self) -> None:
        """A definition's token is shared by all connections that have it, and stays when one of them changes."""
        security = stored(self.definition(), 'oauth2_client')
        objects = [stored(crm(self.peer, name=name, security='CRM.token')) for name in ('A', 'B')]
        node = self.node(*objects, security)
        door = node.namespaces['rest'](Asking())
        self.assertEqual([await self.said(door[name]) for name in 'AB'], ['t1', 't1'])
        other = stored(crm(self.peer, name='B', security='CRM.token', timeout=9))
        await node.apply(Snapshot(2, [objects[0], other, security]))
        self.assertEqual(await self.said(door['B']), 't1')
        changed = stored(self.definition(scopes=['x']), 'oauth2_client')
        await node.apply(Snapshot(3, [*objects, changed]))
        self.assertEqual(await self.said(door['B']), 't2')


class FaultTests(WithAuthorization):
    async def fails(self, kind: type[Exception], sentence: str, definition: OAuth2Client | None = None) -> Any:
        call = Asking()
        fault = await self.fault(self.rest(definition, call).get(), kind)
        self.assertEqual((fault.msg, fault.cid), (f'{TITLE} {sentence}', call.cid))
        self.assertEqual(self.peer.requests, [])
        self.assertNotIn(self.server.client_secret, f'{fault} {fault.__cause__}')
        return fault

    async def test_refused(self) -> None:
        """The fault names connection and definition, and says what the server said, as far as that is a word of
        OAuth's."""
        wrong = self.definition(client_secret='wrong')
        await self.fails(BadGateway, 'gives no token: its server answered 401 invalid_client', wrong)
        self.server.instead = says(b'400 x', b'{"error": "<b>Call 555 now!</b>"}', JSON)
        await self.fails(BadGateway, 'gives no token: its server answered 400')

    async def test_no_token(self) -> None:
        """Answers that are none."""
        for body, why in ((b'{}', 'its server answered what is not JSON with an access_token'),
                          (b'<html>', 'its server answered what is not JSON with an access_token'),
                          (b'{"access_token": "a\\r\\nX: y"}', 'its server gave a token that no header can have'),
                          (b'{"access_token": ""}', 'its server gave a token that no header can have'),
                          (b'{"access_token": "a", "token_type": "mac"}',
                           'its server gives tokens of another type than Bearer')):  # fmt: skip
            self.server.instead = says(b'200 OK', body, JSON)
            await self.fails(BadGateway, f'gives no token: {why}')

    async def test_nobody_there(self) -> None:
        """ServiceUnavailable."""
        nowhere = self.definition(token_url=f'http://127.0.0.1:{free_port()}/')
        await self.fails(ServiceUnavailable, 'cannot be used: nobody is at its address', nowhere)

    async def test_no_answer(self) -> None:
        """Timeout, after the time of the definition or that of the call, whichever is over first."""
        self.server.instead = silent
        await self.fails(Timeout, 'gave no answer within 0.2 s', self.definition(timeout=0.2))
        fault = await self.fault(self.rest(self.definition(timeout=0.5)).get(timeout=0.25), Timeout)
        self.assertEqual(fault.msg, f'{TITLE} gave no answer within 0.25 s')

    async def test_a_caller_who_leaves(self) -> None:
        """Takes nothing from the others."""
        self.server.delay = 0.6
        rest = self.rest()
        leaving, staying = started(rest.get()), started(self.said(rest))
        await self.until(lambda: self.tokens.requests)
        leaving.cancel()
        self.failureResultOf(leaving)
        self.assertEqual(await staying, 't1')

    async def test_not_again_at_once(self) -> None:
        """A server that refuses is asked once a second, however many calls there are; then it is asked again."""
        self.server.instead = says(b'500 x')
        rest = self.rest()
        for _ in range(10):
            await self.fault(rest.get(), BadGateway)
        self.assertEqual(len(self.tokens.requests), 1)
        self.server.instead = None
        await deferLater(reactor, 1.05)
        self.assertEqual(await self.said(rest), 't1')

    async def test_a_renewal_that_fails(self) -> None:
        """Calls go on with the old token as long as it is of use."""
        self.server.expires_in = 8  # renewed after 1.4, of use for 3
        now = [1000.0]
        rest = self.at(now)
        await self.said(rest)
        self.server.instead = says(b'500 x')
        now[0] += 2
        self.assertEqual([await self.said(rest), await self.said(rest)], ['t1', 't1'])
        await self.until(lambda: len(self.tokens.requests) == 2)


class ClusterTests(WithAuthorization):
    """Several workers on one Redis."""

    def setUp(self) -> None:
        super().setUp()
        self.redis = Valkey()
        self.addCleanup(self.redis.close)
        self.redis.start()
        self.secrets = Secrets(new_key())
        self.epochs = EpochSequence()
        self.clients: list[RedisClient] = []

    async def worker(self, definition: OAuth2Client | None = None, secrets: Secrets | None = None) -> Any:
        """`self.out.rest['CRM']` of one more worker."""
        client = RedisClient(reactor, self.redis.address, timeout=5.0)
        client.startService()
        self.clients.append(client)
        self.addCleanup(client.stopService)
        await client.wait_connected()
        keys, used = RedisKeys('c1'), secrets or self.secrets
        leases = LeaseStore(reactor, RedisLeaseBackend(ScriptRunner(client), keys), self.epochs)
        return self.rest(definition, redis=client, leases=leases, redis_key=keys.key, encrypt=used.encrypt,
                         decrypt=used.decrypt)  # fmt: skip

    async def test_one_token(self) -> None:
        """Whoever comes first gets it for all; one that starts later finds it."""
        workers = [await self.worker() for _ in range(3)]
        self.server.delay = 0.2
        self.assertEqual(await all_of(*[self.said(worker) for worker in workers]), ['t1', 't1', 't1'])
        self.assertEqual(await self.said(await self.worker()), 't1')
        self.assertEqual(self.server.given, 1)

    async def test_encrypted(self) -> None:
        """What Redis keeps shows no token, and ends with it."""
        self.server.expires_in = 100
        await self.said(await self.worker())
        name = f'zatotx:c1:{KEY}:{definition_fingerprint(self.definition())}'
        kept = self.redis.command('GET', name)
        self.assertIn(b'enc:', kept)
        self.assertNotIn(b't1', kept)
        life = int(self.redis.command('PTTL', name).strip(b':\r\n'))
        self.assertTrue(60_000 < life <= 95_000, life)

    async def test_of_another_key(self) -> None:
        """A token that cannot be decrypted is as if it were not there."""
        await self.said(await self.worker())
        self.assertEqual(await self.said(await self.worker(secrets=Secrets(new_key()))), 't2')

    async def test_another_definition(self) -> None:
        """One that has changed has other tokens."""
        await self.said(await self.worker())
        self.assertEqual(await self.said(await self.worker(self.definition(scopes=['x']))), 't2')

    async def test_withdrawn(self) -> None:
        """One worker finds out and gets a new one; the others, who find out later, take that."""
        workers = [await self.worker() for _ in range(3)]
        for worker in workers:
            await self.said(worker)
        self.server.withdraw()
        self.assertEqual([await self.said(worker) for worker in workers], ['t2', 't2', 't2'])
        self.assertEqual(self.server.given, 2)

    async def test_redis_away(self) -> None:
        """Each worker has a token of its own then, within its call's time: dead or frozen."""
        first, second = await self.worker(), await self.worker()
        self.redis.freeze()
        self.assertEqual(await self.said(first), 't1')
        self.redis.thaw()
        self.redis.kill()
        self.assertEqual(await self.said(second), 't2')

    async def test_a_holder_that_dies(self) -> None:
        """Its lease runs out; meanwhile others wait no longer than the definition says, and then ask for themselves."""
        client = RedisClient(reactor, self.redis.address, timeout=5.0)
        client.startService()
        self.addCleanup(client.stopService)
        await client.wait_connected()
        definition = self.definition(timeout=1.0)
        leases = LeaseStore(reactor, RedisLeaseBackend(ScriptRunner(client), RedisKeys('c1')), self.epochs)
        held = await leases.acquire(f'oauth2:{definition_fingerprint(definition)}', ttl=60)
        self.addCleanup(held.release)
        worker = await self.worker(definition)
        began = reactor.seconds()
        fault_or_token = await started(self.said(worker)).addErrback(lambda failure: failure.value)
        self.assertEqual(fault_or_token, 't1')
        self.assertLess(reactor.seconds() - began, 30)


class WordsTests(SynchronousTestCase):
    def test_lives(self) -> None:
        """Renewed at four fifths of its life, a minute before its end at most, and of no use for its last seconds."""
        for said, renew, ends in ((3600, 3535, 3595), ('100', 75, 95), (10, 3, 5), (None, 235, 295), ('x', 235, 295),
                                  (0, -5, -5), (-9, -5, -5)):  # fmt: skip
            life = '' if said is None else f', "expires_in": {said if isinstance(said, int) else f"{said!r}"}'
            body = f'{{"access_token": "t"{life}}}'.replace("'", '"').encode()
            token = parse_token_response(200, body, 1000.0)
            self.assertEqual((token.renew_at - 1000, token.expires_at - 1000), (renew, ends), said)

    def test_nothing_is_shown(self) -> None:
        """Not the token, and not the secret of its definition."""
        self.assertEqual(repr(AccessToken('secret', 1.0, 2.0)), '<Token until 2>')
        one = OAuth2Client(name='a', token_url='https://x/', client_id='b', client_secret='hidden')
        self.assertNotIn('hidden', repr(one))
        self.assertRaises(TokenRefused, parse_token_response, 200, b'', time())

    def test_definitions(self) -> None:
        """Mistakes are told by their fields: a URL that would show the secret to anybody, scopes, fields of ours."""
        fine = {'name': 'a', 'token_url': 'https://idp/token', 'client_id': 'b'}
        self.assertEqual(validate(OAUTH2_CLIENT, fine)[1], [])
        for field, value in (('token_url', 'http://idp/token'), ('token_url', 'https://u:p@idp/'), ('token_url', 'x'),
                             ('token_url', 'https://idp/#x'), ('scopes', ['a b']), ('scopes', ['"']), ('tls_ca', 'x'),
                             ('extra_fields', {'scope': 'x'}), ('client_id', 'a\r\n'), ('client_auth', 'none'),
                             ('timeout', 0)):  # fmt: skip
            mistakes = validate(OAUTH2_CLIENT, {**fine, field: value})[1]
            self.assertEqual([path for path, _ in mistakes], [field], value)
        for url in ('http://127.0.0.1:5/x', 'http://localhost/x', 'http://[::1]/'):
            self.assertEqual(validate(OAUTH2_CLIENT, {**fine, 'token_url': url})[1], [])
