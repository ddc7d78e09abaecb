"""The in-memory storage of the data dictionary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail, maybeDeferred
from zope.interface import implementer

from zatotx.interfaces.data_dictionary import IDataDictionaryStore
from zatotx.rules.redis.data_dictionary import (
    DataDictionary,
    decode_dictionary,
    encode_dictionary,
    translation_lookup_key,
)
from zatotx.testing.kit_redis.client import MemoryRedis

T = TypeVar('T')


@implementer(IDataDictionaryStore)
@define(eq=False)
class MemoryDataDictionaryStore:
    """An in-memory IDataDictionaryStore that uses a MemoryRedis. When the MemoryRedis fails or loses its data, the
    store does the same."""

    redis: MemoryRedis
    stored: bytes = b''
    lookup: dict[str, str] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.redis.on_wipe.append(lambda: self._store(DataDictionary()))

    def load(self) -> Deferred[DataDictionary]:
        """See IDataDictionaryStore."""
        return self._done(lambda: decode_dictionary(self.stored))

    def change(self, function: Callable[[DataDictionary], T]) -> Deferred[T]:
        """See IDataDictionaryStore."""

        def change() -> T:
            dictionary = decode_dictionary(self.stored)
            result = function(dictionary)
            self._store(dictionary)
            return result

        return self._done(change)

    def replace(self, dictionary: DataDictionary) -> Deferred[None]:
        """See IDataDictionaryStore."""
        return self._done(lambda: self._store(dictionary))

    def translate(self, system1: str, key1: str, value1: str, system2: str, key2: str) -> Deferred[str | None]:
        """See IDataDictionaryStore."""
        return self._done(lambda: self.lookup.get(translation_lookup_key(system1, key1, value1, system2, key2)))

    def _done(self, function: Callable[[], Any]) -> Deferred[Any]:
        return fail(self.redis.error) if self.redis.error is not None else maybeDeferred(function)

    def _store(self, dictionary: DataDictionary) -> None:
        self.stored, self.lookup = encode_dictionary(dictionary), dictionary.lookup_table()
