"""Contract tests that every implementation of ITickWriter and ILeaderStore must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface.verify import verifyObject

from zatotx.interfaces.scheduler import (
    DUPLICATE,
    OVERLAPPING,
    WRITTEN,
    ILeaderStore,
    ITickWriter,
    OutdatedLeaderEpoch,
    TickWrite,
)
from zatotx.model.job_run import tick_cid
from zatotx.model.work_message import WorkMessage

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object


def make_tick(job_id: int, moment: int, *, order_key: str = '', skips_overlap: bool = False) -> TickWrite:
    """Create a tick for use in contract tests."""
    cid = tick_cid('c', job_id, moment)
    message = WorkMessage(id=cid, cid=cid, service='a.b', payload=f'{job_id}:{moment}', order_key=order_key)
    return TickWrite(job_id=job_id, tick=moment, message=message, skips_overlap=skips_overlap)


class TickWriterContract(Case):
    """Contract tests of ITickWriter. The subclass, a TestCase of trial, creates the store, returns the written messages
    and simulates the loss of its data."""

    def tick_store(self) -> ITickWriter:
        """Return the store, always the same one."""
        raise NotImplementedError

    async def payloads(self) -> list[Any]:
        """Return the payloads of all messages in the work stream, in order."""
        raise NotImplementedError

    async def lose_data(self) -> None:
        """Lose all data."""
        raise NotImplementedError

    async def test_each_once(self) -> None:
        """A tick is written once; one that is not later than the last of its job is a duplicate."""
        store = self.tick_store()
        verifyObject(ITickWriter, store)
        self.assertEqual(await store.begin(1, 0), 0)
        now = 1_800_000_000_000_001
        self.assertEqual(await store.write(1, [make_tick(1, now), make_tick(2, now)]), [WRITTEN, WRITTEN])
        results = await store.write(1, [make_tick(1, now), make_tick(1, now - 1), make_tick(1, now + 1)])
        self.assertEqual(results, [DUPLICATE, DUPLICATE, WRITTEN])
        self.assertEqual(await self.payloads(), [f'1:{now}', f'2:{now}', f'1:{now + 1}'])
        self.assertEqual(await store.last_ticks([1, 2, 3]), [now + 1, now, None])
        await store.forget([1])
        self.assertEqual(await store.last_ticks([1, 2]), [None, now])
        self.assertEqual(await store.last_ticks([]), [])

    async def test_old_epochs(self) -> None:
        """A newer leader has begun: writes of the former one, and its beginning, are refused."""
        store = self.tick_store()
        await store.begin(3, 0)
        await store.begin(4, 0)
        await self.assertFailure(store.write(3, [make_tick(1, 5)]), OutdatedLeaderEpoch)
        await self.assertFailure(store.begin(3, 0), OutdatedLeaderEpoch)
        self.assertEqual(await self.payloads(), [])
        self.assertEqual(await store.write(4, [make_tick(1, 5)]), [WRITTEN])

    async def test_lost_data(self) -> None:
        """After a loss of all data nothing is written until a leader begins, whose recovery point is kept."""
        store = self.tick_store()
        await store.begin(1, 0)
        await store.write(1, [make_tick(1, 5)])
        await self.lose_data()
        await self.assertFailure(store.write(1, [make_tick(1, 6)]), OutdatedLeaderEpoch)
        self.assertEqual(await store.begin(2, 1_800_000_000_000_001), 1_800_000_000_000_001)
        self.assertEqual(await store.begin(3, 7), 1_800_000_000_000_001)
        self.assertEqual(await store.last_ticks([1]), [None])

    async def test_overlap(self) -> None:
        """While a message of its order key is there, a tick that skips overlaps is not written, and counts as done."""
        store = self.tick_store()
        await store.begin(1, 0)
        results = await store.write(
            1,
            [
                make_tick(1, 5, order_key='a', skips_overlap=True),
                make_tick(1, 6, order_key='a', skips_overlap=True),
                make_tick(2, 5, order_key='b', skips_overlap=True),
                make_tick(3, 5, order_key='c'),
                make_tick(3, 6, order_key='c'),
            ],
        )
        self.assertEqual(results, [WRITTEN, OVERLAPPING, WRITTEN, WRITTEN, WRITTEN])
        self.assertEqual(await store.last_ticks([1]), [6])
        self.assertEqual((await self.payloads())[:3], ['1:5', '2:5', '3:5'])


class LeaderStoreContract(Case):
    """Contract tests of ILeaderStore. The subclass, a TestCase of trial, creates the store."""

    def leader_store(self) -> ILeaderStore:
        """Return the store, always the same one."""
        raise NotImplementedError

    async def test_one_claim_of_each_epoch(self) -> None:
        """An epoch is claimed once; the former leader cannot confirm or resign any more."""
        store = self.leader_store()
        verifyObject(ILeaderStore, store)
        first = await store.leader()
        self.assertEqual((first.epoch, first.node, first.written_until), (0, '', 0.0))
        self.assertEqual(await store.claim_leadership(0, 2**33 + 1, 'server1', 1), 1)
        self.assertEqual(await store.claim_leadership(0, 2**33 + 2, 'server2', 2), 0)
        self.assertTrue(await store.confirm_leadership(1, 17.5))
        found = await store.leader()
        self.assertEqual((found.epoch, found.lease_token, found.node, found.node_id, found.written_until),
                         (1, 2**33 + 1, 'server1', 1, 17.5))  # fmt: skip
        self.assertEqual(await store.claim_leadership(1, 2**33 + 3, 'server2', 2), 2)
        self.assertFalse(await store.confirm_leadership(1, 99.0))
        await store.resign_leadership(1, 99.0)
        found = await store.leader()
        self.assertEqual((found.epoch, found.node, found.written_until), (2, 'server2', 17.5))
        await store.resign_leadership(2, 18.5)
        found = await store.leader()
        self.assertEqual((found.epoch, found.node, found.written_until), (2, '', 18.5))
