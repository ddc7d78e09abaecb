"""Cancels a running SQL statement on the database server, from another thread."""

from __future__ import annotations

from threading import Event, Lock
from typing import Any

from zatotx.plugins.sql.drivers.base import CANCEL_TIMEOUT, DatabaseDriver


class StatementAbandoned(Exception):  # noqa: N818 - never reported: it only unwinds the thread
    """Raised in the thread of a call that was abandoned before it used its connection."""


class Cancellation:
    """The cancellation state of a call: the database connection that the call currently uses, and whether the call was
    abandoned.

    The thread of the call calls `attach` and `detach`; another thread calls `interrupt`. `detach` waits for an
    interrupt that has begun, so that a cancel request never reaches a connection that has another user.
    """

    __slots__ = ('_dbapi', '_driver', '_lock', '_received_before', '_returned', 'is_aborted', 'is_requested',
                 'is_too_large')  # fmt: skip

    def __init__(self, driver: DatabaseDriver) -> None:
        self._driver = driver
        self._lock = Lock()
        self._dbapi: Any = None
        self._returned: Event | None = None
        self._received_before: int | None = None  # bytes of the connection, early in the statement
        self.is_requested = False
        self.is_too_large = False  # the result was larger than allowed
        self.is_aborted = False  # the connection was cut

    def attach(self, dbapi: Any) -> None:
        """Use a connection. Raises StatementAbandoned."""
        with self._lock:
            if self.is_requested:
                raise StatementAbandoned
            self._dbapi = dbapi
            self._received_before = None

    def detach(self) -> None:
        """Stop using the connection. Returns when no interrupt of it is under way."""
        returned = self._returned
        if returned is not None:
            returned.set()
        with self._lock:
            self._dbapi = None

    def exceeds(self, limit: int) -> bool:
        """Return whether the statement has received more than `limit` bytes since the first call of this method, and
        note it. Never blocks."""
        if self.is_requested or not self._lock.acquire(blocking=False):
            return False
        try:
            if self._dbapi is None:
                return False
            received = self._driver.received(self._dbapi)
            if self._received_before is None:
                self._received_before = received
            self.is_too_large = received - self._received_before > limit
            return self.is_too_large
        except Exception:  # the connection is closed already
            return False
        finally:
            self._lock.release()

    def interrupt(self) -> None:
        """Cancel the statement at the server. If the server does not confirm it in time, or the statement continues,
        cut the connection, which frees the thread."""
        returned = self._returned = Event()
        with self._lock:
            self.is_requested = True
            if self._dbapi is None:
                return
            try:
                self._driver.cancel(self._dbapi)
            except Exception:  # a frozen server, a full one, or a driver that cannot cancel
                self._abort()
                return
        if not returned.wait(CANCEL_TIMEOUT):
            with self._lock:
                self._abort()

    def _abort(self) -> None:
        if self._dbapi is not None:
            self.is_aborted = True
            self._driver.abort(self._dbapi)
