"""Fenced writes. Each write has a fencing token, and is rejected if a higher token was seen before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.redis import IFencedWriter, IScriptRunner, LuaScript
from zatotx.model.errors import Conflict
from zatotx.redis.key_names import RedisKeys

# Arguments: the token, then each command as the number of its words followed by the words.
_WRITE = LuaScript('write with a token', """
local highest = tonumber(redis.call('GET', KEYS[1]) or '0')
local token = tonumber(ARGV[1])
if token < highest then
    return {0, string.format('%.0f', highest)}
end
if token > highest then
    redis.call('SET', KEYS[1], ARGV[1])
end
local answers, at = {1}, 2
while at <= #ARGV do
    local count = tonumber(ARGV[at])
    local answer = redis.call(unpack(ARGV, at + 1, at + count))
    answers[#answers + 1] = answer
    at = at + count + 1
end
return answers
""")


@implementer(IFencedWriter)
class FencedWriter:
    """Implements IFencedWriter. It stores the highest fencing token of each name in Redis, next to the protected data,
    so that both are lost together."""

    def __init__(self, scripts: IScriptRunner, keys: RedisKeys, *, kind: str = 'fence') -> None:
        """`kind`: the part of the keys' names before the name."""
        self._scripts = scripts
        self._keys = keys
        self._kind = kind

    def write(self, name: str, token: int, commands: Sequence[Sequence[object]]) -> Deferred[list[Any]]:
        """See IFences."""
        args: list[object] = [token]
        for words in commands:
            args += [len(words), *words]

        def check_reply(reply: list[Any]) -> list[Any]:
            if reply[0] == 0:
                raise Conflict(None, f'The token {token} of a write to {name!r} is outdated: {reply[1]} was seen')
            return reply[1:]

        return self._scripts.run(_WRITE, (self._keys.key(self._kind, name),), args).addCallback(check_reply)
