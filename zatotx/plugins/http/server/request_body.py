"""The body of a request as it comes in: in memory while it is small, in a temporary file when it is not.

Files are written, read and closed in threads. While a write is under way the intake is `busy` and the connection
gives it nothing more, so no more than one batch is in memory. Nothing is written for whom nobody has admitted.

What is in memory is charged to the process's ByteBudget: the intake's charge grows with each piece, shrinks with each
batch that was written, and goes with the body to whoever closes that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zatotx.rules.limits.byte_budget import ByteBudget, BytesCharge

Offload = Callable[..., Deferred[Any]]

BATCH = 256 * 1024


class SpooledBody:
    """A body in a file without a name, as model.message.Body. `read` blocks: for threads."""

    __slots__ = ('_file', '_lock', '_offload', 'size')
    quick = False
    seekable = True

    def __init__(self, file: IO[bytes], size: int, offload: Offload) -> None:
        self._file = file
        self._lock = Lock()  # a descriptor that is closed under a reader may be somebody else's by the time it reads
        self._offload = offload
        self.size = size

    def read(self) -> bytes:
        """All of it. Raises ValueError, as all that reads, once it is closed."""
        return b''.join(self.pieces(self.size))

    def pieces(self, size: int) -> Iterator[bytes]:
        """All of it, so many bytes at a time. Blocks as `read` does."""
        start = 0
        while piece := self.at(start, size):
            yield piece
            start += len(piece)

    def at(self, start: int, size: int) -> bytes:
        """Bytes from `start` on, fewer at the end. Blocks as `read` does; may be called while others read."""
        with self._lock:
            return os.pread(self._file.fileno(), size, start)

    @property
    def most(self) -> int:
        """Bytes that `read` gives."""
        return self.size

    def close(self) -> None:
        """Give the space back. May be called on the reactor and while another thread reads."""
        self._offload(self._close).addErrback(lambda failure: None)

    def _close(self) -> None:
        with self._lock:
            self._file.close()


class Held:
    """What a request holds until it is over: its body, and the charge for what of it is in memory."""

    __slots__ = ('_body', '_charge')

    def __init__(self, body: bytes | SpooledBody, charge: BytesCharge) -> None:
        self._body = body
        self._charge = charge

    def close(self) -> None:
        """Give both back."""
        self._charge.close()
        if isinstance(self._body, SpooledBody):
            self._body.close()


class BodyCollector:
    """Collects one body.

    `ready` is called when a write that made it `busy` has ended. `failure` says why the body cannot be kept, `full`
    that there is no room for it in memory. `allowed`: whether it may go to a file; who gives it pieces looks whether
    it `asks`, and says `allow` first.
    """

    __slots__ = ('_budget', '_buffer', '_dropped', '_file', '_offload', '_ready', '_spool_above', '_work_dir',
                 '_writing', 'allowed', 'charge', 'ended', 'failure', 'full', 'size')  # fmt: skip

    def __init__(self, offload: Offload, budget: ByteBudget, *, work_dir: str, spool_above: int,
                 ready: Callable[[], None], allowed: bool = True) -> None:
        self._offload = offload
        self._budget = budget
        self._work_dir = work_dir
        self._spool_above = spool_above
        self._ready = ready
        self._buffer: bytes | bytearray = b''
        self._writing = 0  # bytes of the batch that a thread writes
        self._file: IO[bytes] | None = None
        self._dropped = False
        self.allowed = allowed
        self.charge = BytesCharge(budget)
        self.ended = False
        self.failure: Failure | None = None
        self.full = False
        self.size = 0

    @property
    def busy(self) -> bool:
        """Whether a write is under way."""
        return self._writing > 0

    @property
    def asks(self) -> bool:
        """Whether it is too large for memory now, and may not go to a file yet."""
        return not self.allowed and self.size > self._budget.spool_above(self._spool_above)

    def allow(self) -> None:
        """It may go to a file. May make the intake busy."""
        self.allowed = True
        self.relieve()

    def add(self, piece: bytes) -> None:
        """One more piece of the body. May make the intake busy, or `full`: the piece is not kept then."""
        if not self.charge.add(len(piece)):
            self.full = True
            return
        if not self._buffer:  # a body that is one piece is never copied
            self._buffer = piece
        else:
            if type(self._buffer) is bytes:
                self._buffer = bytearray(self._buffer)
            self._buffer += piece
        self.size += len(piece)
        self.relieve()

    def relieve(self) -> None:
        """Write what is too large for memory now to the file, if it may be there. May make the intake busy."""
        if self.allowed:
            budget = self._budget
            if self.size > budget.spool_above(self._spool_above) and len(self._buffer) >= budget.spool_above(BATCH):
                self._write()

    def end(self) -> None:
        """That was all. May make the intake busy; `body` is there when it is not."""
        self.ended = True
        if self._buffer and (self._file is not None or self.size > self._spool_above):
            self._write()

    def body(self) -> bytes | SpooledBody:
        """What was collected. The caller closes it, and `charge`."""
        if self._file is None:
            return bytes(self._buffer)
        file, self._file = self._file, None
        return SpooledBody(file, self.size, self._offload)

    def drop(self) -> None:
        """Nobody wants it any more."""
        self._dropped = True
        if self.busy:  # the batch is in memory until it is written
            self.charge.give_back(len(self._buffer))
        self._buffer = b''
        if self.busy:
            return
        self.charge.close()
        if self._file is not None:
            file, self._file = self._file, None
            _close(file, self._offload)

    def _write(self) -> None:
        batch, self._buffer = self._buffer, b''
        self._writing = len(batch)
        self._offload(_written, self._file, batch, self._work_dir).addCallbacks(self._wrote, self._failed)

    def _wrote(self, file: IO[bytes]) -> None:
        self._file = file
        self._go_on()

    def _failed(self, failure: Failure) -> None:
        self.failure = failure
        self._go_on()

    def _go_on(self) -> None:
        self.charge.give_back(self._writing)
        self._writing = 0
        if self._dropped:
            self.drop()
        else:
            self._ready()


def _written(file: IO[bytes] | None, batch: bytes | bytearray, work_dir: str) -> IO[bytes]:
    """In a thread: append to the file, which is made, without a name, for the first batch."""
    if file is None:
        file = TemporaryFile(dir=work_dir, buffering=0)  # noqa: SIM115 - closed by who reads the body
    view = memoryview(batch)
    while view:
        view = view[file.write(view) :]
    return file


def _close(file: IO[bytes], offload: Offload) -> None:
    # Closing frees the blocks, which may not happen on the reactor.
    offload(file.close).addErrback(lambda failure: None)
