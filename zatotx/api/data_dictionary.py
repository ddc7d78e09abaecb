"""The services zato.kvdb.data-dict.*, which manage the entries and translations of the data dictionary."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from zatotx.api.admin_service import AdminService
from zatotx.interfaces.data_dictionary import IDataDictionaryStore
from zatotx.rules.redis.data_dictionary import DataDictionary, Entry, export_text, import_text, translation_row
from zatotx.service.io.elements import Bool, Int, Text
from zatotx.service.translation import TranslationResult

_SOURCE = (Text('system1'), Text('key1'), Text('value1'))
_TARGET = (Text('system2'), Text('key2'), Text('value2'))


class DictionaryService(AdminService):
    """Base class of the data dictionary services."""

    zato_dont_import = True

    @property
    def store(self) -> IDataDictionaryStore:
        """The data dictionary of the cluster."""
        store: IDataDictionaryStore = self.server.service_redis.data_dictionary
        return store

    def texts(self, *names: str) -> tuple[str, ...]:
        """Return fields of the request as text."""
        return tuple(str(self.request.input[name]) for name in names)

    @property
    def entry(self) -> Entry:
        """The entry in the request."""
        system, key, value = self.texts('system', 'key', 'value')
        return system, key, value

    @property
    def pair(self) -> tuple[Entry, Entry]:
        """The entries of the translation in the request."""
        system1, key1, value1, system2, key2, value2 = self.texts(
            'system1', 'key1', 'value1', 'system2', 'key2', 'value2'
        )
        return (system1, key1, value1), (system2, key2, value2)

    async def change(self, function: Callable[[DataDictionary], Any]) -> Any:
        """Change the dictionary atomically, and return the function's result."""
        result = await self.store.change(function)
        self.logger.info('%s changed the data dictionary: %s', self.actor.username, self.name)
        return result


class GetEntries(DictionaryService):
    """List all entries of the data dictionary."""

    name = 'zato.kvdb.data-dict.dictionary.get-list'

    async def handle(self) -> None:
        self.response.payload = [
            {'id': one.id, 'system': one.system, 'key': one.key, 'value': one.value}
            for one in (await self.store.load()).entries()
        ]


class CreateEntry(DictionaryService):
    """Create an entry of the data dictionary and return its ID."""

    name = 'zato.kvdb.data-dict.dictionary.create'

    class SimpleIO:
        input_required = (Text('system'), Text('key'), Text('value'))
        input_optional = (Int('id'),)

    async def handle(self) -> None:
        entry = self.entry
        self.response.payload = {'id': await self.change(lambda dictionary: dictionary.add_entry(entry))}


class EditEntry(DictionaryService):
    """Edit an entry of the data dictionary. The translations of the entry change accordingly."""

    name = 'zato.kvdb.data-dict.dictionary.edit'

    class SimpleIO:
        input_required = (Int('id'), Text('system'), Text('key'), Text('value'))

    async def handle(self) -> None:
        number, entry = self.request.input.id, self.entry
        await self.change(lambda dictionary: dictionary.edit_entry(number, entry))
        self.response.payload = {'id': number}


class DeleteEntry(DictionaryService):
    """Delete an entry of the data dictionary, and its translations."""

    name = 'zato.kvdb.data-dict.dictionary.delete'

    class SimpleIO:
        input_required = (Int('id'),)

    async def handle(self) -> None:
        number = self.request.input.id
        await self.change(lambda dictionary: dictionary.delete_entry(number))
        self.response.payload = {'id': number}


class GetSystems(DictionaryService):
    """List the names of all systems in the data dictionary."""

    name = 'zato.kvdb.data-dict.dictionary.get-system-list'

    async def handle(self) -> None:
        self.response.payload = _names(one.system for one in (await self.store.load()).entries())


class GetKeys(DictionaryService):
    """List the names of all keys of a system in the data dictionary."""

    name = 'zato.kvdb.data-dict.dictionary.get-key-list'

    class SimpleIO:
        input_required = (Text('system'),)

    async def handle(self) -> None:
        (system,) = self.texts('system')
        entries = (await self.store.load()).entries()
        self.response.payload = _names(one.key for one in entries if one.system == system)


class GetValues(DictionaryService):
    """List all values of a key of a system in the data dictionary."""

    name = 'zato.kvdb.data-dict.dictionary.get-value-list'

    class SimpleIO:
        input_required = (Text('system'), Text('key'))

    async def handle(self) -> None:
        wanted = self.texts('system', 'key')
        entries = (await self.store.load()).entries()
        self.response.payload = _names(one.value for one in entries if (one.system, one.key) == wanted)


class GetLastEntryId(DictionaryService):
    """Return the ID of the most recently created entry."""

    name = 'zato.kvdb.data-dict.dictionary.get-last-id'

    async def handle(self) -> None:
        self.response.payload = {'value': (await self.store.load()).last_entry_id}


class GetTranslations(DictionaryService):
    """List all translations of the data dictionary."""

    name = 'zato.kvdb.data-dict.translation.get-list'

    async def handle(self) -> None:
        self.response.payload = [translation_row(one) for one in (await self.store.load()).translations()]


class CreateTranslation(DictionaryService):
    """Create a translation between two entries, which must exist, and return its ID."""

    name = 'zato.kvdb.data-dict.translation.create'

    class SimpleIO:
        input_required = (*_SOURCE, *_TARGET)
        input_optional = (Int('id'),)

    async def handle(self) -> None:
        pair = self.pair
        self.response.payload = {'id': await self.change(lambda dictionary: dictionary.add_translation(*pair))}


class EditTranslation(DictionaryService):
    """Edit a translation: change the entries that it connects."""

    name = 'zato.kvdb.data-dict.translation.edit'

    class SimpleIO:
        input_required = (Int('id'), *_SOURCE, *_TARGET)

    async def handle(self) -> None:
        number, pair = self.request.input.id, self.pair
        await self.change(lambda dictionary: dictionary.edit_translation(number, *pair))
        self.response.payload = {'id': number}


class DeleteTranslation(DictionaryService):
    """Delete a translation. Its entries are kept."""

    name = 'zato.kvdb.data-dict.translation.delete'

    class SimpleIO:
        input_required = (Int('id'),)

    async def handle(self) -> None:
        number = self.request.input.id
        await self.change(lambda dictionary: dictionary.delete_translation(number))
        self.response.payload = {'id': number}


class Translate(DictionaryService):
    """Translate a value. If there is no such translation, all fields of the response are empty."""

    name = 'zato.kvdb.data-dict.translation.translate'

    class SimpleIO:
        input_required = (*_SOURCE, *_TARGET[:2])

    async def handle(self) -> None:
        found: TranslationResult = await self.translate(*self.texts('system1', 'key1', 'value1', 'system2', 'key2'))
        names = ('value2', 'repr', 'hex', 'sha1', 'sha256')
        self.response.payload = {name: str(getattr(found, name)) if found else '' for name in names}


class GetLastTranslationId(DictionaryService):
    """Return the ID of the most recently created translation."""

    name = 'zato.kvdb.data-dict.translation.get-last-id'

    async def handle(self) -> None:
        self.response.payload = {'value': (await self.store.load()).last_translation_id}


class Import(DictionaryService):
    """Replace the whole data dictionary with `data`, which has Zato's format: base64(bz2(JSON))."""

    name = 'zato.kvdb.data-dict.impexp.import'

    class SimpleIO:
        input_required = (Text('data'),)
        input_optional = (Bool('dry_run'),)

    async def handle(self) -> None:
        (text,) = self.texts('data')
        dictionary = await self.server.run_in_thread(partial(import_text, text))
        present = await self.store.load()
        if not self.request.input.dry_run:
            await self.store.replace(dictionary)
            self.logger.info('%s replaced the data dictionary', self.actor.username)
        self.response.payload = {
            'entries': len(dictionary.items), 'translations': len(dictionary.links),
            **await self.server.run_in_thread(_compare, present, dictionary),
        }  # fmt: skip


class Export(DictionaryService):
    """Return the whole data dictionary in the format that the import accepts."""

    name = 'zato.kvdb.data-dict.impexp.export'

    async def handle(self) -> None:
        dictionary = await self.store.load()
        self.response.payload = {'data': await self.server.run_in_thread(export_text, dictionary)}


def _compare(old: DataDictionary, new: DataDictionary) -> dict[str, int]:
    """Return how many entries and translations are new, and how many are gone."""
    entries = [set(one.items.values()) for one in (old, new)]
    translations = [{(link.source, link.target) for link in one.translations()} for one in (old, new)]
    return {
        'new_entries': len(entries[1] - entries[0]), 'gone_entries': len(entries[0] - entries[1]),
        'new_translations': len(translations[1] - translations[0]),
        'gone_translations': len(translations[0] - translations[1]),
    }  # fmt: skip


def _names(names: Any) -> list[dict[str, str]]:
    return [{'name': name} for name in sorted(set(names))]


SERVICES = (
    GetEntries, CreateEntry, EditEntry, DeleteEntry, GetSystems, GetKeys, GetValues, GetLastEntryId, GetTranslations,
    CreateTranslation, EditTranslation, DeleteTranslation, Translate, GetLastTranslationId, Import, Export,
)  # fmt: skip
