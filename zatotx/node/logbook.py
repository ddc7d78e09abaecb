"""The log files of a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zatotx.interfaces.kind import ILineSink
from zatotx.logs.files import LogFile
from zatotx.logs.lines import LineWriter, SharedLineWriter
from zatotx.logs.server_log import LEVELS, ServerLog
from zatotx.model.faults import StartError


class Logbook:
    """logs/server.log, and one file of lines for each kind that asks for one."""

    def __init__(self, directory: Path, reactor: Any, level: str) -> None:
        """Raises StartError where the directory cannot be written or there is no such level."""
        if level not in LEVELS:
            raise StartError(f'[log] level: {level!r} is none of {", ".join(LEVELS)}')
        self._directory = directory
        self._reactor = reactor
        self._lines: dict[str, LineWriter] = {}
        self.shared = SharedLineWriter(reactor, self._file('server.log'))
        self._server_log = ServerLog(self.shared, level=level)

    def start(self) -> None:
        """From now on what is logged goes to server.log."""
        self._server_log.install()

    def stop(self) -> None:
        """Have everything on disk and close the files."""
        for writer in self._lines.values():
            writer.close()
        self._server_log.uninstall()
        self.shared.close()

    def lines(self, name: str) -> ILineSink:
        """The sink of the file of that name; one a name."""
        if name not in self._lines:
            self._lines[name] = LineWriter(self._reactor, self._file(name))
        writer: ILineSink = self._lines[name]
        return writer

    def lost(self) -> int:
        """Lines that the disk did not take."""
        return self.shared.lost + sum(writer.lost for writer in self._lines.values())

    def _file(self, name: str) -> LogFile:
        try:
            return LogFile(self._directory / name)
        except OSError as error:
            raise StartError(f'{self._directory / name} cannot be written: {error.strerror}') from None
