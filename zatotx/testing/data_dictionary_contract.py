"""Contract tests that every implementation of IDataDictionaryStore must pass, both the in-memory implementation and the
implementation in Redis."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from zatotx.interfaces.data_dictionary import IDataDictionaryStore
from zatotx.model.errors import Conflict
from zatotx.rules.redis.data_dictionary import DataDictionary

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

POLAND, CODE = ('CRM', 'country', 'PL'), ('ERP', 'ctry', '616')


class DataDictionaryContract(Case):
    """Contract tests of IDataDictionaryStore."""

    def dictionary_store(self) -> IDataDictionaryStore:
        """Return the store under test, which is empty."""
        raise NotImplementedError

    async def test_changes(self) -> None:
        """Changes are stored, and translations found; an error prevents a change as a whole."""
        store = self.dictionary_store()
        verifyObject(IDataDictionaryStore, store)
        self.assertEqual((await store.load()).entries(), [])

        def add(dictionary: DataDictionary) -> int:
            dictionary.add_entry(POLAND)
            dictionary.add_entry(CODE)
            return dictionary.add_translation(POLAND, CODE)

        self.assertEqual(await store.change(add), 1)
        self.assertEqual(await store.translate(*POLAND, 'ERP', 'ctry'), '616')
        self.assertIsNone(await store.translate(*POLAND, 'ERP', 'other'))

        def fail(dictionary: DataDictionary) -> None:
            dictionary.add_entry(('CRM', 'country', 'DE'))
            dictionary.add_entry(CODE)

        with self.assertRaises(Conflict):
            await store.change(fail)
        self.assertEqual(len((await store.load()).entries()), 2)
        await store.change(lambda dictionary: dictionary.edit_entry(2, ('ERP', 'ctry', 'é"\\')))
        self.assertEqual(await store.translate(*POLAND, 'ERP', 'ctry'), 'é"\\')
        await store.change(lambda dictionary: dictionary.delete_entry(1))
        self.assertIsNone(await store.translate(*POLAND, 'ERP', 'ctry'))

    async def test_concurrent_changes(self) -> None:
        """No change is lost when several are made at the same time."""
        store = self.dictionary_store()
        entries = [('CRM', 'country', f'c{number}') for number in range(5)]
        ids = await gatherResults([store.change(partial(DataDictionary.add_entry, entry=entry)) for entry in entries])
        self.assertEqual(sorted(ids), [1, 2, 3, 4, 5])
        self.assertEqual(len((await store.load()).entries()), 5)

    async def test_large(self) -> None:
        """A dictionary of thousands of entries is replaced as a whole."""
        store, large = self.dictionary_store(), DataDictionary()
        for number in range(3000):
            source, target = ('CRM', 'k', str(number)), ('ERP', 'k', f'x{number}')
            large.add_entry(source)
            large.add_entry(target)
            large.add_translation(source, target)
        await store.replace(large)
        self.assertEqual(await store.translate('CRM', 'k', '2999', 'ERP', 'k'), 'x2999')
        self.assertEqual((await store.load()).last_entry_id, 6000)
        await store.replace(DataDictionary())
        self.assertIsNone(await store.translate('CRM', 'k', '2999', 'ERP', 'k'))
