"""Lua scripts, sent to Redis once and then run by their SHA-1 hash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.redis import IScriptRunner, Script
from zatotx.interfaces.redis_client import ICommands, RedisError


@implementer(IScriptRunner)
class ScriptRunner:
    """Runs scripts over the shared connection, with a deadline for each step."""

    def __init__(self, client: ICommands) -> None:
        self._client = client

    def run(self, script: Script, keys: Sequence[str], args: Sequence[object] = ()) -> Deferred[Any]:
        """See IScripts."""
        words = (len(keys), *keys, *args)
        reply: Deferred[Any] = self._client.execute('EVALSHA', script.sha, *words)

        def load_script(failure: Any) -> Any:
            failure.trap(RedisError)
            if failure.value.code != 'NOSCRIPT':
                return failure
            # The script was not run. EVAL runs it and caches it for the next time.
            return self._client.execute('EVAL', script.text, *words)

        return reply.addErrback(load_script)
