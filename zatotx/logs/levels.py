"""From which level on who is heard: one level for all, others by area or by logger."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from zatotx.logs.categories import ALL, APART, SERVER, category_of

TRACE1 = 6  # Zato's level below debug
_LEVELS = {
    'trace1': TRACE1,
    'debug': logging.DEBUG,
    'info': logging.INFO,
    'warning': logging.WARNING,
    'error': logging.ERROR,
    'critical': logging.CRITICAL,
}
LEVELS = tuple(_LEVELS)  # what a setting may say
_MOST = 10_000  # names whose level is remembered


class LevelFilter:
    """The levels in force. What is set for a logger counts before what is set for its area, and for whatever nothing is
    set the level of all. Any thread may ask; one changes."""

    def __init__(self, default: str = 'info', table: Mapping[str, str] | None = None) -> None:
        """`table`: level by area (`kvdb`) or by logger (`crm`, `crm.get-balance`, `twisted.web`). Raises ValueError
        naming every level that does not exist."""
        mistakes = [f'[log] level: {level_error(default)}'] if level_error(default) else []
        mistakes += [
            f'[log.levels] {name}: {level_error(level)}' for name, level in (table or {}).items() if level_error(level)
        ]
        if mistakes:
            raise ValueError('; '.join(mistakes))
        logging.addLevelName(TRACE1, 'TRACE1')
        self._default = default
        self._table = dict(table or {})
        self._known: dict[str, int] = {}

    def shown(self) -> dict[str, str]:
        """Level by name; '' is that of all."""
        return {'': self._default, **dict(sorted(self._table.items()))}

    def set(self, name: str, level: str) -> None:
        """From now on. `name`: an area or a logger, '' = the level of all; `level` '' = no level of its own. Raises
        ValueError for a level that does not exist."""
        if level_error(level) and (level or not name):
            raise ValueError(level_error(level))
        if not name:
            self._default = level
        else:
            table = {key: value for key, value in self._table.items() if key != name}
            self._table = {**table, name: level} if level else table
        self._known = {}

    def of(self, logger: str) -> int:
        """The number from which on that logger is heard."""
        known = self._known
        found = known.get(logger)
        if found is None:
            found = _LEVELS[self._found(logger)]
            if len(known) < _MOST:
                known[logger] = found
        return found

    def stdlib(self) -> dict[str, int]:
        """What stdlib loggers are to be set to, by name; '' is the root."""
        table = self._table
        found = {'': _LEVELS[table.get(SERVER.name, self._default)]}
        areas = {area.name for area in ALL}
        for area in APART:
            found.update(dict.fromkeys(area.loggers, _LEVELS[table.get(area.name, self._default)]))
        found.update({name: _LEVELS[level] for name, level in table.items() if name not in areas})
        return found

    def _found(self, logger: str) -> str:
        name = logger
        while name:
            if name in self._table:
                return self._table[name]
            name = name.rpartition('.')[0]
        return self._table.get(category_of(logger).name, self._default)


def level_error(level: str) -> str:
    """What is wrong with a level, '' = nothing."""
    return '' if level in _LEVELS else f'{level!r} is none of {", ".join(LEVELS)}'
