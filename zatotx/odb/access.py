"""Transactions on the ODB: in the thread that calls (Database), and in the ODB's threads from the reactor (Access)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from attrs import define, field, frozen
from sqlalchemy import Connection, Engine
from twisted.internet.defer import Deferred

from zatotx.odb.context import Cluster, Transaction, begin, find_cluster
from zatotx.odb.documents import has_secrets, prepared
from zatotx.odb.engine import WRITE, make_engine
from zatotx.odb.failures import as_fault
from zatotx.odb.lanes import Call, Lane
from zatotx.odb.schema_state import require_current
from zatotx.odb.secrets import Secrets
from zatotx.odb.urls import masked
from zatotx.odb.writing import write
from zatotx.schema.snapshot import Actor, Operation
from zatotx.schema.types import ObjectTypes

_T = TypeVar('_T')


@define(kw_only=True)
class Database:
    """One cluster of the ODB at a URL. That the ODB is of this version and has the cluster is looked at until it was so
    once, so an ODB that is away at the start is found when it comes."""

    url: str = field(repr=masked)
    cluster: str
    types: ObjectTypes = field(repr=False)
    secrets: Secrets = field(repr=False)
    _engine: Engine = field(init=False, repr=False)
    _found: Cluster | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._engine = make_engine(self.url)

    def read(self, function: Callable[[Connection, Cluster], _T]) -> _T:
        """The function in a transaction that sees one moment. Raises faults."""
        with faults(self.url), self._engine.connect() as connection, connection.begin():
            return function(connection, self._cluster(connection))

    def write(self, call: Call, function: Callable[[Connection, Cluster], _T]) -> _T:
        """The function in a transaction that holds the write lock; committed unless the call was given up."""
        with faults(self.url), self._engine.connect().execution_options(**{WRITE: True}) as connection:
            with connection.begin():
                call.moved()
                result = function(connection, self._cluster(connection))
                call.committing()
            return result

    def close(self) -> None:
        """Close what is not in use."""
        self._engine.dispose()

    def _cluster(self, connection: Connection) -> Cluster:
        if self._found is None:
            require_current(connection, self.url)
            self._found = find_cluster(connection, self.cluster, self.types, self.secrets)
        return self._found


@contextmanager
def faults(url: str) -> Iterator[None]:
    """Turn what the database raises into faults."""
    try:
        yield
    except Exception as error:
        fault = as_fault(error, url)
        if fault is error:
            raise
        raise fault from error


@frozen(kw_only=True)
class Access:
    """The way from the reactor to the Database: one thread writes, a few read."""

    database: Database
    reading: Lane
    writing: Lane

    def read(self, function: Callable[[Connection, Cluster], _T]) -> Deferred[_T]:
        return self.reading.run(lambda call: self.database.read(function))

    def write(self, function: Callable[[Connection, Cluster], _T]) -> Deferred[_T]:
        """A write that is no change of the configuration."""
        return self.writing.run(lambda call: self.database.write(call, function))

    def transact(self, actor: Actor, function: Callable[[Transaction], _T]) -> Deferred[_T]:
        """A change of the configuration."""

        def within(call: Call) -> _T:
            return self.database.write(call, lambda c, cluster: function(begin(c, cluster, actor, call.moved)))

        return self.writing.run(within)

    async def change(self, operations: Sequence[Operation], actor: Actor) -> int:
        """Secrets are hashed before the transaction, in a thread that reads: they would hold the lock for long."""
        types, secrets = self.database.types, self.database.secrets
        if has_secrets(types, operations):
            clear = operations
            operations = await self.reading.run(lambda call: prepared(types, secrets, clear, call.moved))
        ready = operations
        return await self.transact(actor, lambda t: write(t, ready))

    async def close(self) -> None:
        """Let what is under way end, then the threads and connections."""
        await self.writing.close()
        await self.reading.close()
        self.database.close()
