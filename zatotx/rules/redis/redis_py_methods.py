"""Maps the methods of redis-py to Redis commands. The mapping contains the command of each method, its parameters, and
the conversion of the reply.

The parameters and results are those of redis-py's StrictRedis (Zato 1.1 and 2.0) and of its present client, which are
the same but for `zadd`: both forms work. Strings in replies are `str`, or `bytes` if they are not UTF-8: modules
written for Zato compare them with text, which in Python 2 was the same type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from inspect import Parameter, Signature
from typing import Any

from attrs import frozen

Words = tuple[object, ...]
Convert = Callable[[Any], Any]


@frozen
class RedisPyMethod:
    """One redis-py method. `build(*args, **kwargs)` returns the words of the command and the function that converts the
    reply."""

    name: str
    build: Callable[..., tuple[Words, Convert]]


def _same(reply: Any) -> Any:
    return reply


def _is_ok(reply: Any) -> bool | None:
    return True if reply == 'OK' else None


def _float(reply: Any) -> float | None:
    return None if reply is None else float(reply)


def _pairs(reply: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _scored(reply: Sequence[Any]) -> list[tuple[Any, float]]:
    return [(member, float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)]


def _cursor(convert: Convert) -> Convert:
    return lambda reply: (int(reply[0]), convert(reply[1]))


def _time(reply: Sequence[Any]) -> tuple[int, int]:
    return int(reply[0]), int(reply[1])


def _is_pong(reply: Any) -> bool:
    return bool(reply == 'PONG')


# Parameters: `*x` takes any number of values, or one list; `x=` is left out when None; a mapping becomes pairs; `time`
# and `when` are seconds (`ms`: milliseconds), or a timedelta or datetime.
_TABLE: dict[Convert, str] = {
    _same: """
        append(name, value) bitcount(name, start=, end=) decr(name, amount=1):DECRBY decrby(name, amount=1)
        delete(*names):DEL dump(name) echo(value) exists(*names) get(name) getbit(name, offset)
        getdel(name) getrange(key, start, end) getset(name, value) hdel(name, *keys) hget(name, key)
        hincrby(name, key, amount=1) hkeys(name) hlen(name) hmget(name, *keys) hstrlen(name, key) hvals(name)
        incr(name, amount=1):INCRBY incrby(name, amount=1) keys(pattern='*') lindex(name, index)
        linsert(name, where, refvalue, value) llen(name) lpop(name, count=) lpush(name, *values) lpushx(name, *values)
        lrange(name, start, end) lrem(name, count, value) mget(*keys) pfadd(name, *values) pfcount(*sources)
        pttl(name) publish(channel, message) rpop(name, count=) rpoplpush(src, dst) rpush(name, *values)
        rpushx(name, *values) sadd(name, *values) scard(name) sdiffstore(dest, *keys) setbit(name, offset, value)
        setrange(name, offset, value) sinterstore(dest, *keys) srandmember(name, number=) srem(name, *values)
        strlen(name) sunionstore(dest, *keys) touch(*names) ttl(name) type(name) unlink(*names) zcard(name)
        zcount(name, min, max) zrank(name, value) zrem(name, *values) zremrangebyrank(name, min, max)
        zremrangebyscore(name, min, max) zrevrank(name, value)""",
    bool: """
        expire(name, time) expireat(name, when) hexists(name, key) hsetnx(name, key, value) msetnx(mapping)
        persist(name) pexpire(name, ms) pexpireat(name, when_ms) renamenx(src, dst) setnx(name, value)
        sismember(name, value) smove(src, dst, value)""",
    _is_ok: """
        hmset(name, mapping) lset(name, index, value) ltrim(name, start, end) mset(mapping) psetex(name, ms, value)
        rename(src, dst) setex(name, time, value)""",
    set: 'sdiff(*keys) sinter(*keys) smembers(name) sunion(*keys)',
    _float: """
        hincrbyfloat(name, key, amount=1.0) incrbyfloat(name, amount=1.0) zincrby(name, amount, value)
        zscore(name, value)""",
    _pairs: 'hgetall(name)',
    _time: 'time()',
    _is_pong: 'ping()',
}


def _parse_table() -> dict[str, RedisPyMethod]:
    methods = {}
    for convert, text in _TABLE.items():
        for entry in ' '.join(text.split()).replace(', ', ',').split(' '):
            head, _, command = entry.partition(':')
            name, _, parameters = head.rstrip(')').partition('(')
            signature = Signature([_parameter(one) for one in parameters.split(',') if one])
            methods[name] = RedisPyMethod(name, _builder(command or name.upper(), signature, convert))
    return methods


def _parameter(text: str) -> Parameter:
    if text.startswith('*'):
        return Parameter(text[1:], Parameter.VAR_POSITIONAL)
    name, equals, default = text.partition('=')
    if not equals:
        return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD)
    value: object = None
    if default:
        value = default.strip("'") if default.startswith("'") else float(default) if '.' in default else int(default)
    return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=value)


# Parameters whose values are not words as they are.
_CONVERTED = frozenset({'mapping', 'ms', 'time', 'when', 'when_ms'})


def _builder(command: str, signature: Signature, convert: Convert) -> Callable[..., tuple[Words, Convert]]:
    # Most calls pass each parameter by position, and need no binding, which takes longer than all the rest.
    is_simple = not any(
        one.kind is Parameter.VAR_POSITIONAL or one.default is not Parameter.empty or one.name in _CONVERTED
        for one in signature.parameters.values()
    )
    count = len(signature.parameters)

    def build(*args: object, **kwargs: object) -> tuple[Words, Convert]:
        if is_simple and not kwargs and len(args) == count:
            return (command, *args), convert
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        words: list[object] = [command]
        for name, value in bound.arguments.items():
            if signature.parameters[name].kind is Parameter.VAR_POSITIONAL:
                words += _flatten(value)
            elif name == 'mapping':
                words += _mapping_words(value)
            elif value is not None or signature.parameters[name].default is Parameter.empty:
                words.append(_duration(name, value))
        return tuple(words), convert

    return build


def _flatten(values: Iterable[object]) -> list[object]:
    """Return values given one by one, or in lists, as redis-py's list_or_args."""
    words: list[object] = []
    for value in values:
        if isinstance(value, (list, tuple, set, frozenset)):
            words += value
        else:
            words.append(value)
    return words


def _mapping_words(mapping: Any) -> list[object]:
    if not isinstance(mapping, Mapping) or not mapping:
        raise TypeError(f'mapping: expected a dict with at least one item, got {mapping!r:.60}')
    return [word for pair in mapping.items() for word in pair]


def _duration(name: str, value: Any) -> Any:
    """Convert times to the integers that Redis expects."""
    in_ms = name in ('ms', 'when_ms', 'px')
    if isinstance(value, timedelta):
        return int(value.total_seconds() * (1000 if in_ms else 1))
    if isinstance(value, datetime):
        return int(value.timestamp() * (1000 if in_ms else 1))
    return value


def _set(name: object, value: object, ex: Any = None, px: Any = None, nx: bool = False, xx: bool = False,
         keepttl: bool = False, get: bool = False) -> tuple[Words, Convert]:
    words: list[object] = ['SET', name, value]
    if ex is not None:
        words += ['EX', _duration('ex', ex)]
    if px is not None:
        words += ['PX', _duration('px', px)]
    flags = {'NX': nx, 'XX': xx, 'KEEPTTL': keepttl, 'GET': get}
    return (*words, *(flag for flag, is_set in flags.items() if is_set)), _same if get else _is_ok


def _hset(name: object, key: object = None, value: object = None,
          mapping: Mapping[Any, Any] | None = None) -> tuple[Words, Convert]:
    single = () if key is None else (key, value)
    return ('HSET', name, *single, *(() if mapping is None and single else _mapping_words(mapping))), _same


def _zadd(name: object, *args: Any, nx: bool = False, xx: bool = False, ch: bool = False, incr: bool = False,
          mapping: Mapping[Any, Any] | None = None, **pairs: Any) -> tuple[Words, Convert]:
    """`zadd(name, {member: score})`, or StrictRedis's `zadd(name, score, member, …)` and `zadd(name, member=score)`."""
    scores = list(args)
    if len(scores) == 1 and isinstance(scores[0], Mapping):
        mapping = scores.pop()
    if len(scores) % 2:
        raise TypeError('zadd: give a dict of members to scores, or pairs of score and member')
    for member, score in {**(mapping or {}), **pairs}.items():
        scores += [score, member]
    if not scores:
        raise TypeError('zadd: there is no member to add')
    flags = {'NX': nx, 'XX': xx, 'CH': ch, 'INCR': incr}
    return ('ZADD', name, *(flag for flag, is_set in flags.items() if is_set), *scores), _float if incr else _same


def _range(command: str) -> Callable[..., tuple[Words, Convert]]:
    def build(name: object, start: object, end: object, desc: bool = False,
              withscores: bool = False) -> tuple[Words, Convert]:
        used = 'ZREVRANGE' if desc else command
        words = (used, name, start, end)
        return ((*words, 'WITHSCORES'), _scored) if withscores else (words, _same)

    return build


def _range_by_score(command: str) -> Callable[..., tuple[Words, Convert]]:
    first, last = ('min', 'max') if command == 'ZRANGEBYSCORE' else ('max', 'min')
    limits = [_parameter(text) for text in ('name', first, last, 'start=', 'num=', 'withscores=')]
    signature = Signature(limits)

    def build(*args: object, **kwargs: object) -> tuple[Words, Convert]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        words: list[object] = [command, given['name'], given[first], given[last]]
        if given['withscores']:
            words.append('WITHSCORES')
        if given['start'] is not None:
            words += ['LIMIT', given['start'], given['num']]
        return tuple(words), _scored if given['withscores'] else _same

    return build


def _scan(command: str, convert: Convert) -> Callable[..., tuple[Words, Convert]]:
    names = ('cursor=0',) if command == 'SCAN' else ('name', 'cursor=0')
    signature = Signature([_parameter(text) for text in (*names, 'match=', 'count=')])

    def build(*args: object, **kwargs: object) -> tuple[Words, Convert]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        *key, cursor, match, count = bound.arguments.values()
        words: list[object] = [command, *key, cursor]
        if match is not None:
            words += ['MATCH', match]
        if count is not None:
            words += ['COUNT', count]
        return tuple(words), _cursor(convert)

    return build


def _spop(name: object, count: int | None = None) -> tuple[Words, Convert]:
    return ('SPOP', name, *(() if count is None else (count,))), _same if count is None else list


def _eval(command: str) -> Callable[..., tuple[Words, Convert]]:
    def build(script: object, numkeys: int, *keys_and_args: object) -> tuple[Words, Convert]:
        return (command, script, numkeys, *keys_and_args), _same

    return build


_IRREGULAR: dict[str, Callable[..., tuple[Words, Convert]]] = {
    'eval': _eval('EVAL'),
    'evalsha': _eval('EVALSHA'),
    'hscan': _scan('HSCAN', _pairs),
    'hset': _hset,
    'scan': _scan('SCAN', _same),
    'set': _set,
    'spop': _spop,
    'sscan': _scan('SSCAN', _same),
    'zadd': _zadd,
    'zrange': _range('ZRANGE'),
    'zrangebyscore': _range_by_score('ZRANGEBYSCORE'),
    'zrevrange': _range('ZREVRANGE'),
    'zrevrangebyscore': _range_by_score('ZREVRANGEBYSCORE'),
    'zscan': _scan('ZSCAN', _scored),
}

METHODS: dict[str, RedisPyMethod] = _parse_table() | {
    name: RedisPyMethod(name, build) for name, build in _IRREGULAR.items()
}
