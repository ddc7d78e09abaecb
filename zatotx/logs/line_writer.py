"""Line writers of log files. They buffer lines, and write them once per reactor iteration."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from zatotx.interfaces.connector_kind import ILineSink
from zatotx.logs.log_file import LogFile

_MAX_BUFFERED = 10_000  # buffered lines: beyond this they are written at once, to bound memory
_CONTROLS = {code: f'\\x{code:02x}' for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x09}
_CONTROLS |= {0x0A: '\\n', 0x0D: '\\r'}
_CONTROLS |= {code: f'\\u{code:04x}' for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def escape_line(text: str) -> str:
    """Escape every character that could end the line or control a terminal, so that log entries cannot be forged."""
    return text if text.isprintable() else text.translate(_CONTROLS)


@implementer(ILineSink)
class ReactorLineWriter:
    """A buffered line writer for the reactor's thread only, such as that of the access log. Writing a line only appends
    it to a list."""

    def __init__(self, reactor: IReactorTime, file: LogFile) -> None:
        """`reactor`: IReactorTime. The writer owns the file."""
        self._reactor = reactor
        self._file = file
        self._lines: list[str] = []
        self._write_call: IDelayedCall | None = None  # the next write
        self.json = False

    @property
    def lost(self) -> int:
        """The number of lines that could not be written."""
        return self._file.lost_entries

    def write_line(self, text: str) -> None:
        """Add a line, without its line end. Never raises."""
        lines = self._lines
        lines.append(text)
        if self._write_call is None:
            self._write_call = self._reactor.callLater(0, self._write)
        elif len(lines) >= _MAX_BUFFERED:
            self._drain()

    def reopen(self) -> None:
        """Continue in a new file of the same name, after the old one was moved."""
        self._drain()
        self._file.reopen()

    def set_limits(self, max_bytes: int, keep: int) -> None:
        """See LogFile."""
        self._file.set_limits(max_bytes, keep)

    def set_missing_notice(self, notice: Callable[[int, str], str]) -> None:
        """Set what is written in place of missing lines; `notice` receives their number and the reason."""
        self._file.make_notice = notice

    def close(self) -> None:
        """Write the buffered lines and close the file; idempotent."""
        if self._write_call is not None:
            self._write_call.cancel()
            self._write_call = None
        self._drain()
        self._file.close()

    def _write(self) -> None:
        self._write_call = None
        self._drain()

    def _drain(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._file.append(_escaped(lines))


@implementer(ILineSink)
class SharedLineWriter:
    """A line writer for any thread, such as that of the server's log. The reactor's thread writes once per iteration,
    and other threads write immediately, so that a message about a stalled reactor is not delayed. No thread waits for
    the lock: the thread that holds it writes the lines of the others."""

    def __init__(self, reactor: IReactorTime, file: LogFile) -> None:
        """`reactor`: IReactorTime. The writer owns the file."""
        self._reactor = reactor
        self._file = file
        self._entries: deque[str] = deque()
        self._writing = Lock()
        self._write_call: Any = None
        self.json = False  # entries are formatted by the caller

    @property
    def lost(self) -> int:
        """The number of entries that could not be written."""
        return self._file.lost_entries

    def write_line(self, text: str) -> None:
        """Add a line, without its line end. Never raises."""
        self.write_entry(escape_line(text))

    def write_entry(self, text: str) -> None:
        """Add a line and the indented lines below it. The caller is responsible for every line break in it."""
        self._entries.append(text)
        if not isInIOThread():
            self._drain()
        elif self._write_call is None:
            self._write_call = self._reactor.callLater(0, self._write)

    def flush(self) -> None:
        """Write the buffered entries now. For any thread."""
        self._drain()

    def reopen(self) -> None:
        """Continue in a new file of the same name, after the old one was moved. For the reactor's thread."""
        self._drain()
        with self._writing:
            self._file.reopen()

    def set_limits(self, max_bytes: int, keep: int) -> None:
        """See LogFile."""
        self._file.set_limits(max_bytes, keep)

    def set_missing_notice(self, notice: Callable[[int, str], str]) -> None:
        """Set what is written in place of missing entries; `notice` receives their number and the reason."""
        self._file.make_notice = notice

    def close(self) -> None:
        """Write the buffered entries and close the file; idempotent. For the reactor's thread."""
        if self._write_call is not None:
            self._write_call.cancel()
            self._write_call = None
        self._drain()
        with self._writing:
            self._file.close()

    def _write(self) -> None:
        self._write_call = None
        self._drain()

    def _drain(self) -> None:
        entries = self._entries
        # Checked again after every release: entries added while the lock was held must be written here.
        while entries and self._writing.acquire(blocking=False):
            try:
                self._file.append([entries.popleft() for _ in range(min(len(entries), _MAX_BUFFERED))])
            finally:
                self._writing.release()


def _escaped(lines: list[str]) -> list[str]:
    # One search in the joined text is cheaper than one per line, and almost never matches.
    text = ''.join(lines)
    return [escape_line(line) for line in lines] if '\n' in text or '\r' in text else lines
