"""The work stream in Redis. It consists of a stream for each queue, a sorted set for the delayed messages of the queue,
and a list for each order key.

Every step is one atomic script, so that a process may die between any two of them: a message is always in the stream,
in the sorted set, or settled. XACK leaves entries in the stream, so the scripts delete them too.

After Redis lost its data, the messages that were waiting are lost; those that run continue, and their retries and
callbacks are stored again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.redis import ICommands, IScriptRunner, LuaScript, StreamEntry
from zatotx.interfaces.work_stream import IWorkConsumer, IWorkStream
from zatotx.model.work_message import WorkCounts, WorkDelivery, WorkMessage, encode_work, make_delivery
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.reconnecting_connection import ConnectionLog
from zatotx.redis.redis_url import RedisAddress
from zatotx.redis.work_queues import CONSUMER_GROUP, RedisStream, StreamConsumer

_FIELD = 'm'
RELEASE_BATCH = 100  # delayed messages that one call of release_due makes available

# A message with an order key is in the list of that key until it is settled; only the first of the list is in the
# stream or delayed.
_FUNCTIONS = """
local function add(stream, list, is_ordered, body)
    if is_ordered == '0' or redis.call('RPUSH', list, body) == 1 then
        redis.call('XADD', stream, '*', 'm', body)
    end
end
local function remove(stream, group, id)
    redis.call('XACK', stream, group, id)
    return redis.call('XDEL', stream, id)
end
"""

# Keys: stream and list of each message. Arguments: whether it has an order key, and the message.
_ADD = LuaScript('add work', _FUNCTIONS + """
for at = 1, #KEYS, 2 do
    add(KEYS[at], KEYS[at + 1], ARGV[at], ARGV[at + 1])
end
""")

# Keys: stream and list of the settled message, then those of each follow-up. Arguments: group, id, whether it has an
# order key, '', then as above. A message that another consumer has settled meanwhile is no longer first of its list.
_FINISH = LuaScript('finish work', _FUNCTIONS + """
local removed = remove(KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] == '1' and removed == 1 then
    redis.call('LPOP', KEYS[2])
    local following = redis.call('LINDEX', KEYS[2], 0)
    if following then
        redis.call('XADD', KEYS[1], '*', 'm', following)
    end
end
for at = 3, #KEYS, 2 do
    add(KEYS[at], KEYS[at + 1], ARGV[at + 2], ARGV[at + 3])
end
return removed
""")

# Keys: stream, sorted set. Arguments: group, id, milliseconds, message. The message is stored even where its entry is
# gone, because Redis may have lost it. The time is that of Redis, so that the clocks of servers do not matter.
_RETRY = LuaScript('retry work', _FUNCTIONS + """
remove(KEYS[1], ARGV[1], ARGV[2])
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3], ARGV[4])
""")

# Keys: stream, sorted set. Argument: the maximum number. Returns the milliseconds until the next message is due, or -1.
_RELEASE = LuaScript('release delayed work', """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, body in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])) do
    redis.call('XADD', KEYS[1], '*', 'm', body)
    redis.call('ZREM', KEYS[2], body)
end
local following = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if not following[1] then
    return -1
end
return math.max(0, math.ceil(following[2] - now))
""")


@implementer(IWorkStream)
class RedisWorkStream:
    """Implements IWorkStream. It adds messages, and creates the consumers of a process. The `target` of a message is
    the name of its queue."""

    def __init__(self, client: ICommands, scripts: IScriptRunner, keys: RedisKeys) -> None:
        self.client = client
        self.scripts = scripts
        self._keys = keys

    def add(self, messages: Sequence[WorkMessage]) -> Deferred[None]:
        """See IWorkStream."""
        if len(messages) == 1 and not messages[0].order_key:
            (message,) = messages
            added = self.client.execute('XADD', self.stream_key(message.target), '*', _FIELD, encode_work(message))
        else:
            keys, args = self.added(messages)
            added = self.scripts.run(_ADD, keys, args)
        return added.addCallback(lambda _: None)

    def added(self, messages: Sequence[WorkMessage]) -> tuple[list[str], list[object]]:
        """Return the keys and arguments of messages to add, for a script."""
        keys: list[str] = []
        args: list[object] = []
        for message in messages:
            keys += self.stream_key(message.target), self.order_list(message)
            args += '1' if message.order_key else '0', encode_work(message)
        return keys, args

    def stream(self, queue: str) -> RedisStream:
        """Return the stream of a queue: that of a server, or '' for the shared one."""
        return RedisStream(self.client, self.scripts, self._keys, _stream_name(queue))

    def stream_key(self, queue: str) -> str:
        """Return the key of the stream of a queue."""
        return self._keys.key('stream', _stream_name(queue))

    def delayed_key(self, queue: str) -> str:
        """Return the key of the delayed messages of a queue."""
        return self._keys.key('delayed', _stream_name(queue))

    def order_list(self, message: WorkMessage) -> str:
        """Return the key of the list of a message's order key."""
        return self._keys.key('order', _stream_name(message.target), message.order_key)


@implementer(IWorkConsumer)
class RedisWorkConsumer:
    """Implements IWorkConsumer. It consumes one queue over a dedicated connection."""

    def __init__(
        self, reactor: IReactor, address: RedisAddress, work: RedisWorkStream, *, queue: str, name: str,
        timeout: float = 5.0, connection: str = '', connection_log: ConnectionLog | None = None,
    ) -> None:
        """`queue`: the name of a server, or '' for the shared queue. `connection`: its name in CLIENT LIST."""
        self.name = name
        self._work = work
        self._queue = queue
        self._stream = work.stream(queue)
        self._consumer = StreamConsumer(reactor, address, self._stream, consumer=name, timeout=timeout,
                                        name=connection, connection_log=connection_log)  # fmt: skip

    def start(self) -> None:
        self._consumer.startService()

    def stop(self) -> Deferred[None]:
        return self._consumer.stopService()

    def take(self, count: int, wait: float) -> Deferred[list[WorkDelivery]]:
        # Entries whose reply was lost are delivered again to this consumer: they did not run, so they did not crash.
        return self._consumer.read(count, wait).addCallback(lambda entries: [_delivery(entry, 0) for entry in entries])

    def finish(self, delivery: WorkDelivery, follow_ups: Sequence[WorkMessage] = ()) -> Deferred[None]:
        message = delivery.message
        keys, args = self._work.added(follow_ups)
        ordered = '1' if message.order_key else '0'
        finished = self._work.scripts.run(
            _FINISH, [self._stream.key, self._work.order_list(message), *keys],
            [CONSUMER_GROUP, delivery.entry, ordered, '', *args],
        )  # fmt: skip
        return finished.addCallback(lambda _: self._consumer.discard([delivery.entry]))

    def retry(self, delivery: WorkDelivery, message: WorkMessage, delay: float) -> Deferred[None]:
        return self._delay(delivery, encode_work(message), delay)

    def give_back(self, delivery: WorkDelivery, delay: float) -> Deferred[None]:
        return self._delay(delivery, delivery.data, delay)

    def _delay(self, delivery: WorkDelivery, data: bytes, delay: float) -> Deferred[None]:
        retried = self._work.scripts.run(
            _RETRY, [self._stream.key, self._work.delayed_key(self._queue)],
            [CONSUMER_GROUP, delivery.entry, max(0, round(delay * 1000)), data],
        )  # fmt: skip
        return retried.addCallback(lambda _: self._consumer.discard([delivery.entry]))

    def recover(self, is_dead: Callable[[str], bool], count: int) -> Deferred[list[WorkDelivery]]:
        return Deferred.fromCoroutine(self._recover(is_dead, count))

    async def _recover(self, is_dead: Callable[[str], bool], count: int) -> list[WorkDelivery]:
        found: list[WorkDelivery] = []
        for name, pending in (await self._stream.consumers()).items():
            if name == self.name or not is_dead(name):
                continue
            if pending and len(found) < count:
                entries = await self._consumer.take_over(name, count - len(found))
                found += [_delivery(entry, entry.deliveries - 1) for entry in entries]
            if pending <= len(found):
                await self._stream.remove_consumer(name)  # keeps one that still has entries
        return found

    def release_due(self) -> Deferred[float | None]:
        keys = [self._stream.key, self._work.delayed_key(self._queue)]
        released = self._work.scripts.run(_RELEASE, keys, [RELEASE_BATCH])
        return released.addCallback(lambda left: None if left < 0 else left / 1000)

    def counts(self) -> Deferred[WorkCounts]:
        return Deferred.fromCoroutine(self._counts())

    async def _counts(self) -> WorkCounts:
        backlog = await self._stream.backlog()
        delayed: Any = await self._work.client.execute('ZCARD', self._work.delayed_key(self._queue))
        return WorkCounts(waiting=backlog.length - backlog.pending, running=backlog.pending, delayed=delayed)


def _stream_name(queue: str) -> str:
    return f'work@{queue}' if queue else 'work'


def _delivery(entry: StreamEntry, crashes: int) -> WorkDelivery:
    body = entry.fields.get(_FIELD, b'')
    data = body.encode('utf-8') if isinstance(body, str) else body
    return make_delivery(data, entry.id, crashes)
