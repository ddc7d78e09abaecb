"""What every implementation of the interfaces on Redis keeps, the double in memory like the real one: mixins of tests.

A test case mixes one in beside trial's TestCase and says how the parts are made; `later` is how time passes, `got` how
something is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from zope.interface.verify import verifyObject

from zatotx.interfaces.nonces import INonces
from zatotx.interfaces.rates import IRates
from zatotx.interfaces.redis import Busy, IConsumer, ILease, ILeases, IStream
from zatotx.rules.limits.gcra import SECOND, Rate

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object


class _Contract(Case):
    async def later(self, seconds: float) -> None:
        """So much time passes."""
        raise NotImplementedError

    async def got(self, waiting: Deferred[Any]) -> Any:
        """What comes, as time passes."""
        return await waiting


class LeaseContract(_Contract):
    """ILeases. TTL is a ttl whose third is easily kept."""

    TTL = 1.0

    def leases(self) -> ILeases:
        """A process of the cluster: two of them compete."""
        raise NotImplementedError

    def held(self, name: str = 'a', **options: Any) -> Any:
        """A lease by a process of its own, as a Deferred."""
        return self.leases().acquire(name, ttl=self.TTL, **options)

    async def test_one_holder(self) -> None:
        """While one holds it nobody else gets it, however often it is renewed; other names are free."""
        first = await self.held()
        verifyObject(ILease, first)
        verifyObject(ILeases, self.leases())
        self.assertTrue(first.held)
        for _ in range(3):
            with self.assertRaises(Busy) as caught:
                await self.held()
            self.assertIn("'a'", caught.exception.details)
            self.assertTrue(0 < caught.exception.left <= self.TTL, caught.exception.left)
            await self.later(self.TTL / 2)
        self.assertTrue(first.held)
        other = await self.held('b')
        await first.release()
        await other.release()

    async def test_release(self) -> None:
        """A lease that is given back is free at once, its loss is no loss, and a second release does nothing to the
        next holder."""
        first = await self.held()
        lost = first.lost()
        await first.release()
        self.assertFalse(first.held)
        self.assertEqual(await lost, '')
        self.assertEqual(await first.lost(), '')
        second = await self.held()
        await first.release()
        self.assertTrue(second.held)
        with self.assertRaises(Busy):
            await self.held()
        await second.release()

    async def test_tokens_grow(self) -> None:
        """Each lease has a greater token than all before, whatever its name."""
        tokens = []
        for name in ('a', 'b', 'a', 'c'):
            lease = await self.held(name)
            tokens.append(lease.token)
            await lease.release()
        self.assertEqual(tokens, sorted(set(tokens)))

    async def test_waiting(self) -> None:
        """Who waits gets it once it is free, and Busy after its time."""
        first = await self.held()
        waiting = self.held(wait=self.TTL * 20)
        with self.assertRaises(Busy):
            await self.got(self.held(wait=self.TTL / 10))
        self.assertNoResult(waiting)
        await first.release()
        second = await self.got(waiting)
        self.assertTrue(second.held)
        await second.release()

    async def test_cancelled(self) -> None:
        """Who gives up waiting leaves nothing held."""
        first = await self.held()
        waiting = self.held(wait=self.TTL * 20)
        waiting.cancel()
        with self.assertRaises(CancelledError):
            await waiting
        await first.release()
        second = await self.held()
        await second.release()

    async def test_wrong_ttl(self) -> None:
        """A ttl that cannot be kept is refused in a sentence."""
        for ttl in (0, -1, 0.1, 1e6):
            with self.assertRaisesRegex(ValueError, 'ttl of a lease is 0.2 to 86,400 seconds'):
                await self.leases().acquire('a', ttl=ttl)


class StreamContract(_Contract):
    """IStream and IConsumer."""

    IDLE = 0.3

    def stream(self) -> IStream:
        """The stream, the same one each time."""
        raise NotImplementedError

    async def consumer(self, name: str) -> IConsumer:
        """One of its consumers, ready to read."""
        raise NotImplementedError

    async def aged(self, seconds: float) -> None:
        """What was handed out was so, so long ago."""
        await self.later(seconds)

    async def test_in_order(self) -> None:
        """Entries come in the order they were added, whole, as they were: text and bytes."""
        stream, consumer = self.stream(), await self.consumer('c1')
        verifyObject(IStream, stream)
        verifyObject(IConsumer, consumer)
        ids = [await stream.add({'n': str(n), 'text': 'zażółć', 'raw': b'\xff\xfe'}) for n in range(5)]
        found = [*await consumer.read(3, 0), *await consumer.read(3, 0)]
        self.assertEqual([entry.id for entry in found], ids)
        self.assertEqual([entry.fields['n'] for entry in found], list('01234'))
        self.assertEqual((found[0].fields['text'], found[0].fields['raw']), ('zażółć', b'\xff\xfe'))
        self.assertEqual({entry.deliveries for entry in found}, {1})
        self.assertEqual(await consumer.read(3, 0), [])

    async def test_each_to_one(self) -> None:
        """No entry goes to two consumers, and none is left out; entries that were there first count too."""
        stream = self.stream()
        ids = [await stream.add({'n': str(n)}) for n in range(20)]
        consumers = [await self.consumer('c1'), await self.consumer('c2')]
        found = [entry.id for _ in range(5) for one in consumers for entry in await one.read(2, 0)]
        self.assertEqual(sorted(found), sorted(ids))

    async def test_waiting(self) -> None:
        """A read waits for the next entry, and ends empty after its time."""
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
        """A read that was given up loses no entry."""
        stream, consumer = self.stream(), await self.consumer('c1')
        waiting = consumer.read(1, 30)
        await self.later(0.05)
        waiting.cancel()
        with self.assertRaises(CancelledError):
            await waiting
        entry_id = await stream.add({'a': 'b'})
        self.assertEqual([entry.id for entry in await consumer.read(1, 5)], [entry_id])

    async def test_acknowledged(self) -> None:
        """What was acknowledged is gone; acknowledging twice, or what never was, counts for nothing."""
        stream, consumer = self.stream(), await self.consumer('c1')
        await stream.add({'a': 'b'})
        (entry,) = await consumer.read(1, 0)
        self.assertEqual(await consumer.ack([entry.id]), 1)
        self.assertEqual(await consumer.ack([entry.id, '1-1']), 0)
        self.assertEqual(await consumer.ack([]), 0)
        backlog = await stream.backlog()
        self.assertEqual((backlog.length, backlog.pending), (0, 0))

    async def test_dead_consumer(self) -> None:
        """What a consumer was handed and did not acknowledge goes to one who claims it after the idle time, not before,
        with the number of times it was handed out; then the dead one can be struck out."""
        stream, dead, alive = self.stream(), await self.consumer('dead'), await self.consumer('alive')
        ids = [await stream.add({'n': str(n)}) for n in range(3)]
        await dead.read(3, 0)
        self.assertEqual(await alive.claim(30), [])
        self.assertFalse(await stream.forget('dead'))
        self.assertEqual((await stream.backlog()).consumers, {'dead': 3})
        await self.aged(self.IDLE * 1.5)
        claimed = [*await alive.claim(self.IDLE, 2), *await alive.claim(self.IDLE, 2)]
        self.assertEqual([entry.id for entry in claimed], ids)
        self.assertEqual({entry.deliveries for entry in claimed}, {2})
        self.assertEqual([entry.fields['n'] for entry in claimed], list('012'))
        self.assertTrue(await stream.forget('dead'))
        self.assertEqual((await stream.backlog()).consumers, {'alive': 3})
        self.assertEqual(await alive.ack(ids), 3)

    async def test_trimmed(self) -> None:
        """Trimming drops the oldest; one that somebody was handed is not named for ever."""
        stream, consumer = self.stream(), await self.consumer('c1')
        ids = [await stream.add({'n': str(n)}) for n in range(5)]
        await consumer.read(2, 0)
        self.assertEqual(await stream.trim(2), 3)
        self.assertEqual(await consumer.claim(0), [])
        self.assertEqual([entry.id for entry in await consumer.read(9, 0)], ids[3:])
        self.assertEqual((await stream.backlog()).pending, 2)


class RateContract(_Contract):
    """IRates. SLOW gives nothing back while a test runs, QUICK does."""

    SLOW, QUICK = Rate.of(1, 60, 5), Rate.of(5, 1, 3)

    def rates(self) -> IRates:
        """A node of the cluster: all of them share the buckets."""
        raise NotImplementedError

    async def charged(self, rates: IRates, *names: str, rate: Rate | None = None) -> Any:
        """One call."""
        return await self.got(rates.charge(names, (rate or self.SLOW,) * len(names)))

    async def test_a_burst_and_no_more(self) -> None:
        """As many as may come at once, each one interval further ahead; those that are refused count for nothing, and
        another name is another bucket."""
        rates = self.rates()
        verifyObject(IRates, rates)
        charges = [await self.charged(rates, 'a') for _ in range(8)]
        self.assertEqual([charge.admitted for charge in charges], [True] * 5 + [False] * 3)
        ahead = [charge.aheads[0] / SECOND for charge in charges]
        for number, seconds in enumerate(ahead):
            self.assertTrue(abs(seconds - 60 * min(number, 5)) < 20, ahead)
        self.assertTrue((await self.charged(rates, 'b')).admitted)

    async def test_time_gives_back(self) -> None:
        """One interval after a burst there is room for one more, and not for the whole burst."""
        rates = self.rates()
        for _ in range(3):
            self.assertTrue((await self.charged(rates, 'a', rate=self.QUICK)).admitted)
        await self.later(0.25)
        self.assertTrue((await self.charged(rates, 'a', rate=self.QUICK)).admitted)
        await self.later(1)
        again = [await self.charged(rates, 'a', rate=Rate.of(1, 60, 3)) for _ in range(4)]
        self.assertEqual([charge.admitted for charge in again], [True, True, True, False])

    async def test_many_of_one_turn(self) -> None:
        """Calls that come at once are counted one by one, each is told how it stood, in the order they came."""
        rates, other = self.rates(), self.rates()
        charges = await self.got(gatherResults(
            [rates.charge(('a',), (self.SLOW,)) for _ in range(4)] + [rates.charge(('b',), (self.SLOW,))]
        ))  # fmt: skip
        self.assertEqual([charge.admitted for charge in charges], [True] * 5)
        self.assertEqual([round(charge.aheads[0] / SECOND / 60) for charge in charges], [0, 1, 2, 3, 0])
        both = [some.charge(('a',), (self.SLOW,)) for some in (rates, other) for _ in range(10)]
        charges = await self.got(gatherResults(both))
        self.assertEqual(sum(charge.admitted for charge in charges), 1)

    async def test_all_buckets_or_none(self) -> None:
        """A call that one bucket refuses is counted in no other one, also among calls that come at once."""
        rates = self.rates()
        narrow = (Rate.of(1, 60, 2), self.SLOW)
        charges = await self.got(gatherResults([rates.charge(('n', 'w'), narrow) for _ in range(4)]))
        self.assertEqual([charge.admitted for charge in charges], [True, True, False, False])
        self.assertEqual([round(ahead / SECOND / 60) for ahead in charges[3].aheads], [2, 2])
        alone = await self.got(gatherResults([rates.charge(('w',), (self.SLOW,)) for _ in range(4)]))
        self.assertEqual([charge.admitted for charge in alone], [True, True, True, False])

    async def test_a_lower_limit_holds_at_once(self) -> None:
        """What was admitted before counts."""
        rates = self.rates()
        for _ in range(3):
            await self.charged(rates, 'a')
        self.assertFalse((await self.charged(rates, 'a', rate=Rate.of(1, 60, 2))).admitted)
        self.assertTrue((await self.charged(rates, 'a', rate=Rate.of(1, 60, 4))).admitted)

    async def test_cancelled(self) -> None:
        """Who gives up holds nobody else up."""
        rates = self.rates()
        gone, staying = (rates.charge(('a',), (self.SLOW,)) for _ in range(2))
        gone.cancel()
        with self.assertRaises(CancelledError):
            await gone
        self.assertTrue((await self.got(staying)).admitted)


class NonceContract(_Contract):
    """INonces. SHORT passes while a test waits."""

    SHORT, LONG = 0.2, 60.0

    def nonces(self) -> INonces:
        """A node of the cluster: what one has used, all have."""
        raise NotImplementedError

    async def used(self, nonces: INonces, name: str, ttl: float = LONG) -> bool:
        """Whether this is its first use."""
        first: bool = await self.got(nonces.use(name, ttl))
        return first

    async def test_once(self) -> None:
        """Whoever comes first, on whatever node; other names are theirs."""
        one, two = self.nonces(), self.nonces()
        verifyObject(INonces, one)
        self.assertEqual([await self.used(one, 'a'), await self.used(one, 'a'), await self.used(two, 'a')],
                         [True, False, False])
        self.assertTrue(await self.used(two, 'b'))
        self.assertFalse(await self.used(one, 'b'))

    async def test_in_one_moment(self) -> None:
        """Of several at once one is the first."""
        nodes = [self.nonces() for _ in range(3)]
        waiting = [node.use('a', self.LONG) for node in nodes for _ in range(5)]
        self.assertEqual(sum([await self.got(each) for each in waiting]), 1)

    async def test_forgotten(self) -> None:
        """After its time, and not before."""
        nonces = self.nonces()
        await self.used(nonces, 'short', self.SHORT)
        await self.used(nonces, 'long')
        await self.later(self.SHORT * 1.5)
        self.assertTrue(await self.used(nonces, 'short', self.SHORT))
        self.assertFalse(await self.used(nonces, 'long'))
