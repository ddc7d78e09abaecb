"""The log of a process. Entries of twisted.logger and of stdlib logging are written to the files of their categories,
in one format.

    2026-11-24 08:20:20,123 - INFO - crm.get-balance:5f1c… - what happened

The third part is `service:cid` if the entry has them (extras of a stdlib record, fields of a Twisted event) or was
logged while a service ran; otherwise it is the logger's name. In the JSON format, each entry is one object per line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from traceback import format_exception
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogPublisher, formatEvent, globalLogPublisher
from zope.interface import implementer

from zatotx.logs.levels import LEVELS, LogLevels, category_of
from zatotx.logs.line_writer import SharedLineWriter
from zatotx.logs.log_entry_formats import JSON, TEXT, LogEntry, format_as_json, format_as_text, missing_lines_as_json
from zatotx.logs.log_file import LogFile, missing_lines_message

__all__ = ['LEVELS', 'ContextGetter', 'LoggedService', 'ProcessLogWriter', 'empty_log_context']


_TWISTED_LEVELS = {
    'debug': logging.DEBUG,
    'info': logging.INFO,
    'warn': logging.WARNING,
    'error': logging.ERROR,
    'critical': logging.CRITICAL,
}
_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {'message', 'asctime', 'service', 'cid'}
# Fields of an event that repeat other parts of the entry, or are meaningless to users.
_EVENT_FIELDS = frozenset(
    {'service', 'cid', 'message', 'time', 'system', 'isError', 'format', 'logLevel', 'why', 'failure'}
)
_PLAIN_TYPES = (str, int, float, bool, type(None))

ContextGetter = Callable[[], tuple[str, str]]


def empty_log_context() -> tuple[str, str]:
    """Return an empty service name and an empty correlation ID, for processes without services."""
    return '', ''


@implementer(ILogObserver)
class ProcessLogWriter:
    """Writes the log entries that have at least the level of their logger. Critical entries are also written to
    standard error, for the user who started the process."""

    def __init__(
        self,
        writer: SharedLineWriter,
        *,
        levels: LogLevels | None = None,
        category_writers: Mapping[str, SharedLineWriter] | None = None,
        get_context: ContextGetter = empty_log_context,
        publisher: LogPublisher | None = None,
    ) -> None:
        """`writer`: for categories without a writer in `category_writers` (by category name). `get_context` returns
        the service and cid of the request that the calling code processes, '' if there is none. `publisher`: the
        source of Twisted's events, by default the global one."""
        self.levels = levels or LogLevels()
        self.format = TEXT
        self._writer = writer
        self._category_writers = category_writers or {}
        self._context_of = get_context
        self._publisher = globalLogPublisher if publisher is None else publisher
        self._handler = _Handler(self)
        self._previous_levels: dict[str, int] = {}  # levels of stdlib loggers before `install`

    def install(self) -> None:
        """Start to receive entries."""
        self.apply_levels()
        logging.getLogger().addHandler(self._handler)
        self._publisher.addObserver(self)

    def uninstall(self) -> None:
        """Stop receiving, and flush what was received. The writers stay open."""
        self._publisher.removeObserver(self)
        logging.getLogger().removeHandler(self._handler)
        self._restore()
        for writer in self._writers():
            writer.flush()

    def apply_levels(self) -> None:
        """Apply changed levels to stdlib's loggers, which then skip entries below them early."""
        self._restore()
        for name, level in self.levels.stdlib_levels().items():
            logger = logging.getLogger(name)
            self._previous_levels[name] = logger.level
            logger.setLevel(level)

    def set_format(self, form: str) -> None:
        """Write in this format from now on: TEXT or JSON."""
        self.format = form
        for writer in self._writers():
            writer.set_missing_notice(missing_lines_as_json if form == JSON else missing_lines_message)

    def __call__(self, event: dict[str, Any]) -> None:
        """Write an event of twisted.logger."""
        level = _TWISTED_LEVELS[getattr(event.get('log_level'), 'name', 'info')]
        logger = str(event.get('log_namespace', '-'))
        if logger == 'log_legacy':  # twisted.python.log, still used by older parts of Twisted
            logger = 'twisted'
        if level < self.levels.level_of(logger):
            return
        failure = event.get('log_failure')
        message = formatEvent(event) or (failure.getErrorMessage() if failure else '')
        self._log_entry(
            event, timestamp=event.get('log_time', 0.0), level=level, logger=logger, message=message,
            traceback='' if failure is None else failure.getTraceback(),
            extras=_event_extras(event) if self.format == JSON else {},
        )  # fmt: skip

    def log_record(self, record: logging.LogRecord) -> None:
        """Write a record of stdlib logging."""
        if record.levelno < self.levels.level_of(record.name):
            return
        try:
            message = record.getMessage()
        except Exception as error:
            message = f'{record.msg!r} with {record.args!r} cannot be formatted: {error}'
        traceback = ''.join(format_exception(*record.exc_info)) if record.exc_info else ''
        if record.stack_info:
            traceback += record.stack_info
        self._log_entry(
            record.__dict__, timestamp=record.created, level=record.levelno, logger=record.name, message=message,
            traceback=traceback,
            extras={k: v for k, v in record.__dict__.items() if k not in _RECORD_FIELDS} if self.format == JSON else {},
        )  # fmt: skip

    def _log_entry(self, fields: Mapping[str, Any], *, logger: str, level: int, **parts: Any) -> None:
        service, cid, within = str(fields.get('service') or ''), str(fields.get('cid') or ''), False
        if not service and not cid:
            service, cid = self._context_of()
            within = bool(service)
        self._write(LogEntry(level=level, logger=logger, service=service, cid=cid, is_from_context=within, **parts))

    def _write(self, entry: LogEntry) -> None:
        text = format_as_json(entry) if self.format == JSON else format_as_text(entry)
        category_writer = self._category_writers.get(category_of(entry.logger).name)
        if category_writer is not None:
            category_writer.write_entry(text)
        if category_writer is None or entry.level >= logging.WARNING:
            self._writer.write_entry(text)
        if entry.level >= logging.CRITICAL:
            with suppress(OSError, ValueError):  # standard error may be closed
                print(text, file=sys.__stderr__)

    def _writers(self) -> list[SharedLineWriter]:
        return [self._writer, *self._category_writers.values()]

    def _restore(self) -> None:
        previous_levels, self._previous_levels = self._previous_levels, {}
        for name, level in previous_levels.items():
            logging.getLogger(name).setLevel(level)


class _Handler(logging.Handler):
    """The handler that passes stdlib records to a ProcessLogWriter."""

    def __init__(self, log: ProcessLogWriter) -> None:
        super().__init__()
        self._log = log

    def handle(self, record: logging.LogRecord) -> bool:
        # Does not take the lock of `logging`, for which the reactor would wait: the writer accepts entries from any
        # thread.
        self._log.log_record(record)
        return True


def _event_extras(event: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an event that are strings or numbers. Others are internal objects, whose representation
    could reveal too much."""
    return {
        name: value
        for name, value in event.items()
        if not name.startswith('log_') and name not in _EVENT_FIELDS and isinstance(value, _PLAIN_TYPES)
    }


class LoggedService(Service):
    """A Twisted service that runs another service, and writes the process's log to a file until that service has
    stopped."""

    def __init__(self, service: IService, path: Path, reactor: IReactorTime) -> None:
        """Raises OSError if the file cannot be opened."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._part = service
        self._writer = SharedLineWriter(reactor, LogFile(path, mode=0o600))
        self._log = ProcessLogWriter(self._writer)

    def startService(self) -> Any:
        super().startService()  # type: ignore[no-untyped-call]
        self._log.install()
        return self._part.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        stopped: Deferred[None] = maybeDeferred(self._part.stopService)
        return stopped.addBoth(self._close)

    def _close(self, result: Any) -> Any:
        self._log.uninstall()
        self._writer.close()
        return result
