"""Stores recorded calls of services in Redis. Each service has a value and a list, which expire."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.call_samples import KEPT, MAX_SLOW, ICallSampleStore
from zatotx.model.call_sample import CallSample
from zatotx.redis.key_names import RedisKeys

_decoder = msgspec.json.Decoder(CallSample)


@implementer(ICallSampleStore)
class RedisCallSampleStore:
    """Implements ICallSampleStore. It stores the recorded calls of a cluster in Redis. `client` must provide ICommands
    and IPipelinedCommands."""

    def __init__(self, client: Any, keys: RedisKeys) -> None:
        self._client = client
        self._key = keys.key

    def record_sample(self, service: str, sample: CallSample) -> Deferred[None]:
        return self._execute(('SET', self._key('call-sample', service), msgspec.json.encode(sample), 'EX', KEPT))

    def record_slow(self, service: str, sample: CallSample) -> Deferred[None]:
        key = self._key('slow-calls', service)
        return self._execute(
            ('LPUSH', key, msgspec.json.encode(sample)), ('LTRIM', key, 0, MAX_SLOW - 1), ('EXPIRE', key, KEPT)
        )

    def sample(self, service: str) -> Deferred[CallSample | None]:
        found: Deferred[Any] = self._client.execute('GET', self._key('call-sample', service))
        return found.addCallback(lambda value: None if value is None else _decoder.decode(value))

    def slow(self, service: str) -> Deferred[list[CallSample]]:
        found: Deferred[Any] = self._client.execute('LRANGE', self._key('slow-calls', service), 0, -1)
        return found.addCallback(lambda values: [_decoder.decode(value) for value in values])

    def _execute(self, *commands: tuple[object, ...]) -> Deferred[None]:
        replies: Deferred[list[Any]] = self._client.execute_batch(commands)
        return replies.addCallback(_raise_first)


def _raise_first(replies: list[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
