"""The methods with which services execute statements, on a connection and in a transaction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from zatotx.plugins.sql import statements
from zatotx.plugins.sql.statements import Params, prepare

T = TypeVar('T')


class StatementMethods:
    """Each method returns an awaitable in async services, and its result in others.

    Parameters are named: `:id` in the statement, {'id': 1} beside it. A list may follow `in`: `where id in :ids`.
    `timeout`: seconds, instead of the connection's. Rows have their columns as attributes.

    Raises Timeout, after which the statement is cancelled at the server; ServiceUnavailable if the database cannot be
    reached; TransactionAborted for a deadlock; sqlalchemy.exc.DBAPIError for errors of the statement; ValueError for
    parameters that do not fit it.
    """

    def _run(self, work: Callable[[Connection], T], timeout: float | None) -> Any:
        """Run a function with a connection, in a thread."""
        raise NotImplementedError

    def execute(self, statement: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Execute a statement. Gives the number of rows that it changed or returned."""
        clause, values = prepare(statement, params)
        return self._run(partial(_call, statements.execute, clause, values), timeout)

    def fetch_all(self, statement: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Execute a query. Gives all rows."""
        clause, values = prepare(statement, params)
        return self._run(partial(_call, statements.fetch_all, clause, values), timeout)

    def fetch_one(self, statement: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Execute a query. Gives its first row, or None."""
        clause, values = prepare(statement, params)
        return self._run(partial(_call, statements.fetch_one, clause, values), timeout)

    def fetch_value(self, statement: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Execute a query. Gives the first column of its first row, or None."""
        clause, values = prepare(statement, params)
        return self._run(partial(_call, statements.fetch_value, clause, values), timeout)


def _call(function: Callable[..., T], clause: Any, values: Any, connection: Connection) -> T:
    return function(connection, clause, values)
