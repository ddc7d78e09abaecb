"""Work queues on Redis streams, with one consumer group each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.redis import IScriptRunner, IStream, Script, StreamBacklog
from zatotx.interfaces.redis_client import ICommands, RedisError
from zatotx.redis.keys import RedisKeys

CONSUMER_GROUP = 'all'

_FORGET = Script('forget a consumer', """
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
    """One stream with its consumer group. The group is created when it is first needed, and again if Redis lost it; it
    then starts at the beginning of the stream, so that no remaining entry is missed."""

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

    def trim(self, max_length: int) -> Deferred[int]:
        """See IStream."""
        trimmed: Deferred[Any] = self._client.execute('XTRIM', self.key, 'MAXLEN', max_length)
        return trimmed

    def remove_consumer(self, consumer: str) -> Deferred[bool]:
        """See IStream."""
        return Deferred.fromCoroutine(self._forget(consumer))

    async def _forget(self, consumer: str) -> bool:
        return bool(await self.run_script(_FORGET, consumer))

    def run_script(self, script: Script, *args: object) -> Deferred[Any]:
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
    """Return whether the error says that the stream or its group does not exist, including the error of a blocked
    read."""
    return error.code in ('NOGROUP', 'UNBLOCKED') or 'no such key' in str(error)
