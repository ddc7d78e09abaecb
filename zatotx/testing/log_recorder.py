"""Records the log messages of services and the broker during a test, as records of the standard library's logging."""

from __future__ import annotations

import logging

from twisted.logger import ILogObserver, LogEvent, formatEvent
from zope.interface import implementer

_LEVELS = {'debug': logging.DEBUG, 'info': logging.INFO, 'warn': logging.WARNING, 'error': logging.ERROR,
           'critical': logging.CRITICAL}


@implementer(ILogObserver)
class LogRecorder(logging.Handler):
    """Records every message of the watched loggers, from level DEBUG on, regardless of the configured levels.

    It is also a log observer of Twisted and keeps events as records.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self._watched: dict[str, int] = {}  # logger -> its original level

    def watch(self, name: str) -> None:
        """Start recording a logger."""
        if name in self._watched:
            return
        logger = logging.getLogger(name)
        self._watched[name] = logger.level
        logger.addHandler(self)
        logger.setLevel(logging.DEBUG)

    def emit(self, record: logging.LogRecord) -> None:
        # If both crm and crm.orders are watched, a record is delivered twice.
        if not any(record is known for known in self.records[-1:]):
            self.records.append(record)

    def __call__(self, event: LogEvent) -> None:
        """Record a log event of Twisted."""
        level = _LEVELS[event['log_level'].name]
        failure = event.get('log_failure')
        exc_info = (failure.type, failure.value, failure.getTracebackObject()) if failure is not None else None
        name = str(event.get('log_namespace', 'zatotx'))
        self.records.append(logging.LogRecord(name, level, '', 0, formatEvent(event), None, exc_info))

    def messages(self, level: int) -> list[str]:
        """Return the texts of the records logged at that level or above."""
        return [record.getMessage() for record in self.records if record.levelno >= level]

    def close(self) -> None:
        """Restore the loggers."""
        for name, level in self._watched.items():
            logger = logging.getLogger(name)
            logger.removeHandler(self)
            logger.setLevel(level)
        self._watched.clear()
        super().close()
