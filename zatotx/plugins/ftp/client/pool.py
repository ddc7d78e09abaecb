"""A pool of FTP sessions. A session serves one operation or transfer at a time; further operations wait in FIFO
order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.interfaces import IReactorTime

from zatotx.plugins.ftp.client.errors import FtpFailed, Unreachable
from zatotx.plugins.ftp.client.session import FtpSession

CLOSE_TIMEOUT = 1.0  # seconds that a server gets to close its side
Connect = Callable[[Callable[[], object]], Awaitable[FtpSession]]


class SessionPool:
    """A pool of at most `size` sessions. A session that is idle for `idle_timeout` seconds is closed; with 0 it is
    closed immediately."""

    def __init__(self, clock: IReactorTime, connect: Connect, *, size: int, idle_timeout: float) -> None:
        self._clock = clock
        self._connect = connect
        self._idle_timeout = idle_timeout
        self._slots = DeferredSemaphore(size)
        self._idle: dict[FtpSession, Any] = {}  # with the timer that closes it; the most recently used one last
        self._is_retired = False
        self._is_closed = False
        self._active: set[FtpSession] = set()
        self._closing: dict[FtpSession, Any] = {}  # with the timer that aborts it
        self._in_use = 0
        self._empty: Deferred[None] | None = None

    @property
    def idle_count(self) -> int:
        """Number of sessions that are kept for the next operation."""
        return len(self._idle)

    async def acquire(self, *, is_new: bool = False) -> FtpSession:
        """Return a session: an idle one, or a new one. With `is_new` the idle ones are closed: the server has closed
        one of them, and so the others in all probability. Raises as the connector does. Call `release`
        when it is not used any more."""
        if self._is_closed:
            raise Unreachable('it is being closed')
        self._in_use += 1
        try:
            await self._slots.acquire()
        except BaseException:
            self._left()
            raise
        try:
            if is_new:
                self._close_idle()
            session = self._take_idle()
            if session is None:
                if self._is_closed:
                    raise Unreachable('it is being closed')
                session = await self._new_session()
        except BaseException:
            self._slots.release()
            self._left()
            raise
        self._active.add(session)
        return session

    def release(self, session: FtpSession) -> None:
        """Take a session back. It is kept if it can be used again."""
        self._active.discard(session)
        if not session.is_usable:
            session.abort()
        elif self._is_retired or not self._idle_timeout:
            self._close_session(session)
        else:
            self._idle[session] = self._clock.callLater(self._idle_timeout, self._expire, session)
        self._slots.release()
        self._left()

    def retire(self) -> None:
        """Keep no idle sessions from now on."""
        self._is_retired = True
        self._close_idle()

    def close(self) -> Deferred[None]:
        """Take no further operations. Fires when those under way are over; cancelling it cuts them."""
        self._is_closed = True
        self.retire()
        if not self._in_use and not self._closing:
            return succeed(None)
        if self._empty is None:
            self._empty = Deferred(self._cut)
        return self._empty

    def _cut(self, closing: Deferred[None]) -> None:
        for session in (*self._active, *self._closing):
            session.abort()
        if not closing.called:
            closing.callback(None)

    def _take_idle(self) -> FtpSession | None:
        while self._idle:
            session, timer = self._idle.popitem()
            timer.cancel()
            if session.is_usable:
                session.resume()
                return session
            session.abort()
        return None

    async def _new_session(self) -> FtpSession:
        made: list[FtpSession] = []

        def lost() -> None:
            if made:
                self._lost(made[0])

        try:
            session = await self._connect(lost)
        except FtpFailed as error:
            error.is_before_operation = True
            raise
        made.append(session)
        return session

    def _close_idle(self) -> None:
        for session in tuple(self._idle):
            self._expire(session)

    def _expire(self, session: FtpSession) -> None:
        timer = self._idle.pop(session)
        if timer.active():
            timer.cancel()
        self._close_session(session)

    def _close_session(self, session: FtpSession) -> None:
        """Log out. A server that does not close its side, as TLS requires, loses the connection a moment later."""
        self._closing[session] = self._clock.callLater(CLOSE_TIMEOUT, session.abort)
        session.close()

    def _lost(self, session: FtpSession) -> None:
        """The connection of a session has ended."""
        timer = self._idle.pop(session, None) or self._closing.pop(session, None)
        if timer is not None and timer.active():
            timer.cancel()
        self._check_empty()

    def _left(self) -> None:
        self._in_use -= 1
        self._check_empty()

    def _check_empty(self) -> None:
        if not self._in_use and not self._closing and self._empty is not None and not self._empty.called:
            self._empty.callback(None)
