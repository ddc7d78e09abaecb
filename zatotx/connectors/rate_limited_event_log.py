"""Logs frequent events of a channel. The first event is logged immediately, and further events within an interval are
combined in one line."""

from __future__ import annotations

from math import inf

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

INTERVAL = 10.0  # seconds between two log lines about events of one sort


@define
class _EventSort:
    """The events of one sort since the last line, which was logged at `logged_at`."""

    logged_at: float = -inf
    count: int = 0
    cause: str = ''  # of the last one
    cid: str = ''


@define(eq=False)
class RateLimitedEventLog:
    """Logs an event immediately if there was no event of the same sort within INTERVAL. Otherwise, one line at the end
    of the interval contains the number of events and the cause of the last one. `title` is the name of the channel in
    messages."""

    title: str
    clock: IReactorTime
    _sorts: dict[str, _EventSort] = field(factory=dict, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)  # while events wait to be logged

    _log = Logger()

    def add(self, event: str, cause: str, *, cid: str = '', failure: Failure | None = None) -> None:
        """Log an event as an error. `event`: its sort, a clause such as 'a message was given up'. `failure`: of an
        unexpected error, whose traceback is logged where the event is logged at once."""
        now = self.clock.seconds()
        sort = self._sorts.setdefault(event, _EventSort())
        if sort.count or now - sort.logged_at < INTERVAL:
            sort.count, sort.cause, sort.cid = sort.count + 1, cause, cid
            if self._timer is None:
                self._timer = self.clock.callLater(sort.logged_at + INTERVAL - now, self._timer_fired)
            return
        sort.logged_at = now
        if failure is None:
            self._log.error('{title}: {event}: {cause}', title=self.title, event=event, cause=cause, cid=cid)
        else:
            self._log.failure('{title}: {event}', failure, title=self.title, event=event, cid=cid)

    def flush(self) -> None:
        """Log the events that wait for the end of the interval. Called when the channel has ended."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        for event, sort in self._sorts.items():
            if sort.count:
                self._log.error('{title}: {event}, {count} times in the last {interval:g} s. The last time: {cause}',
                                title=self.title, event=event, count=sort.count, interval=INTERVAL, cause=sort.cause,
                                cid=sort.cid)  # fmt: skip
                sort.logged_at, sort.count = self.clock.seconds(), 0

    def _timer_fired(self) -> None:
        self._timer = None
        self.flush()
