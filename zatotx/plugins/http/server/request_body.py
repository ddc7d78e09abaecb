"""The body of a request. A small body is kept in memory, and a large body in a temporary file. The body is decoded when
it is read.

Files are written, read and closed in threads. While a write is in progress the collector is `busy` and the connection
passes it no more data, so at most one batch is in memory. Bodies of requests that are not admitted yet are not written
to files.

Bytes in memory are charged to the process's MemoryBudget: the charge grows with each piece, shrinks with each batch
written, and is released when the body is closed.

A body in a content coding is decoded when the service reads it: the client is authenticated then, and admission control
has accepted the request.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zatotx.model.errors import BadRequest, ContentTooLarge
from zatotx.plugins.http.settings import HttpSettings
from zatotx.rules.limits.memory_budget import MemoryBudget, MemoryReservation
from zatotx.wire.http.decompression import (
    UNLIMITED_RATIO_SIZE,
    DecompressionBomb,
    Decompressor,
    Malformed,
    parse_content_encoding,
)

Offload = Callable[..., Deferred[Any]]

BATCH_SIZE = 256 * 1024
_QUICK_SIZE = 8 * 1024  # largest body that is decoded on the reactor: a millisecond or two at worst
_PIECE_SIZE = 64 * 1024


class SpooledBody:
    """A body in an unnamed temporary file (see model.message.Body). `read` blocks, so it must be called in a thread."""

    __slots__ = ('_file', '_lock', '_offload', 'size')
    is_nonblocking = False
    seekable = True

    def __init__(self, file: IO[bytes], size: int, offload: Offload) -> None:
        self._file = file
        self._lock = Lock()  # after a close by another thread the descriptor's number may belong to another file
        self._offload = offload
        self.size = size

    def read(self) -> bytes:
        """Return the whole body. Raises ValueError, as the other readers do, after `close`."""
        return b''.join(self.iter_chunks(self.size))

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        """Yield the body in pieces of `size` bytes. Blocks as `read` does."""
        start = 0
        while piece := self.read_at(start, size):
            yield piece
            start += len(piece)

    def read_at(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, fewer at the end. Blocks as `read` does; several threads may read at
        once."""
        with self._lock:
            return os.pread(self._file.fileno(), size, start)

    @property
    def max_size(self) -> int:
        """The number of bytes that `read` returns."""
        return self.size

    def close(self) -> None:
        """Close the file. May be called on the reactor and while another thread reads."""
        self._offload(self._close).addErrback(lambda failure: None)

    def _close(self) -> None:
        with self._lock:
            self._file.close()


class RequestResources:
    """The resources of a request that are released when it ends: the body, and the memory that was reserved for it."""

    __slots__ = ('_body', '_charge')

    def __init__(self, body: bytes | SpooledBody, charge: MemoryReservation) -> None:
        self._body = body
        self._charge = charge

    def close(self) -> None:
        """Release both."""
        self._charge.close()
        if isinstance(self._body, SpooledBody):
            self._body.close()


class BodyCollector:
    """Collects the body of one request as it is received.

    `on_written` is called when a write that made the collector `is_writing` has ended. `failure` is set if the body
    cannot be stored, `is_over_budget` if the memory budget does not allow it. `may_spool` says whether the body may be
    written to a file; a caller that adds pieces checks `needs_admission`, and calls `allow_spooling` once the request
    is admitted.
    """

    __slots__ = (
        '_budget',
        '_buffer',
        '_discarded',
        '_file',
        '_offload',
        '_on_written',
        '_spool_above',
        '_work_dir',
        '_writing',
        'charge',
        'failure',
        'is_finished',
        'is_over_budget',
        'may_spool',
        'size',
    )  # fmt: skip

    def __init__(self, offload: Offload, budget: MemoryBudget, *, work_dir: str, spool_above: int,
                 on_written: Callable[[], None], may_spool: bool = True) -> None:
        self._offload = offload
        self._budget = budget
        self._work_dir = work_dir
        self._spool_above = spool_above
        self._on_written = on_written
        self._buffer: bytes | bytearray = b''
        self._writing = 0  # bytes of the batch that a thread is writing
        self._file: IO[bytes] | None = None
        self._discarded = False
        self.may_spool = may_spool
        self.charge = MemoryReservation(budget)
        self.is_finished = False
        self.failure: Failure | None = None
        self.is_over_budget = False
        self.size = 0

    @property
    def is_writing(self) -> bool:
        """Whether a write is in progress."""
        return self._writing > 0

    @property
    def needs_admission(self) -> bool:
        """Whether the body is too large for memory but may not be written to a file yet."""
        return not self.may_spool and self.size > self._budget.spool_threshold(self._spool_above)

    def allow_spooling(self) -> None:
        """Permit writing to a file. May make the collector busy."""
        self.may_spool = True
        self.spool()

    def add(self, piece: bytes) -> None:
        """Add a piece of the body. May make the collector busy, or `is_over_budget`: then the piece is not kept."""
        if not self.charge.reserve(len(piece)):
            self.is_over_budget = True
            return
        if not self._buffer:  # a body of a single piece is never copied
            self._buffer = piece
        else:
            if type(self._buffer) is bytes:
                self._buffer = bytearray(self._buffer)
            self._buffer += piece
        self.size += len(piece)
        self.spool()

    def spool(self) -> None:
        """Write to the file what is too large for memory, if that is permitted. May make the collector busy."""
        if self.may_spool:
            budget = self._budget
            if self.size > budget.spool_threshold(self._spool_above) and len(self._buffer) >= budget.spool_threshold(
                BATCH_SIZE
            ):
                self._write()

    def finish(self) -> None:
        """Note the end of the body. May make the collector busy; `body` is available when it is not."""
        self.is_finished = True
        if self._buffer and (self._file is not None or self.size > self._spool_above):
            self._write()

    def body(self) -> bytes | SpooledBody:
        """Return the collected body. The caller closes it, and `charge`."""
        if self._file is None:
            return bytes(self._buffer)
        file, self._file = self._file, None
        return SpooledBody(file, self.size, self._offload)

    def discard(self) -> None:
        """Discard the body."""
        self._discarded = True
        if self.is_writing:  # the batch stays in memory until it is written
            self.charge.release(len(self._buffer))
        self._buffer = b''
        if self.is_writing:
            return
        self.charge.close()
        if self._file is not None:
            file, self._file = self._file, None
            _close(file, self._offload)

    def _write(self) -> None:
        batch, self._buffer = self._buffer, b''
        self._writing = len(batch)
        writing = self._offload(_append_batch, self._file, batch, self._work_dir)
        writing.addCallbacks(self._batch_written, self._write_failed)

    def _batch_written(self, file: IO[bytes]) -> None:
        self._file = file
        self._finish_write()

    def _write_failed(self, failure: Failure) -> None:
        self.failure = failure
        self._finish_write()

    def _finish_write(self) -> None:
        self.charge.release(self._writing)
        self._writing = 0
        if self._discarded:
            self.discard()
        else:
            self._on_written()


def _append_batch(file: IO[bytes] | None, batch: bytes | bytearray, work_dir: str) -> IO[bytes]:
    """Append a batch to the file, which is created, unnamed, for the first batch. Runs in a thread."""
    if file is None:
        file = TemporaryFile(dir=work_dir, buffering=0)  # noqa: SIM115 - closed by the reader of the body
    view = memoryview(batch)
    while view:
        view = view[file.write(view) :]
    return file


def _close(file: IO[bytes], offload: Offload) -> None:
    # Closing frees the blocks, which must not happen on the reactor.
    offload(file.close).addErrback(lambda failure: None)


def wrap_encoded_body(
    body: bytes | SpooledBody, field: bytes, settings: HttpSettings
) -> bytes | SpooledBody | EncodedBody:
    """Wrap a body so that it is decoded by its Content-Encoding. The coding must be supported, which RequestRouter
    checks."""
    coding = parse_content_encoding(field)
    return EncodedBody(body, coding, max_size=settings.max_body, max_ratio=settings.max_ratio) if coding else body


class EncodedBody:
    """A body with a content coding (see model.message.Body). `read` returns the decoded body, limited to `max_size`
    bytes and to `max_ratio` times the received size. It may block unless `is_nonblocking` is set."""

    __slots__ = ('_body', '_coding', '_max_ratio', '_max_size', 'size')
    seekable = False

    def __init__(self, body: bytes | SpooledBody, coding: str, *, max_size: int, max_ratio: int) -> None:
        self._body = body
        self._coding = coding
        self._max_size = max_size
        self._max_ratio = max_ratio
        self.size = len(body) if isinstance(body, bytes) else body.size

    @property
    def is_nonblocking(self) -> bool:
        """Whether the body is so small that it can be decoded on the reactor."""
        return isinstance(self._body, bytes) and self.size <= _QUICK_SIZE

    @property
    def max_size(self) -> int:
        """The maximum number of bytes that `read` returns."""
        return min(self._max_size, max(UNLIMITED_RATIO_SIZE, self._max_ratio * self.size))

    def read(self) -> bytes:
        """Return the whole decoded body. Raises BadRequest if it is not in that coding, ContentTooLarge if it exceeds a
        limit."""
        inflater = Decompressor(self._coding, max_size=self._max_size, max_ratio=self._max_ratio)
        decoded = bytearray()
        try:
            for piece in self._pieces():
                decoded += inflater.feed(piece)
            inflater.finish()
        except Malformed as error:
            raise BadRequest(None, f'The body cannot be decoded: {error}') from None
        except DecompressionBomb as error:
            raise ContentTooLarge(None, str(error)) from None
        return bytes(decoded)

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        """Yield the decoded body in pieces of `size` bytes. Raises as `read` does."""
        decoded = self.read()
        yield from (decoded[start : start + size] for start in range(0, len(decoded), size))

    def read_at(self, start: int, size: int) -> bytes:
        """Return `size` decoded bytes from `start` on. Raises as `read` does."""
        return self.read()[start : start + size]

    def close(self) -> None:
        """Close the encoded body."""
        if isinstance(self._body, SpooledBody):
            self._body.close()

    def _pieces(self) -> Iterator[bytes]:
        body = self._body
        if isinstance(body, SpooledBody):
            yield from body.iter_chunks(_PIECE_SIZE)
        else:
            for start in range(0, len(body), _PIECE_SIZE):
                yield body[start : start + _PIECE_SIZE]
