"""Lua scripts, sent to Redis once and run by their hash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.redis import IScripts, Script
from zatotx.interfaces.redis_client import ICommands, ResponseError


@implementer(IScripts)
class Scripts:
    """On the shared connection, so each step has its deadline."""

    def __init__(self, client: ICommands) -> None:
        self._client = client

    def run(self, script: Script, keys: Sequence[str], args: Sequence[object] = ()) -> Deferred[Any]:
        """See IScripts."""
        words = (len(keys), *keys, *args)
        answer: Deferred[Any] = self._client.execute('EVALSHA', script.sha, *words)

        def unknown(failure: Any) -> Any:
            failure.trap(ResponseError)
            if failure.value.code != 'NOSCRIPT':
                return failure
            # Nothing was run. EVAL runs the text and keeps it for the next time.
            return self._client.execute('EVAL', script.text, *words)

        return answer.addErrback(unknown)
