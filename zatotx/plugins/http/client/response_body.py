"""Response bodies: collected up to a limit, or streamed to a reader that may be slow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed

from zatotx.plugins.http.client.call import Fields, HttpResponse, ResponseHead
from zatotx.plugins.http.client.errors import CallFailed, StreamClosed, TooLarge

MAX_BUFFERED = 64 * 1024  # bytes that are buffered for the reader before reading from the peer pauses

Trailers = tuple[tuple[bytes, bytes], ...]


class FlowControl(Protocol):
    """The source of a stream, which can be paused."""

    def pause(self) -> None:
        """Pause reading from the peer."""

    def resume(self) -> None:
        """Resume reading."""

    def close(self) -> None:
        """Stop: the rest is not read."""


class CollectedBody:
    """A body that is returned as a whole."""

    __slots__ = ('_head', '_max_size', '_pieces', '_size')

    def __init__(self, head: ResponseHead, max_size: int) -> None:
        self._head = head
        self._max_size = max_size
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Add a piece. Raises TooLarge."""
        self._size += len(data)
        if self._size > self._max_size:
            raise too_large_error(self._max_size)
        self._pieces.append(data)

    def finish(self, trailers: Trailers) -> HttpResponse:
        """Return the complete response."""
        return HttpResponse(self._head, b''.join(self._pieces), trailers)


class StreamedBody:
    """A ResponseStream of a body that is being received."""

    __slots__ = ('_buffered', '_ended', '_error', '_flow_control', '_size', '_waiting', 'trailers')

    def __init__(self, flow_control: FlowControl) -> None:
        self._flow_control: FlowControl | None = flow_control
        self._buffered: list[bytes] = []
        self._size = 0
        self._waiting: Deferred[bytes] | None = None
        self._ended = False
        self._error: CallFailed | None = None
        self.trailers: Fields = ()

    # Called by the reader.

    def read(self) -> Deferred[bytes]:
        """See ResponseStream."""
        if self._waiting is not None:
            raise RuntimeError('The body of an answer is read by one reader, one piece at a time')
        if self._buffered:
            return succeed(self._take())
        if self._error is not None:
            return fail(self._error)
        if self._ended:
            return succeed(b'')
        waiting = self._waiting = Deferred(self._read_cancelled)
        return waiting

    def close(self) -> None:
        """See ResponseStream."""
        self._buffered.clear()
        if self._error is None and not self._ended:
            flow_control = self._flow_control
            self.fail(StreamClosed('the body of the answer was closed before its end'))
            if flow_control is not None:
                flow_control.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read()
        if not piece:
            raise StopAsyncIteration
        return piece

    # Called by the connection.

    def add(self, data: bytes) -> None:
        """Add a piece."""
        waiting = self._waiting
        if waiting is not None:
            self._waiting = None
            waiting.callback(data)
            return
        self._buffered.append(data)
        self._size += len(data)
        if self._size >= MAX_BUFFERED and self._flow_control is not None:
            self._flow_control.pause()

    def finish(self, trailers: Trailers) -> None:
        """Note the end of the body."""
        self._ended = True
        self._flow_control = None
        self.trailers = trailers
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(b'')

    def fail(self, error: CallFailed) -> None:
        """Fail the stream: no more data follows."""
        self._error = error
        self._flow_control = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(error)

    def _take(self) -> bytes:
        buffered = self._buffered
        data = buffered[0] if len(buffered) == 1 else b''.join(buffered)
        buffered.clear()
        self._size = 0
        if self._flow_control is not None:
            self._flow_control.resume()
        return data

    def _read_cancelled(self, waiting: Deferred[bytes]) -> None:
        self._waiting = None
        self.close()


def too_large_error(max_size: int) -> TooLarge:
    return TooLarge(f'the body of the answer is longer than the {max_size} bytes that this call allows')
