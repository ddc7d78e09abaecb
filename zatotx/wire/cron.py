"""Parses cron expressions: five fields, names of months and days, and nicknames such as @daily, as in crontab(5).

`minute hour day-of-month month day-of-week`; each field is `*`, a number, a range `a-b`, any of them with a step `/n`,
or a list of these. Sunday is 0 or 7. If neither day field begins with `*`, a date matches if either field matches, as
in cron; otherwise both must match.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from functools import lru_cache

from attrs import frozen

NICKNAMES: Mapping[str, str] = {
    '@yearly': '0 0 1 1 *',
    '@annually': '0 0 1 1 *',
    '@monthly': '0 0 1 * *',
    '@weekly': '0 0 * * 0',
    '@daily': '0 0 * * *',
    '@midnight': '0 0 * * *',
    '@hourly': '0 * * * *',
}
MAX_LENGTH = 1000  # characters of an expression
_MONTHS = ('jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec')
_WEEKDAYS = ('sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat')
_LEAP_YEAR = 2000


class CronError(ValueError):
    """Raised for an invalid cron expression. The message is a verb phrase, such as "has …", that follows the name of
    the expression."""


@frozen
class _Field:
    """What a field may contain."""

    title: str
    first: int
    last: int
    names: tuple[str, ...] = ()
    first_name: int = 0  # the number of the first name

    @property
    def bounds(self) -> str:
        names = f', or {self.names[0]} to {self.names[-1]}' if self.names else ''
        return f'{self.first} to {self.last}{names}'


_FIELDS = (
    _Field('minute', 0, 59),
    _Field('hour', 0, 23),
    _Field('day of month', 1, 31),
    _Field('month', 1, 12, _MONTHS, 1),
    _Field('day of week', 0, 7, _WEEKDAYS),
)


@frozen
class CronExpression:
    """A parsed cron expression. All tuples are sorted; weekdays are numbered from 0 (Sunday) to 6."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    is_any_hour: bool  # the hour field begins with `*`
    is_either_day: bool  # a date matches if its day of month or its weekday does; otherwise both must


def expand_nickname(text: str) -> str:
    """Expand a nickname such as @daily to five fields. Other text is returned with repeated spaces reduced to one."""
    words = ' '.join(text.split())
    return NICKNAMES.get(words.lower(), words)


@lru_cache(maxsize=4096)
def parse_cron(text: str) -> CronExpression:
    """Parse a cron expression. Raises CronError."""
    if len(text) > MAX_LENGTH:
        raise CronError(f'has {len(text)} characters, and at most {MAX_LENGTH} are allowed')
    expanded = expand_nickname(text)
    if expanded.startswith('@'):
        raise CronError(f'{expanded!r} is unknown: use five fields, or one of {", ".join(NICKNAMES)}')
    words = expanded.split()
    if len(words) != len(_FIELDS):
        raise CronError(f'must have five fields (minute, hour, day of month, month, day of week), not {len(words)}')
    minutes, hours, days, months, weekdays = (
        _parse_field(field, word.lower()) for field, word in zip(_FIELDS, words, strict=True)
    )
    weekdays = tuple(sorted({day % 7 for day in weekdays}))
    is_either = not words[2].startswith('*') and not words[4].startswith('*')
    if not is_either and not _has_date(days, months):
        raise CronError(f'never comes: {_describe_impossible(days, months)}')
    return CronExpression(minutes, hours, days, months, weekdays, words[1].startswith('*'), is_either)


def _parse_field(field: _Field, text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(','):
        span, slash, step_text = part.partition('/')
        step = _parse_step(field, step_text, part) if slash else 1
        low, high = _parse_span(field, span, part)
        if slash and '-' not in span and span != '*':
            high = field.last if field.last != 7 else 6
        if low > high:
            raise CronError(f'{field.title} {part!r} ends before it begins')
        found.update(range(low, high + 1, step))
    return tuple(sorted(found))


def _parse_step(field: _Field, text: str, part: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= field.last):
        raise CronError(f'{field.title} {part!r} has no step of 1 to {field.last}')
    return int(text)


def _parse_span(field: _Field, span: str, part: str) -> tuple[int, int]:
    if span == '*':
        return field.first, 6 if field.last == 7 else field.last
    low_text, dash, high_text = span.partition('-')
    low = _parse_value(field, low_text, part)
    return low, _parse_value(field, high_text, part) if dash else low


def _parse_value(field: _Field, text: str, part: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.first_name
    if not (text.isascii() and text.isdigit() and field.first <= int(text[:9]) <= field.last):
        raise CronError(f'{field.title} {part!r} is not within {field.bounds}')
    return int(text)


def _has_date(days: tuple[int, ...], months: tuple[int, ...]) -> bool:
    return any(days[0] <= monthrange(_LEAP_YEAR, month)[1] for month in months)


def _describe_impossible(days: tuple[int, ...], months: tuple[int, ...]) -> str:
    names = ' and '.join(_MONTHS[month - 1].capitalize() for month in months)
    return f'{names} {"has" if len(months) == 1 else "have"} no day {days[0]}'
