"""What the log says of a peer: what goes wrong, with its address, and that it works again."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from twisted.logger import Logger

QUIET = 10.0  # seconds between two times that it goes wrong: a peer that fails now and then would fill the log


class FailureLog:
    """`why` is what went wrong last, '' = it went well."""

    __slots__ = ('_said_at', '_seconds', '_title', '_told', 'why')
    _log = Logger()

    def __init__(self, title: str, seconds: Callable[[], float]) -> None:
        self._title = title
        self._seconds = seconds
        self._said_at = -inf
        self._told = False  # somebody read that it goes wrong, and waits to read that it does not
        self.why = ''

    def begins(self, why: str) -> None:
        """A call went wrong."""
        now = self._seconds()
        if not self.why and now - self._said_at >= QUIET:
            self._said_at, self._told = now, True
            self._log.warn('{title}: {why}', title=self._title, why=why)
        self.why = why

    def ends(self) -> None:
        """A call went well after others that did not."""
        self.why = ''
        if self._told:
            self._told = False
            self._log.info('{title} works again', title=self._title)
