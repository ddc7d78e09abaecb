"""Work queues on Redis streams. Each stream has one consumer group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, TimeoutError
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.redis import (
    ICommands,
    IConsumer,
    IScriptRunner,
    IStream,
    LuaScript,
    RedisError,
    StreamBacklog,
    StreamEntry,
)
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.reconnecting_connection import ConnectionLog, ReconnectingConnection, ReconnectingServiceBase
from zatotx.redis.redis_url import RedisAddress

CONSUMER_GROUP = 'all'

_FORGET = LuaScript('forget a consumer', """
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local known = {}
    for at = 1, #consumer, 2 do
        known[consumer[at]] = consumer[at + 1]
    end
    if known['name'] == ARGV[2] then
        if known['pending'] > 0 then
            return 0
        end
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    end
end
return 1
""")


@implementer(IStream)
class RedisStream:
    """Implements IStream with one Redis stream and its consumer group. The group is created when it is first needed,
    and again if Redis has lost it. A recreated group starts at the beginning of the stream, so that no remaining entry
    is missed."""

    _log = Logger('zatotx.redis')

    def __init__(self, client: ICommands, scripts: IScriptRunner, keys: RedisKeys, name: str) -> None:
        self.name = name
        self.key = keys.key('stream', name)
        self.groups_recreated = 0  # how many times the group was lost and created again
        self._client = client
        self._scripts = scripts
        self._grouped = False  # whether the group is known to exist

    def add(self, fields: Mapping[str, str | bytes]) -> Deferred[str]:
        """See IStream."""
        words = [word for pair in fields.items() for word in pair]
        added: Deferred[Any] = self._client.execute('XADD', self.key, '*', *words)
        return added

    def backlog(self) -> Deferred[StreamBacklog]:
        """See IStream."""
        return Deferred.fromCoroutine(self._backlog())

    async def _backlog(self) -> StreamBacklog:
        length: Any = await self._client.execute('XLEN', self.key)
        total, _, _, consumers = await self.run_with_group(
            lambda: self._client.execute('XPENDING', self.key, CONSUMER_GROUP)
        )
        return StreamBacklog(
            length=length, pending=total, consumers={name: int(count) for name, count in consumers or ()}
        )

    def consumers(self) -> Deferred[Mapping[str, int]]:
        """See IStream."""
        return Deferred.fromCoroutine(self._consumers())

    async def _consumers(self) -> Mapping[str, int]:
        rows = await self.run_with_group(lambda: self._client.execute('XINFO CONSUMERS', self.key, CONSUMER_GROUP))
        known = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
        return {str(row['name']): int(row['pending']) for row in known}

    def trim(self, max_length: int) -> Deferred[int]:
        """See IStream."""
        trimmed: Deferred[Any] = self._client.execute('XTRIM', self.key, 'MAXLEN', max_length)
        return trimmed

    def remove_consumer(self, consumer: str) -> Deferred[bool]:
        """See IStream."""
        return Deferred.fromCoroutine(self._forget(consumer))

    async def _forget(self, consumer: str) -> bool:
        return bool(await self.run_script(_FORGET, consumer))

    def run_script(self, script: LuaScript, *args: object) -> Deferred[Any]:
        """Run a script with the stream's key, the group and `args`."""
        return Deferred.fromCoroutine(
            self.run_with_group(lambda: self._scripts.run(script, (self.key,), (CONSUMER_GROUP, *args)))
        )

    async def run_with_group(self, command: Any) -> Any:
        """Run `command`, creating the group first if it does not exist."""
        try:
            result = await command()
        except RedisError as error:
            if not is_group_missing(error):
                raise
            await self.create_group()
            result = await command()
        self._grouped = True
        return result

    async def create_group(self) -> None:
        """Create the group, starting at the beginning of the stream, and the stream if it does not exist."""
        if self._grouped:
            self.groups_recreated += 1
            self._log.warn(
                'Redis lost the stream {name!r}: it was created again; entries that are not in Redis are lost',
                name=self.name,
            )
        self._grouped = True
        try:
            await self._client.execute('XGROUP', 'CREATE', self.key, CONSUMER_GROUP, '0', 'MKSTREAM')
        except RedisError as error:
            if error.code != 'BUSYGROUP':  # otherwise another consumer was faster
                raise


def is_group_missing(error: RedisError) -> bool:
    """Return whether an error means that the stream or its group does not exist. The error of a blocked read is
    included."""
    return error.code in ('NOGROUP', 'UNBLOCKED') or 'no such key' in str(error)


_ACK = LuaScript('acknowledge', """
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
""")

# Arguments: the group, the consumer, the minimum idle time, the maximum count, the consumer whose entries are claimed
# ('' = any), and ids to skip. Returns the entries, and which of the skipped ids are still pending. XAUTOCLAIM does not
# return delivery counts. Entries that were trimmed are removed from the group here: a Redis before 7 returns nothing
# for them, and would list them forever.
_CLAIM = LuaScript('claim', """
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


_CHECK_THRESHOLD = 1000  # unacknowledged entries above which the consumer checks whether they are still pending


@implementer(IConsumer)
class StreamConsumer(ReconnectingServiceBase):
    """Implements IConsumer. Redis stores which entries it has delivered, so nothing is lost if a reply is lost. After
    each reconnect, and after each call that failed or was canceled, the consumer first claims its own entries that no
    caller received."""

    def __init__(
        self, reactor: IReactor, address: RedisAddress, stream: RedisStream, *, consumer: str, timeout: float = 5.0,
        name: str = '', connection_log: ConnectionLog | None = None,
    ) -> None:
        """`consumer`: a name that no other consumer uses at the same time. The other parameters are those of
        RedisClient."""
        super().__init__(
            ReconnectingConnection(reactor, address, timeout=timeout, name=name, connection_log=connection_log)
        )
        self.consumer = consumer
        self._reactor = reactor
        self._timeout = timeout
        self._stream = stream
        self._read_lock = DeferredLock()
        self._unacknowledged: set[str] = set()  # entries that callers received and did not acknowledge
        self._check_threshold = _CHECK_THRESHOLD
        self._may_have_missed = True  # whether Redis may have delivered entries that no caller received

    def read(self, count: int, wait: float) -> Deferred[list[StreamEntry]]:
        """See IConsumer."""
        return self._read_lock.run(lambda: Deferred.fromCoroutine(self._read(count, wait)))

    def claim(self, idle: float, count: int = 10) -> Deferred[list[StreamEntry]]:
        """See IConsumer."""
        return Deferred.fromCoroutine(self._claim(idle, count, ''))

    def take_over(self, owner: str, count: int = 10) -> Deferred[list[StreamEntry]]:
        """See IConsumer."""
        return Deferred.fromCoroutine(self._claim(0, count, owner))

    def discard(self, ids: Sequence[str]) -> None:
        """Forget entries that a script has removed from the stream."""
        self._unacknowledged.difference_update(ids)

    def ack(self, ids: Sequence[str]) -> Deferred[int]:
        """See IConsumer."""
        return Deferred.fromCoroutine(self._ack(ids))

    async def _ack(self, ids: Sequence[str]) -> int:
        if not ids:
            return 0
        acknowledged: int = await self._stream.run_script(_ACK, *ids)
        self._unacknowledged.difference_update(ids)
        return acknowledged

    async def _claim(self, idle: float, count: int, owner: str, *skipped: str) -> list[StreamEntry]:
        try:
            rows, pending = await self._stream.run_script(
                _CLAIM, self.consumer, int(idle * 1000), count, owner, *skipped
            )
        except BaseException:
            self._may_have_missed = True
            raise
        if owner == self.consumer:  # entries that other consumers claimed and acknowledged are forgotten
            self._unacknowledged.intersection_update(pending)
            self._check_threshold = max(_CHECK_THRESHOLD, 2 * len(self._unacknowledged))
        return self._record([
            StreamEntry(id=id, fields=_to_fields(fields), deliveries=deliveries) for id, fields, deliveries in rows
        ])

    async def _read(self, count: int, wait: float) -> list[StreamEntry]:
        if self._may_have_missed or len(self._unacknowledged) > self._check_threshold:
            self._may_have_missed = False
            missed_entries = await self._claim(0, count, self.consumer, *self._unacknowledged)
            if missed_entries:
                self._may_have_missed = True  # there may be more
                return missed_entries
        try:
            return await self._read_new(count, wait)
        except RedisError as error:
            if not is_group_missing(error):
                raise
            await self._stream.create_group()
            self._unacknowledged.clear()
            return await self._read_new(count, wait)

    async def _read_new(self, count: int, wait: float) -> list[StreamEntry]:
        protocol = await self._wait_for_connection(wait)
        block = ('BLOCK', max(1, int(wait * 1000))) if wait > 0 else ()
        command = (
            'XREADGROUP',
            'GROUP',
            CONSUMER_GROUP,
            self.consumer,
            'COUNT',
            count,
            *block,
            'STREAMS',
            self._stream.key,
        )
        try:
            rows = await protocol.send_command(*command, '>', extra_timeout=max(0.0, wait))
        except BaseException as error:
            self._may_have_missed = True
            if isinstance(error, CancelledError) and self._connection.protocol is protocol:
                # The read is still pending in Redis, and its reply would be taken for the next one's.
                self._connection.reconnect(protocol)
            raise
        return self._record(
            [StreamEntry(id=id, fields=_to_fields(fields)) for id, fields in rows[0][1]] if rows else []
        )

    async def _wait_for_connection(self, wait: float) -> Any:
        if self._connection.protocol is None:
            try:
                await self._connection.wait_connected().addTimeout(max(0.001, min(wait, self._timeout)), self._reactor)
            except TimeoutError:
                raise self._connection.unavailable_error() from None
        return self._connection.protocol

    def _record(self, entries: list[StreamEntry]) -> list[StreamEntry]:
        self._unacknowledged.update(entry.id for entry in entries)
        return entries


def _to_fields(words: Sequence[Any]) -> dict[str, str | bytes]:
    return dict(zip(words[::2], words[1::2], strict=True))
