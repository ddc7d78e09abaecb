"""Implements the commands for hashes, lists and sets of the in-memory Redis."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from zatotx.interfaces.redis import RedisError
from zatotx.testing.kit_redis.key_and_server_commands import match_pattern_of_options
from zatotx.testing.kit_redis.keyspace import (
    Keyspace,
    format_float,
    parse_float,
    parse_int,
    redis_range_to_slice,
    to_bytes,
)

OK = 'OK'


def _hash(space: Keyspace, key: str) -> dict[str, str]:
    value: dict[str, str] = space.get(key, dict) or {}
    return value


def hset(space: Keyspace, key: str, *words: str) -> int:
    fields: dict[str, str] = space.get_or_create(key, dict)
    before = len(fields)
    fields.update(zip(words[::2], words[1::2], strict=True))
    return len(fields) - before


def hmset(space: Keyspace, key: str, *words: str) -> str:
    hset(space, key, *words)
    return OK


def hsetnx(space: Keyspace, key: str, name: str, value: str) -> int:
    return 0 if name in _hash(space, key) else hset(space, key, name, value)


def hgetall(space: Keyspace, key: str) -> list[str]:
    return [word for item in _hash(space, key).items() for word in item]


def hdel(space: Keyspace, key: str, *names: str) -> int:
    fields = _hash(space, key)
    removed = sum(fields.pop(name, None) is not None for name in names)
    space.remove_if_empty(key)
    return removed


def hincrby(space: Keyspace, key: str, name: str, amount: str) -> int:
    number = parse_int(_hash(space, key).get(name, '0')) + parse_int(amount)
    hset(space, key, name, str(number))
    return number


def hincrbyfloat(space: Keyspace, key: str, name: str, amount: str) -> str:
    text = format_float(parse_float(_hash(space, key).get(name, '0')) + parse_float(amount))
    hset(space, key, name, text)
    return text


def hscan(space: Keyspace, key: str, cursor: str, *options: str) -> list[Any]:
    matches = match_pattern_of_options(options).fullmatch
    return ['0', [word for item in _hash(space, key).items() if matches(item[0]) for word in item]]


def _list(space: Keyspace, key: str) -> list[str]:
    value: list[str] = space.get(key, list) or []
    return value


def _push(at_start: bool, must_exist: bool) -> Callable[..., int]:
    def push(space: Keyspace, key: str, *values: str) -> int:
        if must_exist and space.get(key, list) is None:
            return 0
        items: list[str] = space.get_or_create(key, list)
        items[:] = [*reversed(values), *items] if at_start else [*items, *values]
        return len(items)

    return push


def _pop(index: int) -> Callable[..., Any]:
    def pop(space: Keyspace, key: str, count: str | None = None) -> Any:
        items = _list(space, key)
        if count is None:
            popped: Any = items.pop(index) if items else None
        else:
            popped = [items.pop(index) for _ in range(min(parse_int(count), len(items)))] if items else None
        space.remove_if_empty(key)
        return popped

    return pop


def lrange(space: Keyspace, key: str, start: str, end: str) -> list[str]:
    items = _list(space, key)
    first, last = redis_range_to_slice(start, end, len(items))
    return items[first:last]


def lindex(space: Keyspace, key: str, index: str) -> str | None:
    items, at = _list(space, key), parse_int(index)
    return items[at] if -len(items) <= at < len(items) else None


def lset(space: Keyspace, key: str, index: str, value: str) -> str:
    items, at = _list(space, key), parse_int(index)
    if not items:
        raise RedisError('no such key')
    if not -len(items) <= at < len(items):
        raise RedisError('index out of range')
    items[at] = value
    return OK


def lrem(space: Keyspace, key: str, count: str, value: str) -> int:
    items, limit = _list(space, key), parse_int(count)
    positions = [at for at, item in enumerate(items) if item == value]
    chosen = positions[limit:] if limit < 0 else positions[:limit or None]
    for at in reversed(chosen):
        del items[at]
    space.remove_if_empty(key)
    return len(chosen)


def ltrim(space: Keyspace, key: str, start: str, end: str) -> str:
    items = _list(space, key)
    first, last = redis_range_to_slice(start, end, len(items))
    items[:] = items[first:last]
    space.remove_if_empty(key)
    return OK


def linsert(space: Keyspace, key: str, where: str, pivot: str, value: str) -> int:
    items = _list(space, key)
    if not items:
        return 0
    if pivot not in items:
        return -1
    items.insert(items.index(pivot) + (where.upper() == 'AFTER'), value)
    return len(items)


def rpoplpush(space: Keyspace, source: str, target: str) -> Any:
    space.get(target, list)
    value = _pop(-1)(space, source)
    if value is not None:
        _push(True, False)(space, target, value)
    return value


def _set(space: Keyspace, key: str) -> set[str]:
    value: set[str] = space.get(key, set) or set()
    return value


def sadd(space: Keyspace, key: str, *members: str) -> int:
    present: set[str] = space.get_or_create(key, set)
    before = len(present)
    present.update(members)
    return len(present) - before


def srem(space: Keyspace, key: str, *members: str) -> int:
    present = _set(space, key)
    removed = present.intersection(members)
    present -= removed
    space.remove_if_empty(key)
    return len(removed)


def smembers(space: Keyspace, key: str) -> list[str]:
    return sorted(_set(space, key))


def srandmember(space: Keyspace, key: str, number: str | None = None) -> Any:
    members = smembers(space, key)
    if number is None:
        return random.choice(members) if members else None  # noqa: S311 - not a secret
    return random.sample(members, min(parse_int(number), len(members)))


def spop(space: Keyspace, key: str, count: str | None = None) -> Any:
    chosen = srandmember(space, key, count or '1')
    srem(space, key, *chosen)
    return chosen if count is not None else (chosen[0] if chosen else None)


def smove(space: Keyspace, source: str, target: str, member: str) -> int:
    space.get(target, set)
    if not srem(space, source, member):
        return 0
    sadd(space, target, member)
    return 1


def sscan(space: Keyspace, key: str, cursor: str, *options: str) -> list[Any]:
    matches = match_pattern_of_options(options).fullmatch
    return ['0', [member for member in smembers(space, key) if matches(member)]]


def _combine(combine: Callable[..., set[str]]) -> Callable[..., list[str]]:
    return lambda space, *keys: sorted(combine(*(_set(space, key) for key in keys)))


def _combine_into(combine: Callable[..., set[str]]) -> Callable[..., int]:
    def store(space: Keyspace, target: str, *keys: str) -> int:
        members = combine(*(_set(space, key) for key in keys))
        space.put(target, set(members))
        space.remove_if_empty(target)
        return len(members)

    return store


# A HyperLogLog is a set here: its counts are exact, and TYPE says 'set'.
def pfadd(space: Keyspace, key: str, *members: str) -> int:
    return int(sadd(space, key, *members) > 0)


def pfcount(space: Keyspace, *keys: str) -> int:
    return len(set().union(*(_set(space, key) for key in keys)))


COMMANDS: dict[str, Callable[..., Any]] = {
    'HDEL': hdel, 'HEXISTS': lambda space, key, name: int(name in _hash(space, key)),
    'HGET': lambda space, key, name: _hash(space, key).get(name), 'HGETALL': hgetall, 'HINCRBY': hincrby,
    'HINCRBYFLOAT': hincrbyfloat, 'HKEYS': lambda space, key: list(_hash(space, key)),
    'HLEN': lambda space, key: len(_hash(space, key)),
    'HMGET': lambda space, key, *names: [_hash(space, key).get(name) for name in names], 'HMSET': hmset,
    'HSCAN': hscan, 'HSET': hset, 'HSETNX': hsetnx,
    'HSTRLEN': lambda space, key, name: len(to_bytes(_hash(space, key).get(name, ''))),
    'HVALS': lambda space, key: list(_hash(space, key).values()), 'LINDEX': lindex, 'LINSERT': linsert,
    'LLEN': lambda space, key: len(_list(space, key)), 'LPOP': _pop(0), 'LPUSH': _push(True, False),
    'LPUSHX': _push(True, True), 'LRANGE': lrange, 'LREM': lrem, 'LSET': lset, 'LTRIM': ltrim, 'PFADD': pfadd,
    'PFCOUNT': pfcount, 'RPOP': _pop(-1), 'RPOPLPUSH': rpoplpush, 'RPUSH': _push(False, False),
    'RPUSHX': _push(False, True), 'SADD': sadd, 'SCARD': lambda space, key: len(_set(space, key)),
    'SDIFF': _combine(set.difference), 'SDIFFSTORE': _combine_into(set.difference),
    'SINTER': _combine(set.intersection), 'SINTERSTORE': _combine_into(set.intersection),
    'SISMEMBER': lambda space, key, member: int(member in _set(space, key)), 'SMEMBERS': smembers, 'SMOVE': smove,
    'SPOP': spop, 'SRANDMEMBER': srandmember, 'SREM': srem, 'SSCAN': sscan, 'SUNION': _combine(set.union),
    'SUNIONSTORE': _combine_into(set.union),
}  # fmt: skip
