"""Authentication by Basic auth: argon2id hashes, verified once and cached by a keyed digest."""

from __future__ import annotations

import itertools
from base64 import b64encode
from typing import Any

import msgspec
from argon2 import PasswordHasher
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.iterations import run_iteration
from zatotx.interfaces.config import PreparedConfigChange
from zatotx.interfaces.pipeline import IAuthenticationPolicy
from zatotx.model.errors import ServiceUnavailable, TooManyRequests, Unauthorized
from zatotx.model.message import ChannelSpec, Message, Principal
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.pipeline.security.authenticator import NO_DEFINITION
from zatotx.pipeline.security.password_verifier import MAX_WAITING_PER_NETWORK, PasswordVerifier
from zatotx.pipeline.security.secret_comparison import MAX_ATTEMPTS_PER_NETWORK, SecretComparison
from zatotx.rules.security.password_verification import verify_password
from zatotx.schema.snapshot import ChangeSet, Snapshot, StoredObject
from zatotx.security import apikey, basic_auth
from zatotx.security.apikey import ApiKey
from zatotx.security.basic_auth import CACHE_SIZE, BasicAuth, BasicAuthAuthenticator
from zatotx.system.time_slices import SLICE
from zatotx.testing.fake_authenticator import FieldAuthenticator
from zatotx.testing.pipeline_doubles import make_message

HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash('p:ž')
GUESSER = '192.0.2.66'
SECURED = ChannelSpec(name='test', kind='http-soap', service='s', security='api')


def definition(revision: int = 1, **fields: Any) -> StoredObject:
    values = {'name': 'api', 'username': 'user', 'realm': 'API "x"', 'password': HASH, **fields}
    return StoredObject(1, 'basic_auth', BasicAuth(**values), revision)


def login(username: str = 'user', password: str = 'p:ž', *, peer: str = '127.0.0.1', security: str = 'api') -> Message:
    credentials = b64encode(f'{username}:{password}'.encode())
    inbound = make_message(channel=msgspec.structs.replace(SECURED, security=security),
                      headers={b'authorization': b'Basic ' + credentials})  # fmt: skip
    assert inbound.http is not None
    inbound.http.peer = peer
    return inbound


class PrepareTests(SynchronousTestCase):
    """How the definitions of a snapshot come into force."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.made: list[str] = []
        self.guard = AuthenticationPolicy({'basic_auth': self.make}, clock=self.clock)

    def make(self, stored: StoredObject) -> FieldAuthenticator:
        self.made.append(stored.name)
        self.clock.rightNow += SLICE / 10
        return FieldAuthenticator(stored)

    def test_many_definitions_are_prepared_in_slices(self) -> None:
        """No slice makes more than 64 authenticators that take a tenth of it each."""
        values = [BasicAuth(name=f'u{number}', username='u') for number in range(300)]
        snapshot = Snapshot(1, [StoredObject(n, 'basic_auth', value, 1) for n, value in enumerate(values)])
        preparing, made = self.guard.prepare(snapshot), [0, len(self.made)]
        self.assertNoResult(preparing)
        while run_iteration(self.clock):
            made.append(len(self.made))
        self.successResultOf(preparing).commit()
        self.assertEqual(made[-1], 300)
        self.assertLessEqual(max(after - before for before, after in itertools.pairwise(made)), 64)

    def test_a_change_of_other_objects_makes_nothing(self) -> None:
        """The definitions are not even looked at."""
        first = Snapshot(1, [definition()])
        self.guard.apply(first)
        self.made.clear()
        other = first.apply_changes(ChangeSet(2, (StoredObject(7, 'other', definition().value, 2),)))
        self.assertEqual(self.successResultOf(self.guard.prepare(other)), PreparedConfigChange())
        self.assertEqual(self.made, [])


class GuardCase(SynchronousTestCase):
    """A policy with one Basic auth definition. `held`: hashes running in threads, which the test ends."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.verified: list[tuple[str, str]] = []
        self.verifier = PasswordVerifier(self.offload, SecretComparison(self.clock))
        self.guard = AuthenticationPolicy(
            {'basic_auth': lambda stored: BasicAuthAuthenticator(self.verifier, stored)},
            {'basic_auth': basic_auth.security_type.challenge},
        )
        self.guard.apply(Snapshot(1, [definition()]))

    def offload(self, function: Any, hashed: str, password: str) -> Deferred[Any]:
        self.verified.append((hashed, password))
        return succeed(function(hashed, password))

    def check(self, inbound: Message) -> Principal:
        async def wait(checked: Any) -> Principal:
            return checked if isinstance(checked, Principal) else await checked
        principal: Principal = self.successResultOf(Deferred.fromCoroutine(wait(self.guard.check(inbound))))
        return principal

    def refused(self, inbound: Message) -> Unauthorized:
        async def wait() -> None:
            checked: Any = self.guard.check(inbound)
            if not isinstance(checked, Principal):
                await checked
        failure = self.failureResultOf(Deferred.fromCoroutine(wait()), Unauthorized)
        assert isinstance(failure.value, Unauthorized)
        return failure.value

    def start(self, inbound: Message) -> Deferred[Any]:
        """Start a check that may wait."""
        async def wait() -> Any:
            checked: Any = self.guard.check(inbound)
            return checked if isinstance(checked, Principal) else await checked
        return Deferred.fromCoroutine(wait())

    def hold(self) -> list[Deferred[Any]]:
        """Let the test end all further hashes."""
        held: list[Deferred[Any]] = []

        def holding(*args: Any) -> Deferred[Any]:
            self.verified.append((args[1], args[2]))
            held.append(Deferred())
            return held[-1]
        self.verifier.offload = holding
        return held


class GuardTests(GuardCase):
    def test_provides_interface(self) -> None:
        """AuthenticationPolicy provides IAuthenticationPolicy."""
        self.assertTrue(IAuthenticationPolicy.providedBy(self.guard))

    def test_open_channel(self) -> None:
        """A channel without security admits everyone as anonymous."""
        self.assertEqual(self.check(make_message()).kind, 'anonymous')

    def test_right_password_is_verified_once(self) -> None:
        """Only the first request computes a hash; passwords may contain colons and UTF-8."""
        self.assertEqual(self.check(login()).username, 'user')
        self.assertIsInstance(self.guard.check(login()), Principal)
        self.assertEqual(len(self.verified), 1)

    def test_wrong_password_and_unknown_user_cost_the_same(self) -> None:
        """Both compute a hash and get the same challenge."""
        wrong, unknown = self.refused(login(password='x')), self.refused(login(username='nobody'))
        self.assertEqual(len(self.verified), 2)
        self.assertEqual(wrong.challenge, 'Basic realm="API \\"x\\""')
        self.assertEqual((wrong.challenge, wrong.details), (unknown.challenge, unknown.details))

    def test_missing_and_malformed_credentials(self) -> None:
        """A missing header, another scheme and invalid base64 are rejected without a hash."""
        for value in (None, b'Bearer x', b'Basic ?', b'Basic', b'Basic ' + b64encode(b'nocolon')):
            self.refused(make_message(channel=SECURED, headers={} if value is None else {b'authorization': value}))
        self.assertEqual(self.verified, [])

    def test_whom_a_request_names(self) -> None:
        """The lookup key is the user name; None if there are no credentials."""
        check = BasicAuthAuthenticator(self.verifier, definition())
        self.assertEqual(check.extract_key(login('somebody')), 'somebody')
        self.assertEqual(check.extract_key(make_message(headers={b'authorization': b'Basic ?'})), NO_DEFINITION)
        for fields in ({}, {b'authorization': b'Bearer x'}, {b'authorization': b''}):
            self.assertIsNone(check.extract_key(make_message(headers=fields)))

    def test_change_of_the_definition_forgets_what_was_verified(self) -> None:
        """An old password stops working with the change that replaced it."""
        self.check(login())
        other = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash('new')
        self.guard.apply(Snapshot(2, [definition(2, password=other)]))
        self.refused(login())
        self.check(login(password='new'))

    def test_unchanged_definition_is_remembered(self) -> None:
        """Other changes cause no new verification."""
        self.check(login())
        self.guard.apply(
            Snapshot(2, [definition(), StoredObject(2, 'basic_auth', BasicAuth(name='b', username='b'), 2)])
        )
        self.check(login())
        self.assertEqual(len(self.verified), 1)

    def test_gone_inactive_and_passwordless_definitions_admit_nobody(self) -> None:
        """A missing or inactive definition, or one without a password, rejects everyone; the challenge is that of its
        type if known (RFC 9110 §11.6.1)."""
        own = 'Basic realm="API \\"x\\""'
        for objects, challenge in (([], 'Basic realm="zatotx"'), ([definition(is_active=False)], own),
                                   ([definition(password='')], own)):  # fmt: skip
            self.guard.apply(Snapshot(3, objects))
            self.assertEqual(self.refused(login()).challenge, challenge)

    def test_an_inactive_key_asks_for_no_password(self) -> None:
        """The challenge is not `Basic`, for which a browser would prompt its user."""
        guard = AuthenticationPolicy(
            {'apikey': lambda stored: BasicAuthAuthenticator(self.verifier, stored)},
            {'apikey': apikey.security_type.challenge},
        )
        guard.apply(Snapshot(3, [StoredObject(1, 'apikey', ApiKey(name='api', is_active=False), 1)]))
        self.assertEqual(self.assertRaises(Unauthorized, guard.check, login()).challenge, 'zato-apikey')

    def test_a_renamed_definition(self) -> None:
        """Requests that arrived before a rename use the former name and are admitted as before, unless the definition
        was deleted or another one took the name."""
        before = login()
        self.guard.apply(Snapshot(2, [definition(2, name='new')]))
        self.assertEqual(self.check(before).name, 'new')
        self.guard.apply(Snapshot(3, [definition(3, name='newer')]))
        self.assertEqual(self.check(login()).name, 'newer')
        other = StoredObject(2, 'basic_auth', BasicAuth(name='api', username='user', password=''), 4)
        self.guard.apply(Snapshot(4, [definition(3, name='newer'), other]))
        self.refused(login())
        self.guard.apply(Snapshot(5, []))
        self.refused(login())

    def test_many_connections_of_one_client_pay_for_one_hash(self) -> None:
        """The same credentials on many connections are verified once, and a client that disconnects does not affect the
        others."""
        held = self.hold()
        waiting = [self.start(login()) for _ in range(5)]
        waiting[0].addErrback(lambda failure: failure.trap(CancelledError))
        waiting[0].cancel()
        self.assertEqual(len(held), 1)
        held[0].callback(True)
        self.assertEqual([self.successResultOf(d).username for d in waiting[1:]], ['user'] * 4)

    def test_memory_of_verified_credentials_is_bounded(self) -> None:
        """The cache is bounded and contains no passwords."""
        check = BasicAuthAuthenticator(self.verifier, definition())
        check._known = dict.fromkeys(str(n).encode() for n in range(CACHE_SIZE))
        header = login().headers[b'authorization']
        self.successResultOf(Deferred.fromCoroutine(check._check_new(login(), header, b'd', 0.0)))
        self.assertEqual(list(check._known), [b'd'])
        self.assertNotIn('p:ž', repr(check._known) + repr(self.verifier))

    def test_verify_survives_any_hash(self) -> None:
        """A missing or broken hash matches nothing."""
        self.assertEqual([verify_password(hashed, 'x') for hashed in ('', '$argon2id$broken', 'plain')], [False] * 3)


class GuesserTests(GuardCase):
    """Password guessing from one address, `GUESSER`, and requests from others."""

    def guess(self, times: int, **fields: Any) -> None:
        """Send that many wrong passwords, which are answered at once."""
        for number in range(times):
            self.refused(login(password=f'wrong {number}', peer=GUESSER, **fields))

    def test_over_the_limit_nothing_is_compared_before_the_delay(self) -> None:
        """Neither wrong nor right passwords are compared before the delay; after it the right one is admitted."""
        self.guess(21)
        self.verified.clear()
        waiting = [self.start(login(password=password, peer=GUESSER)) for password in ('wrong', 'p:ž')]
        self.clock.advance(0.4)
        self.assertEqual(self.verified, [])
        self.assertNoResult(waiting[1])
        self.clock.advance(8)
        self.failureResultOf(waiting[0], Unauthorized)
        self.assertEqual(self.successResultOf(waiting[1]).name, 'api')

    def test_verified_credentials_cannot_be_guessed_at_full_speed(self) -> None:
        """Even cached credentials wait at the guesser's address as wrong ones do."""
        self.check(login())
        self.guess(21)
        waiting = self.start(login(peer=GUESSER))
        self.assertNoResult(waiting)
        self.assertEqual(self.check(login()).name, 'api')  # from elsewhere
        self.clock.advance(8)
        self.assertEqual(self.successResultOf(waiting).name, 'api')

    def test_known_clients_behind_the_address_of_a_guesser(self) -> None:
        """Clients admitted from there before are served at once while other secrets are guessed."""
        other = StoredObject(2, 'basic_auth', BasicAuth(name='other', username='other', password=HASH), 1)
        self.guard.apply(Snapshot(2, [definition(), other]))
        self.check(login(peer=GUESSER))
        self.guess(21, username='other', security='other')
        self.assertNoResult(self.start(login('other', peer=GUESSER, security='other')))
        self.assertEqual(self.check(login(peer=GUESSER)).name, 'api')

    def test_known_clients_who_are_guessed_at_from_their_own_address(self) -> None:
        """They wait, too: an immediate response to right credentials only would reveal them. A connection that repeats
        its head does not wait, since it guesses nothing."""
        connection = login(peer=GUESSER)
        self.check(connection)
        self.guess(21)
        waiting = self.start(login(peer=GUESSER))
        self.assertNoResult(waiting)
        self.assertEqual(self.check(connection).name, 'api')
        self.clock.advance(8)
        self.successResultOf(waiting)

    def test_who_was_right_is_not_counted(self) -> None:
        """A successful first login from a guesser's address does not prolong the delays."""
        self.guess(21)
        count = self.verifier.comparison.throttle._count(GUESSER, 0.0)
        waiting = self.start(login(peer=GUESSER))
        self.clock.advance(0.5)
        self.successResultOf(waiting)
        self.assertLess(self.verifier.comparison.throttle._count(GUESSER, 0.5), count)

    def test_a_bounded_number_of_one_network_waits(self) -> None:
        """One more is rejected without a comparison; others are verified at once, and there is room again after the
        waiting ones ended."""
        self.guess(21)
        waiting = [self.start(login(password=f'guess {n}', peer=GUESSER)) for n in range(MAX_ATTEMPTS_PER_NETWORK)]
        refused = self.failureResultOf(self.start(login(peer=GUESSER)), TooManyRequests).value
        self.assertEqual(refused.headers, ((b'Retry-After', b'8'),))
        self.assertEqual(self.check(login()).name, 'api')
        self.clock.advance(8)
        for each in waiting:
            self.failureResultOf(each, Unauthorized)
        again = self.start(login(peer=GUESSER))
        self.clock.advance(8)
        self.successResultOf(again)

    def test_connections_with_one_guess_are_bounded_too(self) -> None:
        """Requests that share a hash are bounded as well, since each counts against the node."""
        self.guess(21)
        for _ in range(MAX_ATTEMPTS_PER_NETWORK):
            self.assertNoResult(self.start(login(password='guess', peer=GUESSER)))
        self.failureResultOf(self.start(login(password='guess', peer=GUESSER)), TooManyRequests)

    def test_networks_take_turns(self) -> None:
        """A first login from another address is verified next, however many are waiting; waiting ones per address are
        bounded."""
        held = self.hold()
        for number in range(2 + MAX_WAITING_PER_NETWORK):
            self.start(login(password=f'wrong {number}', peer=GUESSER)).addErrback(lambda failure: None)
        self.failureResultOf(self.start(login(password='more', peer=GUESSER)), ServiceUnavailable)
        first = self.start(login())
        held.pop(0).callback(False)
        self.assertNotEqual(self.verified[-1][1], 'p:ž')  # whose turn it was before
        held.pop(0).callback(False)
        self.assertEqual(self.verified[-1][1], 'p:ž')
        held.pop().callback(True)
        self.assertEqual(self.successResultOf(first).name, 'api')

    def test_who_hangs_up_is_not_verified(self) -> None:
        """Nothing is computed for a disconnected client, but the guess counts. A running thread keeps its slot."""
        held = self.hold()
        guesses = [self.start(login(password=f'wrong {number}', peer=GUESSER)) for number in range(40)]
        for guess in guesses:
            guess.addErrback(lambda failure: failure.trap(CancelledError))
            guess.cancel()
        first = self.start(login())
        self.assertEqual(len(self.verified), 2)
        held[0].callback(False)
        self.assertEqual([password for _, password in self.verified], ['wrong 0', 'wrong 1', 'p:ž'])
        held[1].callback(False)
        held[2].callback(True)
        self.successResultOf(first)
        self.assertGreater(self.verifier.comparison.throttle.delay(GUESSER, 0.0), 0.0)

    def test_one_that_stays_is_verified_for_all(self) -> None:
        """One of several requests with the same credentials disconnects while they wait."""
        held = self.hold()
        for number in range(2):
            self.start(login(password=f'wrong {number}', peer=GUESSER)).addErrback(lambda failure: None)
        leaves, stays = self.start(login()), self.start(login())
        leaves.addErrback(lambda failure: failure.trap(CancelledError))
        leaves.cancel()
        held[0].callback(False)
        held[2].callback(True)
        self.assertEqual(self.successResultOf(stays).name, 'api')
