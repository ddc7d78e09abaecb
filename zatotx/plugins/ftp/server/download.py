"""A file that an FTP client downloads from the server (RETR)."""

from __future__ import annotations

import os
from threading import Lock

from attrs import define, field

BLOCK = 256 * 1024


@define(eq=False)
class DownloadFile:
    """A file that is sent to an FTP client. `close` may be called while another thread reads. All methods may block."""

    file: int
    offset: int
    _lock: Lock = field(factory=Lock, init=False)
    _is_closed: bool = field(default=False, init=False)

    def read(self) -> bytes:
        """Return the next block, b'' at the end. Raises OSError."""
        with self._lock:
            if self._is_closed:
                return b''
            block = os.pread(self.file, BLOCK, self.offset)
            self.offset += len(block)
            return block

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self.file)
