"""Streams the rows of a large result from a server-side cursor in batches, with constant memory use and backpressure.
The next batch is fetched when the previous one has been consumed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, CursorResult, Row, TextClause

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.plugins.sql.database import dbapi_of
from zatotx.plugins.sql.drivers.base import DatabaseDriver

T = TypeVar('T')


class BatchReader:
    """Reads the batches of an open result, in threads."""

    def __init__(self, result: CursorResult[Any], batch: int) -> None:
        self._result = result
        self._batch = batch
        self._is_exhausted = False

    def fetch(self, connection: Connection) -> list[Row[Any]]:
        """Return the next rows: none at the end."""
        if self._is_exhausted:
            return []
        rows = list(self._result.fetchmany(self._batch))
        if len(rows) < self._batch:
            self._is_exhausted = True
            self._result.close()
        return rows

    def close(self, driver: DatabaseDriver, connection: Connection) -> None:
        """Close the result. If it was not read to its end, the connection is not used again unless the database ends
        it in good order."""
        if self._is_exhausted or connection.invalidated:
            return
        self._is_exhausted = True
        try:
            driver.end_stream(dbapi_of(connection))
            self._result.close()
        except Exception:
            connection.invalidate()


OpenResult = Callable[[Connection], BatchReader]


def open_stream(clause: TextClause, values: dict[str, Any], batch: int, connection: Connection) -> BatchReader:
    """Execute a query with a server-side cursor, and return a reader of its batches. Raises ValueError if the statement
    returns no rows."""
    if batch < 1:
        raise ValueError('A batch has at least one row')
    options: dict[str, Any] = {'stream_results': True, 'max_row_buffer': batch}
    result = connection.execute(clause, values, execution_options=options)
    if not result.returns_rows:
        result.close()
        raise ValueError('The statement returns no rows: use execute')
    return BatchReader(result, batch)


class StreamTransaction(Protocol):
    """The interface of the transaction in which a row stream reads. Its coroutines run in the reactor."""

    async def begin(self) -> None:
        """Take a connection."""

    async def open_reader(self, open_result: OpenResult, timeout: float | None) -> BatchReader:
        """Execute a query. The end of the transaction closes its result."""

    async def statement(self, work: Callable[[Connection], T], timeout: float | None) -> T:
        """Run a function in the transaction."""

    async def close_reader(self, reader: BatchReader) -> None:
        """Close a result that was not read to its end."""

    def abandon(self) -> None:
        """End the transaction, and return its connection."""

    def abandon_from_thread(self) -> None:
        """The same, in any thread."""


class RowStream:
    """A stream of rows. Use `async for` in async services, and `for` in synchronous services."""

    def __init__(self, transaction: StreamTransaction, call: IServiceCall, open_result: OpenResult,
                 timeout: float | None, *, owns_transaction: bool = False) -> None:
        self._transaction = transaction
        self._call = call
        self._open = open_result
        self._timeout = timeout
        self._owns_transaction = owns_transaction
        self._reader: BatchReader | None = None
        self._rows: deque[Row[Any]] = deque()
        self._is_begun = False
        self._is_over = False

    def __aiter__(self) -> RowStream:
        return self

    async def __anext__(self) -> Row[Any]:
        rows = self._rows
        if not rows:
            rows.extend(await self._fetch())
            if not rows:
                raise StopAsyncIteration
        return rows.popleft()

    def __iter__(self) -> RowStream:
        return self

    def __next__(self) -> Row[Any]:
        rows = self._rows
        if not rows:
            fetched = self._call.run(self._fetch)
            if isinstance(fetched, Coroutine):
                fetched.close()
                raise TypeError('An async service reads a stream with `async for`')
            rows.extend(fetched)
            if not rows:
                raise StopIteration
        return rows.popleft()

    async def aclose(self) -> None:
        """Stop reading, in an async service."""
        self._rows.clear()
        await self._finish()

    def close(self) -> None:
        """Stop reading, in a `def` service."""
        self._rows.clear()
        if not self._is_over:
            self._call.run(self._finish)

    def __del__(self) -> None:
        if self._owns_transaction and self._is_begun and not self._is_over:
            self._transaction.abandon_from_thread()

    async def _fetch(self) -> list[Row[Any]]:
        if self._is_over:
            return []
        try:
            if not self._is_begun:
                self._is_begun = True
                if self._owns_transaction:
                    await self._transaction.begin()
                self._reader = await self._transaction.open_reader(self._open, self._timeout)
            assert self._reader is not None
            rows = await self._transaction.statement(self._reader.fetch, self._timeout)
        except BaseException:
            self._end()
            raise
        if not rows:
            self._end()
        return rows

    async def _finish(self) -> None:
        reader, is_over = self._reader, self._is_over
        self._end()
        if reader is not None and not is_over and not self._owns_transaction:
            await self._transaction.close_reader(reader)

    def _end(self) -> None:
        self._is_over = True
        if self._owns_transaction:
            self._transaction.abandon()
