"""What services and the broker log while a test runs, kept as records of the standard library's logging."""

from __future__ import annotations

import logging

from twisted.logger import ILogObserver, LogEvent, formatEvent
from zope.interface import implementer

_LEVELS = {'debug': logging.DEBUG, 'info': logging.INFO, 'warn': logging.WARNING, 'error': logging.ERROR,
           'critical': logging.CRITICAL}


@implementer(ILogObserver)
class Recorder(logging.Handler):
    """Keeps every record of the loggers it watches, down to DEBUG, whatever the program's own levels. Called with an
    event of twisted.logger it keeps that as a record too."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self._watched: dict[str, int] = {}  # logger -> the level it had

    def watch(self, name: str) -> None:
        """Keep what the logger of that name gets."""
        if name in self._watched:
            return
        logger = logging.getLogger(name)
        self._watched[name] = logger.level
        logger.addHandler(self)
        logger.setLevel(logging.DEBUG)

    def emit(self, record: logging.LogRecord) -> None:
        if not any(record is known for known in self.records[-1:]):  # both crm and crm.orders may be watched
            self.records.append(record)

    def __call__(self, event: LogEvent) -> None:
        """An observer of twisted.logger."""
        level = _LEVELS[event['log_level'].name]
        failure = event.get('log_failure')
        exc_info = (failure.type, failure.value, failure.getTracebackObject()) if failure is not None else None
        name = str(event.get('log_namespace', 'zatotx'))
        self.records.append(logging.LogRecord(name, level, '', 0, formatEvent(event), None, exc_info))

    def messages(self, level: int) -> list[str]:
        """What was logged at that level or above, as text."""
        return [record.getMessage() for record in self.records if record.levelno >= level]

    def close(self) -> None:
        """Leave the loggers as they were."""
        for name, level in self._watched.items():
            logger = logging.getLogger(name)
            logger.removeHandler(self)
            logger.setLevel(level)
        self._watched.clear()
        super().close()
