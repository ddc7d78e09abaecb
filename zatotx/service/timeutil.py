"""`self.time`: dates and times as text, formatted with Arrow's tokens (feature map 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

DATETIME_FORMAT = 'YYYY-MM-DD HH:mm:ss'
DATE_FORMAT = 'YYYY-MM-DD'


class TimeUtil:
    """Current and other times as text. The formats are Arrow's: https://arrow.readthedocs.io, *Supported tokens*."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now  # seconds since 1970, UTC

    def _at(self, tz: str) -> Any:
        import arrow  # imported on demand, as it takes tens of milliseconds

        return arrow.get(self._now(), tzinfo=tz)

    def now(self, format: str = DATETIME_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the current time in a time zone; an Arrow object with `needs_format=False`."""
        return self._at(tz).format(_check_format(format)) if needs_format else self._at(tz)

    def utcnow(self, format: str = DATETIME_FORMAT, needs_format: bool = True) -> Any:
        """Return the current time in UTC; an Arrow object with `needs_format=False`."""
        return self.now(format, 'UTC', needs_format)

    def today(self, format: str = DATE_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the current date in a time zone; its midnight as an Arrow object with `needs_format=False`."""
        midnight = self._at(tz).floor('day')
        return midnight.format(_check_format(format)) if needs_format else midnight

    def yesterday(self, format: str = DATE_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the previous date in a time zone; its midnight as an Arrow object with `needs_format=False`."""
        midnight = self._at(tz).floor('day').shift(days=-1)
        return midnight.format(_check_format(format)) if needs_format else midnight

    def reformat(self, value: str, from_: str, to: str) -> str:
        """Convert a time from one format to another. Raises ValueError if `value` does not match `from_`."""
        import arrow

        text: str = arrow.get(value, _check_format(from_)).format(_check_format(to))
        return text


def _check_format(format: str) -> str:
    """Reject Zato's `kvdb:<name>`, a format stored in Redis, because reading it would block."""
    if format.startswith('kvdb:'):
        raise ValueError(f'The time format {format!r} is kept in Redis, which self.time does not read: give it in full')
    return format
