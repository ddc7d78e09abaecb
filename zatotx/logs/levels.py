"""Log levels. There is a default level, and each category and each logger can have a level of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from attrs import frozen


@frozen
class LogCategory:
    """A log category, which is a log file and the loggers whose entries are written to it, including their child
    loggers."""

    name: str
    file: str
    loggers: tuple[str, ...]
    description: str  # for users


SERVER = LogCategory('server', 'server.log', (), 'everything of no other category, and all warnings and errors')
KVDB = LogCategory('kvdb', 'kvdb.log', ('zatotx.redis', 'txredisapi'), 'the connection to Redis')
ADMIN = LogCategory('admin', 'admin.log', ('zato',), 'the zato.* services')
ACCESS = LogCategory('http_access', 'http_access.log', (), 'one line per request')

SEPARATE_CATEGORIES = (KVDB, ADMIN)  # separate from server.log
ALL_CATEGORIES = (SERVER, ACCESS, *SEPARATE_CATEGORIES)


def category_of(logger: str) -> LogCategory:
    """Return the log category of a logger, which is given by its dotted name."""
    for category in SEPARATE_CATEGORIES:
        for prefix in category.loggers:
            if logger == prefix or logger.startswith(f'{prefix}.'):
                return category
    return SERVER


TRACE1 = 6  # Zato's level below debug
_LEVELS = {
    'trace1': TRACE1,
    'debug': logging.DEBUG,
    'info': logging.INFO,
    'warning': logging.WARNING,
    'error': logging.ERROR,
    'critical': logging.CRITICAL,
}
LEVELS = tuple(_LEVELS)  # values of settings
_MAX_CACHED = 10_000  # names whose level is cached


class LogLevels:
    """The current log levels. The level of a logger takes precedence over that of its category, which takes precedence
    over the default. Any thread may read the levels, and one thread changes them."""

    def __init__(self, default: str = 'info', table: Mapping[str, str] | None = None) -> None:
        """`table`: levels of categories (`kvdb`) and loggers (`crm`, `crm.get-balance`, `twisted.web`). Raises
        ValueError, which names every invalid level."""
        errors = [f'[log] level: {level_error(default)}'] if level_error(default) else []
        errors += [
            f'[log.levels] {name}: {level_error(level)}' for name, level in (table or {}).items() if level_error(level)
        ]
        if errors:
            raise ValueError('; '.join(errors))
        logging.addLevelName(TRACE1, 'TRACE1')
        self._default = default
        self._table = dict(table or {})
        self._cache: dict[str, int] = {}

    def as_dict(self) -> dict[str, str]:
        """Return levels by name; '' is the default."""
        return {'': self._default, **dict(sorted(self._table.items()))}

    def set_level(self, name: str, level: str) -> None:
        """Set the level of a category or logger, or the default if `name` is ''; `level` '' removes it. Raises
        ValueError for an invalid level."""
        if level_error(level) and (level or not name):
            raise ValueError(level_error(level))
        if not name:
            self._default = level
        else:
            table = {key: value for key, value in self._table.items() if key != name}
            self._table = {**table, name: level} if level else table
        self._cache = {}

    def level_of(self, logger: str) -> int:
        """Return the number of the level from which on entries of the logger are written."""
        known = self._cache
        level = known.get(logger)
        if level is None:
            level = _LEVELS[self._level_name(logger)]
            if len(known) < _MAX_CACHED:
                known[logger] = level
        return level

    def stdlib_levels(self) -> dict[str, int]:
        """Return the levels to set on stdlib loggers by name; '' is the root."""
        table = self._table
        levels = {'': _LEVELS[table.get(SERVER.name, self._default)]}
        category_names = {category.name for category in ALL_CATEGORIES}
        for category in SEPARATE_CATEGORIES:
            levels.update(dict.fromkeys(category.loggers, _LEVELS[table.get(category.name, self._default)]))
        levels.update({name: _LEVELS[level] for name, level in table.items() if name not in category_names})
        return levels

    def _level_name(self, logger: str) -> str:
        name = logger
        while name:
            if name in self._table:
                return self._table[name]
            name = name.rpartition('.')[0]
        return self._table.get(category_of(logger).name, self._default)


def level_error(level: str) -> str:
    """Return an error message if a log level is invalid, otherwise ''."""
    return '' if level in _LEVELS else f'{level!r} is not one of {", ".join(LEVELS)}'
