"""Data dictionaries: entries (system, key, value), and translations between entries. Pure functions.

A dictionary is one document, so that it changes atomically: editing an entry changes its translations, and deleting it
deletes them.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from bz2 import BZ2Decompressor, compress
from typing import Any

import msgspec
from attrs import define, field, frozen

from zatotx.model.errors import BadRequest, Conflict, NotFound

MAX_TEXT = 10_000  # characters of a system, key or value
MAX_IMPORT = 100 * 1024 * 1024  # bytes of an uncompressed import
_NAME = re.compile(r'\w')
Entry = tuple[str, str, str]  # system, key, value


@frozen
class DictionaryEntry:
    """An entry of a data dictionary, as the API lists it."""

    id: int
    system: str
    key: str
    value: str


@frozen
class DictionaryTranslation:
    """A translation from one dictionary entry to another, as the API lists it."""

    id: int
    id1: int
    id2: int
    source: Entry
    target: Entry

    @property
    def lookup(self) -> tuple[str, ...]:
        """What the translation is found by."""
        return (*self.source, *self.target[:2])


def translation_lookup_key(system1: str, key1: str, value1: str, system2: str, key2: str) -> str:
    """Return the key for looking up a translation. Different translations always have different keys, whatever
    characters their texts contain."""
    return msgspec.json.encode((system1, key1, value1, system2, key2)).decode()


@define
class DataDictionary:
    """The entries and translations of a cluster's data dictionary. The methods raise NotFound, Conflict and
    BadRequest."""

    last_entry_id: int = 0
    last_translation_id: int = 0
    items: dict[int, Entry] = field(factory=dict)
    links: dict[int, tuple[int, int]] = field(factory=dict)  # id of a translation -> ids of its entries
    _entry_ids: dict[Entry, int] = field(init=False, factory=dict)
    _link_ids: dict[tuple[str, ...], int] = field(init=False, factory=dict)  # by what a translation is found by

    def __attrs_post_init__(self) -> None:
        self._index()

    def entries(self) -> list[DictionaryEntry]:
        """Return all entries, ordered by system, key and value."""
        found = (DictionaryEntry(number, *entry) for number, entry in self.items.items())
        return sorted(found, key=lambda one: (one.system, one.key, one.value))

    def translations(self) -> list[DictionaryTranslation]:
        """Return all translations, ordered by what they translate."""
        return sorted(map(self._translation, self.links), key=lambda one: (one.source, one.target))

    def lookup_table(self) -> dict[str, str]:
        """Return the translated value of each translation by its `translation_lookup_key`."""
        return {translation_lookup_key(*one.lookup): one.target[2] for one in self.translations()}

    def add_entry(self, entry: Entry) -> int:
        """Add an entry. Returns its id."""
        self._check_new(entry)
        self.last_entry_id += 1
        self.items[self.last_entry_id] = entry
        self._entry_ids[entry] = self.last_entry_id
        return self.last_entry_id

    def edit_entry(self, number: int, entry: Entry) -> None:
        """Change an entry and its translations."""
        if self._entry(number) != entry:
            self._check_new(entry)
            self.items[number] = entry
            self._check_ambiguous()
            self._index()

    def delete_entry(self, number: int) -> None:
        """Delete an entry and its translations."""
        self._entry(number)
        del self.items[number]
        self.links = {link: ids for link, ids in self.links.items() if number not in ids}
        self._index()

    def add_translation(self, source: Entry, target: Entry) -> int:
        """Add a translation between two entries. Returns its id."""
        ids = self._existing(source), self._existing(target)
        self._check_untranslated(source, target)
        self.last_translation_id += 1
        self.links[self.last_translation_id] = ids
        self._link_ids[*source, *target[:2]] = self.last_translation_id
        return self.last_translation_id

    def edit_translation(self, number: int, source: Entry, target: Entry) -> None:
        """Change which entries a translation connects."""
        self._link(number)
        ids = self._existing(source), self._existing(target)
        self._check_untranslated(source, target, number)
        self.links[number] = ids
        self._index()

    def delete_translation(self, number: int) -> None:
        """Delete a translation, not its entries."""
        self._link(number)
        del self.links[number]
        self._index()

    def ensure_entry(self, entry: Entry) -> bool:
        """Add an entry unless it exists. Returns whether it was added."""
        if self._find(entry) is not None:
            return False
        self.add_entry(entry)
        return True

    def find_translation(self, source: Entry, target: tuple[str, str]) -> DictionaryTranslation | None:
        """Return the translation of an entry into a system and key."""
        number = self._link_ids.get((*source, *target))
        return None if number is None else self._translation(number)

    def _translation(self, number: int) -> DictionaryTranslation:
        id1, id2 = self.links[number]
        return DictionaryTranslation(number, id1, id2, self.items[id1], self.items[id2])

    def _index(self) -> None:
        self._entry_ids = {entry: number for number, entry in self.items.items()}
        self._link_ids = {self._translation(number).lookup: number for number in self.links}

    def _check_new(self, entry: Entry) -> None:
        if problem := entry_error(entry):
            raise BadRequest(None, problem)
        if self._find(entry) is not None:
            raise Conflict(None, f'The entry {_show(entry)} exists already')

    def _check_ambiguous(self) -> None:
        seen: set[tuple[str, ...]] = set()
        for one in self.translations():
            if one.lookup in seen:
                raise Conflict(None, f'{_show(one.source)} would have two translations to {_show(one.target[:2])}')
            seen.add(one.lookup)

    def _check_untranslated(self, source: Entry, target: Entry, number: int = 0) -> None:
        existing = self.find_translation(source, target[:2])
        if existing is not None and existing.id != number:
            raise Conflict(
                None, f'{_show(source)} has a translation to {_show(target[:2])} already: {existing.target[2]!r}'
            )

    def _find(self, entry: Entry) -> int | None:
        return self._entry_ids.get(entry)

    def _existing(self, entry: Entry) -> int:
        number = self._find(entry)
        if number is None:
            raise NotFound(None, f'There is no entry {_show(entry)} in the data dictionary: create it first')
        return number

    def _entry(self, number: int) -> Entry:
        if number not in self.items:
            raise NotFound(None, f'There is no entry with id {number} in the data dictionary')
        return self.items[number]

    def _link(self, number: int) -> tuple[int, int]:
        if number not in self.links:
            raise NotFound(None, f'There is no translation with id {number} in the data dictionary')
        return self.links[number]


def entry_error(entry: Entry) -> str:
    """Return an error message if a dictionary entry is invalid, otherwise ''."""
    for name, text in zip(('system', 'key', 'value'), entry, strict=True):
        if not _NAME.match(text):
            return f'The {name} {text[:100]!r} must begin with a letter, a digit or an underscore'
        if len(text) > MAX_TEXT:
            return f'The {name} is longer than {MAX_TEXT} characters'
    return ''


class _StoredDictionary(msgspec.Struct):
    last_entry_id: int
    last_translation_id: int
    items: dict[int, Entry]
    links: dict[int, tuple[int, int]]


def decode_dictionary(data: bytes) -> DataDictionary:
    """Deserialize a dictionary. Returns an empty dictionary for empty data."""
    if not data:
        return DataDictionary()
    stored = msgspec.msgpack.decode(data, type=_StoredDictionary)
    return DataDictionary(stored.last_entry_id, stored.last_translation_id, stored.items, stored.links)


def encode_dictionary(dictionary: DataDictionary) -> bytes:
    """Serialize a dictionary."""
    return msgspec.msgpack.encode(
        _StoredDictionary(
            dictionary.last_entry_id, dictionary.last_translation_id, dictionary.items, dictionary.links
        )
    )


class _ImportedEntry(msgspec.Struct):
    id: int
    system: str
    key: str
    value: str


class _ImportedTranslation(msgspec.Struct):
    id: int
    system1: str
    key1: str
    value1: str
    system2: str
    key2: str
    value2: str


class _ImportedData(msgspec.Struct):
    dict_list: list[_ImportedEntry] = []
    translation_list: list[_ImportedTranslation] = []
    last_dict_id: int = 0
    last_translation_id: int = 0


class _Document(msgspec.Struct):
    data: _ImportedData


def export_text(dictionary: DataDictionary) -> str:
    """Export a dictionary in Zato's format: base64(bz2(JSON))."""
    rows = [translation_row(one) for one in dictionary.translations()]
    entries = [{'id': one.id, 'system': one.system, 'key': one.key, 'value': one.value} for one in dictionary.entries()]
    document = {'data': {'last_dict_id': dictionary.last_entry_id,
                         'last_translation_id': dictionary.last_translation_id,
                         'dict_list': entries, 'translation_list': rows}}  # fmt: skip
    return b64encode(compress(msgspec.json.encode(document))).decode('ascii')


def import_text(text: str) -> DataDictionary:
    """Import a dictionary in Zato's format. Raises BadRequest, whose message is one sentence."""
    try:
        packed = b64decode(''.join(text.split()), validate=True)
        unpacking = BZ2Decompressor()
        raw = unpacking.decompress(packed, MAX_IMPORT + 1)
    except (Base64Error, ValueError, OSError) as error:
        raise BadRequest(None, f'data: it is not base64 of bz2: {error}') from None
    if len(raw) > MAX_IMPORT or not unpacking.eof:
        raise BadRequest(None, f'data: it is incomplete, or larger than {MAX_IMPORT} bytes')
    try:
        # Ids may be text, as Redis gives them.
        data = msgspec.convert(msgspec.json.decode(raw), _Document, strict=False).data
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise BadRequest(None, f'data: {error}') from None
    return _build(data)


def _build(data: _ImportedData) -> DataDictionary:
    items: dict[int, Entry] = {}
    links: dict[int, tuple[int, int]] = {}
    numbers: dict[Entry, int] = {}
    for item in data.dict_list:
        entry = (item.system, item.key, item.value)
        if problem := entry_error(entry):
            raise BadRequest(None, f'data: {problem}')
        if item.id in items or entry in numbers:
            raise BadRequest(None, f'data: the entry {item.id}, {_show(entry)}, occurs twice')
        items[item.id], numbers[entry] = entry, item.id
    seen: set[tuple[str, ...]] = set()
    for row in data.translation_list:
        source, target = (row.system1, row.key1, row.value1), (row.system2, row.key2, row.value2)
        for entry in (source, target):
            if entry not in numbers:
                raise BadRequest(None, f'data: the translation {row.id} refers to {_show(entry)}, which is missing')
        if row.id in links or (*source, *target[:2]) in seen:
            raise BadRequest(None, f'data: the translation {row.id} occurs twice')
        seen.add((*source, *target[:2]))
        links[row.id] = (numbers[source], numbers[target])
    return DataDictionary(
        max([data.last_dict_id, *items]), max([data.last_translation_id, *links]), items, links
    )


def translation_row(one: DictionaryTranslation) -> dict[str, Any]:
    """Return a translation as a dict with Zato's field names."""
    row: dict[str, Any] = {'id': one.id, 'id1': one.id1, 'id2': one.id2}
    for number, entry in (('1', one.source), ('2', one.target)):
        row.update((f'{name}{number}', text) for name, text in zip(('system', 'key', 'value'), entry, strict=True))
    return row


def _show(parts: tuple[str, ...]) -> str:
    return '(' + ', '.join(repr(part)[:100] for part in parts) + ')'
