"""Implements the commands for sorted sets of the in-memory Redis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from zatotx.testing.kit_redis.key_and_server_commands import match_pattern_of_options
from zatotx.testing.kit_redis.keyspace import (
    Keyspace,
    SortedSet,
    format_float,
    parse_float,
    parse_int,
    redis_range_to_slice,
)


def _sorted_set(space: Keyspace, key: str) -> SortedSet:
    return space.get(key, SortedSet) or SortedSet()


def zadd(space: Keyspace, key: str, *words: str) -> Any:
    flags, rest = set(), list(words)
    while rest and rest[0].upper() in ('NX', 'XX', 'CH', 'INCR'):
        flags.add(rest.pop(0).upper())
    members = space.get_or_create(key, SortedSet)
    added = changed = 0
    result: str | None = None
    for text, member in zip(rest[::2], rest[1::2], strict=True):
        score = parse_float(text)
        exists = member in members
        if ('NX' in flags and exists) or ('XX' in flags and not exists):
            continue
        score += members.get(member, 0.0) if 'INCR' in flags else 0.0
        added += not exists
        changed += exists and members[member] != score
        members[member] = score
        result = format_float(score)
    space.remove_if_empty(key)
    return result if 'INCR' in flags else added + (changed if 'CH' in flags else 0)


def zincrby(space: Keyspace, key: str, amount: str, member: str) -> str:
    members = space.get_or_create(key, SortedSet)
    members[member] = members.get(member, 0.0) + parse_float(amount)
    return format_float(members[member])


def zscore(space: Keyspace, key: str, member: str) -> str | None:
    score = _sorted_set(space, key).get(member)
    return None if score is None else format_float(score)


def zrem(space: Keyspace, key: str, *members: str) -> int:
    present = _sorted_set(space, key)
    removed = sum(present.pop(member, None) is not None for member in members)
    space.remove_if_empty(key)
    return removed


def _reply(items: Sequence[tuple[str, float]], with_scores: bool) -> list[str]:
    if not with_scores:
        return [member for member, _ in items]
    return [word for member, score in items for word in (member, format_float(score))]


def _range(reverse: bool) -> Callable[..., list[str]]:
    def zrange(space: Keyspace, key: str, start: str, end: str, *options: str) -> list[str]:
        items = _sorted_set(space, key).ordered()
        items = items[::-1] if reverse else items
        first, last = redis_range_to_slice(start, end, len(items))
        return _reply(items[first:last], 'WITHSCORES' in [option.upper() for option in options])

    return zrange


def _within(minimum: str, maximum: str) -> Callable[[float], bool]:
    """Return whether a score is in a range; a limit that begins with '(' is excluded."""
    lowest, highest = parse_float(minimum.removeprefix('(')), parse_float(maximum.removeprefix('('))
    lowest = math.nextafter(lowest, math.inf) if minimum.startswith('(') else lowest
    highest = math.nextafter(highest, -math.inf) if maximum.startswith('(') else highest
    return lambda score: lowest <= score <= highest


def _range_by_score(reverse: bool) -> Callable[..., list[str]]:
    def zrangebyscore(space: Keyspace, key: str, first: str, last: str, *options: str) -> list[str]:
        is_within = _within(*((last, first) if reverse else (first, last)))
        items = [item for item in _sorted_set(space, key).ordered() if is_within(item[1])]
        items = items[::-1] if reverse else items
        names = [option.upper() for option in options]
        if 'LIMIT' in names:
            at = names.index('LIMIT')
            start, count = parse_int(options[at + 1]), parse_int(options[at + 2])
            items = items[start:] if count < 0 else items[start:start + count]
        return _reply(items, 'WITHSCORES' in names)

    return zrangebyscore


def zcount(space: Keyspace, key: str, minimum: str, maximum: str) -> int:
    return sum(map(_within(minimum, maximum), _sorted_set(space, key).values()))


def _rank(reverse: bool) -> Callable[..., int | None]:
    def zrank(space: Keyspace, key: str, member: str) -> int | None:
        names = [name for name, _ in _sorted_set(space, key).ordered()]
        names = names[::-1] if reverse else names
        return names.index(member) if member in names else None

    return zrank


def zremrangebyrank(space: Keyspace, key: str, start: str, end: str) -> int:
    names = _range(False)(space, key, start, end)
    return zrem(space, key, *names)


def zremrangebyscore(space: Keyspace, key: str, minimum: str, maximum: str) -> int:
    return zrem(space, key, *_range_by_score(False)(space, key, minimum, maximum))


def zscan(space: Keyspace, key: str, cursor: str, *options: str) -> list[Any]:
    matches = match_pattern_of_options(options).fullmatch
    return ['0', _reply([item for item in _sorted_set(space, key).ordered() if matches(item[0])], True)]


COMMANDS: dict[str, Callable[..., Any]] = {
    'ZADD': zadd, 'ZCARD': lambda space, key: len(_sorted_set(space, key)), 'ZCOUNT': zcount, 'ZINCRBY': zincrby,
    'ZRANGE': _range(False), 'ZRANGEBYSCORE': _range_by_score(False), 'ZRANK': _rank(False), 'ZREM': zrem,
    'ZREMRANGEBYRANK': zremrangebyrank, 'ZREMRANGEBYSCORE': zremrangebyscore, 'ZREVRANGE': _range(True),
    'ZREVRANGEBYSCORE': _range_by_score(True), 'ZREVRANK': _rank(True), 'ZSCAN': zscan, 'ZSCORE': zscore,
}  # fmt: skip
