"""Contract tests that every implementation of IServiceRedis must pass, both the in-memory implementation and that of a
node with Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface.verify import verifyObject

from zatotx.interfaces.redis import RedisError
from zatotx.interfaces.service_redis import CommandRefusedError, IServiceCommands, IServiceRedis
from zatotx.model.errors import Conflict
from zatotx.redis.key_names import RedisKeys
from zatotx.rules.redis.command_table import CLUSTER_PREFIX
from zatotx.rules.redis.redis_py_methods import METHODS

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

# Calls of redis-py's methods, 'method(arguments)', with their results, executed in order on an empty database.
_STRINGS: list[tuple[str, object]] = [
    ("set('s', 'a')", True), ("get('s')", 'a'), ("get('none')", None), ("set('s', 'b', nx=True)", None),
    ("set('new', 1, xx=True)", None), ("set('s', 'c', get=True)", 'a'), ("set('s', 'd', ex=100)", True),
    ("ttl('s')", 100), ("set('s', 'é', keepttl=True)", True), ("ttl('s')", 100), ("strlen('s')", 2),
    ("set('s', b'\\xff', px=5000)", True), ("get('s')", b'\xff'), ("setex('t', 10, 'v')", True), ("ttl('t')", 10),
    ("psetex('t', 9000, 'v')", True), ("ttl('t')", 9), ("setnx('t', 'w')", False), ("setnx('u', 'w')", True),
    ("getset('u', 'x')", 'w'), ("getdel('u')", 'x'), ("exists('u')", 0), ("mset({'m1': 1, 'm2': 'two'})", True),
    ("mget('m1', 'm2', 'm3')", ['1', 'two', None]), ("mget(['m1', 'm2'])", ['1', 'two']),
    ("msetnx({'m2': 'x', 'm4': 'y'})", False), ("msetnx({'m4': 'y'})", True), ("incr('n')", 1), ("incr('n', 5)", 6),
    ("decr('n')", 5), ("decrby('n', 2)", 3), ("incrby('n', 4)", 7), ("incrbyfloat('n', 0.5)", 7.5),
    ("append('a', 'x')", 1), ("append('a', 'yz')", 3), ("getrange('a', 1, -1)", 'yz'), ("setrange('a', 1, 'Q')", 3),
    ("get('a')", 'xQz'), ("setbit('bits', 7, 1)", 0), ("getbit('bits', 7)", 1), ("bitcount('bits')", 1),
]  # fmt: skip
_KEYS: list[tuple[str, object]] = [
    ("set('k', 1)", True), ("exists('k', 'k', 'none')", 2), ("expire('k', 100)", True), ("expire('none', 1)", False),
    ("ttl('k')", 100), ("persist('k')", True), ("persist('k')", False), ("ttl('k')", -1), ("ttl('none')", -2),
    ("pexpire('k', 60000)", True), ("ttl('k')", 60), ("rename('k', 'l')", True), ("renamenx('l', 'k')", True),
    ("set('l', 2)", True), ("renamenx('l', 'k')", False), ("type('k')", 'string'), ("type('none')", 'none'),
    ("delete('k', 'none')", 1), ("unlink('l')", 1), ("expireat('k', 1)", False), ("set('x:1', 1)", True),
    ("set('x:2', 1)", True), ("set('y', 1)", True), ("keys('x:*')", {'x:1', 'x:2'}),
    ("keys('[xy]*')", {'x:1', 'x:2', 'y'}),
    ("keys('x:?')", {'x:1', 'x:2'}), ("touch('y', 'z')", 1), ("expireat('y', 1)", True), ("exists('y')", 0),
    ("ping()", True), ("echo('hello')", 'hello'), ("publish('news', 'hi')", 0),
]  # fmt: skip
_HASHES: list[tuple[str, object]] = [
    ("hset('h', 'f', 'v')", 1), ("hset('h', mapping={'g': 1, 'f': 'w'})", 1), ("hget('h', 'f')", 'w'),
    ("hget('h', 'none')", None), ("hgetall('h')", {'f': 'w', 'g': '1'}), ("hgetall('none')", {}),
    ("hmset('h', {'i': 2})", True), ("hmget('h', 'f', 'none', 'i')", ['w', None, '2']),
    ("hmget('h', ['g'])", ['1']), ("hexists('h', 'f')", True), ("hexists('h', 'z')", False), ("hlen('h')", 3),
    ("hkeys('h')", {'f', 'g', 'i'}), ("hvals('h')", {'w', '1', '2'}), ("hincrby('h', 'g', 4)", 5),
    ("hincrbyfloat('h', 'g', 0.5)", 5.5), ("hsetnx('h', 'f', 'no')", False), ("hsetnx('h', 'j', 'yes')", True),
    ("hstrlen('h', 'j')", 3), ("hdel('h', 'f', 'g', 'none')", 2), ("hscan('h', match='j')", (0, {'j': 'yes'})),
    ("hdel('h', 'i', 'j')", 2), ("exists('h')", 0),
]  # fmt: skip
_LISTS: list[tuple[str, object]] = [
    ("rpush('l', 'b', 'c')", 2), ("lpush('l', 'a')", 3), ("lrange('l', 0, -1)", ['a', 'b', 'c']), ("llen('l')", 3),
    ("lrange('l', -2, 10)", ['b', 'c']), ("lindex('l', -1)", 'c'), ("lindex('l', 9)", None),
    ("lset('l', 1, 'B')", True), ("linsert('l', 'AFTER', 'B', 'x')", 4), ("linsert('l', 'before', 'none', 'x')", -1),
    ("lrem('l', 1, 'x')", 1), ("rpoplpush('l', 'm')", 'c'), ("lpop('m')", 'c'), ("lpop('m')", None),
    ("exists('m')", 0), ("rpush('l', 'd', 'e')", 4), ("rpop('l', 2)", ['e', 'd']), ("ltrim('l', 1, -1)", True),
    ("lpushx('l', 'z')", 2), ("rpushx('none', 'z')", 0), ("lpop('l')", 'z'), ("rpop('l')", 'B'), ("llen('l')", 0),
]  # fmt: skip
_SETS: list[tuple[str, object]] = [
    ("sadd('s', 'a', 'b', 'c')", 3), ("sadd('s', 'a')", 0), ("smembers('s')", {'a', 'b', 'c'}), ("scard('s')", 3),
    ("sismember('s', 'a')", True), ("sismember('s', 'z')", False), ("srem('s', 'c', 'z')", 1),
    ("sadd('t', 'b', 'd')", 2), ("sinter('s', 't')", {'b'}), ("sunion('s', 't')", {'a', 'b', 'd'}),
    ("sdiff('s', 't')", {'a'}), ("sdiffstore('u', 's', 't')", 1), ("sinterstore('u', 's', 't')", 1),
    ("sunionstore('u', 's', 't')", 3), ("smove('s', 't', 'a')", True), ("smove('s', 't', 'z')", False),
    ("srandmember('s')", 'b'), ("spop('s')", 'b'), ("spop('s')", None), ("exists('s')", 0),
    ("sscan('t', match='[ab]')", (0, {'a', 'b'})), ("pfadd('p', 'x', 'y')", 1), ("pfcount('p')", 2),
]  # fmt: skip
_SORTED_SETS: list[tuple[str, object]] = [
    ("zadd('z', {'a': 1, 'b': 2})", 2), ("zadd('z', 3, 'c')", 1), ("zadd('z', {'a': 1.5}, ch=True)", 1),
    ("zadd('z', {'a': 9}, nx=True)", 0), ("zadd('z', {'d': 9}, xx=True)", 0), ("zadd('z', {'a': 0.5}, incr=True)", 2.0),
    ("zrange('z', 0, -1)", ['a', 'b', 'c']), ("zrange('z', 0, 0, withscores=True)", [('a', 2.0)]),
    ("zrevrange('z', 0, 1)", ['c', 'b']), ("zrange('z', 0, 0, desc=True)", ['c']), ("zscore('z', 'c')", 3.0),
    ("zscore('z', 'none')", None), ("zincrby('z', 1.5, 'c')", 4.5), ("zcard('z')", 3), ("zcount('z', 2, '(4.5')", 2),
    ("zrangebyscore('z', '-inf', '+inf', start=1, num=1)", ['b']),
    ("zrangebyscore('z', 2, 2, withscores=True)", [('a', 2.0), ('b', 2.0)]),
    ("zrevrangebyscore('z', '+inf', '(2')", ['c']), ("zrank('z', 'c')", 2), ("zrevrank('z', 'c')", 0),
    ("zrank('z', 'none')", None), ("zscan('z', match='c')", (0, [('c', 4.5)])), ("zrem('z', 'a', 'none')", 1),
    ("zremrangebyscore('z', 4, 5)", 1), ("zremrangebyrank('z', 0, -1)", 1), ("exists('z')", 0),
]  # fmt: skip
_UNORDERED = frozenset({'keys', 'hkeys', 'hvals'})
_IN_MEMORY_ONLY_WITH_A_SERVER = frozenset({'dump', 'eval', 'evalsha'})


class ServiceRedisContract(Case):
    """Contract tests of IServiceRedis."""

    def service_redis(self) -> IServiceRedis:
        """Return the object under test, whose database is empty."""
        raise NotImplementedError

    async def later(self, seconds: float) -> None:
        """Let that many seconds pass."""
        raise NotImplementedError

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of redis-py's name as `self.kvdb` does."""
        words, convert = METHODS[method].build(*args, **kwargs)
        return convert(await self.service_redis().commands.execute(*words))  # type: ignore[arg-type]

    async def check_calls(self, calls: list[tuple[str, object]]) -> None:
        for text, expected in calls:
            method, _, arguments = text.partition('(')
            result = await eval(f'call({method!r}, {arguments}', {'call': self.call})  # noqa: S307 - the table above
            if method in _UNORDERED:
                result = set(result)
            elif method == 'sscan':
                result = (result[0], set(result[1]))
            self.assertEqual(result, expected, text)
            self.assertEqual(type(result), type(expected), text)

    async def test_interfaces(self) -> None:
        """The objects provide their interfaces."""
        verifyObject(IServiceRedis, self.service_redis())
        verifyObject(IServiceCommands, self.service_redis().commands)

    async def test_strings(self) -> None:
        """Methods for strings have redis-py's results."""
        await self.check_calls(_STRINGS)

    async def test_keys(self) -> None:
        """Methods for keys of any type have redis-py's results."""
        await self.check_calls(_KEYS)
        seconds, microseconds = await self.call('time')
        self.assertTrue(seconds >= 0 <= microseconds < 1_000_000)

    async def test_hashes(self) -> None:
        """Methods for hashes have redis-py's results."""
        await self.check_calls(_HASHES)

    async def test_lists(self) -> None:
        """Methods for lists have redis-py's results."""
        await self.check_calls(_LISTS)

    async def test_sets(self) -> None:
        """Methods for sets have redis-py's results."""
        await self.check_calls(_SETS)

    async def test_sorted_sets(self) -> None:
        """Methods for sorted sets have redis-py's results, in both forms of zadd."""
        await self.check_calls(_SORTED_SETS)

    async def test_every_method_is_tested(self) -> None:
        """The tables above call each method, apart from those that need Lua or a server."""
        calls = [*_STRINGS, *_KEYS, *_HASHES, *_LISTS, *_SETS, *_SORTED_SETS]
        called = {text.partition('(')[0] for text, _ in calls} | {'scan', 'pexpireat', 'pttl', 'time'}
        self.assertEqual(set(METHODS) - called, set(_IN_MEMORY_ONLY_WITH_A_SERVER))

    async def test_expiry(self) -> None:
        """A key is gone when its time has passed."""
        await self.call('set', 'k', 'v', px=300)
        await self.call('set', 'kept', 'v')
        self.assertTrue(0 < await self.call('pttl', 'k') <= 300)
        await self.later(0.4)
        self.assertIsNone(await self.call('get', 'k'))
        self.assertEqual(await self.call('scan'), (0, ['kept']))
        self.assertTrue(await self.call('pexpireat', 'kept', 1))
        self.assertEqual(await self.call('exists', 'kept'), 0)

    async def test_errors(self) -> None:
        """Errors of Redis are RedisError with its code and message."""
        await self.call('set', 's', 'text')
        with self.assertRaises(RedisError) as caught:
            await self.call('lpush', 's', 1)
        self.assertEqual(caught.exception.code, 'WRONGTYPE')
        with self.assertRaisesRegex(RedisError, 'not an integer'):
            await self.call('incr', 's')
        with self.assertRaisesRegex(RedisError, 'wrong number of arguments'):
            await self.service_redis().commands.execute('GET')
        with self.assertRaises(TypeError):
            await self.call('set', 's', None)

    async def test_batch(self) -> None:
        """A batch executes all commands; the result of a failed one is its error."""
        commands = self.service_redis().commands
        replies = await commands.execute_batch([('SET', 'a', 1), ('LPUSH', 'a', 1), ('INCR', 'a')])
        self.assertEqual((replies[0], replies[2]), ('OK', 2))
        self.assertIsInstance(replies[1], RedisError)
        self.assertEqual(await commands.execute_batch([]), [])

    async def test_transaction(self) -> None:
        """In a transaction, a command of wrong form prevents all; one that fails later does not prevent the others."""
        commands = self.service_redis().commands
        replies = await commands.execute_transaction([('SET', 'a', 1), ('LPUSH', 'a', 1), ('INCR', 'a'), ('GET', 'n')])
        self.assertEqual([replies[0], *replies[2:]], ['OK', 2, None])
        self.assertIsInstance(replies[1], RedisError)
        with self.assertRaisesRegex(RedisError, 'wrong number of arguments'):
            await commands.execute_transaction([('SET', 'a', 9), ('GET',)])
        self.assertEqual(await self.call('get', 'a'), '2')
        self.assertEqual(await commands.execute_transaction([]), [])

    async def test_refused(self) -> None:
        """Commands that affect the cluster are refused with a sentence, wherever they are."""
        keys = RedisKeys('c1')
        lease = keys.key('lease', 'a')
        commands = self.service_redis().commands
        for words, reason in (
            (('FLUSHALL',), 'delete or move data of the cluster'),
            (('flushdb', 'ASYNC'), 'delete or move data of the cluster'),
            (('CONFIG', 'SET', 'maxmemory', 1), 'administers the server'),
            (('SHUTDOWN',), 'administers the server'),
            (('BLPOP', 'a', 0), 'block or change the connection'),
            (('SELECT', 1), 'block or change the connection'),
            (('MULTI',), 'pipeline'),
            (('DEL', 'a', lease), f'key {lease!r}'),
            (('DEL', lease.encode()), f'key {lease!r}'),
            (('MSET', 'a', 1, CLUSTER_PREFIX, 2), 'belong to the cluster'),
            (('XTRIM', keys.key('stream', 'work'), 'MAXLEN', 0), 'belong to the cluster'),
            (('PUBLISH', keys.channel('config'), 1), 'channel'),
            (('NOSUCH',), 'not one of the supported commands'),
        ):
            with self.assertRaisesRegex(CommandRefusedError, reason):
                await commands.execute(*words)
            for execute in (commands.execute_batch, commands.execute_transaction):
                with self.assertRaisesRegex(CommandRefusedError, reason):
                    await execute([('SET', 'sent', 1), words])
        self.assertEqual(await self.call('exists', 'sent'), 0)

    async def test_fenced(self) -> None:
        """Fenced commands of an earlier holder are rejected after a later one has written."""
        commands = self.service_redis().commands
        self.assertEqual(await commands.execute_fenced('a', 5, [('SET', 'f', 'old'), ('INCR', 'n')]), ['OK', 1])
        await commands.execute_fenced('a', 7, [('SET', 'f', 'new')])
        with self.assertRaisesRegex(Conflict, 'token 5 .* outdated: 7 was seen'):
            await commands.execute_fenced('a', 5, [('SET', 'f', 'old')])
        self.assertEqual(await self.call('get', 'f'), 'new')
        await commands.execute_fenced('b', 1, [('SET', 'f', 'of another lock')])
        with self.assertRaises(CommandRefusedError):
            await commands.execute_fenced('b', 1, [('FLUSHALL',)])
