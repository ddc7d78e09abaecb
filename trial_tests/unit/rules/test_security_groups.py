"""Tests of channels that accept several security definitions, and of channels that require roles."""

from __future__ import annotations

import warnings
from base64 import b64encode
from typing import Any

from argon2 import PasswordHasher
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.errors import Forbidden, ServiceUnavailable, Unauthorized
from zatotx.model.message import ChannelSpec, Message, Principal
from zatotx.pipeline.security.any_of_authenticator import MAX_CHALLENGES
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.pipeline.security.password_verifier import PasswordVerifier
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.schema.security.group import SecurityGroup
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.security.apikey import ApiKey, security_type
from zatotx.security.basic_auth import BasicAuth, BasicAuthAuthenticator
from zatotx.testing.fake_authenticator import FieldAuthenticator, authenticate
from zatotx.testing.pipeline_doubles import make_message

HASHER = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


def channel(**fields: Any) -> ChannelSpec:
    return ChannelSpec(name='test', kind='http-soap', service='s', **fields)


def stored(number: int, type_: str, name: str, **fields: Any) -> StoredObject:
    values = {'name': name, 'username': name, 'password': name, **fields}
    return StoredObject(number, type_, BasicAuth(**values), 1)


def group(number: int, name: str, *members: str) -> StoredObject:
    return StoredObject(number, 'security_group', SecurityGroup(name=name, members=list(members)), 1)


class GroupCase(SynchronousTestCase):
    """Definitions a and b read the field X-Key, o another field, body the body."""

    def setUp(self) -> None:
        self.made: dict[str, FieldAuthenticator] = {}
        self.guard = AuthenticationPolicy({
            'key': self.maker(),
            'other': self.maker(b'x-other'),
            'body': self.maker(b'x-body', needs_body=True),
        })  # fmt: skip
        self.apply()

    def maker(self, *args: Any, **options: Any) -> Any:
        def make(definition: StoredObject) -> FieldAuthenticator:
            check = self.made[definition.name] = FieldAuthenticator(definition, *args, **options)
            return check
        return make

    def apply(self, *more: StoredObject) -> None:
        self.guard.apply(Snapshot(1, [
            stored(1, 'key', 'a', roles=['reader']), stored(2, 'key', 'b'), stored(3, 'other', 'o', roles=['writer']),
            stored(4, 'body', 'body'), stored(5, 'key', 'off', is_active=False),
            group(10, 'keys', 'a', 'b', 'off'), group(11, 'all', 'body', 'o', 'b', 'a'), group(12, 'empty'),
            *more,
        ]))  # fmt: skip

    def request(self, asked: ChannelSpec, **fields: str) -> Message:
        return make_message(
            channel=asked, headers={f'x-{name}'.encode(): value.encode() for name, value in fields.items()}
        )

    def who(self, asked: ChannelSpec, **fields: str) -> str:
        principal: Principal = self.successResultOf(
            Deferred.fromCoroutine(authenticate(self.guard, self.request(asked, **fields))))
        return principal.name

    def refused(self, asked: ChannelSpec, kind: type[Exception] = Unauthorized, **fields: str) -> Any:
        waiting = Deferred.fromCoroutine(authenticate(self.guard, self.request(asked, **fields)))
        return self.failureResultOf(waiting, kind).value


class GroupTests(GroupCase):
    def test_a_group_of_one(self) -> None:
        """Who stands in the body, too, is let in or not as by the definition itself."""
        self.apply(group(13, 'one', 'body'))
        for asked in (channel(security='body'), channel(groups=('one',))):
            self.assertEqual(self.who(asked, body='body'), 'body')
            self.refused(asked, body='x')

    def test_any_member_is_let_in_under_its_own_name(self) -> None:
        """All members of all groups, and the channel's own definition, are accepted whatever they read."""
        asked = channel(security='o', groups=('keys',))
        self.assertEqual([self.who(asked, key='a'), self.who(asked, key='b'), self.who(asked, other='o')],
                         ['a', 'b', 'o'])

    def test_nobody_else_is(self) -> None:
        """Inactive definitions, those of other groups and wrong credentials are rejected with all challenges, the
        channel's own first."""
        asked = channel(security='o', groups=('keys',))
        tries: list[dict[str, Any]] = [{}, {'key': 'off'}, {'key': 'wrong'}, {'body': 'body'}]
        for fields in tries:
            error = self.refused(asked, **fields)
            self.assertEqual([value for name, value in error.headers if name == b'WWW-Authenticate'],
                             [b'x-other o', b'x-key a', b'x-key b'])

    def test_a_group_without_members_is_no_open_door(self) -> None:
        """A group that is empty or was deleted does not allow anonymous access."""
        for name in ('empty', 'gone'):
            self.refused(channel(groups=(name,)), key='a')
            self.refused(channel(groups=(name,)))

    def test_a_group_whose_members_are_all_inactive(self) -> None:
        """The response has the challenges of inactive members of known types; without any it has the default
        challenge."""
        self.guard = AuthenticationPolicy({'apikey': self.maker()}, {'apikey': security_type.challenge})
        for asked, expected in ((channel(groups=('off',)), b'zato-apikey'),
                                (channel(groups=('empty',)), b'Basic realm="zatotx"')):
            self.apply(
                StoredObject(20, 'apikey', ApiKey(name='key.off', is_active=False), 1), group(21, 'off', 'key.off')
            )
            self.assertEqual(self.refused(asked).headers, ((b'WWW-Authenticate', expected),))

    def test_a_group_that_was_renamed(self) -> None:
        """Requests whose head arrived before the change use the former name."""
        self.apply(group(10, 'renamed', 'a', 'b', 'off'))
        self.assertEqual(self.who(channel(groups=('keys',)), key='b'), 'b')

    def test_only_what_the_request_carries_is_asked(self) -> None:
        """A definition whose field is missing is not evaluated."""
        asked = channel(groups=('all',))
        self.who(asked, key='a')
        self.assertEqual((self.made['o'].call_count, self.made['body'].call_count), (0, 0))

    def test_the_first_that_admits(self) -> None:
        """Definitions that read the head come before those that read the body, then in the channel's order; after a
        rejection the next one is tried."""
        asked = channel(groups=('all',))
        self.assertEqual(self.who(asked, body='body', other='o', key='a'), 'o')
        self.assertEqual(self.who(asked, body='body', other='wrong', key='a'), 'a')
        self.assertEqual(self.who(asked, body='body', other='wrong', key='wrong'), 'body')
        self.assertEqual(self.who(asked, body='body'), 'body')
        self.refused(asked, body='wrong', other='wrong')

    def test_one_that_has_to_wait(self) -> None:
        """Asynchronous definitions are chained in the same way, including to the body."""
        asked = channel(groups=('all',))
        self.made['o'].is_delayed = True
        for fields, expected in (({'other': 'o'}, 'o'), ({'other': 'x', 'key': 'b'}, 'b'),
                                 ({'other': 'x', 'body': 'body'}, 'body')):
            waiting = Deferred.fromCoroutine(authenticate(self.guard, self.request(asked, **fields)))
            self.assertNoResult(waiting)
            self.made['o'].waiting.pop().callback(None)
            self.assertEqual(self.successResultOf(waiting).name, expected)

    def test_one_that_cannot_say_now(self) -> None:
        """A temporary failure is reported only if no other definition accepts."""
        asked = channel(groups=('all',))
        for waits in (False, True):
            self.apply(stored(20, 'key', f'change {waits}'))
            away = self.made['o']
            away.error, away.is_delayed = ServiceUnavailable(None, 'keys are unavailable'), waits
            for fields, expected in (({'key': 'a'}, 'a'), ({'key': 'x', 'body': 'body'}, 'body')):
                waiting = Deferred.fromCoroutine(authenticate(self.guard, self.request(asked, other='o', **fields)))
                for each in away.waiting:
                    each.callback(None)
                away.waiting.clear()
                self.assertEqual(self.successResultOf(waiting).name, expected)
            only = channel(groups=('keys',), security='o')
            waiting = Deferred.fromCoroutine(authenticate(self.guard, self.request(only, other='o', key='x')))
            for each in away.waiting:
                each.callback(None)
            self.failureResultOf(waiting, ServiceUnavailable)

    def test_a_request_that_is_turned_away_unasked(self) -> None:
        """A request rejected early leaves no coroutine that was never awaited."""
        self.made['o'].is_delayed = True
        for asked in (channel(groups=('all',)), channel(groups=('all',), roles=('writer',))):
            checked: Any = self.guard.check(self.request(asked, other='o'))
            with warnings.catch_warnings():
                warnings.simplefilter('error')
                checked.close()
        self.assertEqual(self.flushWarnings(), [])

    def test_a_change_of_a_group_is_in_force_at_once(self) -> None:
        """A change of a group takes effect with its snapshot."""
        asked = channel(groups=('empty',))
        self.refused(asked, key='a')
        self.apply(group(12, 'empty', 'a'))
        self.assertEqual(self.who(asked, key='a'), 'a')
        self.apply()
        self.refused(asked, key='a')

    def test_challenges_are_bounded(self) -> None:
        """A group of a thousand definitions does not create a head that clients reject."""
        many = [stored(number, 'key', f'k{number}') for number in range(100, 200)]
        self.apply(*many, group(12, 'empty', *(each.name for each in many)))
        self.assertEqual(len(self.refused(channel(groups=('empty',))).headers), MAX_CHALLENGES)


class RoleTests(GroupCase):
    def test_one_of_the_roles_is_enough(self) -> None:
        """One of the roles suffices; otherwise the response is 403 without details, not 401, since the caller was
        authenticated."""
        asked = channel(groups=('all',), roles=('reader', 'writer'))
        self.assertEqual((self.who(asked, key='a'), self.who(asked, other='o')), ('a', 'o'))
        error = self.refused(asked, Forbidden, key='b')
        self.assertEqual(error.details, 'You are not allowed to access this resource')
        self.refused(asked, Forbidden, body='body')
        self.refused(asked, Unauthorized, key='wrong')

    def test_with_one_definition(self) -> None:
        """Roles are checked with a single definition too, synchronous or not."""
        self.assertEqual(self.who(channel(security='a', roles=('reader',)), key='a'), 'a')
        self.refused(channel(security='b', roles=('reader',)), Forbidden, key='b')
        self.made['b'].is_delayed = True
        waiting = Deferred.fromCoroutine(
            authenticate(self.guard, self.request(channel(security='b', roles=('reader',)), key='b')))
        self.made['b'].waiting.pop().callback(None)
        self.failureResultOf(waiting, Forbidden)

    def test_a_door_of_the_broker(self) -> None:
        """A built-in endpoint accepts every definition that has one of its roles, and no other."""
        door = channel(security='gone', roles=('writer',), is_builtin_endpoint=True)
        self.assertEqual(self.who(door, other='o'), 'o')
        self.refused(door, key='a')
        self.apply(stored(20, 'key', 'new', roles=['writer']))
        self.assertEqual(self.who(door, key='new'), 'new')
        self.refused(channel(roles=('none',), is_builtin_endpoint=True), key='new')


class ManyUsersTests(SynchronousTestCase):
    """A group of Basic Auth definitions."""

    def setUp(self) -> None:
        self.verified = 0
        self.verifier = PasswordVerifier(self.offload, SecretComparison(Clock()))
        self.guard = AuthenticationPolicy(
            {'basic_auth': lambda definition: BasicAuthAuthenticator(self.verifier, definition)}
        )
        users = [('one', 'ann'), ('two', 'bob'), ('three', 'ann')]
        self.guard.apply(
            Snapshot(
                1,
                [
                    *(
                        StoredObject(
                            number,
                            'basic_auth',
                            BasicAuth(name=name, username=user, password=HASHER.hash(f'of {name}')),
                            1,
                        )
                        for number, (name, user) in enumerate(users)
                    ),
                    group(10, 'users', *(name for name, _ in users)),
                ],
            )
        )

    def offload(self, function: Any, *args: Any) -> Deferred[Any]:
        self.verified += 1
        return succeed(function(*args))

    def login(self, credentials: str) -> Deferred[Principal]:
        headers = {b'authorization': b'Basic ' + b64encode(credentials.encode())}
        inbound = make_message(channel=channel(groups=('users',)), headers=headers)
        return Deferred.fromCoroutine(authenticate(self.guard, inbound))

    def test_the_user_name_says_who_is_asked(self) -> None:
        """Only the definitions with the user name are verified, one hash each, however many are in the group."""
        for credentials, expected, hashes in (('bob:of two', 'two', 1), ('ann:of one', 'one', 1),
                                              ('ann:of three', 'three', 2), ('bob:of two', 'two', 0)):
            self.verified = 0
            self.assertEqual(self.successResultOf(self.login(credentials)).name, expected)
            self.assertEqual(self.verified, hashes, credentials)

    def test_an_unknown_user_costs_what_a_known_one_costs(self) -> None:
        """One hash is verified for an unknown or empty user name too, and the response is the same."""
        for credentials in ('nobody:x', 'bob:x', ':x'):
            self.verified = 0
            self.assertEqual(self.failureResultOf(self.login(credentials), Unauthorized).value.details,
                             Unauthorized.default_message)
            self.assertEqual(self.verified, 1, credentials)

    def test_malformed_credentials_cost_nothing(self) -> None:
        """Malformed credentials are rejected without verifying a hash."""
        for value in (b'Basic ?', b'Basic ' + b64encode(b'nocolon'), b'Bearer x', b'Basic'):
            inbound = make_message(channel=channel(groups=('users',)), headers={b'authorization': value})
            self.failureResultOf(Deferred.fromCoroutine(authenticate(self.guard, inbound)), Unauthorized)
        self.assertEqual(self.verified, 0)
