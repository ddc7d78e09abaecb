"""Streams a service's events as server-sent events in a response body, with keep-alive comments between them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from zatotx.wire.http.sse import KEEP_ALIVE_COMMENT, encode_event

_NOTHING = object()
HEARTBEAT_INTERVAL = 15.0  # seconds; shorter than the idle timeouts of common proxies


async def encode_event_stream(
    events: AsyncIterable[Any], clock: IReactorTime, heartbeat: float
) -> AsyncIterator[bytes]:
    """Encode events when they become available. After every `heartbeat` seconds without an event, yield a comment.

    The comments reveal clients that went away, and keep proxies from closing an idle connection. Closing the generator
    closes `events`.
    """
    source = aiter(events)
    pending: _Pending | None = None
    try:
        while True:
            if pending is None:
                pending = _Pending(source)
            if not await pending.came(clock, heartbeat):
                yield KEEP_ALIVE_COMMENT
                continue
            result, pending = pending.result, None
            if isinstance(result, Failure):
                if result.check(StopAsyncIteration):
                    return
                result.raiseException()
            yield encode_event(result)
    finally:
        # A service that ignores the cancellation still runs, and its generator cannot be closed.
        finished = pending is None or pending.cancel()
        if finished and (close := getattr(source, 'aclose', None)) is not None:
            await close()


class _Pending:
    """The next event of a source, which may be awaited several times."""

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self.result: Any = _NOTHING
        self._waiter: Deferred[bool] | None = None
        self._next_event = Deferred.fromCoroutine(_next(source))
        self._next_event.addBoth(self._finished)

    async def came(self, clock: IReactorTime, seconds: float) -> bool:
        """Return whether the event arrives within that many seconds."""
        if self.result is not _NOTHING:
            return True
        waiter = self._waiter = Deferred()
        timeout = clock.callLater(seconds, self._notify, False)
        try:
            return await waiter
        finally:
            self._waiter = None
            if timeout.active():
                timeout.cancel()

    def cancel(self) -> bool:
        """Cancel the event; return whether the source has ended."""
        self._next_event.cancel()
        return self.result is not _NOTHING

    def _finished(self, result: Any) -> None:
        self.result = result
        self._notify(True)

    def _notify(self, arrived: bool) -> None:
        if self._waiter is not None and not self._waiter.called:
            self._waiter.callback(arrived)


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source)
