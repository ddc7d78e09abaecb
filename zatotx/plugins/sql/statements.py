"""Statements with named parameters, and what is fetched of them. Runs in threads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, TextClause, bindparam, text

Params: TypeAlias = Mapping[str, Any] | None
_CACHED = 1000  # statements

# `in :ids` and `in (:ids)`
_LIST_PARAMETER = re.compile(r'\bin(\s*)(?::(\w+)|\(\s*:(\w+)\s*\))', re.IGNORECASE)


class InvalidParameters(ValueError):  # noqa: N818 - services see a ValueError
    """The parameters do not fit the statement."""


def prepare(statement: str, params: Params) -> tuple[TextClause, dict[str, Any]]:
    """Return the statement and its parameters as SQLAlchemy takes them. Raises InvalidParameters, naming all that are
    missing or unknown, and TypeError for what is not text or not a mapping."""
    if not isinstance(statement, str):
        raise TypeError(f'A statement is text, not {type(statement).__name__}')
    clause, names, lists = _parse(statement)
    if not params:
        if names:
            raise InvalidParameters(_mismatch(names, ()))
        return clause, {}
    if not isinstance(params, Mapping):
        raise TypeError(f'Parameters are named, {{"id": 1}}: they cannot be {type(params).__name__}')
    if params.keys() != names:
        raise InvalidParameters(_mismatch(names, params))
    values = dict(params)
    for name in lists:
        values[name] = _as_list(name, values[name])
    return clause, values


def prepare_many(statement: str, rows: Iterable[Mapping[str, Any]]) -> tuple[TextClause, list[dict[str, Any]]]:
    """Like `prepare`, for a statement that is executed once for each row."""
    clause: TextClause | None = None
    values = []
    for number, row in enumerate(rows, 1):
        try:
            clause, one = prepare(statement, row)
        except InvalidParameters as error:
            raise InvalidParameters(f'Row {number}: {error}') from None
        values.append(one)
    return clause if clause is not None else _parse(statement)[0], values


def execute(connection: Connection, clause: TextClause, values: dict[str, Any]) -> int:
    """Execute a statement, and return the number of rows that it changed, or of those that it returned."""
    with connection.execute(clause, values) as result:
        if result.returns_rows:
            return len(result.fetchall())
        return max(0, result.rowcount)


def fetch_all(connection: Connection, clause: TextClause, values: dict[str, Any]) -> Sequence[Row[Any]]:
    """Execute a query, and return all rows."""
    with connection.execute(clause, values) as result:
        return result.fetchall()


def fetch_one(connection: Connection, clause: TextClause, values: dict[str, Any]) -> Row[Any] | None:
    """Execute a query, and return the first row, or None."""
    with connection.execute(clause, values) as result:
        return result.fetchone()


def fetch_value(connection: Connection, clause: TextClause, values: dict[str, Any]) -> Any:
    """Execute a query, and return the first column of the first row, or None."""
    row = fetch_one(connection, clause, values)
    return None if row is None else row[0]


@lru_cache(_CACHED)
def _parse(statement: str) -> tuple[TextClause, frozenset[str], tuple[str, ...]]:
    """Return the statement, the names of its parameters, and those of them that are lists."""
    lists = tuple(dict.fromkeys(first or second for _, first, second in _LIST_PARAMETER.findall(statement)))
    clause = text(_LIST_PARAMETER.sub(lambda found: f'in :{found[2] or found[3]}', statement))
    if lists:
        clause = clause.bindparams(*(bindparam(name, expanding=True) for name in lists))
    return clause, frozenset(clause.compile().params), lists


def _as_list(name: str, value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidParameters(f'The parameter {name} follows `in`: it must be a list, not {type(value).__name__}')
    return list(value)


def _mismatch(names: Iterable[str], params: Iterable[str]) -> str:
    wanted, given = set(names), {str(name) for name in params}
    problems = []
    if missing := sorted(wanted - given):
        problems.append(f'misses the parameters {", ".join(missing)}')
    if unknown := sorted(given - wanted):
        problems.append(f'has no parameters {", ".join(unknown)}')
    return f'The statement {" and ".join(problems)}'
