"""The log files of a load balancer: the log of the process, and the request log in HAProxy's format."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from zatotx.interfaces.connector_kind import ILineSink
from zatotx.lb.config.model import LogSettings
from zatotx.logs.levels import LogLevels
from zatotx.logs.line_writer import ReactorLineWriter, SharedLineWriter
from zatotx.logs.log_file import LogFile
from zatotx.logs.process_log import ProcessLogWriter
from zatotx.model.errors import StartError

LOG_FILE, HTTP_LOG_FILE = 'load-balancer.log', 'http.log'


class LoadBalancerLogs:
    """Writes logs/load-balancer.log and logs/http.log. Several processes may write the same files."""

    def __init__(self, directory: Path, reactor: IReactorTime) -> None:
        """Raises StartError if the directory is not writable."""
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            self._writer = SharedLineWriter(reactor, LogFile(directory / LOG_FILE, mode=0o600))
            self._lines = ReactorLineWriter(reactor, LogFile(directory / HTTP_LOG_FILE, mode=0o600))
        except OSError as error:
            raise StartError(f'{error.filename or directory} cannot be written: {error.strerror}') from None
        self._log = ProcessLogWriter(self._writer)

    @property
    def exchange_lines(self) -> ILineSink:
        """Where the lines of requests go."""
        sink: ILineSink = self._lines
        return sink

    def start(self) -> None:
        """Start writing log events to the file."""
        self._log.install()

    def stop(self) -> None:
        """Flush and close the files."""
        self._log.uninstall()
        self._writer.close()
        self._lines.close()

    def reload(self, settings: LogSettings) -> None:
        """Apply levels and sizes, and reopen the files."""
        self._log.levels = LogLevels(settings.level, settings.levels)
        self._log.apply_levels()
        for writer in (self._writer, self._lines):
            writer.set_limits(settings.max_size, settings.keep)
            writer.reopen()
