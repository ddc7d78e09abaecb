"""Wall-clock texts that change once a second: the last lines of every response head, and the access log's timestamp."""

from __future__ import annotations

from collections.abc import Callable
from time import gmtime, time

from zatotx.wire.http1.response_writer import HeadEndings

_MONTHS = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')  # in any locale


class DateCache:
    """Caches both texts for the current second."""

    __slots__ = ('_wall', 'date_stamp', 'log_timestamp', 'second')

    def __init__(self, wall_clock: Callable[[], float] = time) -> None:
        self._wall = wall_clock
        self.second: int | None = None  # the second that the texts are valid for
        self.refresh(0.0)

    def refresh(self, now: float) -> None:
        """Update the texts to `now`, seconds of any clock that runs as fast as the wall clock."""
        second = int(now)
        if second != self.second:
            self.second = second
            wall = self._wall()
            self.date_stamp = HeadEndings(wall)
            t = gmtime(wall)
            self.log_timestamp = (
                f'{t.tm_mday:02d}/{_MONTHS[t.tm_mon - 1]}/{t.tm_year:04d}'
                f':{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} +0000'
            )  # as web servers log it: 24/Nov/2026:08:30:00 +0000
