"""Consumers of a stream, each on a connection of its own, which may wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, TimeoutError
from zope.interface import implementer

from zatotx.interfaces.redis import Entry, IConsumer, Script
from zatotx.interfaces.redis_client import ResponseError
from zatotx.redis.reconnecting_connection import ConnectionService, ReconnectingConnection
from zatotx.redis.status_log import ConnectionLog
from zatotx.redis.streams import GROUP, Stream, no_group
from zatotx.redis.url import RedisAddress

_ACK = Script('acknowledge', """
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
""")

# Arguments: the group, the consumer, how long an entry must be idle, how many, whose (one consumer's or '' = any),
# and ids that are not meant. Gives the entries, and which of those ids still wait. XAUTOCLAIM would not tell how often
# an entry was handed out. What was trimmed away meanwhile leaves the group here: a Redis before 7 gives nothing in its
# place, and would go on to name it for ever.
_CLAIM = Script('claim', """
local stream, group, consumer, idle, count, whose = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local not_meant, found, waits = {}, {}, {}
for at = 6, #ARGV do
    not_meant[ARGV[at]] = true
end
local question = {stream, group, 'IDLE', idle, '-', '+', count + #ARGV - 5}
if whose ~= '' then
    question[#question + 1] = whose
end
for _, waiting in ipairs(redis.call('XPENDING', unpack(question))) do
    local id, deliveries = waiting[1], waiting[4]
    if not_meant[id] then
        waits[#waits + 1] = id
    elseif #found < count then
        local entries = redis.call('XCLAIM', stream, group, consumer, idle, id)
        if entries[1] and entries[1][2] then
            found[#found + 1] = {id, entries[1][2], deliveries + 1}
        else
            redis.call('XACK', stream, group, id)
        end
    end
end
return {found, waits}
""")


_ROOM = 1000  # entries given and not acknowledged, from which on it is asked whether they still wait


@implementer(IConsumer)
class Consumer(ConnectionService):
    """Redis remembers what it handed to a consumer, so an answer that was lost is not: after each new connection, and
    each call that failed or was cancelled, the consumer first asks for its own entries that nobody here ever got."""

    def __init__(
        self, reactor: Any, address: RedisAddress, stream: Stream, *, consumer: str, timeout: float = 5.0,
        name: str = '', voice: ConnectionLog | None = None,
    ) -> None:
        """`consumer`: a name that nobody else uses at the same time. The rest as for RedisClient."""
        super().__init__(ReconnectingConnection(reactor, address, timeout=timeout, name=name, voice=voice))
        self.consumer = consumer
        self._reactor = reactor
        self._timeout = timeout
        self._stream = stream
        self._one = DeferredLock()
        self._given: set[str] = set()  # entries that somebody here got, and that were not acknowledged
        self._room = _ROOM
        self._owed = True  # whether Redis may have handed us entries that nobody here got

    def read(self, count: int, wait: float) -> Deferred[list[Entry]]:
        """See IConsumer."""
        return self._one.run(lambda: Deferred.fromCoroutine(self._read(count, wait)))

    def claim(self, idle: float, count: int = 10) -> Deferred[list[Entry]]:
        """See IConsumer."""
        return Deferred.fromCoroutine(self._claim(idle, count, ''))

    def ack(self, ids: Sequence[str]) -> Deferred[int]:
        """See IConsumer."""
        return Deferred.fromCoroutine(self._ack(ids))

    async def _ack(self, ids: Sequence[str]) -> int:
        if not ids:
            return 0
        done: int = await self._stream.run(_ACK, *ids)
        self._given.difference_update(ids)
        return done

    async def _claim(self, idle: float, count: int, whose: str, *not_meant: str) -> list[Entry]:
        try:
            rows, waits = await self._stream.run(_CLAIM, self.consumer, int(idle * 1000), count, whose, *not_meant)
        except BaseException:
            self._owed = True
            raise
        if whose:  # what others claimed from us and were done with is forgotten
            self._given.intersection_update(waits)
            self._room = max(_ROOM, 2 * len(self._given))
        return self._giving([
            Entry(id=id, fields=_mapping(fields), deliveries=deliveries) for id, fields, deliveries in rows
        ])

    async def _read(self, count: int, wait: float) -> list[Entry]:
        if self._owed or len(self._given) > self._room:
            self._owed = False
            missed = await self._claim(0, count, self.consumer, *self._given)
            if missed:
                self._owed = True  # there may be more
                return missed
        try:
            return await self._next(count, wait)
        except ResponseError as error:
            if not no_group(error):
                raise
            await self._stream.make_group()
            self._given.clear()
            return await self._next(count, wait)

    async def _next(self, count: int, wait: float) -> list[Entry]:
        protocol = await self._connection(wait)
        block = ('BLOCK', max(1, int(wait * 1000))) if wait > 0 else ()
        question = ('XREADGROUP', 'GROUP', GROUP, self.consumer, 'COUNT', count, *block, 'STREAMS', self._stream.key)
        try:
            rows = await protocol.ask(*question, '>', patience=max(0.0, wait))
        except BaseException as error:
            self._owed = True
            if isinstance(error, CancelledError) and self._link.live is protocol:
                # The question is still open there, and its answer would be taken for the next one's.
                self._link.renew(protocol)
            raise
        return self._giving([Entry(id=id, fields=_mapping(fields)) for id, fields in rows[0][1]] if rows else [])

    async def _connection(self, wait: float) -> Any:
        if self._link.live is None:
            try:
                await self._link.up().addTimeout(max(0.001, min(wait, self._timeout)), self._reactor)
            except TimeoutError:
                raise self._link.away() from None
        return self._link.live

    def _giving(self, entries: list[Entry]) -> list[Entry]:
        self._given.update(entry.id for entry in entries)
        return entries


def _mapping(words: Sequence[Any]) -> dict[str, str | bytes]:
    return dict(zip(words[::2], words[1::2], strict=True))
