"""Runs transactions in the ODB. `Database` blocks, and `AsyncDatabase` runs the transactions in a thread pool on behalf
of the reactor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import SystemRandom
from typing import TypeVar

from attrs import define, field, frozen
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import Deferred

from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.database_executor import CancellableCall, DatabaseExecutor
from zatotx.odb.engine_factory import dialect_of, driver_message, make_engine, map_database_error
from zatotx.odb.engines.dialect import Dialect
from zatotx.odb.mutations import apply_operations
from zatotx.odb.schema_state import require_usable_schema
from zatotx.odb.secrets import Secrets
from zatotx.odb.struct_conversion import has_secrets, protect_secrets
from zatotx.odb.transaction import ClusterContext, Transaction, begin_transaction, find_cluster
from zatotx.schema.snapshot import Actor, Operation
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.wire.url_masking import mask_url

MAX_ATTEMPTS = 6  # for one write, in case of deadlocks or lost races
RECONNECT_WINDOW = 1.0  # a connection cut within this many seconds is replaced by another, once
RETRY_PAUSE = 0.02  # maximum seconds before the second attempt; doubled after each further one

_T = TypeVar('_T')
_random = SystemRandom()


@define(kw_only=True)
class Database:
    """Runs blocking transactions on one cluster of the ODB at a URL. The version of the schema and the existence of the
    cluster are checked until the check has succeeded once, so the ODB may be unavailable at the start."""

    url: str = field(repr=mask_url)
    cluster: str
    types: ObjectTypeRegistry = field(repr=False)
    secrets: Secrets = field(repr=False)
    _dialect: Dialect = field(init=False, repr=False)
    _read_engine: Engine = field(init=False, repr=False)
    _write_engine: Engine = field(init=False, repr=False)
    _cached_cluster: ClusterContext | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._dialect = dialect_of(self.url)
        self._read_engine = make_engine(self.url, 'read')
        self._write_engine = make_engine(self.url, 'write')

    def read(self, function: Callable[[Connection, ClusterContext], _T]) -> _T:
        """Run the function in a transaction with a consistent snapshot. Raises errors of the data model."""
        with map_database_errors(self.url):
            started = time.monotonic()
            try:
                return self._read_once(function)
            except DBAPIError as error:
                if not _is_cut(error, started):
                    raise
            return self._read_once(function)

    def write(self, call: CancellableCall, function: Callable[[Connection, ClusterContext], _T]) -> _T:
        """Run the function in a writing transaction, which is committed unless the call was abandoned. The transaction
        is retried if the database aborted it in favor of another one or the connection was cut, so the function may run
        more than once. Raises ServiceUnavailable, with a message that says so, if the outcome of a commit is
        unknown."""
        with map_database_errors(self.url):
            for attempt in range(1, MAX_ATTEMPTS):
                started = time.monotonic()
                try:
                    return self._write_once(call, function)
                except DBAPIError as error:
                    is_cut = error.connection_invalidated
                    if is_cut and call.is_committing:
                        raise ServiceUnavailable(None, self._unconfirmed_message(error)) from error
                    if not (attempt == 1 and _is_cut(error, started) if is_cut else self._dialect.is_retryable(error)):
                        raise
                call.restart()
                # sleeps in the executor's thread, not in the reactor's
                time.sleep(_random.uniform(0, RETRY_PAUSE * 2**attempt))
            return self._write_once(call, function)

    def _unconfirmed_message(self, error: DBAPIError) -> str:
        cause = driver_message(error, self.url)
        return f'The ODB ({mask_url(self.url)}) did not confirm a commit: check whether it was made ({cause})'

    def _read_once(self, function: Callable[[Connection, ClusterContext], _T]) -> _T:
        with self._read_engine.connect() as connection, connection.begin():
            return function(connection, self._cluster(connection))

    def _write_once(self, call: CancellableCall, function: Callable[[Connection, ClusterContext], _T]) -> _T:
        with self._write_engine.connect() as connection, connection.begin():
            call.check_abandoned()  # connecting is not progress: on SQLite it includes waiting for the write lock
            result = function(connection, self._cluster(connection))
            call.begin_commit()
        return result

    def close(self) -> None:
        """Close the unused connections."""
        self._read_engine.dispose()
        self._write_engine.dispose()

    def _cluster(self, connection: Connection) -> ClusterContext:
        if self._cached_cluster is None:
            require_usable_schema(connection, self.url)
            self._cached_cluster = find_cluster(connection, self.cluster, self.types, self.secrets)
        return self._cached_cluster


def _is_cut(error: DBAPIError, started: float) -> bool:
    """Return whether the connection was cut, as by an administrator or a failover, so that another one may work. After
    a long time the server is more likely frozen."""
    return error.connection_invalidated and time.monotonic() - started < RECONNECT_WINDOW


@contextmanager
def map_database_errors(url: str) -> Iterator[None]:
    """Context manager that converts database exceptions to errors of the data model."""
    try:
        yield
    except Exception as error:
        mapped = map_database_error(error, url)
        if mapped is error:
            raise
        raise mapped from error


@frozen(kw_only=True)
class AsyncDatabase:
    """Runs transactions in threads on behalf of the reactor. One thread writes, several threads read, and one thread
    hashes secrets."""

    database: Database
    hash_executor: DatabaseExecutor
    read_executor: DatabaseExecutor
    write_executor: DatabaseExecutor

    def read(self, function: Callable[[Connection, ClusterContext], _T]) -> Deferred[_T]:
        """Run a function in a reading transaction."""
        return self.read_executor.run(lambda call: self.database.read(function))

    def read_with_progress(
        self, function: Callable[[Connection, ClusterContext, Callable[[], None]], _T]
    ) -> Deferred[_T]:
        """Run a long read; the function reports its progress by calling its third argument."""
        return self.read_executor.run(
            lambda call: self.database.read(
                lambda connection, cluster: function(connection, cluster, call.report_progress)
            )
        )

    def write(self, function: Callable[[Connection, ClusterContext], _T]) -> Deferred[_T]:
        """Run a write that does not change the configuration."""
        return self.write_executor.run(lambda call: self.database.write(call, function))

    def transact(self, actor: Actor, function: Callable[[Transaction], _T]) -> Deferred[_T]:
        """Run a change of the configuration."""

        def run_transaction(call: CancellableCall) -> _T:
            return self.database.write(
                call, lambda c, cluster: function(begin_transaction(c, cluster, actor, call.report_progress))
            )

        return self.write_executor.run(run_transaction)

    async def apply_operations(self, operations: Sequence[Operation], actor: Actor) -> int:
        """Apply operations. Secrets are hashed before the transaction, to hold the cluster's lock briefly."""
        types, secrets = self.database.types, self.database.secrets
        if has_secrets(types, operations):
            operations_in_clear = operations
            operations = await self.hash_executor.run(
                lambda call: protect_secrets(types, secrets, operations_in_clear, call.report_progress)
            )
        ready = operations
        return await self.transact(actor, lambda t: apply_operations(t, ready))

    async def close(self) -> None:
        """Wait for the running calls, then close the threads and connections."""
        for executor in (self.hash_executor, self.write_executor, self.read_executor):
            await executor.close()
        self.database.close()
