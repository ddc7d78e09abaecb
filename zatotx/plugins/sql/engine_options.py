"""Parses Zato's field `extra`, which contains arguments of SQLAlchemy's create_engine as key=value lines. Pure
functions; SQLAlchemy is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zatotx.schema.validation import parse_bool

ISOLATION_LEVELS = ('READ UNCOMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE', 'SNAPSHOT')


def isolation_level(text: str) -> str:
    """Convert an isolation level to SQLAlchemy's notation. Raises ValueError."""
    level = ' '.join(text.upper().replace('_', ' ').split())
    if level not in ISOLATION_LEVELS:
        raise ValueError(f'must be one of {", ".join(ISOLATION_LEVELS)}')
    return level


def _boolean(text: str) -> bool:
    value = parse_bool(text)
    if not isinstance(value, bool):
        raise ValueError('must be true or false')
    return value


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10**9):
        raise ValueError('must be a number of seconds above 0')
    return int(text)


_KNOWN: Mapping[str, Callable[[str], Any]] = {
    'isolation_level': isolation_level,  # of transactions
    'pool_recycle': _seconds,  # a connection of that age is replaced
    'pool_pre_ping': _boolean,  # accepted for Zato's objects: stale connections are always detected
    'echo': _boolean,  # accepted for Zato's objects
    'encoding': str,  # accepted for Zato's objects: all drivers use Unicode
}


def parse_engine_options(extra: str) -> tuple[dict[str, Any], list[str]]:
    """Parse the engine options. Returns the options, and the errors of all lines."""
    options: dict[str, Any] = {}
    problems = []
    for number, line in enumerate(extra.splitlines(), 1):
        text = line.strip()
        if not text or text.startswith('#'):
            continue
        key, separator, value = (part.strip() for part in text.partition('='))
        if not separator:
            problems.append(f'line {number} must be key=value')
        elif key not in _KNOWN:
            problems.append(f'line {number}: there is no option {key!r} but {", ".join(_KNOWN)}; '
                            "options of the driver belong into the URL's query")  # fmt: skip
        else:
            try:
                options[key] = _KNOWN[key](value)
            except ValueError as error:
                problems.append(f'line {number}: {key} {error}')
    return options, problems
