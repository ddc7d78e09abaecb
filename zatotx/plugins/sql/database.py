"""An SQLAlchemy engine with a bounded connection pool, and the execution of statements in threads.

Single statements run in autocommit mode, which saves the round trips of BEGIN and COMMIT. A connection is given to one
call at a time, after a check that costs no round trip unless the connection has been idle for long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock, Timer
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Dialect, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from zatotx.plugins.sql.cancellation import Cancellation
from zatotx.plugins.sql.database_url import DatabaseUrl
from zatotx.plugins.sql.drivers.base import CANCEL_TIMEOUT, DatabaseDriver

T = TypeVar('T')

PING_AFTER = 30.0  # seconds that a connection may be idle without being pinged before its next use
POOL_RECYCLE = 3600  # seconds until a connection is replaced, unless `extra` says otherwise
MAX_RESULT_SIZE = 'zatotx_max_result_size'  # execution option: bytes
ON_ERROR = 'zatotx_on_error'  # execution option: called with the context of an error
CONNECTS_AT_ONCE = 2
MAX_CONNECT_WAIT = 0.25  # seconds
_CHECKOUT_TIMEOUT = 5.0  # seconds; callers have a slot of the thread pool, so that there is always a connection


class ConnectFailed(Exception):  # noqa: N818 - mapped to an error of the data model
    """No usable connection could be opened. `cause` is the driver's error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class ResultTooLarge(Exception):  # noqa: N818 - mapped to an error of the data model
    """The result of a statement is larger than the connection's limit."""


class CommitUnconfirmed(Exception):  # noqa: N818 - mapped to an error of the data model
    """The connection was lost during a commit. `cause` is the driver's error."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class ConnectLimiter:
    """Limits the number of threads that connect at the same time, because opening a connection takes much CPU time in
    Python.

    Fifty connects at once delayed the reactor by up to 300 ms, two at a time by 13 ms, and took no longer.
    """

    def __init__(self, at_once: int = CONNECTS_AT_ONCE, max_wait: float = MAX_CONNECT_WAIT) -> None:
        self._max_wait = max_wait
        self._connects = BoundedSemaphore(at_once)

    @contextmanager
    def limit(self) -> Iterator[None]:
        """Wait for others, but at most `max_wait` seconds: those of a frozen server must not delay each other."""
        is_counted = self._connects.acquire(timeout=self._max_wait)
        try:
            yield
        finally:
            if is_counted:
                self._connects.release()


class SqlDatabase:
    """The SQLAlchemy engine of one SQL connection. The engine is created by the first call. All methods may block.

    `pool_size`: connections that are kept; 0 = none. `timeout`: seconds, for connecting and for locks.
    """

    def __init__(self, url: DatabaseUrl, password: str, driver: DatabaseDriver, *, pool_size: int, timeout: float,
                 max_result_size: int, options: Mapping[str, Any]) -> None:
        self.driver = driver
        self.isolation_level: str = options.get('isolation_level', '')
        self._url = URL.create(
            url.driver, username=url.username or None, password=password or url.password or None,
            host=url.host or None, port=url.port, database=url.database, query=url.query,
        )  # fmt: skip
        self._pool_size = pool_size
        self._timeout = timeout
        self._max_result_size = max_result_size
        self._recycle: int = options.get('pool_recycle', POOL_RECYCLE)
        self._engine: Engine | None = None
        self._lock = Lock()
        self._connects = ConnectLimiter()

    @property
    def engine(self) -> Engine:
        """The engine."""
        with self._lock:
            if self._engine is None:
                self._engine = self._make_engine()
            return self._engine

    def run(self, work: Callable[[Connection], T], cancellation: Cancellation) -> T:
        """Run a function with a connection in autocommit mode. Raises ConnectFailed and what the function raises."""
        connection = self.check_out(cancellation)
        try:
            return work(connection)
        except Exception as error:
            if cancellation.is_too_large:
                raise ResultTooLarge from error
            raise
        finally:
            self.check_in(connection, cancellation)

    def run_atomically(self, work: Callable[[Connection], T], connection: Connection) -> T:
        """Run a function in a transaction of its own."""
        self.driver.begin(connection, self.isolation_level)
        try:
            result = work(connection)
        except BaseException:
            if not connection.invalidated:
                self.driver.rollback(connection)
            raise
        self.commit(connection)
        return result

    def commit(self, connection: Connection) -> None:
        """Commit. Raises CommitUnconfirmed if the connection is lost meanwhile."""
        try:
            self.driver.commit(connection)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise CommitUnconfirmed(error.orig or error) from error
            raise

    def check_out(self, cancellation: Cancellation) -> Connection:
        """Take a connection that works from the pool, and attach it. Raises ConnectFailed, and StatementAbandoned."""
        while True:
            try:
                connection = self.engine.connect()
            except Exception as error:
                raise ConnectFailed(error) from error
            try:
                cancellation.attach(dbapi_of(connection))
                if self._is_usable(connection):
                    return connection
            except BaseException:
                self.check_in(connection, cancellation)
                raise
            cancellation.detach()
            connection.invalidate()
            connection.close()

    def check_in(self, connection: Connection, cancellation: Cancellation) -> None:
        """Return a connection to the pool when no interrupt is under way. One that was cut, or whose state is unknown
        after it was cancelled, is dropped."""
        cancellation.detach()
        try:
            if cancellation.is_requested and not connection.invalidated:
                self._settle(connection, cancellation)
        finally:
            connection.close()

    def dispose(self) -> None:
        """Close the connections in the pool. No call may be under way."""
        with self._lock:
            engine = self._engine
        if engine is not None:
            engine.dispose()

    def _settle(self, connection: Connection, cancellation: Cancellation) -> None:
        """Make sure that the cancel request does not hit a later statement."""
        dbapi = dbapi_of(connection)
        watchdog = Timer(CANCEL_TIMEOUT, self.driver.abort, (dbapi,))
        watchdog.start()
        try:
            if not cancellation.is_aborted and (self._answers(dbapi) or self._answers(dbapi)):
                return  # the first attempt may be what the request hits
        finally:
            watchdog.cancel()
        connection.invalidate()

    def _answers(self, dbapi: Any) -> bool:
        try:
            self.driver.reset(dbapi)
            self.driver.ping(dbapi)
        except Exception:
            return False
        return True

    def _is_usable(self, connection: Connection) -> bool:
        info = connection.info
        idle_since = info.pop('idle_since', None)
        if idle_since is None:  # new
            return True
        dbapi = dbapi_of(connection)
        try:
            if self.driver.is_suspicious(dbapi) or time.monotonic() - idle_since > PING_AFTER:
                self.driver.ping(dbapi)
        except Exception:
            return False
        return True

    def _connect(self, dialect: Dialect, record: object, args: Sequence[Any], options: dict[str, Any]) -> Any:
        """Connect as SQLAlchemy would, but after other connects, unless these take long."""
        with self._connects.limit():
            return dialect.connect(*args, **options)

    def _make_engine(self) -> Engine:
        pool: dict[str, Any] = {'poolclass': NullPool}
        if self._pool_size:
            pool = {'poolclass': QueuePool, 'pool_size': self._pool_size, 'max_overflow': 0, 'pool_use_lifo': True,
                    'pool_timeout': _CHECKOUT_TIMEOUT, 'pool_recycle': self._recycle}  # fmt: skip
        engine = create_engine(
            self._url, isolation_level='AUTOCOMMIT', skip_autocommit_rollback=True, hide_parameters=True,
            pool_reset_on_return=None, execution_options={MAX_RESULT_SIZE: self._max_result_size},
            connect_args=self.driver.connect_arguments(self._url, self._timeout), **pool,
        )  # fmt: skip
        event.listen(engine, 'do_connect', self._connect)
        event.listen(engine, 'connect', lambda dbapi, record: self.driver.connected(dbapi))
        event.listen(engine, 'reset', lambda dbapi, record, state: self.driver.reset(dbapi))
        event.listen(engine, 'checkin', _note_idle)
        event.listen(engine, 'handle_error', _call_error_handler)
        return engine


def _note_idle(dbapi: Any, record: Any) -> None:
    if dbapi is not None:  # not invalidated
        record.info['idle_since'] = time.monotonic()


def _call_error_handler(context: ExceptionContext) -> None:
    if context.connection is not None:
        handler = context.connection.get_execution_options().get(ON_ERROR)
        if handler is not None:
            handler(context)


def dbapi_of(connection: Connection) -> Any:
    """Return the DBAPI connection of the driver to which an SQLAlchemy connection belongs."""
    return connection.connection.dbapi_connection
