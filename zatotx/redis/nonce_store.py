"""Stores each nonce in Redis as one expiring key. The nonces of one reactor iteration are sent in one write."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.interfaces.redis import INonceStore, IPipelinedCommands
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis.key_names import RedisKeys

BATCH_SIZE = 1_000  # commands in one write

_PendingNonce = tuple[str, int, Deferred[bool]]  # name, ttl in milliseconds, result


@implementer(INonceStore)
class RedisNonceStore:
    """Implements INonceStore over the shared connection."""

    def __init__(self, clock: IReactorTime, client: IPipelinedCommands, keys: RedisKeys) -> None:
        self._clock = clock
        self._client = client
        self._prefix = keys.key('nonce', '')
        self._pending: list[_PendingNonce] = []

    def consume(self, name: str, ttl: float) -> Deferred[bool]:
        """See INonces."""
        if not self._pending:
            self._clock.callLater(0, self._send)
        waiting: Deferred[bool] = Deferred()
        self._pending.append((name, max(1, ceil(ttl * 1000)), waiting))
        return waiting

    def _send(self) -> None:
        pending, self._pending = self._pending, []
        for start in range(0, len(pending), BATCH_SIZE):
            chunk = pending[start : start + BATCH_SIZE]
            commands = [('SET', self._prefix + name, '', 'NX', 'PX', ttl) for name, ttl, _ in chunk]
            self._client.execute_batch(commands).addCallbacks(_deliver, _fail, (chunk,), {}, (chunk,))


def _deliver(replies: Sequence[object], chunk: Sequence[_PendingNonce]) -> None:
    for reply, (_, __, waiting) in zip(replies, chunk, strict=True):
        if waiting.called:  # cancelled by its caller
            continue
        if isinstance(reply, Exception):
            waiting.errback(_as_service_error(reply))
        else:
            waiting.callback(reply is not None)


def _fail(failure: Failure, chunk: Sequence[_PendingNonce]) -> None:
    for _, __, waiting in chunk:
        if not waiting.called:
            waiting.errback(_as_service_error(failure.value))


def _as_service_error(error: Any) -> Exception:
    """Return an error of the data model: Redis may reject a command with a text of its own."""
    if isinstance(error, Timeout | ServiceUnavailable):
        return error
    return ServiceUnavailable(None, f'Redis cannot check nonces: {error}')
