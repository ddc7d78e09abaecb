"""Who may use a channel: Basic auth against argon2id hashes, verified once, remembered by a keyed digest."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from argon2 import PasswordHasher
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.exchange.security.basic_auth import MOST, REMEMBERED, WAITING, BasicAuthCheck, Verifier, verify
from zatotx.exchange.security.check import NOBODY
from zatotx.exchange.security.guard import Guard
from zatotx.interfaces.exchange import IGuard
from zatotx.model.faults import ServiceUnavailable, Unauthorized
from zatotx.model.message import ChannelSpec, Inbound, Principal
from zatotx.schema.security import BasicAuth
from zatotx.schema.snapshot import Snapshot, Stored
from zatotx.testing.exchange import message

HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash('p:ž')
SECURED = ChannelSpec(name='test', kind='http-soap', service='s', security='api')


def definition(revision: int = 1, **fields: Any) -> Stored:
    values = {'name': 'api', 'username': 'user', 'realm': 'API "x"', 'password': HASH, **fields}
    return Stored(1, 'basic_auth', BasicAuth(**values), revision)


def login(username: str = 'user', password: str = 'p:ž') -> Inbound:
    credentials = b64encode(f'{username}:{password}'.encode())
    return message(channel=SECURED, headers={b'authorization': b'Basic ' + credentials})


class GuardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.verified: list[tuple[str, str]] = []
        self.verifier = Verifier(self.clock, self.offload)
        self.guard = Guard({'basic_auth': lambda stored: BasicAuthCheck(self.verifier, stored)})
        self.guard.apply(Snapshot(1, [definition()]))

    def offload(self, function: Any, hashed: str, password: str) -> Deferred[Any]:
        self.verified.append((hashed, password))
        return succeed(function(hashed, password))

    def check(self, inbound: Inbound) -> Principal:
        async def wait(checked: Any) -> Principal:
            return checked if isinstance(checked, Principal) else await checked
        principal: Principal = self.successResultOf(Deferred.fromCoroutine(wait(self.guard.check(inbound))))
        return principal

    def refused(self, inbound: Inbound) -> Unauthorized:
        async def wait() -> None:
            checked: Any = self.guard.check(inbound)
            if not isinstance(checked, Principal):
                await checked
        failure = self.failureResultOf(Deferred.fromCoroutine(wait()), Unauthorized)
        assert isinstance(failure.value, Unauthorized)
        return failure.value

    def test_provides_interface(self) -> None:
        """Guard is an IGuard."""
        self.assertTrue(IGuard.providedBy(self.guard))

    def test_open_channel(self) -> None:
        """A channel without security lets everybody in as anonymous."""
        self.assertEqual(self.check(message()).kind, 'anonymous')

    def test_right_password_is_verified_once(self) -> None:
        """The first request pays for the hash, the next ones do not; colons and UTF-8 in passwords are fine."""
        self.assertEqual(self.check(login()).username, 'user')
        self.assertIsInstance(self.guard.check(login()), Principal)
        self.assertEqual(len(self.verified), 1)

    def test_wrong_password_and_unknown_user_cost_the_same(self) -> None:
        """Both verify a hash, both get the same challenge."""
        wrong, unknown = self.refused(login(password='x')), self.refused(login(username='nobody'))
        self.assertEqual(len(self.verified), 2)
        self.assertEqual(wrong.challenge, 'Basic realm="API \\"x\\""')
        self.assertEqual((wrong.challenge, wrong.details), (unknown.challenge, unknown.details))

    def test_missing_and_malformed_credentials(self) -> None:
        """No header, another scheme and bad base64 are refused without work."""
        for value in (None, b'Bearer x', b'Basic ?', b'Basic', b'Basic ' + b64encode(b'nocolon')):
            self.refused(message(channel=SECURED, headers={} if value is None else {b'authorization': value}))
        self.assertEqual(self.verified, [])

    def test_whom_a_request_names(self) -> None:
        """The user name, for a choice among several definitions; None where no login was sent at all."""
        check = BasicAuthCheck(self.verifier, definition())
        self.assertEqual(check.claimed(login('somebody')), 'somebody')
        self.assertEqual(check.claimed(message(headers={b'authorization': b'Basic ?'})), NOBODY)
        for fields in ({}, {b'authorization': b'Bearer x'}, {b'authorization': b''}):
            self.assertIsNone(check.claimed(message(headers=fields)))

    def test_change_of_the_definition_forgets_what_was_verified(self) -> None:
        """An old password stops working with the change that replaced it."""
        self.check(login())
        other = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash('new')
        self.guard.apply(Snapshot(2, [definition(2, password=other)]))
        self.refused(login())
        self.check(login(password='new'))

    def test_unchanged_definition_is_remembered(self) -> None:
        """A change elsewhere costs nobody a new verification."""
        self.check(login())
        self.guard.apply(Snapshot(2, [definition(), Stored(2, 'basic_auth', BasicAuth(name='b', username='b'), 2)]))
        self.check(login())
        self.assertEqual(len(self.verified), 1)

    def test_gone_inactive_and_passwordless_definitions_admit_nobody(self) -> None:
        """A definition that is not there, is off, or has no password yet lets nobody in."""
        for objects in ([], [definition(is_active=False)], [definition(password='')]):
            self.guard.apply(Snapshot(3, objects))
            self.refused(login())

    def test_guessers_are_slowed_down(self) -> None:
        """After 20 failures in a minute from one address the next guess waits; who was verified before does not."""
        self.check(login())
        for _ in range(21):
            self.refused(login(password='x'))
        waiting = Deferred.fromCoroutine(self.wait_for(login(password='y')))
        self.assertNoResult(waiting)
        self.assertIsInstance(self.guard.check(login()), Principal)
        self.clock.advance(10)
        self.failureResultOf(waiting, Unauthorized)

    def test_many_connections_of_one_client_pay_for_one_hash(self) -> None:
        """The same credentials on many connections at once are verified once, and a client that leaves meanwhile
        takes nobody with it."""
        held: list[Deferred[Any]] = []

        def holding(function: Any, *args: Any) -> Deferred[Any]:
            held.append(Deferred())
            return held[-1]
        self.verifier.offload = holding
        waiting = [Deferred.fromCoroutine(self.wait_for(login())) for _ in range(5)]
        waiting[0].addErrback(lambda failure: failure.trap(CancelledError))
        waiting[0].cancel()
        self.assertEqual(len(held), 1)
        held[0].callback(True)
        self.assertEqual([self.successResultOf(d).username for d in waiting[1:]], ['user'] * 4)

    async def wait_for(self, inbound: Inbound) -> Any:
        checked: Any = self.guard.check(inbound)
        return await checked

    def test_guessers_do_not_fill_the_node(self) -> None:
        """Those that wait because others of their address failed are bounded too: one more is 503 at once, and there is
        room again when they have had their answer."""
        for number in range(21):
            self.refused(login(password=f'wrong {number}'))
        waiting = [Deferred.fromCoroutine(self.wait_for(login(password=f'guess {n}'))) for n in range(MOST)]
        late = Deferred.fromCoroutine(self.wait_for(login(password='one more')))
        self.failureResultOf(late, ServiceUnavailable)
        self.clock.advance(10)
        for guess in waiting:
            self.failureResultOf(guess, Unauthorized)
        self.clock.advance(100)
        self.assertEqual(self.check(login()).name, 'api')

    def test_verifications_that_wait_are_bounded(self) -> None:
        """A flood of new credentials is told to come back, and holds no more than a bounded number of requests."""
        held: list[Deferred[Any]] = []

        def holding(*args: Any) -> Deferred[Any]:
            held.append(Deferred())
            return held[-1]
        self.verifier.offload = holding
        waiting = [Deferred.fromCoroutine(self.wait_for(login(password=str(n)))) for n in range(WAITING + 2)]
        self.failureResultOf(Deferred.fromCoroutine(self.wait_for(login(password='more'))), ServiceUnavailable)
        self.assertEqual(len(held), 2)
        for deferred in waiting:
            deferred.addErrback(lambda failure: failure.trap(Unauthorized))
        while held:
            held.pop(0).callback(False)

    def test_memory_of_verified_credentials_is_bounded(self) -> None:
        """What is remembered never outgrows its bound, and holds no password."""
        check = BasicAuthCheck(self.verifier, definition())
        check._known = dict.fromkeys(str(n).encode() for n in range(REMEMBERED))
        header = login().headers[b'authorization']
        self.successResultOf(Deferred.fromCoroutine(check._first_time(login(), header, b'd')))
        self.assertEqual(list(check._known), [b'd'])
        self.assertNotIn('p:ž', repr(check._known) + repr(self.verifier))

    def test_verify_survives_any_hash(self) -> None:
        """No hash and a broken hash match nothing."""
        self.assertEqual([verify(hashed, 'x') for hashed in ('', '$argon2id$broken', 'plain')], [False] * 3)
