"""Contract tests that every implementation of the Redis interfaces must pass, both the in-memory test doubles and the
real implementations.

The mixins are combined with trial's TestCase, which creates the objects under test; `later` lets time pass and `got`
waits for a result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from zope.interface.verify import verifyObject

from zatotx.interfaces.admin_sessions import ISessionStore
from zatotx.interfaces.rate_limits import ISharedRateBuckets
from zatotx.interfaces.redis import IConsumer, ILease, ILeaseStore, INonceStore, IStream, LeaseHeld
from zatotx.rules.limits.rate_buckets import SECOND, GcraRate

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object


class _Contract(Case):
    async def later(self, seconds: float) -> None:
        """Let that many seconds pass."""
        raise NotImplementedError

    async def got(self, waiting: Deferred[Any]) -> Any:
        """Wait for a result while time passes."""
        return await waiting


class LeaseStoreContract(_Contract):
    """Contract tests of ILeaseStore. The constant TTL is long enough to renew a lease after a third of this time."""

    TTL = 1.0

    def leases(self) -> ILeaseStore:
        """Return the leases of another process of the cluster."""
        raise NotImplementedError

    def held(self, name: str = 'a', **options: Any) -> Any:
        """Acquire a lease in a new process; returns a Deferred."""
        return self.leases().acquire(name, ttl=self.TTL, **options)

    async def test_one_holder(self) -> None:
        """A lease that is held and renewed cannot be acquired by others; leases with other names can."""
        first = await self.held()
        verifyObject(ILease, first)
        verifyObject(ILeaseStore, self.leases())
        self.assertTrue(first.is_held)
        for _ in range(3):
            with self.assertRaises(LeaseHeld) as caught:
                await self.held()
            self.assertIn("'a'", caught.exception.details)
            self.assertTrue(0 < caught.exception.expires_in <= self.TTL, caught.exception.expires_in)
            await self.later(self.TTL / 2)
        self.assertTrue(first.is_held)
        other = await self.held('b')
        await first.release()
        await other.release()

    async def test_release(self) -> None:
        """A released lease is available at once and not reported as lost; a second release has no effect."""
        first = await self.held()
        lost = first.when_lost()
        await first.release()
        self.assertFalse(first.is_held)
        self.assertEqual(await lost, '')
        self.assertEqual(await first.when_lost(), '')
        second = await self.held()
        await first.release()
        self.assertTrue(second.is_held)
        with self.assertRaises(LeaseHeld):
            await self.held()
        await second.release()

    async def test_tokens_grow(self) -> None:
        """Each lease has a greater fencing token than all leases before it, whatever its name."""
        tokens = []
        for name in ('a', 'b', 'a', 'c'):
            lease = await self.held(name)
            tokens.append(lease.token)
            await lease.release()
        self.assertEqual(tokens, sorted(set(tokens)))

    async def test_waiting(self) -> None:
        """A waiting caller gets the lease when it is released, or Busy after its timeout."""
        first = await self.held()
        waiting = self.held(wait=self.TTL * 20)
        with self.assertRaises(LeaseHeld):
            await self.got(self.held(wait=self.TTL / 10))
        self.assertNoResult(waiting)
        await first.release()
        second = await self.got(waiting)
        self.assertTrue(second.is_held)
        await second.release()

    async def test_cancelled(self) -> None:
        """A caller that cancels its wait holds no lease."""
        first = await self.held()
        waiting = self.held(wait=self.TTL * 20)
        waiting.cancel()
        with self.assertRaises(CancelledError):
            await waiting
        await first.release()
        second = await self.held()
        await second.release()

    async def test_wrong_ttl(self) -> None:
        """A TTL out of range raises ValueError."""
        for ttl in (0, -1, 0.1, 1e6):
            with self.assertRaisesRegex(ValueError, 'ttl of a lease is 0.2 to 86,400 seconds'):
                await self.leases().acquire('a', ttl=ttl)


class StreamContract(_Contract):
    """Contract tests of IStream and IConsumer."""

    IDLE = 0.3

    def stream(self) -> IStream:
        """Return the stream, always the same one."""
        raise NotImplementedError

    async def consumer(self, name: str) -> IConsumer:
        """Return a consumer that is ready to read."""
        raise NotImplementedError

    async def aged(self, seconds: float) -> None:
        """Let the delivered entries grow older by that many seconds."""
        await self.later(seconds)

    async def test_in_order(self) -> None:
        """Entries arrive in the order they were added, with unchanged text and bytes."""
        stream, consumer = self.stream(), await self.consumer('c1')
        verifyObject(IStream, stream)
        verifyObject(IConsumer, consumer)
        ids = [await stream.add({'n': str(number), 'text': 'zażółć', 'raw': b'\xff\xfe'}) for number in range(5)]
        entries = [*await consumer.read(3, 0), *await consumer.read(3, 0)]
        self.assertEqual([entry.id for entry in entries], ids)
        self.assertEqual([entry.fields['n'] for entry in entries], list('01234'))
        self.assertEqual((entries[0].fields['text'], entries[0].fields['raw']), ('zażółć', b'\xff\xfe'))
        self.assertEqual({entry.deliveries for entry in entries}, {1})
        self.assertEqual(await consumer.read(3, 0), [])

    async def test_each_to_one(self) -> None:
        """Each entry is delivered to exactly one consumer, including entries that existed before the consumers."""
        stream = self.stream()
        ids = [await stream.add({'n': str(number)}) for number in range(20)]
        consumers = [await self.consumer('c1'), await self.consumer('c2')]
        delivered = [entry.id for _ in range(5) for consumer in consumers for entry in await consumer.read(2, 0)]
        self.assertEqual(sorted(delivered), sorted(ids))

    async def test_waiting(self) -> None:
        """A read waits for the next entry, and returns none after its timeout."""
        stream, consumer = self.stream(), await self.consumer('c1')
        waiting = consumer.read(1, 30)
        await self.later(0.05)
        self.assertNoResult(waiting)
        entry_id = await stream.add({'a': 'b'})
        self.assertEqual([entry.id for entry in await self.got(waiting)], [entry_id])
        late = consumer.read(1, 0.05)
        await self.later(0.2)
        self.assertEqual(await self.got(late), [])

    async def test_cancelled(self) -> None:
        """A cancelled read loses no entry."""
        stream, consumer = self.stream(), await self.consumer('c1')
        waiting = consumer.read(1, 30)
        await self.later(0.05)
        waiting.cancel()
        with self.assertRaises(CancelledError):
            await waiting
        entry_id = await stream.add({'a': 'b'})
        self.assertEqual([entry.id for entry in await consumer.read(1, 5)], [entry_id])

    async def test_acknowledged(self) -> None:
        """Acknowledged entries are removed; acknowledging twice, or an unknown entry, has no effect."""
        stream, consumer = self.stream(), await self.consumer('c1')
        await stream.add({'a': 'b'})
        (entry,) = await consumer.read(1, 0)
        self.assertEqual(await consumer.ack([entry.id]), 1)
        self.assertEqual(await consumer.ack([entry.id, '1-1']), 0)
        self.assertEqual(await consumer.ack([]), 0)
        backlog = await stream.backlog()
        self.assertEqual((backlog.length, backlog.pending), (0, 0))

    async def test_dead_consumer(self) -> None:
        """Unacknowledged entries can be claimed after the idle time; then the dead consumer can be removed."""
        stream, dead, alive = self.stream(), await self.consumer('dead'), await self.consumer('alive')
        ids = [await stream.add({'n': str(number)}) for number in range(3)]
        await dead.read(3, 0)
        self.assertEqual(await alive.claim(30), [])
        self.assertFalse(await stream.remove_consumer('dead'))
        self.assertEqual((await stream.backlog()).consumers, {'dead': 3})
        await self.aged(self.IDLE * 1.5)
        claimed = [*await alive.claim(self.IDLE, 2), *await alive.claim(self.IDLE, 2)]
        self.assertEqual([entry.id for entry in claimed], ids)
        self.assertEqual({entry.deliveries for entry in claimed}, {2})
        self.assertEqual([entry.fields['n'] for entry in claimed], list('012'))
        self.assertTrue(await stream.remove_consumer('dead'))
        self.assertEqual((await stream.backlog()).consumers, {'alive': 3})
        self.assertEqual(await alive.ack(ids), 3)

    async def test_taken_over(self) -> None:
        """The entries of one consumer can be taken over at once; those of the others stay theirs. Consumers are known
        while they have no entries, until they are forgotten."""
        stream, dead, alive = self.stream(), await self.consumer('dead'), await self.consumer('alive')
        other = await self.consumer('other')
        ids = [await stream.add({'n': str(number)}) for number in range(4)]
        await dead.read(3, 0)
        await other.read(1, 0)
        self.assertEqual(await alive.read(1, 0), [])
        taken = [*await alive.take_over('dead', 2), *await alive.take_over('dead', 2)]
        self.assertEqual([entry.id for entry in taken], ids[:3])
        self.assertEqual({entry.deliveries for entry in taken}, {2})
        self.assertEqual(await alive.take_over('dead'), [])
        self.assertEqual(await alive.take_over('unknown'), [])
        self.assertEqual(await stream.consumers(), {'alive': 3, 'dead': 0, 'other': 1})
        self.assertTrue(await stream.remove_consumer('dead'))
        self.assertEqual(await stream.consumers(), {'alive': 3, 'other': 1})

    async def test_trimmed(self) -> None:
        """Trimming removes the oldest entries, also from the pending ones."""
        stream, consumer = self.stream(), await self.consumer('c1')
        ids = [await stream.add({'n': str(number)}) for number in range(5)]
        await consumer.read(2, 0)
        self.assertEqual(await stream.trim(2), 3)
        self.assertEqual(await consumer.claim(0), [])
        self.assertEqual([entry.id for entry in await consumer.read(9, 0)], ids[3:])
        self.assertEqual((await stream.backlog()).pending, 2)


class RateBucketsContract(_Contract):
    """Contract tests of ISharedRateBuckets. The rate SLOW restores no calls during a test, and the rate QUICK does."""

    SLOW, QUICK = GcraRate.from_limit(1, 60, 5), GcraRate.from_limit(5, 1, 3)

    def rates(self) -> ISharedRateBuckets:
        """Return the rates of another node of the cluster; all nodes share the buckets."""
        raise NotImplementedError

    async def charged(self, rates: ISharedRateBuckets, *names: str, rate: GcraRate | None = None) -> Any:
        """Charge one call."""
        return await self.got(rates.charge(names, (rate or self.SLOW,) * len(names)))

    async def test_a_burst_and_no_more(self) -> None:
        """Each bucket admits a burst up to the limit; rejected calls are not counted."""
        rates = self.rates()
        verifyObject(ISharedRateBuckets, rates)
        charges = [await self.charged(rates, 'a') for _ in range(8)]
        self.assertEqual([charge.admitted for charge in charges], [True] * 5 + [False] * 3)
        ahead = [charge.bucket_leads[0] / SECOND for charge in charges]
        for number, seconds in enumerate(ahead):
            self.assertTrue(abs(seconds - 60 * min(number, 5)) < 20, ahead)
        self.assertTrue((await self.charged(rates, 'b')).admitted)

    async def test_time_gives_back(self) -> None:
        """One interval after a burst, one more call is admitted, not a whole burst."""
        rates = self.rates()
        for _ in range(3):
            self.assertTrue((await self.charged(rates, 'a', rate=self.QUICK)).admitted)
        await self.later(0.25)
        self.assertTrue((await self.charged(rates, 'a', rate=self.QUICK)).admitted)
        await self.later(1)
        again = [await self.charged(rates, 'a', rate=GcraRate.from_limit(1, 60, 3)) for _ in range(4)]
        self.assertEqual([charge.admitted for charge in again], [True, True, True, False])

    async def test_many_of_one_turn(self) -> None:
        """Simultaneous calls are counted one by one, and each gets its own result, in order."""
        rates, other = self.rates(), self.rates()
        charges = await self.got(gatherResults(
            [rates.charge(('a',), (self.SLOW,)) for _ in range(4)] + [rates.charge(('b',), (self.SLOW,))]
        ))  # fmt: skip
        self.assertEqual([charge.admitted for charge in charges], [True] * 5)
        self.assertEqual([round(charge.bucket_leads[0] / SECOND / 60) for charge in charges], [0, 1, 2, 3, 0])
        both = [node_rates.charge(('a',), (self.SLOW,)) for node_rates in (rates, other) for _ in range(10)]
        charges = await self.got(gatherResults(both))
        self.assertEqual(sum(charge.admitted for charge in charges), 1)

    async def test_all_buckets_or_none(self) -> None:
        """A call rejected by one bucket is counted in no other, also among simultaneous calls."""
        rates = self.rates()
        narrow = (GcraRate.from_limit(1, 60, 2), self.SLOW)
        charges = await self.got(gatherResults([rates.charge(('n', 'w'), narrow) for _ in range(4)]))
        self.assertEqual([charge.admitted for charge in charges], [True, True, False, False])
        self.assertEqual([round(ahead / SECOND / 60) for ahead in charges[3].bucket_leads], [2, 2])
        alone = await self.got(gatherResults([rates.charge(('w',), (self.SLOW,)) for _ in range(4)]))
        self.assertEqual([charge.admitted for charge in alone], [True, True, True, False])

    async def test_a_lower_limit_holds_at_once(self) -> None:
        """A lowered limit applies at once, including calls admitted before."""
        rates = self.rates()
        for _ in range(3):
            await self.charged(rates, 'a')
        self.assertFalse((await self.charged(rates, 'a', rate=GcraRate.from_limit(1, 60, 2))).admitted)
        self.assertTrue((await self.charged(rates, 'a', rate=GcraRate.from_limit(1, 60, 4))).admitted)

    async def test_cancelled(self) -> None:
        """A cancelled call does not delay others."""
        rates = self.rates()
        gone, staying = (rates.charge(('a',), (self.SLOW,)) for _ in range(2))
        gone.cancel()
        with self.assertRaises(CancelledError):
            await gone
        self.assertTrue((await self.got(staying)).admitted)


class SessionStoreContract(_Contract):
    """Contract tests of ISessionStore. The idle timeout of the sessions is SHORT."""

    SHORT = 0.4

    def session_store(self) -> ISessionStore:
        """Return the sessions of a node."""
        raise NotImplementedError

    async def test_a_session(self) -> None:
        """A session can be used until it is closed; others are unknown."""
        sessions = self.session_store()
        verifyObject(ISessionStore, sessions)
        await self.got(sessions.open('1:a'))
        self.assertEqual([await self.got(sessions.use(key)) for key in ('1:a', '1:b', '')], [True, False, False])
        await self.got(sessions.close('1:a'))
        await self.got(sessions.close('1:a'))
        self.assertFalse(await self.got(sessions.use('1:a')))

    async def test_idle_sessions_end(self) -> None:
        """Each use starts the idle time again, unless it is passive; a session that is not used for that long ends."""
        sessions = self.session_store()
        await self.got(sessions.open('1:a'))
        for _ in range(3):
            await self.later(self.SHORT / 2)
            self.assertTrue(await self.got(sessions.use('1:a')))
        await self.later(self.SHORT * 0.75)
        self.assertTrue(await self.got(sessions.use('1:a', renews=False)))
        await self.later(self.SHORT * 0.75)
        self.assertFalse(await self.got(sessions.use('1:a')))


class NonceStoreContract(_Contract):
    """Contract tests of INonceStore. A nonce with the lifetime SHORT expires during the test."""

    SHORT, LONG = 0.2, 60.0

    def nonces(self) -> INonceStore:
        """Return the nonces of another node of the cluster; all nodes share them."""
        raise NotImplementedError

    async def used(self, nonces: INonceStore, name: str, ttl: float = LONG) -> bool:
        """Return whether this is the first use."""
        first: bool = await self.got(nonces.consume(name, ttl))
        return first

    async def test_once(self) -> None:
        """Only the first use of a name succeeds, on whatever node; other names are independent."""
        first, second = self.nonces(), self.nonces()
        verifyObject(INonceStore, first)
        self.assertEqual([await self.used(first, 'a'), await self.used(first, 'a'), await self.used(second, 'a')],
                         [True, False, False])
        self.assertTrue(await self.used(second, 'b'))
        self.assertFalse(await self.used(first, 'b'))

    async def test_in_one_moment(self) -> None:
        """Of several simultaneous uses, one is the first."""
        nodes = [self.nonces() for _ in range(3)]
        waiting = [node.consume('a', self.LONG) for node in nodes for _ in range(5)]
        self.assertEqual(sum([await self.got(use) for use in waiting]), 1)

    async def test_forgotten(self) -> None:
        """A nonce may be used again after its TTL, and not before."""
        nonces = self.nonces()
        await self.used(nonces, 'short', self.SHORT)
        await self.used(nonces, 'long')
        await self.later(self.SHORT * 1.5)
        self.assertTrue(await self.used(nonces, 'short', self.SHORT))
        self.assertFalse(await self.used(nonces, 'long'))
