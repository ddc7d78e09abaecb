"""The keyspace of an in-memory Redis, which contains keys with their types and expiry times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from attrs import define, field

from zatotx.interfaces.redis import RedisError

T = TypeVar('T')

TYPE_NAMES: dict[type, str] = {str: 'string', dict: 'hash', list: 'list', set: 'set'}
WRONG_TYPE = 'WRONGTYPE Operation against a key holding the wrong kind of value'


class SortedSet(dict[str, float]):
    """A Redis sorted set: members with their scores."""

    def ordered(self) -> list[tuple[str, float]]:
        """Return members and scores, in the order of Redis: by score, then by the bytes of the member."""
        return sorted(self.items(), key=lambda item: (item[1], to_bytes(item[0])))


@define
class _Entry:
    value: Any
    expires_at: float | None = None


@define(slots=False)
class Keyspace:
    """The keys of a database. Strings are stored as `str`, in which bytes that are not UTF-8 are surrogate escapes."""

    clock: Any  # seconds()
    now: Any = None  # returns Unix time; the clock's time by default
    entries: dict[str, _Entry] = field(factory=dict)

    def find(self, key: str) -> _Entry | None:
        """Return the entry of a key, unless it has expired."""
        entry = self.entries.get(key)
        if entry is not None and entry.expires_at is not None and entry.expires_at <= self.clock.seconds():
            del self.entries[key]
            return None
        return entry

    def get(self, key: str, kind: type[T]) -> T | None:
        """Return the value of a key. Raises RedisError if it is of another type."""
        entry = self.find(key)
        if entry is None:
            return None
        if type(entry.value) is not kind:
            raise RedisError(WRONG_TYPE)
        value: T = entry.value
        return value

    def get_or_create(self, key: str, kind: type[T]) -> T:
        """Return the value of a key, which is created empty if it does not exist."""
        value = self.get(key, kind)
        if value is None:
            value = kind()
            self.entries[key] = _Entry(value)
        return value

    def put(self, key: str, value: Any, *, keep_expiry: bool = False) -> None:
        """Set a value of any type, without expiry unless it is kept."""
        previous = self.find(key)
        expires_at = previous.expires_at if keep_expiry and previous is not None else None
        self.entries[key] = _Entry(value, expires_at)

    def remove(self, key: str) -> bool:
        """Delete a key. False if there is none."""
        return self.find(key) is not None and self.entries.pop(key, None) is not None

    def remove_if_empty(self, key: str) -> None:
        """Delete a collection that has become empty, as Redis does."""
        entry = self.entries.get(key)
        if entry is not None and not isinstance(entry.value, str) and not entry.value:
            del self.entries[key]

    def names(self) -> Iterator[str]:
        """Yield the keys that have not expired."""
        for key in list(self.entries):
            if self.find(key) is not None:
                yield key


def to_bytes(text: str) -> bytes:
    """Convert a stored string to bytes."""
    return text.encode('utf-8', 'surrogateescape')


def to_text(data: bytes) -> str:
    """Convert bytes to a stored string."""
    return data.decode('utf-8', 'surrogateescape')


def parse_int(text: str) -> int:
    """Parse an integer argument or value. Raises RedisError in the same cases as Redis."""
    try:
        if text != text.strip() or '_' in text:
            raise ValueError
        return int(text)
    except ValueError:
        raise RedisError('value is not an integer or out of range') from None


def parse_float(text: str) -> float:
    """Parse a float argument or value. Raises RedisError in the same cases as Redis."""
    try:
        return float(text.replace('+inf', 'inf'))
    except ValueError:
        raise RedisError('value is not a valid float') from None


def format_float(number: float) -> str:
    """Format a number in the same way as Redis."""
    return f'{number:.0f}' if number == int(number) and abs(number) < 1e17 else repr(number)


def redis_range_to_slice(start: str, end: str, length: int) -> tuple[int, int]:
    """Convert a Redis range to a slice. The end of a Redis range is inclusive, and negative indices count from the
    end."""
    first, last = parse_int(start), parse_int(end)
    first = max(0, first + length) if first < 0 else first
    last = last + length if last < 0 else last
    return first, max(first, last + 1)
