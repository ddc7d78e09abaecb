"""`self.time`: dates as text, in Arrow's tokens (feature map 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MOMENT = 'YYYY-MM-DD HH:mm:ss'
DAY = 'YYYY-MM-DD'


class TimeUtil:
    """Now and other times as text. The formats are Arrow's: https://arrow.readthedocs.io, *Supported tokens*."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now  # seconds since 1970, UTC

    def _at(self, tz: str) -> Any:
        import arrow  # tens of milliseconds, for the services that ask for it

        return arrow.get(self._now(), tzinfo=tz)

    def now(self, format: str = MOMENT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """This moment in a time zone; an Arrow object with `needs_format=False`."""
        return self._at(tz).format(_token(format)) if needs_format else self._at(tz)

    def utcnow(self, format: str = MOMENT, needs_format: bool = True) -> Any:
        """This moment in UTC; an Arrow object with `needs_format=False`."""
        return self.now(format, 'UTC', needs_format)

    def today(self, format: str = DAY, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Today in a time zone; its midnight as an Arrow object with `needs_format=False`."""
        midnight = self._at(tz).floor('day')
        return midnight.format(_token(format)) if needs_format else midnight

    def yesterday(self, format: str = DAY, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """The day before today, likewise."""
        midnight = self._at(tz).floor('day').shift(days=-1)
        return midnight.format(_token(format)) if needs_format else midnight

    def reformat(self, value: str, from_: str, to: str) -> str:
        """A time in one format as text in another. Raises ValueError where `value` is not in `from_`."""
        import arrow

        text: str = arrow.get(value, _token(from_)).format(_token(to))
        return text


def _token(format: str) -> str:
    """Zato's `kvdb:<name>` names a format kept in Redis; there is no such store here to read without waiting."""
    if format.startswith('kvdb:'):
        raise ValueError(f'The time format {format!r} is kept in Redis, which self.time does not read: give it in full')
    return format
