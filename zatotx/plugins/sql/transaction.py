"""Database transactions of services: `async with self.out.sql[name].transaction() as transaction`.

A transaction holds a connection, and a thread only while one of its statements runs. Whatever happens, the connection
returns to the pool: at the deadline of the request at the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from zatotx.connectors.blocking_pool import BlockingPoolClosed, SlotLease
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.model.errors import ServiceUnavailable, Timeout, TransactionAborted
from zatotx.plugins.sql.cancellation import Cancellation
from zatotx.plugins.sql.connection import SqlConnection
from zatotx.plugins.sql.database import ResultTooLarge, SqlDatabase, dbapi_of
from zatotx.plugins.sql.drivers.base import RETRYABLE, DatabaseDriver
from zatotx.plugins.sql.row_stream import BatchReader, OpenResult, RowStream
from zatotx.plugins.sql.statement_methods import StatementMethods

T = TypeVar('T')


class SqlTransaction(StatementMethods):
    """A database transaction, as a context manager. Use `async with` in async services, and `with` in synchronous
    services. The transaction is committed at the end of the block, or rolled back if the block raises an exception.

    Raises TransactionAborted at the end of the block if the database has rolled it back after an error that the block
    caught, so that nothing is lost quietly.
    """

    def __init__(self, connection: SqlConnection, call: IServiceCall, isolation_level: str | None) -> None:
        """`isolation_level`: '' = the database's default, None = a transaction that only reads."""
        self._connection = connection
        self._call = call
        self._work = _TransactionWork(connection.database, isolation_level)
        self._lease: SlotLease | None = None
        self._timer: Any = None

    async def __aenter__(self) -> SqlTransaction:
        await self.begin()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self._finish(error)

    def __enter__(self) -> SqlTransaction:
        entering = self._call.run(self.begin)
        if isinstance(entering, Coroutine):
            entering.close()
            raise TypeError('An async service uses transactions with `async with`')
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            self._call.run(partial(self._finish, error))
        except CancelledError:  # the request is over: its coroutine did not run
            self.abandon_from_thread()
            raise

    def abandon_from_thread(self) -> None:
        """Return the connection to the pool. May be called in any thread."""
        lease = self._lease
        if lease is not None:
            lease.is_ending = True
            self._connection.reactor.callFromThread(self.abandon)

    # StatementMethods

    @property
    def _driver(self) -> DatabaseDriver:
        return self._connection.database.driver

    def _run(self, work: Callable[[Connection], T], timeout: float | None, *, is_atomic: bool = False) -> Any:
        return self._call.run(partial(self.statement, work, timeout))

    def _stream(self, open_result: OpenResult, timeout: float | None) -> RowStream:
        return RowStream(self, self._call, open_result, timeout)

    # In the reactor; see StreamTransaction

    async def open_reader(self, open_result: OpenResult, timeout: float | None) -> BatchReader:
        """Execute a query whose rows are streamed."""
        return await self._when_open(partial(self._work.open_reader, open_result), timeout)

    async def close_reader(self, reader: BatchReader) -> None:
        """Close a result that was not read to its end."""
        await self._when_open(partial(self._work.close_reader, reader), None)

    async def statement(self, work: Callable[[Connection], T], timeout: float | None) -> T:
        """Run a function in the transaction."""
        return await self._when_open(partial(self._work.run, work), timeout)

    async def _when_open(self, function: Callable[[], T], timeout: float | None) -> T:
        if self._lease is None:
            raise ServiceUnavailable(self._call.cid, f'{self._connection.title}: the transaction has ended')
        return await self._execute(function, timeout)

    async def begin(self) -> None:
        """Take a connection, and begin."""
        await self._connection.guarded(self._begin, self._call)

    async def _begin(self) -> None:
        call, connection = self._call, self._connection
        self._lease = await connection.lease(call, self.abandon)
        remaining = max(0.0, call.deadline - connection.reactor.seconds())
        self._timer = connection.reactor.callLater(remaining, self.abandon)
        try:
            await self._execute(self._work.begin, None)
        except BaseException:
            self.abandon()
            raise

    async def _finish(self, error: BaseException | None) -> None:
        if self._lease is None:
            if error is None:
                raise Timeout(self._call.cid, f'{self._connection.title}: the transaction was rolled back at the '
                              'deadline of the request')  # fmt: skip
            return
        if isinstance(error, CancelledError | Timeout):  # nobody waits for the rollback
            self.abandon()
            return
        try:
            await (self._commit() if error is None else self._rollback())
        finally:
            self.abandon()

    async def _commit(self) -> None:
        try:
            await self._execute(self._work.commit, None)
        except Timeout as error:
            raise Timeout(error.cid, f'{error.msg}: check whether the transaction was committed') from error

    async def _rollback(self) -> None:
        try:
            await self._execute(self._work.rollback, None)
        except CancelledError:
            raise
        except Exception:
            return  # the error of the block is the one to report

    def _execute(self, function: Callable[[], T], timeout: float | None) -> Deferred[T]:
        assert self._lease is not None
        running = self._lease.run(function, timeout=self._connection.remaining(self._call, timeout),
                                  interrupt=self._work.cancellation.interrupt)  # fmt: skip
        self._connection.watch_size(running, self._work.cancellation)
        return self._connection.observe(running, self._call)

    def abandon(self) -> None:
        """Return the connection to the pool, after a rollback if there was no commit."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        work = self._work
        returning = lease.run(work.release, timeout=self._connection.timeout, interrupt=work.cancellation.interrupt)
        returning.addErrback(_ignore_closed)
        lease.release()


class _TransactionWork:
    """The side of the threads."""

    def __init__(self, database: SqlDatabase, isolation_level: str | None) -> None:
        self.cancellation = Cancellation(database.driver)
        self._database = database
        self._isolation_level = isolation_level
        self._connection: Connection | None = None
        self._readers: list[BatchReader] = []
        self._is_failed = False

    def begin(self) -> None:
        """Take a connection and begin."""
        self._connection = connection = self._database.check_out(self.cancellation)
        try:
            if self._isolation_level is None:
                self._database.driver.begin_reading(connection)
            else:
                self._database.driver.begin(connection, self._isolation_level)
        finally:
            self.cancellation.detach()

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run a function in the transaction."""
        connection = self._attach()
        self._require_healthy(connection)
        try:
            return work(connection)
        except DBAPIError as error:
            if self.cancellation.is_too_large:
                raise ResultTooLarge from error
            original = error.orig
            if error.connection_invalidated or (original and self._database.driver.classify(original) is RETRYABLE):
                self._is_failed = True
            raise
        finally:
            self.cancellation.detach()

    def open_reader(self, open_result: OpenResult) -> BatchReader:
        """Execute a query whose rows are streamed."""
        reader = self.run(open_result)
        self._readers.append(reader)
        return reader

    def close_reader(self, reader: BatchReader) -> None:
        """Close a result that was not read to its end."""
        self.run(partial(reader.close, self._database.driver))

    def commit(self) -> None:
        """Commit. Raises TransactionAborted if the database has rolled it back."""
        connection = self._attach()
        try:
            self._require_healthy(connection)
            for reader in self._readers:
                reader.close(self._database.driver, connection)
            self._database.commit(connection)
        finally:
            self.cancellation.detach()

    def rollback(self) -> None:
        """Roll back."""
        connection = self._attach()
        try:
            if not connection.invalidated:
                self._database.driver.rollback(connection)
        finally:
            self.cancellation.detach()

    def release(self) -> None:
        """Return the connection to the pool, which rolls back what was not committed."""
        connection, cancellation = self._connection, self.cancellation
        if connection is None:
            return
        try:
            if not cancellation.is_requested:
                self._attach()
                for reader in self._readers:
                    reader.close(self._database.driver, connection)
                self._database.driver.reset(dbapi_of(connection))
        except Exception:
            connection.invalidate()
        finally:
            self._connection = None
            self._database.check_in(connection, cancellation)

    def _attach(self) -> Connection:
        connection = self._connection
        if connection is None:
            raise BlockingPoolClosed
        if self.cancellation.is_requested:
            raise TransactionAborted(None, 'The transaction was rolled back, as one of its statements was cancelled')
        self.cancellation.attach(None if connection.invalidated else dbapi_of(connection))
        return connection

    def _require_healthy(self, connection: Connection) -> None:
        if self._is_failed or connection.invalidated or self._database.driver.has_failed(dbapi_of(connection)):
            raise TransactionAborted(None, 'The database has rolled the transaction back because of an earlier error')


def _ignore_closed(failure: Failure) -> None:
    failure.trap(Exception)
