"""The logs of a process: everything said through twisted.logger and through stdlib logging, by areas, in one form.

    2026-11-24 08:20:20,123 - INFO - crm.get-balance:5f1c… - what happened

The third part is `service:cid` where an entry carries them (extras of a stdlib record, fields of a Twisted event), or
where it was said while a service ran; else the logger's name. Or, as JSON, one object a line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from traceback import format_exception
from typing import Any

from twisted.logger import ILogObserver, LogPublisher, formatEvent, globalLogPublisher
from zope.interface import implementer

from zatotx.logs.categories import category_of
from zatotx.logs.formats import JSON, TEXT, LogEntry, as_json, as_text, missing_as_json
from zatotx.logs.levels import LEVELS, LevelFilter
from zatotx.logs.line_buffer import SharedLineWriter
from zatotx.logs.log_file import missing_lines_message

_TWISTED = {
    'debug': logging.DEBUG,
    'info': logging.INFO,
    'warn': logging.WARNING,
    'error': logging.ERROR,
    'critical': logging.CRITICAL,
}
_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {'message', 'asctime', 'service', 'cid'}
# Fields of an event that say what is said elsewhere in the entry, or nothing to people.
_EVENT = frozenset({'service', 'cid', 'message', 'time', 'system', 'isError', 'format', 'logLevel', 'why', 'failure'})
_WORDS = (str, int, float, bool, type(None))

Whose = Callable[[], tuple[str, str]]


def no_context() -> tuple[str, str]:
    """Where no services run."""
    return '', ''


@implementer(ILogObserver)
class ServerLog:
    """Writes what is at least of its logger's level; critical entries stand on standard error too, for whoever started
    the process."""

    def __init__(
        self,
        writer: SharedLineWriter,
        *,
        levels: LevelFilter | None = None,
        areas: Mapping[str, SharedLineWriter] | None = None,
        whose: Whose = no_context,
        publisher: LogPublisher | None = None,
    ) -> None:
        """`writer`: of whatever has no writer of its own in `areas` (by the area's name). `whose` gives service and
        cid of the request that the calling code works for, '' each where there is none. `publisher`: where Twisted's
        events come from, the global one unless told."""
        self.levels = levels or LevelFilter()
        self.form = TEXT
        self._writer = writer
        self._areas = areas or {}
        self._whose = whose
        self._publisher = globalLogPublisher if publisher is None else publisher
        self._handler = _Handler(self)
        self._before: dict[str, int] = {}  # levels of stdlib loggers before ours

    def install(self) -> None:
        """Begin to receive entries."""
        self.levelled()
        logging.getLogger().addHandler(self._handler)
        self._publisher.addObserver(self)

    def uninstall(self) -> None:
        """Receive no more, and have what was received on disk. The writers stay open."""
        self._publisher.removeObserver(self)
        logging.getLogger().removeHandler(self._handler)
        self._restore()
        for writer in self._writers():
            writer.flush()

    def levelled(self) -> None:
        """The levels were changed: tell stdlib's loggers, which spare the work for what is not heard."""
        self._restore()
        for name, level in self.levels.stdlib().items():
            logger = logging.getLogger(name)
            self._before[name] = logger.level
            logger.setLevel(level)

    def formed(self, form: str) -> None:
        """Write in that form from now on: TEXT or JSON."""
        self.form = form
        for writer in self._writers():
            writer.missing(missing_as_json if form == JSON else missing_lines_message)

    def __call__(self, event: dict[str, Any]) -> None:
        """One event of twisted.logger."""
        level = _TWISTED[getattr(event.get('log_level'), 'name', 'info')]
        logger = str(event.get('log_namespace', '-'))
        if logger == 'log_legacy':  # twisted.python.log, which Twisted's own older parts still use
            logger = 'twisted'
        if level < self.levels.of(logger):
            return
        failure = event.get('log_failure')
        message = formatEvent(event) or (failure.getErrorMessage() if failure else '')
        self._say(
            event, when=event.get('log_time', 0.0), level=level, logger=logger, message=message,
            traceback='' if failure is None else failure.getTraceback(),
            extras=_event_extras(event) if self.form == JSON else {},
        )  # fmt: skip

    def record(self, record: logging.LogRecord) -> None:
        """One record of stdlib logging."""
        if record.levelno < self.levels.of(record.name):
            return
        try:
            message = record.getMessage()
        except Exception as error:
            message = f'{record.msg!r} with {record.args!r} cannot be formatted: {error}'
        traceback = ''.join(format_exception(*record.exc_info)) if record.exc_info else ''
        if record.stack_info:
            traceback += record.stack_info
        self._say(
            record.__dict__, when=record.created, level=record.levelno, logger=record.name, message=message,
            traceback=traceback,
            extras={k: v for k, v in record.__dict__.items() if k not in _RECORD} if self.form == JSON else {},
        )  # fmt: skip

    def _say(self, fields: Mapping[str, Any], *, logger: str, level: int, **parts: Any) -> None:
        service, cid, within = str(fields.get('service') or ''), str(fields.get('cid') or ''), False
        if not service and not cid:
            service, cid = self._whose()
            within = bool(service)
        self._write(LogEntry(level=level, logger=logger, service=service, cid=cid, within=within, **parts))

    def _write(self, entry: LogEntry) -> None:
        text = as_json(entry) if self.form == JSON else as_text(entry)
        apart = self._areas.get(category_of(entry.logger).name)
        if apart is not None:
            apart.entry(text)
        if apart is None or entry.level >= logging.WARNING:
            self._writer.entry(text)
        if entry.level >= logging.CRITICAL:
            with suppress(OSError, ValueError):  # a closed terminal
                print(text, file=sys.__stderr__)

    def _writers(self) -> list[SharedLineWriter]:
        return [self._writer, *self._areas.values()]

    def _restore(self) -> None:
        before, self._before = self._before, {}
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


class _Handler(logging.Handler):
    def __init__(self, log: ServerLog) -> None:
        super().__init__()
        self._log = log

    def handle(self, record: logging.LogRecord) -> bool:
        # Not through logging's lock, which would make the reactor wait for a thread: the writer takes entries from any
        # thread by itself.
        self._log.record(record)
        return True


def _event_extras(event: dict[str, Any]) -> dict[str, Any]:
    """Fields of an event that are words or numbers. Others are objects of the program, whose text says too much."""
    return {
        name: value
        for name, value in event.items()
        if not name.startswith('log_') and name not in _EVENT and isinstance(value, _WORDS)
    }


__all__ = ['LEVELS', 'ServerLog']
