"""SQLAlchemy ORM sessions for `def` services, as in Zato: `with closing(self.outgoing.sql.get(name).session()) as
session`. A session runs in the thread of its service, holds a connection of the pool until it is closed, and is subject
to the same limits as other statements.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine
from threading import Event, Lock, Thread
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session
from twisted.internet.defer import CancelledError, Deferred

from zatotx.connectors.blocking_pool import SlotLease
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.model.errors import Timeout
from zatotx.plugins.sql.cancellation import Cancellation
from zatotx.plugins.sql.connection import SqlConnection
from zatotx.plugins.sql.database import ON_ERROR

CLOSE_GRACE = 5.0  # seconds that a service has to close a session whose statement was interrupted


class PooledSession(Session):
    """An SQLAlchemy Session that returns its connection to the pool when it is closed. `execute` also accepts text."""

    def __init__(self, lease: _SessionLease, connection: Connection) -> None:
        super().__init__(bind=connection)
        self._lease = lease

    def execute(self, statement: Any, *args: Any, **options: Any) -> Any:
        """See Session.execute. Text is a statement, as in the SQLAlchemy that Zato has."""
        return super().execute(text(statement) if isinstance(statement, str) else statement, *args, **options)

    def commit(self) -> None:
        """See Session.commit."""
        try:
            super().commit()
        finally:
            self._lease.ended()

    def rollback(self) -> None:
        """See Session.rollback."""
        try:
            super().rollback()
        finally:
            self._lease.ended()

    def close(self) -> None:
        """Roll back what was not committed, and return the connection to the pool."""
        try:
            super().close()
        finally:
            self._lease.close()


def open_session(connection: SqlConnection, call: IServiceCall) -> PooledSession:
    """Open a session in the thread of the calling service. Raises TypeError in an async service."""
    lease = _SessionLease(connection, call)
    acquiring = call.run(lease.acquire)
    if isinstance(acquiring, Coroutine):
        acquiring.close()
        raise TypeError('session() blocks: use it in a def service, and transaction() in an async one')
    return PooledSession(lease, lease.connect())


class _SessionLease:
    """The connection of one session, and the limits of its statements."""

    def __init__(self, connection: SqlConnection, call: IServiceCall) -> None:
        self._sql = connection
        self._call = call
        self._cancellation = Cancellation(connection.database.driver)
        self._lease: SlotLease | None = None
        self._connection: Connection | None = None
        self._lock = Lock()
        self._is_closed = Event()
        self._began: float | None = None  # of the current statement, monotonic
        self._timer: Any = None
        self._is_expired = False
        self._ending: Deferred[None] = Deferred(lambda _: self._expire())

    # In the service's thread

    def connect(self) -> Connection:
        """Take a connection of the pool, in the database's default mode for transactions."""
        database = self._sql.database
        try:
            connection = self._connection = database.check_out(self._cancellation)
            level: Any = database.isolation_level or connection.dialect.default_isolation_level
            connection.execution_options(isolation_level=level, **{ON_ERROR: self._failed})
            event.listen(connection, 'before_cursor_execute', self._begin)
            event.listen(connection, 'commit', self._begin)
            event.listen(connection, 'rollback', self._begin_rollback)
            event.listen(connection, 'after_cursor_execute', self._succeeded)
        except BaseException as error:
            self.close()
            if self._is_expired:  # the connection was taken away meanwhile
                raise self._timed_out() from error
            raise self._sql.map_error(error, self._call.cid) from error
        return connection

    def close(self) -> None:
        """Return the connection to the pool."""
        connection = self._take()
        self._is_closed.set()
        try:
            if connection is not None:
                self._sql.database.check_in(connection, self._cancellation)
        finally:
            self._sql.reactor.callFromThread(self._release)

    def ended(self) -> None:
        """A commit or rollback has ended."""
        self._began = None

    def _begin(self, *args: Any) -> None:
        self._began = time.monotonic()
        if self._is_expired:
            raise self._timed_out()

    def _begin_rollback(self, *args: Any) -> None:
        self._began = time.monotonic()

    def _succeeded(self, *args: Any) -> None:
        self._observe(None)

    def _failed(self, context: Any) -> None:
        error = context.sqlalchemy_exception or context.original_exception
        mapped = self._timed_out() if self._is_expired else self._sql.map_error(error, self._call.cid)
        self._observe(mapped)
        if mapped is not error:
            raise mapped

    def _observe(self, error: BaseException | None) -> None:
        began, self._began = self._began, None
        seconds = 0.0 if began is None else time.monotonic() - began
        self._sql.reactor.callFromThread(self._sql.observe_statement, seconds, error)

    def _timed_out(self) -> Timeout:
        return Timeout(self._call.cid, f'{self._sql.title}: no answer within {self._sql.timeout:g} s, or the request '
                       'is over')  # fmt: skip

    # In the reactor

    async def acquire(self) -> None:
        """Wait for a slot of the pool."""
        self._sql.require_closed_circuit(self._call)
        self._lease = await self._sql.lease(self._call, self._expire)
        self._ending.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self._call.cancel_with_request(self._ending)
        self._watch(self._sql.timeout)

    def _watch(self, delay: float) -> None:
        """Check again after `delay` seconds, and at the deadline of the request."""
        remaining = max(0.0, self._call.deadline - self._sql.reactor.seconds())
        self._timer = self._sql.reactor.callLater(min(delay, remaining), self._check)

    def _check(self) -> None:
        """End a session whose statement takes too long. Between two checks lies no more than the time that a statement
        may take, so that each is found at its limit."""
        began, limit = self._began, self._sql.timeout
        running = 0.0 if began is None else time.monotonic() - began
        if self._sql.reactor.seconds() >= self._call.deadline or running >= limit:
            self._expire()
        else:
            self._watch(limit - running)

    def _expire(self) -> None:
        """Cancel the current statement, and take the connection away from the service."""
        if not self._is_expired:
            self._is_expired = True
            Thread(target=self._revoke, name='sql-session-expired', daemon=True).start()

    def _release(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if not self._ending.called:
            self._ending.callback(None)
        if self._lease is not None:
            self._lease.release()

    # In a thread of its own

    def _revoke(self) -> None:
        if self._began is not None:
            self._cancellation.interrupt()
            self._is_closed.wait(CLOSE_GRACE)  # its thread handles the error
        connection = self._take()
        if connection is not None:  # the service has not closed the session
            connection.invalidate()
            self._sql.database.check_in(connection, self._cancellation)
            self._sql.reactor.callFromThread(self._release)

    def _take(self) -> Connection | None:
        with self._lock:
            connection, self._connection = self._connection, None
            return connection
