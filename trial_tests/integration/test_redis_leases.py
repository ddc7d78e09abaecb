"""Leases: one holder at a time and growing tokens, whatever happens to Redis."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from trial_tests.support.odb import CLUSTER, KEY, TYPES
from trial_tests.support.proxy import Proxy
from trial_tests.support.reactor import reactor
from trial_tests.support.redis import KEYS, RedisCase
from zatotx.interfaces.redis import LeaseHeld
from zatotx.model.errors import Conflict, ServiceError, ServiceUnavailable, Timeout
from zatotx.odb.config_store import open_store
from zatotx.odb.offline_operations import NewCluster, create_odb
from zatotx.redis.client import ScriptRunner
from zatotx.redis.fencing import FencedWriter
from zatotx.redis.lease_store import EpochSeed, LeaseGranted, LeaseHeldByOther, NewEpochNeeded, RedisLeaseBackend
from zatotx.redis.leases import LeaseStore, monotonic_clock
from zatotx.redis.redis_url import RedisAddress
from zatotx.rules.resilience.lease_claim import lowest_token_of_epoch
from zatotx.testing.memory_redis_components import EpochSequence, MemoryLeaseBackend, make_memory_lease_store
from zatotx.testing.redis_contracts import LeaseStoreContract


class RedisLeaseTests(RedisCase, LeaseStoreContract):
    """Leases on a real Redis that dies, freezes or is wiped."""

    TTL = 3.0

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.epochs = EpochSequence()
        self.shared = await self.client()

    def leases(self) -> LeaseStore:
        return self.of(self.shared)

    def of(self, client: Any) -> LeaseStore:
        return LeaseStore(reactor, RedisLeaseBackend(ScriptRunner(client), KEYS), self.epochs)

    async def test_one_epoch_a_life_of_redis(self) -> None:
        """An epoch is fetched from the ODB for the first lease after a start of Redis only."""
        for _ in range(3):
            await (await self.held()).release()
        self.assertEqual(self.epochs.last, 1)
        await self.restarted(self.shared)
        for _ in range(3):
            await (await self.held()).release()
        self.assertEqual(self.epochs.last, 2)

    async def test_wiped(self) -> None:
        """After FLUSHALL, the holder learns at its next renewal that the lease is lost; the next holder gets a greater
        token of a new epoch."""
        first = await self.held()
        lost = first.when_lost()
        await self.shared.execute('FLUSHALL')
        self.assertIn("'a' was lost", await self.got(lost))
        self.assertFalse(first.is_held)
        second = await self.held()
        self.assertGreater(second.token, first.token)
        self.assertGreater(second.token, lowest_token_of_epoch(2))
        await second.release()

    async def test_an_old_epoch_is_refused(self) -> None:
        """An epoch fetched before Redis was wiped again is rejected, because tokens would decrease."""
        desk = RedisLeaseBackend(ScriptRunner(self.shared), KEYS)
        asked = await desk.take('a', 'slow', 10, None)
        assert isinstance(asked, NewEpochNeeded)
        await self.shared.execute('FLUSHALL')
        await (await self.held()).release()
        await self.shared.execute('FLUSHALL')
        again = await desk.take('a', 'slow', 10, EpochSeed(asked.ticket, 1))
        self.assertIsInstance(again, NewEpochNeeded)
        self.assertNotEqual(again, asked)

    async def test_epochs_of_two(self) -> None:
        """If two nodes fetch epochs at the same time, tokens grow in either order."""
        desk = RedisLeaseBackend(ScriptRunner(self.shared), KEYS)
        first, second = await desk.take('a', 'one', 10, None), await desk.take('b', 'two', 10, None)
        assert isinstance(first, NewEpochNeeded) and isinstance(second, NewEpochNeeded)
        self.assertEqual(first.ticket, second.ticket)
        late = await desk.take('b', 'two', 10, EpochSeed(second.ticket, 2))
        early = await desk.take('a', 'one', 10, EpochSeed(first.ticket, 1))
        assert isinstance(late, LeaseGranted) and isinstance(early, LeaseGranted)
        self.assertEqual((late.token, early.token), (lowest_token_of_epoch(2) + 1, lowest_token_of_epoch(2) + 2))

    async def test_a_restored_redis(self) -> None:
        """A Redis restored with older data, as after a failover, issues no token twice."""
        await (await self.held('x')).release()
        await self.shared.execute('SET', 'copy', str(await self.shared.execute('GET', KEYS.key('lease-tokens'))))
        token = 0
        for _ in range(3):
            lease = await self.held()
            token = lease.token
            await lease.release()
        await self.shared.execute('COPY', 'copy', KEYS.key('lease-tokens'), 'REPLACE')
        await self.restarted(self.shared)
        lease = await self.held()
        self.assertGreater(lease.token, token)
        await lease.release()

    async def test_frozen(self) -> None:
        """If Redis freezes, the holder gives up by its own clock before Redis can grant the lease to another, which
        then gets a greater token."""
        client = await self.client(timeout=1.0)
        lease = await self.of(client).acquire('a', ttl=1.5)
        began = monotonic_clock()
        lost = lease.when_lost()
        self.server.freeze()
        self.assertIn('could not be renewed in time', await self.got(lost))
        self.assertLess(monotonic_clock() - began, 60)
        self.assertFalse(lease.is_held)
        self.server.thaw()
        second = await self.got(self.held(wait=20))
        self.assertGreater(second.token, lease.token)
        await second.release()

    async def test_crash(self) -> None:
        """After a holder crashed, a waiting node gets the lease after the ttl."""
        client = await self.client()
        await self.of(client).acquire('a', ttl=0.5)
        await client.stopService()
        second = await self.got(self.held(wait=20))
        self.assertTrue(second.is_held)
        await second.release()

    async def test_lost_answer(self) -> None:
        """An acquire whose reply was lost holds the lease for its ttl at most; if it keeps waiting, it gets the same
        lease with the same token."""
        client = await self.client(timeout=1.0)
        self.server.freeze()
        with self.assertRaises(Timeout):
            await self.of(client).acquire('a', ttl=2)
        waiting = self.of(client).acquire('b', ttl=2, wait=30)
        await self.later(0.2)
        self.server.thaw()
        lease = await self.got(waiting)
        other = await self.got(self.of(self.shared).acquire('a', ttl=2, wait=30))
        self.assertTrue(lease.is_held and other.is_held)
        await lease.release()
        await other.release()

    async def test_away(self) -> None:
        """Without Redis, or without the ODB when an epoch is needed, acquiring fails with an error that names what is
        unavailable."""
        desk = RedisLeaseBackend(ScriptRunner(self.shared), KEYS)
        leases = LeaseStore(reactor, desk, lambda: fail(ServiceUnavailable(None, 'no ODB')))
        with self.assertRaisesRegex(ServiceUnavailable, 'no ODB'):
            await leases.acquire('a', ttl=1)
        self.server.kill()
        await self.until(lambda: self.shared.problem, 'the loss')
        with self.assertRaisesRegex(ServiceUnavailable, 'Redis at .* is unavailable'):
            await self.held()
        self.assertTrue(await self.released_without_redis())

    async def released_without_redis(self) -> bool:
        desk = MemoryLeaseBackend(reactor, seeded=True)
        lease = await LeaseStore(reactor, desk, self.epochs).acquire('a', ttl=1)
        desk.release = lambda name, owner: fail(Timeout(None, 'gone'))  # type: ignore[method-assign]
        await lease.release()
        return not lease.is_held

    async def test_fence(self) -> None:
        """A fenced write is atomic; one with a lower token than the highest seen is rejected completely; equal tokens
        are accepted."""
        fences = FencedWriter(ScriptRunner(self.shared), KEYS)
        done = await fences.write('jobs', 7, [('SET', 'x', 'seven'), ('INCR', 'n'), ('GET', 'nobody')])
        self.assertEqual(done, ['OK', 1, None])
        await fences.write('jobs', 8, [('SET', 'x', b'\xff eight')])
        with self.assertRaisesRegex(Conflict, "token 7 of a write to 'jobs' is outdated: 8 was seen"):
            await fences.write('jobs', 7, [('SET', 'x', 'again'), ('INCR', 'n')])
        await fences.write('jobs', 8, [('INCR', 'n')])
        await fences.write('other', 1, [('INCR', 'n')])
        self.assertEqual(await self.shared.execute('GET', 'x'), b'\xff eight')
        self.assertEqual(await self.shared.execute('GET', 'n'), '3')
        big = lowest_token_of_epoch(2**20)
        await fences.write('big', big + 1, [])
        with self.assertRaisesRegex(Conflict, str(big + 1)):
            await fences.write('big', big, [])


class MemoryLeaseTests(LeaseStoreContract, TestCase):
    """The fake fulfills the same contract."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.desk = MemoryLeaseBackend(self.clock)

    def leases(self) -> LeaseStore:
        return make_memory_lease_store(self.clock, self.desk)

    async def later(self, seconds: float) -> None:
        self.clock.pump([seconds / 20] * 20)

    async def got(self, waiting: Deferred[Any]) -> Any:
        while not waiting.called:
            self.clock.advance(0.01)
        return await waiting


class _Deaf(MemoryLeaseBackend):
    """A lease store whose replies may be lost or late."""

    deaf = False

    def take(self, name: str, owner: str, ttl: float, seed: EpochSeed | None) -> Any:
        answer = super().take(name, owner, ttl, seed)  # it hears, and is not heard
        return fail(Timeout(None, 'lost')) if self.deaf else answer

    def renew(self, name: str, owner: str, ttl: float) -> Any:
        return fail(Timeout(None, 'lost')) if self.deaf else super().renew(name, owner, ttl)


class ShellTests(SynchronousTestCase):
    """The exact times at which a holder renews and gives up."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.desk = _Deaf(self.clock, seeded=True)
        self.leases = make_memory_lease_store(self.clock, self.desk)

    def held(self, ttl: float = 30) -> Any:
        return self.successResultOf(self.leases.acquire('a', ttl=ttl))

    def test_renewed_at_a_third(self) -> None:
        """A lease is renewed at each third of its ttl and does not expire."""
        lease = self.held()
        for _ in range(50):
            self.clock.advance(10)
            self.assertTrue(lease.is_held)
            self.assertEqual(self.desk.held['a'][2], self.clock.seconds() + 30)
        self.successResultOf(lease.release())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gives_up_before_redis_does(self) -> None:
        """Without replies, renewals become more frequent, and the holder stops shortly before the lease expires in
        Redis."""
        lease = self.held()
        lost = lease.when_lost()
        self.desk.deaf = True
        self.clock.pump([0.1] * 295)
        self.assertTrue(lease.is_held)
        self.clock.pump([0.1] * 2)
        self.assertFalse(lease.is_held)
        self.assertIn('could not be renewed in time: lost', self.successResultOf(lost))
        self.assertIsInstance(self.desk.take_now('a', 'other', 1, None), LeaseHeldByOther)
        self.clock.advance(0.4)
        self.assertIsInstance(self.desk.take_now('a', 'other', 1, None), LeaseGranted)

    def test_a_late_renewal(self) -> None:
        """A late reply renews the lease from the time of its request, since Redis counts from before its reply."""
        lease, answers = self.held(30), [Deferred[bool](), Deferred[bool]()]

        def renew(name: str, owner: str, ttl: float) -> Deferred[bool]:
            if not answers[0].called:
                self.desk.renew_now(name, owner, ttl)
            return answers[0] if not answers[0].called else answers[1]

        self.desk.renew = renew  # type: ignore[method-assign]
        self.clock.advance(10)  # it is asked for, and Redis keeps it until 40
        self.clock.advance(15)
        answers[0].callback(True)
        self.clock.advance(14.6)
        self.assertTrue(lease.is_held)
        self.clock.advance(0.5)
        self.assertIsInstance(self.desk.take_now('a', 'other', 30, None), LeaseGranted)
        self.assertFalse(lease.is_held)

    def test_a_short_loss(self) -> None:
        """Lost replies have no effect if a later one arrives in time."""
        lease = self.held()
        self.desk.deaf = True
        self.clock.pump([0.1] * 200)
        self.desk.deaf = False
        self.clock.pump([0.1] * 400)
        self.assertTrue(lease.is_held)

    def test_a_pause(self) -> None:
        """A process that was suspended beyond its lease does not hold it, even before any timer runs."""
        lease = self.held()
        self.clock.rightNow += 40
        self.assertFalse(lease.is_held)
        self.clock.advance(0)
        self.assertIn('in time', self.successResultOf(lease.when_lost()))

    def test_lost_to_another(self) -> None:
        """A rejected renewal ends the lease at once."""
        lease = self.held()
        self.desk.held['a'] = ('other', 99, 1e9)
        self.clock.advance(10)
        self.assertIn('was lost', self.successResultOf(lease.when_lost()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost_answer_to_the_first_question(self) -> None:
        """A lease acquired without a reply is released, or acquired again with the same token."""
        self.desk.deaf = True
        self.failureResultOf(self.leases.acquire('a', ttl=30), Timeout)
        self.assertNotIn('a', self.desk.held)
        waiting = self.leases.acquire('b', ttl=30, wait=10)
        token = self.desk.held['b'][1]
        self.clock.advance(0.5)
        self.desk.deaf = False
        self.clock.advance(0.5)
        lease = self.successResultOf(waiting)
        self.assertEqual(lease.token, token)

    def test_cancelled_while_asking(self) -> None:
        """Cancelling a request that Redis may have granted releases the lease."""
        answer: Deferred[Any] = Deferred()
        self.desk.take = lambda name, owner, ttl, seed: (self.desk.take_now(name, owner, ttl, seed), answer)[1]  # type: ignore[method-assign]
        waiting = self.leases.acquire('a', ttl=30)
        self.assertIn('a', self.desk.held)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertNotIn('a', self.desk.held)

    def test_a_slow_answer(self) -> None:
        """A reply that took longer than the ttl is not used: the request is repeated."""
        asked: list[Deferred[Any]] = []

        def take(name: str, owner: str, ttl: float, seed: Any) -> Deferred[Any]:
            self.desk.take_now(name, owner, ttl, seed)
            asked.append(Deferred())
            return asked[-1]

        self.desk.take = take  # type: ignore[method-assign]
        waiting = self.leases.acquire('a', ttl=5)
        self.clock.advance(6)
        asked[0].callback(LeaseGranted(1))
        self.assertNoResult(waiting)
        asked[1].callback(LeaseGranted(2))
        self.assertEqual(self.successResultOf(waiting).token, 2)

    def test_busy_says_how_long(self) -> None:
        """Busy contains the lease's name and remaining time."""
        self.held(30)
        self.clock.advance(1)
        error = self.failureResultOf(self.leases.acquire('a', ttl=1), LeaseHeld).value
        self.assertEqual((error.expires_in, error.status), (29, 409))


class OdbLeaseTests(RedisCase):
    """Leases with the epochs of a real ODB."""

    async def test_wiped_again_and_again(self) -> None:
        """Tokens grow, whether Redis is wiped, killed, or both."""
        directory = Path(self.mktemp())
        directory.mkdir()
        url = f'sqlite:///{directory.absolute()}/odb'
        create_odb(url, KEY, NewCluster(name=CLUSTER, nodes=(), operations=()), types=TYPES)
        store = open_store(url, KEY, reactor=reactor, cluster=CLUSTER, types=TYPES)
        self.addCleanup(store.close)
        client = await self.client()
        leases = LeaseStore(reactor, RedisLeaseBackend(ScriptRunner(client), KEYS), partial(store.next_epoch, 'redis'))
        tokens = []
        for number in range(6):
            lease = await leases.acquire('leader', ttl=60)
            tokens.append(lease.token)
            await lease.release()
            if number % 3 != 1:
                await client.execute('FLUSHALL')
            if number % 3:
                await self.restarted(client)
        self.assertEqual(tokens, sorted(set(tokens)))
        self.assertEqual([token >> 32 for token in tokens], [1, 2, 3, 4, 5, 6])


class TroubledTests(RedisCase):
    """Two leaders behind unreliable connections, on a real Redis that freezes, too."""

    SECONDS = 8.0

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.epochs = EpochSequence()
        self.leaders = [_Leader(self, number) for number in range(2)]
        self.both = 0

    async def test_writes_in_order(self) -> None:
        """There is never more than one leader, and the log written with fencing tokens never goes back."""
        chance, end = Random(7), reactor.seconds() + self.SECONDS
        running = [Deferred.fromCoroutine(leader.run(end)) for leader in self.leaders]
        while reactor.seconds() < end:
            await self.later(0.02)
            self.both += all(leader.lease is not None and leader.lease.is_held for leader in self.leaders)
            if chance.random() < 0.1:
                chance.choice(self.leaders).trouble(chance)
            if chance.random() < 0.01:
                self.server.freeze()
                await self.later(chance.random())
                self.server.thaw()
        for leader in self.leaders:
            leader.proxy.thaw()
        await self.got(gatherResults(running))
        shared = await self.client()
        log: Any = await shared.execute('LRANGE', 'log', 0, -1)
        tokens = [int(line.split()[0]) for line in log]
        self.assertEqual(tokens, sorted(tokens))
        self.assertEqual(self.both, 0)
        self.assertTrue(tokens)


class _Leader:
    """Acquires the lease repeatedly, and writes while it holds it."""

    def __init__(self, case: TroubledTests, number: int) -> None:
        self.case = case
        self.number = number
        self.proxy = Proxy(case.server.path)
        case.addCleanup(self.proxy.close)
        self.client = case.starting(RedisAddress(host='127.0.0.1', port=self.proxy.port), timeout=0.3)
        scripts = ScriptRunner(self.client)
        self.leases = LeaseStore(reactor, RedisLeaseBackend(scripts, KEYS), case.epochs)
        self.fences = FencedWriter(scripts, KEYS)
        self.lease: Any = None

    def trouble(self, chance: Random) -> None:
        chance.choice([self.proxy.cut, self.proxy.freeze, self.proxy.thaw, self.proxy.thaw])()

    async def run(self, end: float) -> None:
        while reactor.seconds() < end:
            try:
                self.lease = await self.leases.acquire('leader', ttl=0.6, wait=0.5)
                await self.lead(min(end, reactor.seconds() + 1))
            except ServiceError:
                await self.case.later(0.05)
        if self.lease is not None:
            await self.lease.release()

    async def lead(self, end: float) -> None:
        while self.lease.is_held and reactor.seconds() < end:
            line = f'{self.lease.token} {self.number}'
            await self.fences.write('log', self.lease.token, [('RPUSH', 'log', line)])
            await self.case.later(0.01)
        await self.lease.release()
