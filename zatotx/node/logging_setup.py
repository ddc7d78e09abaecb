"""Opens the log files of a node and changes its log levels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.connector_kind import ILineSink
from zatotx.interfaces.node import ILogLevels
from zatotx.logs.levels import SEPARATE_CATEGORIES, SERVER, LogLevels
from zatotx.logs.line_writer import ReactorLineWriter, SharedLineWriter
from zatotx.logs.log_entry_formats import FORMATS, JSON, missing_lines_as_json
from zatotx.logs.log_file import LogFile, missing_lines_message
from zatotx.logs.process_log import ContextGetter, ProcessLogWriter, empty_log_context
from zatotx.model.errors import StartError
from zatotx.node.settings import Log


class LogFiles:
    """Writes logs/server.log, one file for each other log category, and one file for each kind that requests a
    line-based log. Several processes may write the same files. The object is not thread-safe, and is used in the
    reactor's thread."""

    def __init__(
        self, directory: Path, reactor: IReactorTime, settings: Log, *, find_context: ContextGetter = empty_log_context
    ) -> None:
        """`find_context` returns the context of a log event, see ProcessLogWriter. Raises StartError if the directory
        is not writable or a setting is invalid."""
        levels, self._form = _parse_settings(settings)
        self._directory = directory
        self._reactor = reactor
        self._settings = settings
        self._lines: dict[str, ReactorLineWriter] = {}
        self.shared = SharedLineWriter(reactor, self._file(SERVER.file))
        self._category_writers = {
            category.name: SharedLineWriter(reactor, self._file(category.file))
            for category in SEPARATE_CATEGORIES
        }
        self._server_log = ProcessLogWriter(
            self.shared, levels=levels, category_writers=self._category_writers, get_context=find_context
        )
        self._server_log.set_format(self._form)

    def start(self) -> None:
        """Start writing log events to the files."""
        self._server_log.install()

    def stop(self) -> None:
        """Flush and close the files."""
        for writer in self._lines.values():
            writer.close()
        self._server_log.uninstall()
        for shared in (self.shared, *self._category_writers.values()):
            shared.close()

    def line_sink(self, name: str) -> ILineSink:
        """Return the sink that writes lines to the file of that name; there is one per name."""
        if name not in self._lines:
            writer = self._lines[name] = ReactorLineWriter(self._reactor, self._file(name))
            self._set_format(writer)
        found: ILineSink = self._lines[name]
        return found

    def lost(self) -> int:
        """Return the number of lines that could not be written."""
        return sum(writer.lost for writer in self._writers())

    def reload(self, settings: Log) -> None:
        """Replace all settings: levels (including those set at run time), format and sizes, and reopen every file.
        Raises StartError, without changing anything, if a setting is invalid."""
        levels, self._form = _parse_settings(settings)
        self._settings = settings
        self._server_log.levels = levels
        self._server_log.apply_levels()
        self._server_log.set_format(self._form)
        for writer in self._writers():
            writer.set_limits(settings.max_size, settings.keep)
            writer.reopen()
        for lines in self._lines.values():
            self._set_format(lines)

    def levels(self) -> Mapping[str, str]:
        """Return the levels in force by category or logger; '' is the default level."""
        return self._server_log.levels.as_dict()

    def set_level(self, name: str, level: str) -> None:
        """Set a level until the next reload or restart. `name`: a category, a logger, or '' for the default level;
        `level`: '' removes the level of that name. Raises ValueError for an unknown level."""
        self._server_log.levels.set_level(name, level)
        self._server_log.apply_levels()

    def _writers(self) -> list[SharedLineWriter | ReactorLineWriter]:
        return [self.shared, *self._category_writers.values(), *self._lines.values()]

    def _set_format(self, writer: ReactorLineWriter) -> None:
        writer.json = self._form == JSON
        writer.set_missing_notice(missing_lines_as_json if writer.json else missing_lines_message)

    def _file(self, name: str) -> LogFile:
        try:
            return LogFile(self._directory / name, max_bytes=self._settings.max_size, keep=self._settings.keep)
        except OSError as error:
            raise StartError(f'{self._directory / name} cannot be written: {error.strerror}') from None


def _parse_settings(settings: Log) -> tuple[LogLevels, str]:
    """Return the levels and the format. Raises StartError that names all errors."""
    errors = []
    levels = LogLevels()
    try:
        levels = LogLevels(settings.level, settings.levels)
    except ValueError as error:
        errors.append(str(error))
    if settings.form not in FORMATS:
        errors.append(f'[log] form: {settings.form!r} is not one of {", ".join(FORMATS)}')
    if errors:
        raise StartError('; '.join(errors))
    return levels, settings.form


# Log levels that are changed at run time: applied here at once, and announced to the other nodes through Redis.
#
# They last until a restart or a reload, which restore the levels in server.toml.

TOPIC = 'log-level'
MAX_NAME_LENGTH = 200  # maximum characters of a logger's name


@implementer(ILogLevels)
@define(eq=False)
class LiveLogLevels:
    """Implements ILogLevels by changing the log levels on all nodes. `others` sets the level in the other workers of
    this node, which works even while Redis is unavailable."""

    logs: LogFiles
    bus: Any  # IBus
    others: Callable[[str, str], Deferred[Any]] = field(default=lambda name, level: succeed(None))

    _log = Logger()

    def start(self) -> None:
        """Subscribe to the changes that other nodes announce."""
        self.bus.subscribe(TOPIC, self._announced)

    def effective(self) -> Mapping[str, str]:
        return self.logs.levels()

    def set_level(self, name: str, level: str) -> Deferred[bool]:
        if len(name) > MAX_NAME_LENGTH:
            raise ValueError(f'the name of a logger has at most {MAX_NAME_LENGTH} characters')
        self.apply(name, level)
        return Deferred.fromCoroutine(self._announce(name, level))

    async def _announce(self, name: str, level: str) -> bool:
        try:
            await self.others(name, level)
            await self.bus.publish(TOPIC, json.dumps([name, level]))
        except CancelledError:
            raise
        except Exception as error:
            self._log.warn('The log level could not be announced to the other nodes: {why}', why=str(error))
            return False
        return True

    def apply(self, name: str, level: str) -> None:
        """Set a level in this process. Raises ValueError for an unknown level."""
        if self.logs.levels().get(name, '') != level:
            self.logs.set_level(name, level)
            self._log.info('The log level of {name} is now {now}', name=repr(name) if name else 'all other loggers',
                           now=level or 'the default')

    def _announced(self, message: str) -> None:
        try:
            name, level = json.loads(message)
            self.apply(str(name)[:MAX_NAME_LENGTH], str(level))
        except (ValueError, TypeError) as error:
            self._log.warn('A node announced an unknown log level: {why}', why=str(error))
