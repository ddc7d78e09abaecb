"""Contract tests that every implementation of IUsageStore must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface.verify import verifyObject

from zatotx.interfaces.statistics import IUsageStore
from zatotx.model.service_usage import ServiceUsage
from zatotx.rules.statistics.calendar_periods import HOUR, MINUTE

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

ONE = ServiceUsage(1, 0, 0.5, (0, 1))
TWO = ServiceUsage(2, 1, 0.25, (2, 0))


class UsageStoreContract(Case):
    """Contract tests of IUsageStore. Combine this mixin with trial's TestCase in a class that creates the store."""

    def usage_store(self) -> IUsageStore:
        """Return the store, always the same one."""
        raise NotImplementedError

    async def test_records(self) -> None:
        """What processes recorded in a minute is added up; a process that repeats itself replaces its record."""
        store = self.usage_store()
        verifyObject(IUsageStore, store)
        await store.record('a', {60: {'crm': ONE}})
        await store.record('a', {60: {'crm': TWO}, 120: {'crm': ONE}})
        await store.record('b', {60: {'crm': ONE, 'ä.x': TWO}})
        await store.record('b', {})
        self.assertEqual(await store.recorded([0, 60, 120]), [{}, {'crm': TWO + ONE, 'ä.x': TWO}, {'crm': ONE}])

    async def test_periods(self) -> None:
        """The usage of periods is stored, replaced, and deleted; deleting a minute deletes its records as well."""
        store = self.usage_store()
        await store.record('a', {0: {'crm': ONE}})
        await store.store(MINUTE, {0: {'crm': ONE}, 60: {'crm': TWO}})
        await store.store(MINUTE, {0: {'crm': TWO}})
        await store.store(HOUR, {0: {'crm': ONE}})
        many = [60 * at for at in range(250)]
        self.assertEqual((await store.usage(MINUTE, many))[:3], [{'crm': TWO}, {'crm': TWO}, {}])
        self.assertEqual(await store.stored(MINUTE, [0, 60, 120]), [True, True, False])
        self.assertEqual(await store.delete(MINUTE, many), 2)
        self.assertEqual(await store.recorded([0]), [{}])
        self.assertEqual(await store.usage(MINUTE, [0]), [{}])
        self.assertEqual(await store.usage(HOUR, [0]), [{'crm': ONE}])
        self.assertEqual(await store.delete(HOUR, []), 0)

    async def test_totals(self) -> None:
        """Of two nodes that add to the same totals, one succeeds."""
        store = self.usage_store()
        self.assertEqual(await store.totals(), (0, {}))
        self.assertTrue(await store.replace_totals(0, 60, {'crm': ONE}))
        self.assertFalse(await store.replace_totals(0, 60, {'crm': TWO}))
        self.assertEqual(await store.totals(), (60, {'crm': ONE}))
        self.assertTrue(await store.replace_totals(60, 120, {'crm': TWO}))
        self.assertEqual(await store.totals(), (120, {'crm': TWO}))
