"""Nonces in Redis: a key each, that expires. What one turn of the reactor asks goes in one write."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.interfaces.nonces import INonces
from zatotx.interfaces.redis_client import IBatch
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis.keys import Keys

AT_ONCE = 1_000  # questions in one write

_Asked = tuple[str, int, Deferred[bool]]  # name, milliseconds, whom to answer


@implementer(INonces)
class RedisNonces:
    """Asks Redis, on the connection that everybody shares."""

    def __init__(self, clock: IReactorTime, client: IBatch, keys: Keys) -> None:
        self._clock = clock
        self._client = client
        self._prefix = keys.key('nonce', '')
        self._asked: list[_Asked] = []

    def use(self, name: str, ttl: float) -> Deferred[bool]:
        """See INonces."""
        if not self._asked:
            self._clock.callLater(0, self._send)
        waiting: Deferred[bool] = Deferred()
        self._asked.append((name, max(1, ceil(ttl * 1000)), waiting))
        return waiting

    def _send(self) -> None:
        asked, self._asked = self._asked, []
        for start in range(0, len(asked), AT_ONCE):
            some = asked[start : start + AT_ONCE]
            commands = [('SET', self._prefix + name, '', 'NX', 'PX', ttl) for name, ttl, _ in some]
            self._client.batch(commands).addCallbacks(_answer, _fail, (some,), {}, (some,))


def _answer(answers: Sequence[object], asked: Sequence[_Asked]) -> None:
    for answer, (_, __, waiting) in zip(answers, asked, strict=True):
        if waiting.called:  # it was cancelled
            continue
        if isinstance(answer, Exception):
            waiting.errback(_unsaid(answer))
        else:
            waiting.callback(answer is not None)


def _fail(failure: Failure, asked: Sequence[_Asked]) -> None:
    for _, __, waiting in asked:
        if not waiting.called:
            waiting.errback(_unsaid(failure.value))


def _unsaid(error: Any) -> Exception:
    """A fault, whatever it was: Redis may refuse a command in words of its own."""
    if isinstance(error, Timeout | ServiceUnavailable):
        return error
    return ServiceUnavailable(None, f'Redis does not say what was used: {error}')
