"""Gives a service invocation access to Redis, for `self.kvdb`, `self.lock`, `self.cache` and `self.translate`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any

from zatotx.interfaces.service_redis import IServiceRedis
from zatotx.model.errors import ServiceUnavailable
from zatotx.service.outgoing import OutgoingCall


class RedisCoroutineRunner:
    """Runs coroutines that use Redis. Returns an awaitable in an async service, and the result in a synchronous
    service."""

    __slots__ = ('_invocation', 'run')

    def __init__(self, invocation: Any) -> None:
        self._invocation = invocation
        self.run: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any] = OutgoingCall(invocation).run

    @property
    def redis(self) -> IServiceRedis:
        """The node's Redis. Raises ServiceUnavailable if it has none."""
        redis: IServiceRedis | None = getattr(self._invocation.invoker.node, 'service_redis', None)
        if redis is None:
            raise ServiceUnavailable(self._invocation.message.cid, 'This node has no Redis for services')
        return redis

    @property
    def is_on_reactor(self) -> bool:
        """Whether the calling code runs on the reactor, as opposed to a service thread."""
        return bool(get_ident() == self._invocation.invoker.io_thread)

    @property
    def service_name(self) -> str:
        """The name of the service."""
        return str(self._invocation.entry.name)

    @property
    def cid(self) -> str:
        """The correlation id of the call."""
        return str(self._invocation.message.cid)

    def call_on_reactor(self, function: Callable[[], Any]) -> None:
        """Call a function on the reactor without waiting for it."""
        if self.is_on_reactor:
            function()
        else:
            self._invocation.invoker.threads.call_on_reactor(function)
