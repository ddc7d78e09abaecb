"""A model of leases: two holders with pauses, changed clocks, lost or late responses, and a Redis that loses its data.
Checks safety, and that a holder gets the lease eventually."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.pausable_clock import PausableClock
from trial_tests.support.properties import holds
from trial_tests.support.reactor import as_reactor
from zatotx.interfaces.redis import LeaseHeld
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis.lease_store import EpochSeed
from zatotx.redis.leases import LeaseStore, RedisLease
from zatotx.rules.resilience.lease_claim import (
    LeaseClaim,
    claim_after_grant,
    claim_after_rejection,
    is_token_accepted,
    lease_ttl_error,
    lowest_token_of_epoch,
    next_renewal,
)
from zatotx.testing.memory_redis_components import EpochSequence, MemoryLeaseBackend

TTL = 3.0
_PATIENCE = 1.0  # seconds until a question counts as lost


class ClaimTests(SynchronousTestCase):
    def test_ends_before_the_server_does(self) -> None:
        """The claim counts from before the request was sent, and is shorter than the ttl by drift and margin."""
        claim = claim_after_grant(LeaseClaim(ttl=30), 7, 100.0)
        self.assertAlmostEqual(claim.expires_at, 100 + 30 - 0.3 - 0.05)
        self.assertTrue(claim.is_held(129.6))
        self.assertFalse(claim.is_held(129.65))
        self.assertLess(claim_after_grant(LeaseClaim(ttl=0.2), 7, 0).expires_at, 0.18)
        self.assertFalse(claim_after_rejection(claim).is_held(100.0))

    def test_a_late_answer(self) -> None:
        """A late response to an older request does not shorten the claim."""
        newer = claim_after_grant(claim_after_grant(LeaseClaim(ttl=30), 7, 100.0), 7, 110.0)
        self.assertAlmostEqual(newer.expires_at, 110 + 30 - 0.3 - 0.05)
        self.assertEqual(claim_after_grant(newer, 7, 100.0), newer)
        self.assertEqual(claim_after_grant(newer, 8, 100.0), claim_after_grant(LeaseClaim(ttl=30), 8, 100.0))
        self.assertFalse(LeaseClaim(ttl=30).is_held(-1.0))

    def test_renewals(self) -> None:
        """A lease is renewed a third of the ttl after the last request, sooner after a lost one, and never after its
        end."""
        claim = claim_after_grant(LeaseClaim(ttl=30), 7, 100.0)
        self.assertEqual(next_renewal(claim, 101.0, failed=False), 110.0)
        self.assertEqual(next_renewal(claim, 120.0, failed=False), 120.0)
        self.assertEqual(next_renewal(claim, 112.0, failed=True), 113.5)
        self.assertEqual(next_renewal(claim, 129.0, failed=True), claim.expires_at)
        self.assertIsNone(next_renewal(claim, 129.7, failed=True))

    def test_tokens(self) -> None:
        """All tokens of an epoch exceed those of earlier ones; a resource accepts tokens that are not lower."""
        self.assertGreater(lowest_token_of_epoch(2), lowest_token_of_epoch(1) + 2**32 - 1)
        self.assertLess(lowest_token_of_epoch(2**20) + 2**32, 2**53)
        self.assertEqual([is_token_accepted(5, token) for token in (4, 5, 6)], [False, True, True])
        self.assertEqual([lowest_token_of_epoch(epoch) for epoch in (1, 2)], [2**32, 2**33])
        self.assertEqual([is_token_accepted(0, token) for token in (0, 1)], [False, True])
        self.assertFalse(is_token_accepted(-1, 1))

    def test_ttls(self) -> None:
        """Too short and too long ttls are rejected with a sentence."""
        self.assertEqual([lease_ttl_error(ttl) for ttl in (0.2, 20, 86_400)], [''] * 3)
        self.assertEqual(lease_ttl_error(0.199), 'The ttl of a lease is 0.2 to 86,400 seconds, not 0.199')
        self.assertIn('not 86400.1', lease_ttl_error(86_400.1))


class _Net:
    """The connection between a holder and the lease store: responses are delayed, or they or requests are lost."""

    def __init__(self, world: _World) -> None:
        self.world = world
        self.lag = 0.0  # seconds, each way
        self.losing = ''  # 'questions', 'answers' or ''

    def take(self, name: str, owner: str, ttl: float, seed: EpochSeed | None) -> Deferred[Any]:
        return self._ask(lambda: self.world.desk.take_now(name, owner, ttl, seed))

    def renew(self, name: str, owner: str, ttl: float) -> Deferred[bool]:
        return self._ask(lambda: self.world.desk.renew_now(name, owner, ttl))

    def release(self, name: str, owner: str) -> Deferred[bool]:
        return self._ask(lambda: self.world.desk.free_now(name, owner))

    def _ask(self, decide: Callable[[], Any]) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        time, lag, losing = self.world.time, self.lag, self.losing

        def late() -> None:
            if not answer.called:
                answer.errback(Timeout(None, 'lost'))

        deadline = time.callLater(_PATIENCE, late)

        def arrived() -> None:
            decided = decide()
            if losing != 'answers':
                time.callLater(lag, answered, decided)

        def answered(decided: Any) -> None:
            if not answer.called:
                if deadline.active():
                    deadline.cancel()
                answer.callback(decided)

        if losing != 'questions':
            time.callLater(lag, arrived)
        return answer


@define(eq=False)
class _Holder:
    """A process that always tries to hold the lease, and writes while it holds it."""

    world: _World
    net: _Net
    clock: PausableClock
    leases: LeaseStore
    lease: RedisLease | None = None
    wanting: Deferred[Any] | None = None

    def step(self) -> None:
        """Runs one step of the process."""
        if self.clock.until > self.world.time.seconds():
            return  # it is paused
        if self.lease is not None and not self.lease.is_held:
            self.lease = None
        if self.lease is None and self.wanting is None:
            self.wanting = self.leases.acquire('a', ttl=TTL)
            self.wanting.addCallbacks(self._has, self._has_not)
        if self.lease is not None:
            self.world.time.callLater(self.net.lag, self.world.written, self, self.lease.token)

    def _has(self, lease: Any) -> None:
        self.wanting, self.lease = None, lease

    def _has_not(self, failure: Any) -> None:
        failure.trap(LeaseHeld, ServiceUnavailable, Timeout)
        self.wanting = None


@define(eq=False)
class _World:
    """Redis, two holders, and a resource that rejects old tokens."""

    time: Clock = field(factory=Clock)
    epochs: EpochSequence = field(factory=EpochSequence)
    jumped: float = 0.0  # how far the clock of Redis was set
    highest: int = 0
    writes: list[tuple[float, int, int]] = field(factory=list)  # when, whose, token
    refused: int = 0
    everybody: list[_Holder] = field(factory=list)  # kept, so that no two have one id
    both: list[float] = field(factory=list)  # when two believed
    desk: MemoryLeaseBackend = field(init=False)
    holders: list[_Holder] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.desk = MemoryLeaseBackend(self)
        self.holders = [self._holder() for _ in range(2)]

    def seconds(self) -> float:
        """Returns Redis's time."""
        return self.time.seconds() + self.jumped

    def _holder(self) -> _Holder:
        net, clock = _Net(self), PausableClock(self.time)
        store = LeaseStore(as_reactor(clock), net, self.epochs, now=self.time.seconds)
        self.everybody.append(_Holder(self, net, clock, store))
        return self.everybody[-1]

    def written(self, holder: _Holder, token: int) -> None:
        if is_token_accepted(self.highest, token):
            self.highest = token
            self.writes.append((self.time.seconds(), id(holder), token))
        else:
            self.refused += 1

    def run(self, seconds: float) -> None:
        """Advances time in small steps."""
        for _ in range(round(seconds / 0.05)):
            self.time.advance(0.05)
            for holder in self.holders:
                holder.step()
            if all(holder.lease is not None and holder.lease.is_held for holder in self.holders):
                self.both.append(self.time.seconds())


_seconds = st.floats(0, 5)
_who = st.integers(0, 1)
_TROUBLE = {
    'run': st.tuples(st.just('run'), _seconds),
    'pause': st.tuples(st.just('pause'), _who, _seconds),
    'lag': st.tuples(st.just('lag'), _who, st.sampled_from([0.0, 0.02, 0.3, 0.9, 2.0])),
    'lose': st.tuples(st.just('lose'), _who, st.sampled_from(['', 'questions', 'answers'])),
    'crash': st.tuples(st.just('crash'), _who),
    'release': st.tuples(st.just('release'), _who),
}
_FORGETFUL = {
    **_TROUBLE,
    'wipe': st.tuples(st.just('wipe')),
    'jump': st.tuples(st.just('jump'), st.sampled_from([-3600.0, -1.0, 1.0, 3600.0])),
}


def _happens(world: _World, event: tuple[Any, ...]) -> None:
    kind, *args = event
    if kind == 'run':
        world.run(args[0])
    elif kind == 'wipe':
        world.desk.lose_data()
    elif kind == 'jump':
        world.jumped += args[0]
    else:
        _to_holder(world, world.holders[args[0]], kind, args[1:])


def _to_holder(world: _World, holder: _Holder, kind: str, args: list[Any]) -> None:
    if kind == 'pause':
        holder.clock.until = world.time.seconds() + args[0]
    elif kind == 'lag':
        holder.net.lag = args[0]
    elif kind == 'lose':
        holder.net.losing = args[0]
    elif kind == 'crash':  # a new process takes its place; the old one runs no more
        holder.clock.until = 1e9
        world.holders[world.holders.index(holder)] = world._holder()
    elif holder.lease is not None:
        holder.lease.release()
        holder.lease = None


class ModelTests(SynchronousTestCase):
    def play(self, events: list[tuple[Any, ...]]) -> _World:
        world = _World()
        for event in events:
            _happens(world, event)
            world.run(0.1)
        return world

    @holds(events=st.lists(st.one_of(*_TROUBLE.values()), max_size=25))
    def test_never_two(self, events: list[tuple[Any, ...]]) -> None:
        """Whatever pauses occur and responses are lost or late, at most one process holds the lease at any time."""
        self.assertEqual(self.play(events).both, [])

    @holds(events=st.lists(st.one_of(*_FORGETFUL.values()), max_size=25))
    def test_writes_in_order(self, events: list[tuple[Any, ...]]) -> None:
        """Even if Redis's clock is set by an hour and its data is lost, so that two processes may hold the lease, and
        writes are late: the resource never accepts a write of an older holder after one of a newer holder, and tokens
        are unique."""
        world = self.play(events)
        tokens = [token for _, _, token in world.writes]
        self.assertEqual(tokens, sorted(tokens))
        for token in set(tokens):
            self.assertEqual(len({whose for _, whose, written in world.writes if written == token}), 1, token)

    @holds(events=st.lists(st.one_of(*_FORGETFUL.values()), max_size=15))
    def test_somebody_gets_it(self, events: list[tuple[Any, ...]]) -> None:
        """After the failures end, some process writes again within the ttl plus the time of a lost request and a
        margin, unless Redis's clock was set back by an hour meanwhile."""
        world = self.play([event for event in events if event[0] != 'jump'])
        for holder in world.holders:
            holder.net.lag, holder.net.losing, holder.clock.until = 0.0, '', 0.0
        world.run(TTL + 3 * _PATIENCE)
        recent = world.time.seconds() - 1.0
        self.assertTrue([at for at, _, _ in world.writes if at > recent], world.writes[-3:])

    def test_the_model_bites(self) -> None:
        """The model detects a holder that relies on its lease slightly too long."""
        self.patch(
            __import__('zatotx.rules.resilience.lease_claim', fromlist=['MAX_CLOCK_DRIFT']), 'MAX_CLOCK_DRIFT', -0.5
        )
        world = self.play([('run', 1.0), ('lose', 0, 'questions'), ('lose', 1, ''), ('run', 5.0), ('lose', 0, ''),
                           ('lose', 1, 'questions'), ('run', 5.0)])
        self.assertTrue(world.both)
        self.assertTrue(world.refused)
