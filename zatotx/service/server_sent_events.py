"""Server-sent events as the body of an answer: a service's events in their order, and signs of life between them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from zatotx.wire.http.sse import KEEP_ALIVE, encode_event

_NOTHING = object()
HEARTBEAT = 15.0  # seconds: below the idle timeouts that proxies have


async def event_stream(events: AsyncIterable[Any], clock: IReactorTime, heartbeat: float) -> AsyncIterator[bytes]:
    """The bytes of events as they come, and a comment whenever none came for `heartbeat` seconds: a client that went
    away is noticed, and nothing between takes the silence for the end. Closing it closes `events`."""
    source = aiter(events)
    pending: _Pending | None = None
    try:
        while True:
            if pending is None:
                pending = _Pending(source)
            if not await pending.came(clock, heartbeat):
                yield KEEP_ALIVE
                continue
            result, pending = pending.result, None
            if isinstance(result, Failure):
                if result.check(StopAsyncIteration):
                    return
                result.raiseException()
            yield encode_event(result)
    finally:
        over = pending is None or pending.cancel()  # else the service goes on though cancelled: it cannot be closed
        if over and (close := getattr(source, 'aclose', None)) is not None:
            await close()


class _Pending:
    """The next event of a source, which may be waited for several times."""

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self.result: Any = _NOTHING
        self._told: Deferred[bool] | None = None
        self._waiting = Deferred.fromCoroutine(_next(source))
        self._waiting.addBoth(self._over)

    async def came(self, clock: IReactorTime, seconds: float) -> bool:
        """Whether it is here within so many seconds."""
        if self.result is not _NOTHING:
            return True
        told = self._told = Deferred()
        late = clock.callLater(seconds, self._tell, False)
        try:
            return await told
        finally:
            self._told = None
            if late.active():
                late.cancel()

    def cancel(self) -> bool:
        """Nobody waits for it any more. Whether that was its end."""
        self._waiting.cancel()
        return self.result is not _NOTHING

    def _over(self, result: Any) -> None:
        self.result = result
        self._tell(True)

    def _tell(self, came: bool) -> None:
        if self._told is not None and not self._told.called:
            self._told.callback(came)


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source)
