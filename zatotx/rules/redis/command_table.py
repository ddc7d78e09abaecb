"""The Redis commands that services may execute, and the positions of the keys in each command.

Services and the cluster share one Redis. Keys of the cluster begin with `zatotx:`; a service's command may not name one
of them, and commands without declared keys that affect the whole server are not available. The positions are those that
the server reports in COMMAND INFO: the first key, the last key (negative: counted from the end) and the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

KEY_PREFIX = 'zatotx'
CLUSTER_PREFIX = f'{KEY_PREFIX}:'  # all keys and channels of clusters begin with it


@frozen
class KeyPositions:
    """The positions of the keys in the arguments of a Redis command. If `first` is 0, the command has no keys."""

    first: int
    last: int = 0
    step: int = 1


_NO_KEY = KeyPositions(0)
_FIRST = KeyPositions(1, 1)
_BOTH = KeyPositions(1, 2)
_ALL = KeyPositions(1, -1)
_SUBCOMMAND = KeyPositions(2, 2)

_COMMANDS: dict[KeyPositions, str] = {
    _NO_KEY: 'DBSIZE ECHO INFO KEYS PING PUBLISH SCAN TIME',
    _FIRST: """
        APPEND BITCOUNT BITFIELD BITPOS DECR DECRBY DUMP EXPIRE EXPIREAT GEOADD GEODIST GEOHASH GEOPOS GEOSEARCH GET
        GETBIT GETDEL GETEX GETRANGE GETSET HDEL HEXISTS HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET
        HRANDFIELD HSCAN HSET HSETNX HSTRLEN HVALS INCR INCRBY INCRBYFLOAT LINDEX LINSERT LLEN LPOP LPOS LPUSH
        LPUSHX LRANGE LREM LSET LTRIM PERSIST PEXPIRE PEXPIREAT PFADD PSETEX PTTL RESTORE RPOP RPUSH RPUSHX SADD
        SCARD SET SETBIT SETEX SETNX SETRANGE SISMEMBER SMEMBERS SMISMEMBER SPOP SRANDMEMBER SREM SSCAN STRLEN
        SUBSTR TTL TYPE XACK XADD XDEL XLEN XRANGE XREVRANGE XTRIM ZADD ZCARD ZCOUNT ZINCRBY ZLEXCOUNT ZMSCORE
        ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK
        ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE""",
    _BOTH: 'COPY LMOVE RENAME RENAMENX RPOPLPUSH SMOVE ZRANGESTORE',
    _ALL: 'DEL EXISTS MGET PFCOUNT PFMERGE SDIFF SDIFFSTORE SINTER SINTERSTORE SUNION SUNIONSTORE TOUCH UNLINK',
    KeyPositions(1, -1, 2): 'MSET MSETNX',
    _SUBCOMMAND: 'OBJECT',
}
_POSITIONS = {name: positions for positions, names in _COMMANDS.items() for name in names.split()}
_COUNTED_KEYS = {'EVAL': 2, 'EVALSHA': 2}  # position of the number of keys, which the keys follow
SCRIPTS = frozenset(_COUNTED_KEYS)
LISTS_KEYS = frozenset({'KEYS', 'SCAN'})  # their replies are stripped of the keys of clusters

_REASONS: dict[str, str] = {
    'it would delete or move data of the cluster': 'FLUSHALL FLUSHDB MIGRATE MOVE SORT SWAPDB',
    'it administers the server': (
        'ACL BGREWRITEAOF BGSAVE CLIENT CLUSTER COMMAND CONFIG DEBUG FAILOVER FUNCTION LATENCY MEMORY MODULE MONITOR'
        ' REPLICAOF ROLE SAVE SCRIPT SHUTDOWN SLAVEOF SLOWLOG'
    ),
    'it would block or change the connection, which all services share': (
        'AUTH BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN HELLO PSUBSCRIBE PUNSUBSCRIBE QUIT RESET'
        ' SELECT SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE SYNC PSYNC UNSUBSCRIBE UNWATCH WAIT WAITAOF WATCH XREAD XREADGROUP'
    ),
    'use self.kvdb.pipeline(), which is one transaction': 'DISCARD EXEC MULTI',
}
_REASON = {name: reason for reason, names in _REASONS.items() for name in names.split()}


def command_name(words: Sequence[object]) -> str:
    """Return the name of a command in capitals, or '' if it has no words."""
    return _text(words[0]).upper() if words else ''


def find_command_keys(words: Sequence[object]) -> Iterator[object]:
    """Yield the keys among the words of a supported command."""
    name = command_name(words)
    if name in _COUNTED_KEYS:
        at = _COUNTED_KEYS[name]
        yield from words[at + 1:at + 1 + _count(words, at)]
        return
    positions = _POSITIONS[name]
    if positions.first:
        last = positions.last if positions.last > 0 else len(words) + positions.last
        yield from words[positions.first:last + 1:positions.step]


def command_refusal_reason(words: Sequence[object]) -> str:
    """Return the reason why services may not execute a command, as a sentence, or '' if they may."""
    name = command_name(words)
    if name not in _POSITIONS and name not in _COUNTED_KEYS:
        reason = _REASON.get(name, 'it is not one of the supported commands')
        return f'{name or "An empty command"} is not available to services: {reason}'
    names = words[1:2] if name == 'PUBLISH' else find_command_keys(words)
    for key in names:
        if is_cluster_key(key):
            kind = 'channel' if name == 'PUBLISH' else 'key'
            return (f'{name} is not available for the {kind} {_text(key)[:100]!r}:'
                    f' names that begin with {CLUSTER_PREFIX!r} belong to the cluster')
    return ''


def is_cluster_key(key: object) -> bool:
    """Return whether a key or pub/sub channel is reserved for the internal use of a cluster."""
    return key.startswith(CLUSTER_PREFIX) if isinstance(key, str) else _text(key).startswith(CLUSTER_PREFIX)


def strip_cluster_keys(name: str, reply: object) -> object:
    """Remove the internal keys of clusters from the reply to KEYS or SCAN. Replies to other commands are returned
    unchanged."""
    if name == 'KEYS' and isinstance(reply, list):
        return [key for key in reply if not is_cluster_key(key)]
    if name == 'SCAN' and isinstance(reply, list):
        return [reply[0], [key for key in reply[1] if not is_cluster_key(key)]]
    return reply


def patterns_excluding_prefix(prefix: str = CLUSTER_PREFIX) -> list[str]:
    """Return glob patterns that together match all names except those that begin with `prefix`.

    Redis's access control lists have no negation, but a name without the prefix is either a part of it, or differs from
    it at one first position.
    """
    patterns = []
    for at, char in enumerate(prefix):
        patterns.append(prefix[:at])
        patterns.append(f'{prefix[:at]}[^{char}]*')
    return patterns


def known_commands() -> dict[str, KeyPositions]:
    """Return the names of the supported commands whose key positions are declared."""
    return dict(_POSITIONS)


def _count(words: Sequence[object], at: int) -> int:
    try:
        return max(0, int(_text(words[at])))
    except (IndexError, ValueError):
        return 0  # the server rejects the command


def _text(word: object) -> str:
    return word if isinstance(word, str) else word.decode('latin-1') if isinstance(word, bytes) else str(word)
