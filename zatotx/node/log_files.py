"""The log files of a node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zatotx.interfaces.kind import ILineSink
from zatotx.logs import categories
from zatotx.logs.formats import FORMS, JSON, missing_as_json
from zatotx.logs.levels import LevelFilter
from zatotx.logs.line_buffer import LineWriter, SharedLineWriter
from zatotx.logs.log_file import LogFile, missing_lines_message
from zatotx.logs.server_log import ServerLog, Whose, no_context
from zatotx.model.errors import StartError
from zatotx.node.settings import Log


class LogFiles:
    """logs/server.log and the files of other areas, and one file of lines for each kind that asks for one. Several
    processes may write the same files. In the reactor's thread."""

    def __init__(self, directory: Path, reactor: Any, settings: Log, *, whose: Whose = no_context) -> None:
        """`whose`: see ServerLog. Raises StartError where the directory cannot be written or a setting is wrong."""
        levels, self._form = _checked(settings)
        self._directory = directory
        self._reactor = reactor
        self._settings = settings
        self._lines: dict[str, LineWriter] = {}
        self.shared = SharedLineWriter(reactor, self._file(categories.SERVER.file))
        self._apart = {area.name: SharedLineWriter(reactor, self._file(area.file)) for area in categories.APART}
        self._server_log = ServerLog(self.shared, levels=levels, areas=self._apart, whose=whose)
        self._server_log.formed(self._form)

    def start(self) -> None:
        """From now on what is logged goes to the files."""
        self._server_log.install()

    def stop(self) -> None:
        """Have everything on disk and close the files."""
        for writer in self._lines.values():
            writer.close()
        self._server_log.uninstall()
        for shared in (self.shared, *self._apart.values()):
            shared.close()

    def lines(self, name: str) -> ILineSink:
        """The sink of the file of that name; one a name."""
        if name not in self._lines:
            writer = self._lines[name] = LineWriter(self._reactor, self._file(name))
            self._form_of(writer)
        found: ILineSink = self._lines[name]
        return found

    def lost(self) -> int:
        """Lines that the disk did not take."""
        return sum(writer.lost for writer in self._writers())

    def reload(self, settings: Log) -> None:
        """Take over new settings whole: levels (those set since the last time are over), form, sizes; and open every
        file anew. Raises StartError, with everything as it was, where a setting is wrong."""
        levels, self._form = _checked(settings)
        self._settings = settings
        self._server_log.levels = levels
        self._server_log.levelled()
        self._server_log.formed(self._form)
        for writer in self._writers():
            writer.limit(settings.max_size, settings.keep)
            writer.reopen()
        for lines in self._lines.values():
            self._form_of(lines)

    def levels(self) -> Mapping[str, str]:
        """The levels in force, by area or logger; '' is that of all."""
        return self._server_log.levels.shown()

    def set_level(self, name: str, level: str) -> None:
        """Until the next reload or restart. `name`: an area, a logger, or '' for all that have none of their own;
        `level` '' = none of its own any more. Raises ValueError for a level that does not exist."""
        self._server_log.levels.set(name, level)
        self._server_log.levelled()

    def _writers(self) -> list[SharedLineWriter | LineWriter]:
        return [self.shared, *self._apart.values(), *self._lines.values()]

    def _form_of(self, writer: LineWriter) -> None:
        writer.json = self._form == JSON
        writer.missing(missing_as_json if writer.json else missing_lines_message)

    def _file(self, name: str) -> LogFile:
        try:
            return LogFile(self._directory / name, max_bytes=self._settings.max_size, keep=self._settings.keep)
        except OSError as error:
            raise StartError(f'{self._directory / name} cannot be written: {error.strerror}') from None


def _checked(settings: Log) -> tuple[LevelFilter, str]:
    """Levels and form. Raises StartError naming every mistake."""
    mistakes = []
    levels = LevelFilter()
    try:
        levels = LevelFilter(settings.level, settings.levels)
    except ValueError as error:
        mistakes.append(str(error))
    if settings.form not in FORMS:
        mistakes.append(f'[log] form: {settings.form!r} is none of {", ".join(FORMS)}')
    if mistakes:
        raise StartError('; '.join(mistakes))
    return levels, settings.form
