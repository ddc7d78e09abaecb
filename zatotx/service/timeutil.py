"""`self.time`: dates and times as text, formatted with Arrow's tokens (feature map 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zatotx.service.redis_access import RedisAccess

DATETIME_FORMAT = 'YYYY-MM-DD HH:mm:ss'
DATE_FORMAT = 'YYYY-MM-DD'
STORED = 'kvdb:'  # begins the name of a format that is stored in Redis
STORED_KEY = 'kvdb:date-format:{}'


class TimeUtil:
    """Current and other times as text. The formats are Arrow's: https://arrow.readthedocs.io, *Supported tokens*.

    A format `kvdb:<name>` is stored in Redis under the key `kvdb:date-format:<name>`, as in Zato: with such a format,
    a call must be awaited in async services, and raises Timeout or ServiceUnavailable if Redis is unavailable.
    """

    def __init__(self, now: Callable[[], float], access: RedisAccess | None = None) -> None:
        """`now` returns seconds since 1970, UTC. `access`: for stored formats."""
        self._now = now
        self._access = access

    def _at(self, tz: str) -> Any:
        import arrow  # imported on demand, as it takes tens of milliseconds

        return arrow.get(self._now(), tzinfo=tz)

    def now(self, format: str = DATETIME_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the current time in a time zone; an Arrow object with `needs_format=False`."""
        return self._apply(lambda text: self._at(tz).format(text), format) if needs_format else self._at(tz)

    def utcnow(self, format: str = DATETIME_FORMAT, needs_format: bool = True) -> Any:
        """Return the current time in UTC; an Arrow object with `needs_format=False`."""
        return self.now(format, 'UTC', needs_format)

    def today(self, format: str = DATE_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the current date in a time zone; its midnight as an Arrow object with `needs_format=False`."""
        midnight = self._at(tz).floor('day')
        return self._apply(midnight.format, format) if needs_format else midnight

    def yesterday(self, format: str = DATE_FORMAT, tz: str = 'UTC', needs_format: bool = True) -> Any:
        """Return the previous date in a time zone; its midnight as an Arrow object with `needs_format=False`."""
        midnight = self._at(tz).floor('day').shift(days=-1)
        return self._apply(midnight.format, format) if needs_format else midnight

    def reformat(self, value: str, from_: str, to: str) -> Any:
        """Convert a time from one format to another. Raises ValueError if `value` does not match `from_`."""
        import arrow

        return self._apply(lambda source, target: arrow.get(value, source).format(target), from_, to)

    def _apply(self, function: Callable[..., str], *formats: str) -> Any:
        """Call a function with formats, those stored in Redis after reading them."""
        if not any(one.startswith(STORED) for one in formats):
            return function(*formats)
        access = self._access
        if access is None:
            raise ValueError(f'The time formats {formats!r} are stored in Redis, which is not available here')

        async def read_and_apply() -> str:
            return function(*[await _read(access, one) for one in formats])

        return access.run(read_and_apply)


async def _read(access: RedisAccess, format: str) -> str:
    """Return a format, read from Redis if it is stored there. Raises ValueError if it is not."""
    if not format.startswith(STORED):
        return format
    key = STORED_KEY.format(format.removeprefix(STORED))
    stored = await access.redis.commands.execute('GET', key)
    if not isinstance(stored, str):
        raise ValueError(f'The time format {format!r} is not in Redis: set the key {key}')
    return stored
