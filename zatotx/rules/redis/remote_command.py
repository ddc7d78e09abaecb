"""Parses the commands that administrators enter for zato.kvdb.remote-command.execute, and formats the replies."""

from __future__ import annotations

import re
from typing import Any

from zatotx.model.errors import BadRequest

# Zato's commands, apart from CONFIG, FLUSHDB and RANDOMKEY, which affect or show the keys of the cluster.
_COMMANDS = (
    'DBSIZE DECR DECRBY DEL DUMP ECHO EXISTS EXPIRE EXPIREAT GET HDEL HEXISTS HGET HGETALL HINCRBY HKEYS '
    'HLEN HSET HSETNX HVALS INCR INCRBY INFO KEYS LLEN LPOP LPUSH LPUSHX LRANGE LREM LSET LTRIM MGET MSET '
    'MSETNX OBJECT PERSIST PEXPIRE PEXPIREAT PING PSETEX PTTL RENAME RENAMENX RESTORE RPOP RPUSH SADD SET '
    'SISMEMBER SMEMBERS SREM TIME TTL TYPE ZADD ZRANGE ZREM '
)
REMOTE_COMMANDS = frozenset(_COMMANDS.split())
_WORD = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))(?=\s|$)', re.DOTALL)
_ESCAPE = re.compile(r'\\(.)', re.DOTALL)


def parse_redis_command(text: str) -> list[str]:
    """Split a command into words. A word in double quotes may contain spaces, and `\\"` for a quote. Raises
    BadRequest."""
    words, at, end = [], 0, len(text.rstrip())
    while at < end:
        found = _WORD.match(text, at, end)
        if found is None:
            raise BadRequest(None, f'Command parsing error: a quote is not closed at position {at + 1}')
        quoted, plain = found.groups()
        words.append(plain if quoted is None else _ESCAPE.sub(r'\1', quoted))
        at = found.end()
    if not words:
        raise BadRequest(None, 'Command parsing error: there is no command')
    if words[0].upper() not in REMOTE_COMMANDS:
        known = ', '.join(sorted(REMOTE_COMMANDS))
        raise BadRequest(None, f'Command parsing error: {words[0][:100]} is not one of {known}')
    return [words[0].upper(), *words[1:]]


def format_redis_reply(words: list[str], reply: Any) -> Any:
    """Format a Redis reply for the administrator. No value is shown as `(None)`, the reply to HGETALL as a mapping, and
    bytes as a literal."""
    if reply is None or reply == []:
        return '(None)'
    if words[0] == 'HGETALL':
        return {str(_shown(name)): _shown(value) for name, value in zip(reply[::2], reply[1::2], strict=True)}
    return [_shown(one) for one in reply] if isinstance(reply, list) else _shown(reply)


def _shown(value: Any) -> Any:
    return repr(value)[2:-1] if isinstance(value, bytes) else value
