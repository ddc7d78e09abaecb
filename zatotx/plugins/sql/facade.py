"""The SQL API for services: `self.out.sql['CRM']`, and Zato's `self.outgoing.sql.get('CRM')`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.plugins.sql.connection import SqlConnection
from zatotx.plugins.sql.drivers.base import DatabaseDriver
from zatotx.plugins.sql.engine_options import isolation_level as parse_level
from zatotx.plugins.sql.row_stream import OpenResult, RowStream
from zatotx.plugins.sql.statement_methods import StatementMethods
from zatotx.plugins.sql.transaction import SqlTransaction

T = TypeVar('T')


class SqlNamespace:
    """The object `self.out.sql`, which is created for each service invocation."""

    __slots__ = ('_call', '_registry')

    def __init__(self, registry: ConnectionRegistry[SqlConnection], call: IServiceCall) -> None:
        self._registry = registry
        self._call = call

    def __getitem__(self, name: str) -> SqlFacade:
        """Return the connection of that name. Raises NotFound and Inactive, which name it, and ServiceUnavailable if
        its configuration cannot be used."""
        self._registry.find(name, self._call.cid)
        return SqlFacade(self._registry, name, self._call)

    def get(self, name: str) -> SqlFacade:
        """Zato's form of `[name]`."""
        return self[name]


class SqlFacade(StatementMethods):
    """An SQL connection, as seen by one service invocation."""

    def __init__(self, registry: ConnectionRegistry[SqlConnection], name: str, call: IServiceCall) -> None:
        self._registry = registry
        self._name = name
        self._call = call

    def transaction(self, *, isolation_level: str = '') -> SqlTransaction:
        """Return a transaction, for `async with` in async services and `with` in others. `isolation_level`: '' = the
        connection's, else 'serializable', 'repeatable read' … Raises ValueError for an unknown level."""
        connection = self._find()
        level = parse_level(isolation_level) if isolation_level else connection.database.isolation_level
        return SqlTransaction(connection, self._call, level)

    def session(self) -> Any:
        """Return a Session of SQLAlchemy for a `def` service, which blocks its thread. Close it: with
        contextlib.closing, or `with`. It is closed at the deadline of the request at the latest."""
        from zatotx.plugins.sql.session import open_session  # loads SQLAlchemy's ORM, which few services use

        return open_session(self._find(), self._call)

    def ping(self) -> Any:
        """Ping the database. Gives what was executed, and the time of the response."""
        return self._call.run(partial(self._find().ping, self._call))

    @property
    def _driver(self) -> DatabaseDriver:
        return self._find().database.driver

    def _run(self, work: Callable[[Connection], T], timeout: float | None, *, is_atomic: bool = False) -> Any:
        return self._call.run(partial(self._statement, work, timeout, is_atomic))

    def _stream(self, open_result: OpenResult, timeout: float | None) -> RowStream:
        reading = SqlTransaction(self._find(), self._call, None)
        return RowStream(reading, self._call, open_result, timeout, owns_transaction=True)

    async def _statement(self, work: Callable[[Connection], T], timeout: float | None, is_atomic: bool) -> T:
        connection = self._find()
        if is_atomic:
            work = partial(connection.database.run_atomically, work)
        return await connection.guarded(partial(connection.run, work, self._call, timeout), self._call)

    def _find(self) -> SqlConnection:
        return self._registry.find(self._name, self._call.cid)
