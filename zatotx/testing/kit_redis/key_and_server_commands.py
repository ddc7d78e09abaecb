"""Implements the commands for keys of any type, and the server commands, of the in-memory Redis."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from zatotx.interfaces.redis import RedisError
from zatotx.testing.kit_redis.keyspace import TYPE_NAMES, Keyspace, SortedSet, parse_int


def delete(space: Keyspace, *keys: str) -> int:
    return sum(space.remove(key) for key in keys)


def exists(space: Keyspace, *keys: str) -> int:
    return sum(space.find(key) is not None for key in keys)


def type_(space: Keyspace, key: str) -> str:
    entry = space.find(key)
    if entry is None:
        return 'none'
    return 'zset' if isinstance(entry.value, SortedSet) else TYPE_NAMES[type(entry.value)]


def _expire_at(space: Keyspace, key: str, at: float) -> int:
    entry = space.find(key)
    if entry is None:
        return 0
    entry.expires_at = at
    space.find(key)  # deletes it if the time has passed
    return 1


def expire(space: Keyspace, key: str, time: str) -> int:
    return _expire_at(space, key, space.clock.seconds() + parse_int(time))


def pexpire(space: Keyspace, key: str, time: str) -> int:
    return _expire_at(space, key, space.clock.seconds() + parse_int(time) / 1000)


def expireat(space: Keyspace, key: str, when: str) -> int:
    return _expire_at(space, key, space.clock.seconds() + parse_int(when) - space.now())


def pexpireat(space: Keyspace, key: str, when: str) -> int:
    return _expire_at(space, key, space.clock.seconds() + parse_int(when) / 1000 - space.now())


def pttl(space: Keyspace, key: str) -> int:
    entry = space.find(key)
    if entry is None:
        return -2
    return -1 if entry.expires_at is None else round((entry.expires_at - space.clock.seconds()) * 1000)


def ttl(space: Keyspace, key: str) -> int:
    left = pttl(space, key)
    return left if left < 0 else (left + 500) // 1000


def persist(space: Keyspace, key: str) -> int:
    entry = space.find(key)
    if entry is None or entry.expires_at is None:
        return 0
    entry.expires_at = None
    return 1


def rename(space: Keyspace, source: str, target: str) -> str:
    entry = space.find(source)
    if entry is None:
        raise RedisError('no such key')
    del space.entries[source]
    space.entries[target] = entry
    return 'OK'


def renamenx(space: Keyspace, source: str, target: str) -> int:
    if space.find(source) is None:
        raise RedisError('no such key')
    if space.find(target) is not None:
        return 0
    rename(space, source, target)
    return 1


def glob_pattern(pattern: str) -> re.Pattern[str]:
    """Convert a Redis glob pattern to a regular expression."""
    parts = re.findall(r'\\.|\[\^?(?:\\.|[^\]])*\]|.', pattern, re.DOTALL)
    special = {'*': '.*', '?': '.'}
    text = ''.join(
        part if part.startswith('[') and len(part) > 1 else special.get(part) or re.escape(part[-1]) for part in parts
    )
    return re.compile(text, re.DOTALL)


def keys(space: Keyspace, pattern: str) -> list[str]:
    matches = glob_pattern(pattern).fullmatch
    return [key for key in space.names() if matches(key)]


def match_pattern_of_options(options: tuple[str, ...]) -> re.Pattern[str]:
    """Return the MATCH pattern in the options of SCAN."""
    names = [option.upper() for option in options]
    return glob_pattern(options[names.index('MATCH') + 1] if 'MATCH' in names else '*')


def scan(space: Keyspace, cursor: str, *options: str) -> list[Any]:
    matches = match_pattern_of_options(options).fullmatch
    return ['0', [key for key in space.names() if matches(key)]]


def time(space: Keyspace) -> list[str]:
    now = space.now()
    return [str(int(now)), str(int(now % 1 * 1_000_000))]


COMMANDS: dict[str, Callable[..., Any]] = {
    'DBSIZE': lambda space: len(list(space.names())), 'DEL': delete, 'ECHO': lambda space, text: text,
    'EXISTS': exists, 'EXPIRE': expire, 'EXPIREAT': expireat, 'KEYS': keys, 'PERSIST': persist, 'PEXPIRE': pexpire,
    'PEXPIREAT': pexpireat, 'PING': lambda space, text='PONG': text, 'PTTL': pttl, 'RENAME': rename,
    'RENAMENX': renamenx, 'SCAN': scan, 'TIME': time, 'TOUCH': exists, 'TTL': ttl, 'TYPE': type_, 'UNLINK': delete,
}  # fmt: skip
