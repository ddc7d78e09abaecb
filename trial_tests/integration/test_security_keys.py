"""API keys and technical accounts: secrets that are compared as they are."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.internals import InternalTestCase
from zatotx.connectors.security_type_registry import all_object_types
from zatotx.model.errors import ServiceUnavailable, TooManyRequests, Unauthorized
from zatotx.model.message import ChannelSpec, HTTPView, Message, Principal
from zatotx.pipeline.security import secret_comparison as guesses_room
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.pipeline.security.secret_comparison import SecretComparison, equal_secrets
from zatotx.rules.enmasse.import_plan import export_document, plan_import
from zatotx.rules.security.login_throttle import LoginThrottle
from zatotx.schema.security.group import SecurityGroup
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.validation import validate
from zatotx.security.apikey import APIKEY, ApiKey, ApiKeyAuthenticator
from zatotx.security.basic_auth import BasicAuth
from zatotx.security.tech_account import TechAccount, TechAccountAuthenticator
from zatotx.testing.fake_authenticator import authenticate
from zatotx.testing.pipeline_doubles import make_message
from zatotx.wire.http.urlencoded import Malformed, query_parameter

GUESSER = '192.0.2.66'


class Made(SynchronousTestCase):
    """A guard with these definitions."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.guesses = SecretComparison(self.clock, LoginThrottle())
        self.guard = AuthenticationPolicy({
            'apikey': lambda stored: ApiKeyAuthenticator(self.guesses, stored),
            'tech_account': lambda stored: TechAccountAuthenticator(self.guesses, stored),
        })  # fmt: skip
        self.apply(
            ('apikey', ApiKey(name='header', password='sesame ž', roles=['partner'])),
            ('apikey', ApiKey(name='other', header='X-Other', password='sesame')),
            ('apikey', ApiKey(name='query', query='the key', password='a+b/c=')),
            ('apikey', ApiKey(name='empty')),
            ('tech_account', TechAccount(name='old', password='sesame')),
            ('tech_account', TechAccount(name='named', username='user', password='sesame')),
            ('tech_account', TechAccount(name='empty.account')),
        )

    def apply(self, *values: tuple[str, Any]) -> None:
        self.guard.apply(Snapshot(1, [StoredObject(n, type_, value, 1) for n, (type_, value) in enumerate(values, 1)]))

    def request(self, security: str | None, headers: dict[str, str] | None = None, query: bytes = b'', *,
                groups: tuple[str, ...] = (), peer: str = '127.0.0.1') -> Message:
        fields = {name.encode(): value.encode() for name, value in (headers or {}).items()}
        inbound = make_message(channel=ChannelSpec(name='c', kind='http-soap', service='s', security=security,
                                              groups=groups), headers=fields)
        inbound.http = HTTPView('GET', b'/', '/', query, fields, {}, peer)
        return inbound

    def check(self, inbound: Message) -> Deferred[Principal]:
        return Deferred.fromCoroutine(authenticate(self.guard, inbound))

    def who(self, *args: Any, **options: Any) -> Principal:
        principal: Principal = self.successResultOf(self.check(self.request(*args, **options)))
        return principal

    def refused(self, *args: Any, **options: Any) -> Unauthorized:
        error = self.failureResultOf(self.check(self.request(*args, **options)), Unauthorized).value
        assert isinstance(error, Unauthorized)
        return error


class ApiKeyTests(Made):
    def test_in_a_header(self) -> None:
        """X-API-Key, or the one that the definition names; the principal has the definition's name and roles."""
        principal = self.who('header', {'x-api-key': 'sesame ž'})
        self.assertEqual(principal, Principal('header', '', 'apikey', {}, frozenset({'partner'})))
        self.assertEqual(self.who('other', {'x-other': 'sesame'}).name, 'other')

    def test_in_a_group_of_several_places(self) -> None:
        """Each key counts in its own header or parameter, whatever the others of the group name."""
        self.apply(
            ('apikey', ApiKey(name='a', password='a')), ('apikey', ApiKey(name='b', password='b', header='X-B')),
            ('apikey', ApiKey(name='c', password='c', query='c')),
            ('apikey', ApiKey(name='d', password='d', query='d')),
            ('security_group', SecurityGroup(name='g', members=['a', 'b', 'c', 'd'])),
        )  # fmt: skip
        for headers, query, name in (({'x-api-key': 'a'}, b'', 'a'), ({'x-b': 'b'}, b'', 'b'), ({}, b'c=c', 'c'),
                                     ({}, b'd=d', 'd')):  # fmt: skip
            self.assertEqual(self.who(None, headers, query, groups=('g',)).name, name)
        for headers, query in (({'x-api-key': 'b'}, b''), ({'x-b': 'a'}, b''), ({}, b'c=d'), ({}, b'd=c')):
            self.refused(None, headers, query, groups=('g',))

    def test_in_the_query(self) -> None:
        """However it is encoded, and nowhere else."""
        for query in (b'the+key=a%2Bb%2Fc%3D', b'x=1&the%20key=a%2bb/c=&y', b'the+key=%61%2Bb/c='):
            self.assertEqual(self.who('query', query=query).name, 'query')
        for query in (b'', b'the+key=a+b/c=', b'thekey=a%2Bb/c=', b'The+key=a%2Bb/c='):
            self.refused('query', {'x-api-key': 'a+b/c=', 'the key': 'a+b/c='}, query)

    def test_two_keys_are_none(self) -> None:
        """Neither the first nor the last one counts."""
        right = b'the+key=a%2Bb/c='
        for query in (right + b'&' + right, b'the+key=x&' + right, right + b'&the%20key='):
            self.refused('query', query=query)
        self.refused('header', {'x-api-key': 'sesame ž, sesame ž'})

    def test_what_is_refused(self) -> None:
        """With Zato's challenge and nothing that was sent."""
        for headers in ({}, {'x-api-key': ''}, {'x-api-key': 'sesame'}, {'x-api-key': 'sesame Ž'},
                        {'authorization': 'sesame ž'}, {'x-other': 'sesame ž'}):
            error = self.refused('header', headers)
            self.assertEqual((error.headers, error.details),
                             (((b'WWW-Authenticate', b'zato-apikey'),), Unauthorized.default_message))

    def test_no_key_yet(self) -> None:
        """Admits nobody, unlike in Zato 2.0: not even who sends an empty one."""
        for headers in ({}, {'x-api-key': ''}, {'x-api-key': 'x'}):
            self.refused('empty', headers)

    def test_a_group_of_many_keys(self) -> None:
        """The key says whose it is; all of them in one look, whether it is one of them or not."""
        asked: list[str] = []

        class Counted(ApiKeyAuthenticator):
            def check(self, inbound: Message) -> Any:
                asked.append(self._principal.name)
                return super().check(inbound)

        self.guard = AuthenticationPolicy({'apikey': lambda stored: Counted(self.guesses, stored)})
        keys = [('apikey', ApiKey(name=f'k{n}', password=f'key {n}')) for n in range(1000)]
        members = [value.name for _, value in keys]
        self.apply(*keys, ('security_group', SecurityGroup(name='all', members=members)))
        self.assertEqual(self.who(None, {'x-api-key': 'key 777'}, groups=('all',)).name, 'k777')
        self.refused(None, {'x-api-key': 'key 1001'}, groups=('all',))
        self.assertEqual(asked, ['k777', 'k0'])

    def test_digests_are_compared(self) -> None:
        """In constant time, by a key of this process: what is compared is neither the secret nor the same anywhere
        else."""
        other = SecretComparison(self.clock)
        self.assertNotEqual(self.guesses.digest(b'sesame'), other.digest(b'sesame'))
        self.assertEqual(self.guesses.digest(b'sesame'), self.guesses.digest(b'sesame'))
        self.assertNotEqual(self.guesses.digest(b'a', b'bc'), self.guesses.digest(b'ab', b'c'))
        self.assertFalse(equal_secrets(b'', self.guesses.digest(b'')))
        self.assertNotIn('sesame', repr(self.guesses))


class TechAccountTests(Made):
    def test_admitted(self) -> None:
        """By its name, or by the user name it has."""
        principal = self.who('old', {'x-zato-user': 'old', 'x-zato-password': 'sesame'})
        self.assertEqual(principal, Principal('old', 'old', 'tech_account'))
        self.assertEqual(self.who('named', {'x-zato-user': 'user', 'x-zato-password': 'sesame'}).username, 'user')

    def test_what_is_refused(self) -> None:
        """With Zato's challenge: a wrong half, a half that is not there, and a password shifted over to the name."""
        for name, headers in (
            ('old', {}), ('old', {'x-zato-user': 'old'}), ('old', {'x-zato-password': 'sesame'}),
            ('old', {'x-zato-user': 'old', 'x-zato-password': 'Sesame'}),
            ('old', {'x-zato-user': 'Old', 'x-zato-password': 'sesame'}),
            ('old', {'x-zato-user': 'olds', 'x-zato-password': 'esame'}),
            ('named', {'x-zato-user': 'named', 'x-zato-password': 'sesame'}),
            ('empty.account', {'x-zato-user': 'empty.account', 'x-zato-password': ''}),
        ):  # fmt: skip
            self.assertEqual(self.refused(name, headers).headers, ((b'WWW-Authenticate', b'zato-tech-acc'),))

    def test_in_a_group(self) -> None:
        """The user says which account is meant."""
        self.apply(*(('tech_account', TechAccount(name=f'a{n}', password=f'p{n}')) for n in range(5)),
                   ('security_group', SecurityGroup(name='all', members=[f'a{n}' for n in range(5)])))
        headers = {'x-zato-user': 'a3', 'x-zato-password': 'p3'}
        self.assertEqual(self.who(None, headers, groups=('all',)).name, 'a3')
        for wrong in ({'x-zato-user': 'a2'}, {'x-zato-user': 'nobody'}):
            self.refused(None, {**headers, **wrong}, groups=('all',))


class GuessTests(Made):
    def guess(self, times: int, peer: str = GUESSER) -> None:
        """So many wrong keys that are answered at once."""
        for number in range(times):
            self.refused('header', {'x-api-key': f'guess {number}'}, peer=peer)

    def test_over_the_limit_nothing_is_compared_before_the_delay(self) -> None:
        """Twenty failures of an address are answered at once; what comes after waits, right or wrong, key or technical
        account, and nobody at another address does."""
        self.guess(21)
        account = {'x-zato-user': 'old', 'x-zato-password': 'sesame'}
        right = [self.check(self.request('header', {'x-api-key': 'sesame ž'}, peer=GUESSER)),
                 self.check(self.request('old', account, peer=GUESSER))]  # fmt: skip
        wrong = [self.check(self.request('header', {'x-api-key': 'guess'}, peer=GUESSER)),
                 self.check(self.request('old', {**account, 'x-zato-password': 'guess'}, peer=GUESSER))]  # fmt: skip
        for waiting in (*right, *wrong):
            self.assertNoResult(waiting)
        self.who('header', {'x-api-key': 'sesame ž'})
        self.refused('header', {'x-api-key': 'guess'})
        self.clock.advance(8)
        self.assertEqual([self.successResultOf(waiting).name for waiting in right], ['header', 'old'])
        for waiting in wrong:
            self.failureResultOf(waiting, Unauthorized)

    def test_known_clients_behind_the_address_of_a_guesser(self) -> None:
        """Are served at once while other secrets are guessed at. Of API keys all that stand in one field are guessed at
        together: a key does not say whose it is meant to be."""
        account = {'x-zato-user': 'old', 'x-zato-password': 'sesame'}
        self.who('old', account, peer=GUESSER)
        self.who('header', {'x-api-key': 'sesame ž'}, peer=GUESSER)
        self.guess(21)
        self.assertEqual(self.who('old', account, peer=GUESSER).name, 'old')
        self.assertNoResult(self.check(self.request('header', {'x-api-key': 'sesame ž'}, peer=GUESSER)))

    def test_a_connection_that_goes_on(self) -> None:
        """With the head that was admitted: it guesses nothing, and is served at once."""
        going_on = [self.request('header', {'x-api-key': 'sesame ž'}, peer=GUESSER),
                    self.request('old', {'x-zato-user': 'old', 'x-zato-password': 'sesame'}, peer=GUESSER)]  # fmt: skip
        for round_ in range(2):
            for request in going_on:
                self.successResultOf(self.check(request))
            self.guess(21 * (1 - round_))
        self.apply(('apikey', ApiKey(name='header', password='changed')))
        self.assertNoResult(self.check(going_on[0]))

    def test_an_abandoned_guess_counts(self) -> None:
        """Hanging up does not save a guesser the delay of the next one."""
        self.guess(21)
        for number in range(5):
            abandoned = self.check(self.request('header', {'x-api-key': f'guess {number}'}, peer=GUESSER))
            abandoned.addErrback(lambda failure: failure.trap(CancelledError))
            abandoned.cancel()
        waiting = self.check(self.request('header', {'x-api-key': 'guess'}, peer=GUESSER))
        self.clock.advance(7)
        self.assertNoResult(waiting)
        self.clock.advance(1.1)
        self.failureResultOf(waiting, Unauthorized)

    def test_attempts_that_wait_are_bounded(self) -> None:
        """Of one network, which is told when to come back; and of all together. There is room again when they are
        out."""
        self.patch(guesses_room, 'MAX_ATTEMPTS_PER_NETWORK', 3)
        self.patch(guesses_room, 'MAX_WAITING', 5)
        peers = ('192.0.2.1', '192.0.2.1', '192.0.2.1', '192.0.2.2', '192.0.2.2')
        for peer in ('192.0.2.1', '192.0.2.2'):
            self.guess(21, peer)

        def guess(peer: str) -> Deferred[Principal]:
            return self.check(self.request('header', {'x-api-key': 'x'}, peer=peer))

        waiting = [guess(peer) for peer in peers]
        self.failureResultOf(guess('192.0.2.1'), TooManyRequests)
        self.failureResultOf(guess('192.0.2.2'), ServiceUnavailable)
        self.refused('header', {'x-api-key': 'x'}, peer='192.0.2.3')
        self.clock.advance(8)
        for each in waiting:
            self.failureResultOf(each, Unauthorized)
        self.assertNoResult(guess('192.0.2.1'))

    def test_in_a_group_one_attempt_waits_once(self) -> None:
        """However many definitions have a look at it."""
        self.apply(*(('tech_account', TechAccount(name=f'a{n}', username='user', password=f'p{n}')) for n in range(3)),
                   ('security_group', SecurityGroup(name='all', members=[f'a{n}' for n in range(3)])),
                   ('apikey', ApiKey(name='header', password='sesame')))
        self.guess(21)
        headers = {'x-zato-user': 'user', 'x-zato-password': 'p2'}
        waiting = self.check(self.request(None, headers, groups=('all',), peer=GUESSER))
        self.clock.advance(0.5)
        self.assertEqual(self.successResultOf(waiting).name, 'a2')


class QueryTests(SynchronousTestCase):
    def test_one_parameter(self) -> None:
        """Found by its decoded name; an odd escape is what it is."""
        self.assertEqual(query_parameter(b'a=1&b=2', b'b'), b'2')
        self.assertEqual(query_parameter(b'a', b'a'), b'')
        self.assertEqual(query_parameter(b'%61=%zz', b'a'), b'%zz')
        self.assertIsNone(query_parameter(b'', b'a'))
        self.assertRaises(Malformed, query_parameter, b'a=1&%61=1', b'a')


class SchemaTests(SynchronousTestCase):
    def test_mistakes(self) -> None:
        """What can be no header and no key is told when the definition is made."""
        for fields, path in (
            ({'header': 'X Key'}, 'header'), ({'header': ''}, 'header'), ({'header': 'X-Other', 'query': 'k'}, 'query'),
            ({'password': 'a\nb'}, 'password'), ({'query': 'a\tb'}, 'query'), ({'roles': ['a', 'a']}, 'roles'),
            ({'roles': ['a,b']}, 'roles'), ({'roles': ['']}, 'roles[0]'), ({'roles': [' a']}, 'roles'),
        ):
            _, mistakes = validate(APIKEY, {'name': 'n', **fields})
            self.assertEqual([found for found, _ in mistakes], [path], fields)
            self.assertNotIn('a\nb', repr(mistakes))

    def test_enmasse(self) -> None:
        """As the contract writes them, and back; a key that is there already is no change."""
        types = all_object_types([])
        document: dict[str, list[dict[str, Any]]] = {
            'security': [
                {'name': 'partner.key', 'type': 'apikey', 'header': 'X-Partner', 'password': 'k'},
                {'name': 'query.key', 'type': 'apikey', 'query': 'api_key', 'password': 'k', 'roles': ['r', 's']},
                {'name': 'old.account', 'type': 'tech_account', 'username': 'old', 'password': 'p'},
            ],
            'groups': [{'name': 'partners', 'members': ['partner.key', 'query.key']}],
        }
        plan = plan_import(document, types, Snapshot(), replace=False, verify=lambda hashed, clear: False)
        self.assertEqual(plan.errors, ())
        made = Snapshot(1, [StoredObject(n, step.type, types[step.type].struct(**step.fields), 1)
                            for n, step in enumerate(plan.operations, 1)])
        exported = export_document(made, types, secrets=True)
        self.assertEqual({section: sorted(items, key=lambda item: str(item['name']))
                          for section, items in exported.items()},
                         {**document, 'security': sorted(document['security'], key=lambda item: str(item['name']))})
        again = plan_import(document, types, made, replace=True, verify=lambda hashed, clear: False)
        self.assertEqual((again.operations, again.unchanged), ((), 4))


class ZatoTests(InternalTestCase):
    """zato.security.apikey.*, tech-account.* and groups.*, by Zato's names."""

    async def test_apikey(self) -> None:
        """Zato calls the header's name username; the key is set by change-password, and is shown nowhere."""
        made = await self.call('zato.security.apikey.create',
                               {'cluster_id': 1, 'name': 'k', 'is_active': True, 'username': 'X-Partner'})
        await self.call('zato.security.apikey.change-password', {**made, 'password1': 'sesame', 'password2': 'sesame'})
        (row,) = await self.call('zato.security.apikey.get-list', {'cluster_id': 1})
        self.assertEqual(row, {'id': made['id'], 'name': 'k', 'is_active': True, 'roles': [], 'username': 'X-Partner',
                               'query': '', 'revision': row['revision']})
        await self.call('zato.security.apikey.edit', {'id': made['id'], 'name': 'k', 'is_active': 'true',
                                                      'username': 'X-API-Key', 'query': 'key'})
        for node in (self.one, self.two):
            await self.one.config.wait_until_applied(self.one.config.snapshot.revision)
            found = node.config.snapshot.find('apikey', 'k').value
            self.assertEqual((found.password, found.query, found.header), ('sesame', 'key', 'X-API-Key'))
        self.assertNotIn('sesame', repr(await self.call('zato.history.get-list')))

    async def test_tech_account(self) -> None:
        """Its name is the user name where it has no other; an account does not delete itself."""
        made = await self.call('zato.security.tech-account.create', {'cluster_id': 1, 'name': 't', 'is_active': 'true'})
        await self.call('zato.security.tech-account.change-password', {**made, 'password1': 'p', 'password2': 'p'})
        got = await self.call('zato.security.tech-account.get-by-id', {'id': made['id'], 'cluster_id': 1})
        self.assertEqual((got['name'], got['is_active'], got['username']), ('t', True, ''))
        deleting = {'id': made['id'], 'current_tech_account_name': 't'}
        told = await self.refusal('zato.security.tech-account.delete', deleting, 409)
        self.assertEqual(told, "Technical account 't' may not delete itself")
        await self.call('zato.security.tech-account.delete', {**deleting, 'current_tech_account_name': 'another'})

    async def test_nobody_deletes_what_he_logged_in_with(self) -> None:
        """Of any type: the caller of these tests is admin.invoke."""
        await self.call('zato.security.basic-auth.create', {'name': 'admin.invoke', 'username': 'a', 'cluster_id': 1})
        told = await self.refusal('zato.security.basic-auth.delete', {'name': 'admin.invoke'}, 409)
        self.assertIn('may not delete itself', told)

    async def test_all_definitions(self) -> None:
        """zato.security.get-list has those of every type, with Zato's word for it; channels say it too."""
        for service, name in (('apikey', 'a'), ('tech-account', 'b'), ('basic-auth', 'c')):
            await self.call(f'zato.security.{service}.create',
                            {'cluster_id': 1, 'name': name, 'is_active': True, 'username': name})
        rows = await self.call('zato.security.get-list', {'cluster_id': 1})
        self.assertEqual([(row['name'], row['sec_type']) for row in rows],
                         [('a', 'apikey'), ('b', 'tech_acc'), ('c', 'basic_auth')])
        await self.with_crm()
        await self.call('zato.http-soap.create', {
            'name': 'c', 'connection': 'channel', 'transport': 'plain_http', 'url_path': '/c',
            'service': 'crm.get-balance', 'security_id': rows[1]['id'], 'cluster_id': 1, 'is_active': True,
            'is_internal': False,
        })  # fmt: skip
        (channel,) = await self.call('zato.http-soap.get-list', {'connection': 'channel', 'transport': 'plain_http'})
        self.assertEqual((channel['security_name'], channel['sec_type']), ('b', 'tech_acc'))

    async def test_groups(self) -> None:
        """Members by name or id; a member is not deleted from under its group."""
        made = await self.call('zato.security.apikey.create', {'name': 'k', 'cluster_id': 1, 'is_active': True})
        await self.call('zato.security.basic-auth.create', {'name': 'b', 'username': 'b', 'cluster_id': 1})
        group = await self.call('zato.groups.create', {'name': 'g', 'members': ['k', 'b']})
        (row,) = await self.call('zato.groups.get-list')
        self.assertEqual(row['members'], ['k', 'b'])
        told = await self.refusal('zato.security.apikey.delete', {'id': made['id']}, 409)
        self.assertIn("security_group 'g'", told)
        self.assertIn('members[0]', await self.refusal('zato.groups.edit', {**group, 'members': ['nobody']}, 400))
        await self.call('zato.groups.edit', {'id': group['id'], 'members': ['b']})
        await self.call('zato.security.apikey.delete', {'id': made['id']})
        self.assertIsNone(self.one.config.snapshot.find('apikey', 'k'))


class NameTests(SynchronousTestCase):
    def test_basic_auth_and_keys_share_their_names(self) -> None:
        """A channel that says `security: x` means one definition."""
        types = all_object_types([])
        there = Snapshot(1, [StoredObject(1, 'apikey', ApiKey(name='x'), 1)])
        plan = plan_import({'security': [{'name': 'x', 'type': 'tech_account'}]}, types, there, replace=False,
                           verify=lambda hashed, clear: False)
        self.assertEqual([str(mistake) for mistake in plan.errors],
                         ["security 'x': type: it exists already as apikey"])
        self.assertEqual(BasicAuth(name='x', username='x').roles, [])
