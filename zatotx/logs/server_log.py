"""The server's log: everything said through twisted.logger and through stdlib logging, in one file and one form.

    2026-11-24 08:20:20,123 - INFO - crm.get-balance:5f1c… - what happened

The third part is `service:cid` where an entry carries them (extras of a stdlib record, fields of a Twisted event), else
the logger's name. A traceback stands indented below its line.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from time import localtime, strftime
from traceback import format_exception
from typing import Any

from twisted.logger import ILogObserver, LogPublisher, formatEvent, globalLogPublisher
from zope.interface import implementer

from zatotx.logs.lines import SharedLineWriter, one_line

_LEVELS = {
    'debug': logging.DEBUG,
    'info': logging.INFO,
    'warning': logging.WARNING,
    'error': logging.ERROR,
    'critical': logging.CRITICAL,
}
_TWISTED = {'warn': logging.WARNING, **_LEVELS}
LEVELS = tuple(_LEVELS)  # what a setting may say


@implementer(ILogObserver)
class ServerLog:
    """Writes what is at least of `level`; critical entries stand on standard error too, for whoever started the
    process."""

    def __init__(self, writer: SharedLineWriter, *, level: str = 'info', publisher: LogPublisher | None = None) -> None:
        """`level`: one of LEVELS, else KeyError. `publisher`: where Twisted's events come from, the global one unless
        told."""
        self._writer = writer
        self._level = _LEVELS[level]
        self._publisher = globalLogPublisher if publisher is None else publisher
        self._handler = _Handler(self)
        self._root_level = logging.WARNING

    def install(self) -> None:
        """Begin to receive entries."""
        root = logging.getLogger()
        self._root_level = root.level
        root.setLevel(self._level)
        root.addHandler(self._handler)
        self._publisher.addObserver(self)

    def uninstall(self) -> None:
        """Receive no more, and have what was received on disk. The writer stays open."""
        self._publisher.removeObserver(self)
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(self._root_level)
        self._writer.flush()

    def __call__(self, event: dict[str, Any]) -> None:
        """One event of twisted.logger."""
        level = _TWISTED[getattr(event.get('log_level'), 'name', 'info')]
        if level < self._level:
            return
        failure = event.get('log_failure')
        below = '' if failure is None else failure.getTraceback()
        message = formatEvent(event) or (failure.getErrorMessage() if failure else '')
        source = _source(event, str(event.get('log_namespace', '-')))
        self._write(event.get('log_time', 0.0), level, source, message, below)

    def record(self, record: logging.LogRecord) -> None:
        """One record of stdlib logging."""
        try:
            message = record.getMessage()
        except Exception as error:
            message = f'{record.msg!r} with {record.args!r} cannot be formatted: {error}'
        below = ''.join(format_exception(*record.exc_info)) if record.exc_info else ''
        if record.stack_info:
            below += record.stack_info
        self._write(record.created, record.levelno, _source(record.__dict__, record.name), message, below)

    def _write(self, when: float, level: int, source: str, message: str, below: str) -> None:
        entry = f'{_stamp(when)} - {logging.getLevelName(level)} - {one_line(source)} - {one_line(message)}'
        if below:
            entry += ''.join(f'\n    {one_line(line)}' for line in below.rstrip('\n').split('\n'))
        self._writer.entry(entry)
        if level >= logging.CRITICAL:
            with suppress(OSError, ValueError):  # a closed terminal
                print(entry, file=sys.__stderr__)


class _Handler(logging.Handler):
    def __init__(self, log: ServerLog) -> None:
        super().__init__()
        self._log = log

    def handle(self, record: logging.LogRecord) -> bool:
        # Not through logging's lock, which would make the reactor wait for a thread: the writer takes entries from any
        # thread by itself.
        self._log.record(record)
        return True


def _source(fields: dict[str, Any], otherwise: str) -> str:
    service, cid = fields.get('service'), fields.get('cid')
    if not service and not cid:
        return otherwise
    return f'{service or "-"}:{cid or "-"}'


def _stamp(when: float) -> str:
    """`when`, seconds of unix time, as logging writes it: local time with milliseconds."""
    return f'{strftime("%Y-%m-%d %H:%M:%S", localtime(when))},{int(when % 1 * 1000):03d}'
