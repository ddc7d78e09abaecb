"""Streams server-sent events to one browser."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from zatotx.admin.cluster_api import Caller
from zatotx.admin.live import LiveFeed


@implementer(IPushProducer)
class EventWriter:
    """A stream of server-sent events to one browser. Events are dropped while the browser does not read."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._is_paused = False
        self._ended: Deferred[None] = Deferred()

    async def send(self, feed: LiveFeed, caller: Caller) -> bytes:
        """Send events until the session ends, or Klein cancels because the browser has left."""
        request = self._request
        request.setHeader('Content-Type', 'text/event-stream')
        request.registerProducer(self, True)
        request.write(b'retry: 5000\n\n')
        feed.subscribe(self._write, caller)
        try:
            await self._ended
        except CancelledError:
            pass  # there is nobody to answer
        finally:
            feed.unsubscribe(self._write)
            request.unregisterProducer()
        return b''

    def _write(self, event: bytes, is_last: bool) -> None:
        if not self._is_paused:
            self._request.write(event)
        if is_last and not self._ended.called:
            self._ended.callback(None)

    def pauseProducing(self) -> None:
        """The browser does not read fast enough."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """The browser reads again."""
        self._is_paused = False

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._is_paused = True
        if not self._ended.called:
            self._ended.callback(None)
