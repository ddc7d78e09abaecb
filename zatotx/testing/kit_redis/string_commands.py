"""Implements the commands for strings of the in-memory Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zatotx.interfaces.redis import RedisError
from zatotx.testing.kit_redis.keyspace import (
    Keyspace,
    format_float,
    parse_float,
    parse_int,
    redis_range_to_slice,
    to_bytes,
    to_text,
)

OK = 'OK'


def set_(space: Keyspace, key: str, value: str, *options: str) -> Any:
    flags = [option.upper() for option in options]
    exists = space.find(key) is not None
    previous = space.get(key, str) if 'GET' in flags else None
    if ('NX' in flags and exists) or ('XX' in flags and not exists):
        return previous
    space.put(key, value, keep_expiry='KEEPTTL' in flags)
    for name, unit in (('EX', 1), ('PX', 1000)):
        if name in flags:
            _expire(space, key, options[flags.index(name) + 1], unit, 'set')
    return previous if 'GET' in flags else OK


def _expire(space: Keyspace, key: str, time: str, unit: int, command: str) -> None:
    amount = parse_int(time)
    if amount <= 0:
        space.remove(key)
        raise RedisError(f"invalid expire time in '{command}' command")
    entry = space.find(key)
    assert entry is not None, 'it was just written'
    entry.expires_at = space.clock.seconds() + amount / unit


def setex(space: Keyspace, key: str, time: str, value: str) -> str:
    space.put(key, value)
    _expire(space, key, time, 1, 'setex')
    return OK


def psetex(space: Keyspace, key: str, time: str, value: str) -> str:
    space.put(key, value)
    _expire(space, key, time, 1000, 'psetex')
    return OK


def setnx(space: Keyspace, key: str, value: str) -> int:
    return int(set_(space, key, value, 'NX') is not None)


def get(space: Keyspace, key: str) -> str | None:
    return space.get(key, str)


def getset(space: Keyspace, key: str, value: str) -> str | None:
    previous = space.get(key, str)
    space.put(key, value)
    return previous


def getdel(space: Keyspace, key: str) -> str | None:
    value = space.get(key, str)
    space.remove(key)
    return value


def mget(space: Keyspace, *keys: str) -> list[str | None]:
    entries = [space.find(key) for key in keys]
    return [entry.value if entry is not None and isinstance(entry.value, str) else None for entry in entries]


def mset(space: Keyspace, *words: str) -> str:
    for key, value in zip(words[::2], words[1::2], strict=True):
        space.put(key, value)
    return OK


def msetnx(space: Keyspace, *words: str) -> int:
    if any(space.find(key) is not None for key in words[::2]):
        return 0
    mset(space, *words)
    return 1


def append(space: Keyspace, key: str, value: str) -> int:
    text = to_text(to_bytes(space.get(key, str) or '') + to_bytes(value))
    space.put(key, text, keep_expiry=True)
    return len(to_bytes(text))


def strlen(space: Keyspace, key: str) -> int:
    return len(to_bytes(space.get(key, str) or ''))


def getrange(space: Keyspace, key: str, start: str, end: str) -> str:
    data = to_bytes(space.get(key, str) or '')
    first, last = redis_range_to_slice(start, end, len(data))
    return to_text(data[first:last])


def setrange(space: Keyspace, key: str, offset: str, value: str) -> int:
    data, at, new = to_bytes(space.get(key, str) or ''), parse_int(offset), to_bytes(value)
    changed = data.ljust(at, b'\0')[:at] + new + data[at + len(new):]
    space.put(key, to_text(changed), keep_expiry=True)
    return len(changed)


def incrby(space: Keyspace, key: str, amount: str) -> int:
    number = parse_int(space.get(key, str) or '0') + parse_int(amount)
    if not -(2**63) <= number < 2**63:
        raise RedisError('increment or decrement would overflow')
    space.put(key, str(number), keep_expiry=True)
    return number


def decrby(space: Keyspace, key: str, amount: str) -> int:
    return incrby(space, key, str(-parse_int(amount)))


def incrbyfloat(space: Keyspace, key: str, amount: str) -> str:
    text = format_float(parse_float(space.get(key, str) or '0') + parse_float(amount))
    space.put(key, text, keep_expiry=True)
    return text


def getbit(space: Keyspace, key: str, offset: str) -> int:
    data, at = to_bytes(space.get(key, str) or ''), parse_int(offset)
    return (data[at // 8] >> (7 - at % 8)) & 1 if at // 8 < len(data) else 0


def setbit(space: Keyspace, key: str, offset: str, value: str) -> int:
    at, previous = parse_int(offset), getbit(space, key, offset)
    data = bytearray(to_bytes(space.get(key, str) or '').ljust(at // 8 + 1, b'\0'))
    mask = 1 << (7 - at % 8)
    data[at // 8] = data[at // 8] | mask if value == '1' else data[at // 8] & ~mask
    space.put(key, to_text(bytes(data)), keep_expiry=True)
    return previous


def bitcount(space: Keyspace, key: str, start: str = '0', end: str = '-1') -> int:
    data = to_bytes(space.get(key, str) or '')
    first, last = redis_range_to_slice(start, end, len(data))
    return sum(byte.bit_count() for byte in data[first:last])


COMMANDS: dict[str, Callable[..., Any]] = {
    'APPEND': append, 'BITCOUNT': bitcount, 'DECRBY': decrby, 'GET': get, 'GETBIT': getbit, 'GETDEL': getdel,
    'GETRANGE': getrange, 'GETSET': getset, 'INCRBY': incrby, 'INCRBYFLOAT': incrbyfloat, 'MGET': mget, 'MSET': mset,
    'MSETNX': msetnx, 'PSETEX': psetex, 'SET': set_, 'SETBIT': setbit, 'SETEX': setex, 'SETNX': setnx,
    'SETRANGE': setrange, 'STRLEN': strlen, 'INCR': lambda space, key: incrby(space, key, '1'),
    'DECR': lambda space, key: incrby(space, key, '-1'),
}  # fmt: skip
