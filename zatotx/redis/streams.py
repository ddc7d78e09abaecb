"""Streams of work on Redis streams, one group of consumers each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.redis import Backlog, IScripts, IStream, Script
from zatotx.interfaces.redis_client import ICommands, ResponseError
from zatotx.redis.keys import Keys

GROUP = 'all'

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
class Stream:
    """One stream. Its group is made when it is first needed, and again where Redis lost it: then what is in the stream
    counts as new, so nothing that is left is missed."""

    _log = Logger('zatotx.redis')

    def __init__(self, client: ICommands, scripts: IScripts, keys: Keys, name: str) -> None:
        self.name = name
        self.key = keys.key('stream', name)
        self.regrouped = 0  # how often Redis had lost the group since this was made
        self._client = client
        self._scripts = scripts
        self._grouped = False  # whether the group was seen

    def add(self, fields: Mapping[str, str | bytes]) -> Deferred[str]:
        """See IStream."""
        words = [word for pair in fields.items() for word in pair]
        added: Deferred[Any] = self._client.execute('XADD', self.key, '*', *words)
        return added

    def backlog(self) -> Deferred[Backlog]:
        """See IStream."""
        return Deferred.fromCoroutine(self._backlog())

    async def _backlog(self) -> Backlog:
        length: Any = await self._client.execute('XLEN', self.key)
        total, _, _, consumers = await self.grouped(lambda: self._client.execute('XPENDING', self.key, GROUP))
        return Backlog(
            length=length, pending=total, consumers={name: int(count) for name, count in consumers or ()}
        )

    def trim(self, longest: int) -> Deferred[int]:
        """See IStream."""
        trimmed: Deferred[Any] = self._client.execute('XTRIM', self.key, 'MAXLEN', longest)
        return trimmed

    def forget(self, consumer: str) -> Deferred[bool]:
        """See IStream."""
        return Deferred.fromCoroutine(self._forget(consumer))

    async def _forget(self, consumer: str) -> bool:
        return bool(await self.run(_FORGET, consumer))

    def run(self, script: Script, *args: object) -> Deferred[Any]:
        """What a script gives that is called with the stream's key, the group and `args`."""
        return Deferred.fromCoroutine(
            self.grouped(lambda: self._scripts.run(script, (self.key,), (GROUP, *args)))
        )

    async def grouped(self, command: Any) -> Any:
        """What `command` gives, after the group was made where it is missing."""
        try:
            found = await command()
        except ResponseError as error:
            if not no_group(error):
                raise
            await self.make_group()
            found = await command()
        self._grouped = True
        return found

    async def make_group(self) -> None:
        """Make the group, and the stream where there is none, from the stream's beginning on."""
        if self._grouped:
            self.regrouped += 1
            self._log.warn(
                'Redis lost the stream {name!r}: it is made anew, and what was in it and is not in Redis now is gone',
                name=self.name,
            )
        self._grouped = True
        try:
            await self._client.execute('XGROUP', 'CREATE', self.key, GROUP, '0', 'MKSTREAM')
        except ResponseError as error:
            if error.code != 'BUSYGROUP':  # another one was quicker
                raise


def no_group(error: ResponseError) -> bool:
    """Whether Redis says that the stream or its group is not there, to one who waits for entries too."""
    return error.code in ('NOGROUP', 'UNBLOCKED') or 'no such key' in str(error)
