"""Answers in gzip: whole ones in one go, streams piece by piece, so that each piece is with the client at once."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from twisted.internet.defer import Deferred

from zatotx.plugins.http.server.response_stream import close

AT_ONCE = 64 * 1024  # bytes that are compressed on the reactor: a millisecond at worst
_LEVEL = 5  # a third slower than the quickest one, and a sixth smaller
_SMALL = 16 + 13, 5  # window and memory: 48 KiB instead of 256, which would be most of the time a small body takes
_LARGE = 16 + zlib.MAX_WBITS, 8


def gzip_body(body: bytes) -> bytes:
    """The body in gzip. Above AT_ONCE for threads."""
    coder = _coder(*(_LARGE if len(body) > AT_ONCE else _SMALL))
    return coder.compress(body) + coder.flush()


class GzipStream:
    """A streamed answer in gzip. Large pieces are compressed in a thread."""

    def __init__(self, source: AsyncIterator[bytes], offload: Callable[..., Deferred[Any]]) -> None:
        """`offload`: (function, *args), run in the node's worker threads."""
        self._source = source
        self._pieces = aiter(source)
        self._offload = offload
        self._coder = _coder(*_SMALL)
        self._over = False

    def __aiter__(self) -> GzipStream:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._over = True
            return self._coder.flush()
        if not piece:
            return b''
        coded: bytes = await self._offload(self._coded, piece) if len(piece) > AT_ONCE else self._coded(piece)
        return coded

    async def aclose(self) -> None:
        """The client has gone, or the service broke off."""
        await close(self._source)

    def _coded(self, piece: bytes) -> bytes:
        return self._coder.compress(piece) + self._coder.flush(zlib.Z_SYNC_FLUSH)


def _coder(window: int, memory: int) -> zlib._Compress:
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, window, memory)
