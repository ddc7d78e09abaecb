"""Records the most recent failures of a connection, and logs each change of its state once. `zatotx doctor`, `zatotx
info` and the web admin show the recorded failures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from time import time

from attrs import frozen
from twisted.logger import Logger

MIN_INTERVAL = 10.0  # seconds between two log lines about failures: a peer that fails now and then would fill the log
KEPT = 10  # failures that are remembered


@frozen
class FailureEntry:
    """One failure of a connection. `at` is in seconds since the epoch."""

    at: float
    cause: str


class FailureLog:
    """Logs the first failure of a connection and its recovery. `cause` is the current failure, or '' while the
    connection works."""

    __slots__ = ('_is_logged', '_logged_at', '_seconds', '_title', 'cause', 'last')
    _log = Logger()

    def __init__(self, title: str, seconds: Callable[[], float]) -> None:
        self._title = title
        self._seconds = seconds
        self._logged_at = -inf
        self._is_logged = False  # the failure was logged, so its end has to be, too
        self.cause = ''
        self.last: deque[FailureEntry] = deque(maxlen=KEPT)

    def failed(self, cause: str) -> None:
        """A call failed."""
        self.last.append(FailureEntry(time(), cause))
        now = self._seconds()
        if not self.cause and now - self._logged_at >= MIN_INTERVAL:
            self._logged_at, self._is_logged = now, True
            self._log.warn('{title}: {cause}', title=self._title, cause=cause)
        self.cause = cause

    def recovered(self) -> None:
        """A call succeeded after a failure."""
        self.cause = ''
        if self._is_logged:
            self._is_logged = False
            self._log.info('{title} works again', title=self._title)


class FailureLogGroup:
    """The failure logs of several connections of one object, such as the consumers of a channel. One line is logged
    when the first connection fails, and one line when all connections work again. `title` is the name of the object in
    messages."""

    def __init__(self, title: str, seconds: Callable[[], float]) -> None:
        self._title, self._seconds = title, seconds
        self._log = FailureLog(title, seconds)
        self._failing: set[FailureLog] = set()

    def make_log(self) -> FailureLog:
        """Return the log of one more connection."""
        return _GroupedFailureLog(self, self._title, self._seconds)

    def failed(self, member: FailureLog, cause: str) -> None:
        """A connection failed."""
        self._failing.add(member)
        self._log.failed(cause)

    def recovered(self, member: FailureLog) -> None:
        """A connection works again."""
        self._failing.discard(member)
        if not self._failing and self._log.cause:
            self._log.recovered()


class _GroupedFailureLog(FailureLog):
    """Leaves logging to its group."""

    __slots__ = ('_group',)

    def __init__(self, group: FailureLogGroup, title: str, seconds: Callable[[], float]) -> None:
        super().__init__(title, seconds)
        self._group = group

    def failed(self, cause: str) -> None:
        """See FailureLog."""
        self.last.append(FailureEntry(time(), cause))
        self.cause = cause
        self._group.failed(self, cause)

    def recovered(self) -> None:
        """See FailureLog."""
        self.cause = ''
        self._group.recovered(self)
