"""Response compression with gzip: whole bodies at once, streams piece by piece so that each piece is sent without
delay."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from twisted.internet.defer import Deferred

from zatotx.plugins.http.server.response_stream import close_stream

THREAD_THRESHOLD = 64 * 1024  # largest body that is compressed on the reactor, in bytes: a millisecond at worst
_LEVEL = 5  # a third slower than the fastest level, and a sixth smaller
_SMALL = 16 + 13, 5  # window and memory: 48 KiB instead of 256, whose allocation would dominate for a small body
_LARGE = 16 + zlib.MAX_WBITS, 8


def gzip_body(body: bytes) -> bytes:
    """Return the body compressed with gzip. Call it in a thread if the body is larger than AT_ONCE."""
    compressor = _compressor(*(_LARGE if len(body) > THREAD_THRESHOLD else _SMALL))
    return compressor.compress(body) + compressor.flush()


class GzipStream:
    """A streamed response body, compressed with gzip. Large pieces are compressed in a thread."""

    def __init__(self, source: AsyncIterator[bytes], offload: Callable[..., Deferred[Any]]) -> None:
        """`offload` calls (function, *args) in the node's worker threads."""
        self._source = source
        self._pieces = aiter(source)
        self._offload = offload
        self._compressor = _compressor(*_SMALL)
        self._finished = False

    def __aiter__(self) -> GzipStream:
        return self

    async def __anext__(self) -> bytes:
        if self._finished:
            raise StopAsyncIteration
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._finished = True
            return self._compressor.flush()
        if not piece:
            return b''
        if len(piece) <= THREAD_THRESHOLD:
            return self._compress(piece)
        compressed: bytes = await self._offload(self._compress, piece)
        return compressed

    async def aclose(self) -> None:
        """Close the source: the client disconnected, or the service failed."""
        await close_stream(self._source)

    def _compress(self, piece: bytes) -> bytes:
        return self._compressor.compress(piece) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


def _compressor(window: int, memory: int) -> zlib._Compress:
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, window, memory)
