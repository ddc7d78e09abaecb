"""The methods with which services execute SQL statements on a connection or in a transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from zatotx.plugins.sql import statement_execution
from zatotx.plugins.sql.drivers.base import DatabaseDriver
from zatotx.plugins.sql.row_stream import OpenResult, RowStream, open_stream
from zatotx.plugins.sql.statement_execution import Params, prepare

T = TypeVar('T')


class StatementMethods:
    """Base class with the methods that execute statements. Each method returns an awaitable in async services, and its
    result in synchronous services.

    Parameters are named: `:id` in the statement, {'id': 1} beside it. A list may follow `in`: `where id in :ids`.
    `timeout`: seconds, instead of the connection's. Rows have their columns as attributes.

    Raises Timeout, after which the statement is cancelled at the server; ServiceUnavailable if the database cannot be
    reached; TransactionAborted for a deadlock; sqlalchemy.exc.DBAPIError for errors of the statement; ValueError for
    parameters that do not fit it.
    """

    @property
    def _driver(self) -> DatabaseDriver:
        """The driver of the database."""
        raise NotImplementedError

    def _run(self, work: Callable[[Connection], T], timeout: float | None, *, is_atomic: bool = False) -> Any:
        """Run a function with a connection, in a thread. `is_atomic`: in a transaction."""
        raise NotImplementedError

    def _stream(self, open_result: OpenResult, timeout: float | None) -> RowStream:
        """Return a stream of the rows of a result."""
        raise NotImplementedError

    def execute(self, statement: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Execute a statement. Gives the number of rows that it changed or returned."""
        clause, values = prepare(statement, params)
        return self._run(partial(_call, statement_execution.execute, clause, values), timeout)

    def fetch_all(self, statement: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Execute a query. Gives all rows."""
        clause, values = prepare(statement, params)
        return self._run(partial(_call, statement_execution.fetch_all, clause, values), timeout)

    def fetch_one(self, statement: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Execute a query. Gives its first row, or None."""
        clause, values = prepare(statement, params)
        return self._run(partial(_call, statement_execution.fetch_one, clause, values), timeout)

    def fetch_value(self, statement: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Execute a query. Gives the first column of its first row, or None."""
        clause, values = prepare(statement, params)
        return self._run(partial(_call, statement_execution.fetch_value, clause, values), timeout)


    def execute_many(self, statement: str, rows: Iterable[Mapping[str, Any]], *, timeout: float | None = None) -> Any:
        """Execute a statement once for each row of parameters, all or none of them. Gives the number of rows that were
        changed."""
        return self._run(partial(statement_execution.execute_many, statement, rows), timeout, is_atomic=True)

    def call_procedure(self, name: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Call a stored procedure with parameters in their order. Gives the rows of its first result."""
        return self._run(partial(statement_execution.call_procedure, self._driver, name, params), timeout)

    def stream(self, statement: str, params: Params = None, *, batch: int = statement_execution.BATCH,
               timeout: float | None = None) -> RowStream:
        """Return the rows of a query for `async for` in async services and `for` in others, which fetches `batch` of
        them at a time. It holds a connection until its end, until `aclose` or `close`, or until nothing refers to it.
        `timeout`: seconds for each batch."""
        clause, values = prepare(statement, params)
        return self._stream(partial(open_stream, clause, values, batch), timeout)


def _call(function: Callable[..., T], clause: Any, values: Any, connection: Connection) -> T:
    return function(connection, clause, values)
