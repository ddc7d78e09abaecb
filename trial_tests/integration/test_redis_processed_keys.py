"""Keys of processed messages on a real Redis."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from zope.interface.verify import verifyObject

from trial_tests.support.redis import KEYS, RedisCase
from zatotx.interfaces.inbound_delivery import IIdempotencyKeyStore
from zatotx.redis import idempotency_key_store
from zatotx.redis.idempotency_key_store import RedisIdempotencyKeyStore


class RedisProcessedKeysTests(RedisCase):
    async def keys(self) -> RedisIdempotencyKeyStore:
        """Those of one more node."""
        clock: Any = reactor
        keys = RedisIdempotencyKeyStore(clock, await self.scripts(), KEYS)
        self.addCleanup(keys.stop)
        return keys

    async def test_processed_once(self) -> None:
        """A confirmed key is a duplicate on every node until its time is over; a released one is not."""
        one, two = await self.keys(), await self.keys()
        verifyObject(IIdempotencyKeyStore, one)
        self.assertTrue(await one.claim('a'))
        await one.confirm('a', 2.0)
        self.assertFalse(await two.claim('a'))
        self.assertTrue(await two.claim('b'))
        await two.release('b')
        self.assertTrue(await one.claim('b'))
        await self.later(2.5)
        self.assertTrue(await two.claim('a'))

    async def test_deliveries(self) -> None:
        """That a message was given to a service is known on every node until its time is over, and has nothing to do
        with whether it was processed."""
        one, two = await self.keys(), await self.keys()
        self.assertFalse(await one.note_delivery('a', 2.0))
        self.assertTrue(await two.note_delivery('a', 2.0))
        self.assertTrue(await two.claim('a'))
        await two.release('a')
        self.assertFalse(await one.note_delivery('b', 60))
        await self.later(2.5)
        self.assertFalse(await one.note_delivery('a', 60))

    async def test_processed_at_the_same_time(self) -> None:
        """The second delivery of a message that is being processed waits, and is a duplicate if the first succeeds, and
        processed if it fails. A wait may be cancelled."""
        one, two = await self.keys(), await self.keys()
        for succeeds in (True, False):
            key = f'k{succeeds}'
            self.assertTrue(await one.claim(key))
            waiting, gone = two.claim(key), two.claim(key)
            await self.later(0.2)
            gone.cancel()
            with self.assertRaises(CancelledError):
                await gone
            self.assertNoResult(waiting)
            await (one.confirm(key, 60) if succeeds else one.release(key))
            self.assertEqual(await self.got(waiting), not succeeds)

    async def test_process_that_died(self) -> None:
        """The key of a process that died is free soon; that of one that lives is renewed."""
        self.patch(idempotency_key_store, 'RUNNING_TTL', 0.6)
        self.patch(idempotency_key_store, 'RENEWAL', 0.2)
        dead, alive, other = await self.keys(), await self.keys(), await self.keys()
        self.assertTrue(await dead.claim('dead'))
        self.assertTrue(await alive.claim('alive'))
        dead._running.clear()
        kept = other.claim('alive')
        self.assertTrue(await self.got(other.claim('dead')))
        await self.later(1.0)
        self.assertNoResult(kept)
        await alive.confirm('alive', 60)
        self.assertFalse(await self.got(kept))
