"""Stores the data dictionary in Redis. It consists of a document with a revision, and of a hash in which one HGET finds
a translation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast
from uuid import uuid4

from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.data_dictionary import IDataDictionaryStore
from zatotx.interfaces.redis import ICommands, IScriptRunner, LuaScript
from zatotx.model.errors import Conflict
from zatotx.redis.key_names import RedisKeys
from zatotx.rules.redis.data_dictionary import (
    DataDictionary,
    decode_dictionary,
    encode_dictionary,
    translation_lookup_key,
)

T = TypeVar('T')

_ATTEMPTS = 10

# Arguments: the expected revision ('*' = any), the new one, the document, then keys and values of the lookup hash.
_STORE = LuaScript('store the data dictionary', """
if ARGV[1] ~= '*' and (redis.call('HGET', KEYS[1], 'revision') or '') ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'document', ARGV[3])
redis.call('DEL', KEYS[2])
for at = 4, #ARGV, 1000 do
    redis.call('HSET', KEYS[2], unpack(ARGV, at, math.min(at + 999, #ARGV)))
end
return 1
""")


@implementer(IDataDictionaryStore)
class RedisDataDictionaryStore:
    """Implements IDataDictionaryStore on Redis."""

    def __init__(self, client: ICommands, scripts: IScriptRunner, keys: RedisKeys, kind: str) -> None:
        """`kind`: the part of the keys' names before the last one."""
        self._client = client
        self._scripts = scripts
        self._document = keys.key(kind, 'document')
        self._lookup = keys.key(kind, 'lookup')

    def load(self) -> Deferred[DataDictionary]:
        """See IDataDictionaryStore."""

        async def load() -> DataDictionary:
            return (await self._read())[1]

        return Deferred.fromCoroutine(load())

    def change(self, function: Callable[[DataDictionary], T]) -> Deferred[T]:
        """See IDataDictionaryStore."""

        async def change() -> T:
            for _ in range(_ATTEMPTS):
                revision, dictionary = await self._read()
                result = function(dictionary)
                if await self._store(revision, dictionary):
                    return result
            raise Conflict(None, 'Others are changing the data dictionary at the same time: try again')

        return Deferred.fromCoroutine(change())

    def replace(self, dictionary: DataDictionary) -> Deferred[None]:
        """See IDataDictionaryStore."""

        async def replace() -> None:
            await self._store('*', dictionary)

        return Deferred.fromCoroutine(replace())

    def translate(self, system1: str, key1: str, value1: str, system2: str, key2: str) -> Deferred[str | None]:
        """See IDataDictionaryStore."""
        reply = self._client.execute('HGET', self._lookup, translation_lookup_key(system1, key1, value1, system2, key2))
        return cast('Deferred[str | None]', reply)

    async def _read(self) -> tuple[str, DataDictionary]:
        reply: Any = await self._client.execute('HMGET', self._document, 'revision', 'document')
        revision, document = reply
        data = document.encode() if isinstance(document, str) else document or b''
        return revision or '', decode_dictionary(data)

    async def _store(self, revision: str, dictionary: DataDictionary) -> bool:
        lookup = [word for pair in dictionary.lookup_table().items() for word in pair]
        # A revision is never used again, also after a wipe.
        words = (revision, uuid4().hex, encode_dictionary(dictionary), *lookup)
        return bool(await self._scripts.run(_STORE, (self._document, self._lookup), words))
