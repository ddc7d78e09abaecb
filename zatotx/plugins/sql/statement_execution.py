"""Executes SQL statements with named parameters, and fetches their results. Runs in threads."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, TextClause, bindparam, text

from zatotx.plugins.sql.database import MAX_RESULT_SIZE, ResultTooLarge
from zatotx.plugins.sql.drivers.base import DatabaseDriver

Params: TypeAlias = Mapping[str, Any] | None
_CACHED = 1000  # statements

BATCH = 1000  # rows that are sent or fetched at once
_PROCEDURE = re.compile(r'[^\W\d]\w*(\.[^\W\d]\w*)*')

# `in :ids` and `in (:ids)`
_LIST_PARAMETER = re.compile(r'\bin(\s*)(?::(\w+)|\(\s*:(\w+)\s*\))', re.IGNORECASE)


class InvalidParameters(ValueError):  # noqa: N818 - services see a ValueError
    """The parameters do not match the statement."""


def prepare(statement: str, params: Params) -> tuple[TextClause, dict[str, Any]]:
    """Convert a statement and its parameters to SQLAlchemy's form. Raises InvalidParameters, which names all missing
    and unknown parameters, and TypeError if the statement is not text or the parameters are not a mapping."""
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


def execute_many(statement: str, rows: Iterable[Mapping[str, Any]], connection: Connection) -> int:
    """Execute a statement once for each row, in batches, and return the number of changed rows. Raises
    InvalidParameters, which names the first row that does not match."""
    clause, _, lists = _parse(statement)
    if lists:
        raise InvalidParameters('A statement with a list of parameters cannot be executed for many rows')
    changed = 0
    numbered = enumerate(rows, 1)
    while batch := [_row_values(statement, number, row) for number, row in islice(numbered, BATCH)]:
        with connection.execute(clause, batch) as result:
            changed += max(0, result.rowcount)
    return changed


def call_procedure(driver: DatabaseDriver, name: str, params: Params, connection: Connection) -> Sequence[Row[Any]]:
    """Call a stored procedure. Returns the rows of its first result, or an empty list if it has no result."""
    if not _PROCEDURE.fullmatch(name):
        raise InvalidParameters('The name of a stored procedure has letters, digits, _ and . only')
    clause, values = prepare(driver.call_statement(name, tuple(params or ())), params)
    with connection.execute(clause, values) as result:
        return result.fetchall() if result.returns_rows else []


def execute(connection: Connection, clause: TextClause, values: dict[str, Any]) -> int:
    """Execute a statement, and return the number of rows that it changed or returned."""
    with connection.execute(clause, values) as result:
        if result.returns_rows:
            return len(result.fetchall())
        return max(0, result.rowcount)


def fetch_all(connection: Connection, clause: TextClause, values: dict[str, Any]) -> Sequence[Row[Any]]:
    """Execute a query, and return all rows. Raises ResultTooLarge if there are too many rows. For drivers that receive
    the whole result at once, Cancellation.exceeds also enforces the limit."""
    remaining = connection.get_execution_options()[MAX_RESULT_SIZE]
    with connection.execute(clause, values) as result:
        rows = list(result.fetchmany(BATCH))
        fetched = len(rows)
        while fetched == BATCH:
            remaining -= BATCH * sum(map(sys.getsizeof, rows[-1]))
            if remaining < 0:
                raise ResultTooLarge
            batch = result.fetchmany(BATCH)
            fetched = len(batch)
            rows.extend(batch)
        return rows


def fetch_one(connection: Connection, clause: TextClause, values: dict[str, Any]) -> Row[Any] | None:
    """Execute a query, and return the first row, or None if there is none."""
    with connection.execute(clause, values) as result:
        return result.fetchone()


def fetch_value(connection: Connection, clause: TextClause, values: dict[str, Any]) -> Any:
    """Execute a query, and return the first column of the first row, or None if there is none."""
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


def _row_values(statement: str, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return prepare(statement, row)[1]
    except InvalidParameters as error:
        raise InvalidParameters(f'Row {number}: {error}') from None


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
