"""Lines for log files: collected from the hot path, written once a reactor turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any

from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from zatotx.interfaces.kind import ILineSink
from zatotx.logs.log_file import LogFile

_MOST = 10_000  # lines of one turn: more are written at once, so that memory stays bounded
_CONTROLS = {code: f'\\x{code:02x}' for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x09}
_CONTROLS |= {0x0A: '\\n', 0x0D: '\\r'}
_CONTROLS |= {code: f'\\u{code:04x}' for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def one_line(text: str) -> str:
    """`text` with everything escaped that could end its line or move a terminal's cursor: nobody forges an entry."""
    return text if text.isprintable() else text.translate(_CONTROLS)


@implementer(ILineSink)
class LineWriter:
    """For the reactor's thread alone, at a list append a line: the access log."""

    def __init__(self, reactor: Any, file: LogFile) -> None:
        """`reactor`: IReactorTime. The writer owns the file."""
        self._reactor = reactor
        self._file = file
        self._lines: list[str] = []
        self._turn: Any = None  # the IDelayedCall that writes
        self.json = False

    @property
    def lost(self) -> int:
        """Lines that the disk did not take."""
        return self._file.lost

    def line(self, text: str) -> None:
        """Add one line, without its end. Never raises."""
        lines = self._lines
        lines.append(text)
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._write)
        elif len(lines) >= _MOST:
            self._drain()

    def reopen(self) -> None:
        """Go on in a new file of the same name, after the old one was moved away."""
        self._drain()
        self._file.reopen()

    def limit(self, max_bytes: int, keep: int) -> None:
        """See LogFile."""
        self._file.limit(max_bytes, keep)

    def missing(self, notice: Callable[[int, str], str]) -> None:
        """What to write where lines are missing: `notice` is told how many and why."""
        self._file.notice = notice

    def close(self) -> None:
        """Write what there is and close the file; idempotent."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._drain()
        self._file.close()

    def _write(self) -> None:
        self._turn = None
        self._drain()

    def _drain(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._file.append(_unforged(lines))


@implementer(ILineSink)
class SharedLineWriter:
    """For any thread: the server's log. The reactor's thread writes once a turn, others at once, so that a line about
    a stalled reactor does not wait for it. Nobody ever waits for the lock: whoever finds it taken leaves its line to
    the holder."""

    def __init__(self, reactor: Any, file: LogFile) -> None:
        """`reactor`: IReactorTime. The writer owns the file."""
        self._reactor = reactor
        self._file = file
        self._entries: deque[str] = deque()
        self._writing = Lock()
        self._turn: Any = None
        self.json = False  # entries have their form when they come

    @property
    def lost(self) -> int:
        """Entries that the disk did not take."""
        return self._file.lost

    def line(self, text: str) -> None:
        """Add one line, without its end. Never raises."""
        self.entry(one_line(text))

    def entry(self, text: str) -> None:
        """Add a line with what stands indented below it. The caller answers for every line break in it."""
        self._entries.append(text)
        if not isInIOThread():
            self._drain()
        elif self._turn is None:
            self._turn = self._reactor.callLater(0, self._write)

    def flush(self) -> None:
        """Write what there is now. From any thread."""
        self._drain()

    def reopen(self) -> None:
        """Go on in a new file of the same name, after the old one was moved away. In the reactor's thread."""
        self._drain()
        with self._writing:
            self._file.reopen()

    def limit(self, max_bytes: int, keep: int) -> None:
        """See LogFile."""
        self._file.limit(max_bytes, keep)

    def missing(self, notice: Callable[[int, str], str]) -> None:
        """What to write where entries are missing: `notice` is told how many and why."""
        self._file.notice = notice

    def close(self) -> None:
        """Write what there is and close the file; idempotent. In the reactor's thread."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._drain()
        with self._writing:
            self._file.close()

    def _write(self) -> None:
        self._turn = None
        self._drain()

    def _drain(self) -> None:
        entries = self._entries
        # Asked again after every release: an entry added while we held the lock is ours to write.
        while entries and self._writing.acquire(blocking=False):
            try:
                self._file.append([entries.popleft() for _ in range(min(len(entries), _MOST))])
            finally:
                self._writing.release()


def _unforged(lines: list[str]) -> list[str]:
    # One search in the joined text costs less than one in each line, and almost never finds anything.
    text = ''.join(lines)
    return [one_line(line) for line in lines] if '\n' in text or '\r' in text else lines
