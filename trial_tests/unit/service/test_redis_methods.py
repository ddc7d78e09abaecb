"""self.kvdb in async and `def` services."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx import Service
from zatotx.interfaces.redis import RedisError
from zatotx.interfaces.service_redis import CommandRefusedError
from zatotx.model.errors import Conflict, Timeout
from zatotx.service.invoker import Invoker
from zatotx.service.redis_methods import RedisMethods
from zatotx.testing.service_test_case import ServiceTesting


class Async(Service):
    name = 'kvdb.async'

    async def handle(self) -> None:
        await self.kvdb.set('a', 1, ex=60)
        await self.kvdb.hmset('h', {'x': 1, 'y': 2})
        async with self.kvdb.pipeline() as pipe:
            pipe.incr('a').lpush('a', 'wrong type').get('a')
            replies = await pipe.execute(raise_on_error=False)
        keys = [key async for key in self.kvdb.scan_iter(match='?')]
        fields = [field async for field in self.kvdb.hscan_iter('h')]
        self.response.payload = {
            'get': await self.kvdb.conn.get('a'),
            'ttl': await self.kvdb.ttl('a'),
            'hash': await self.kvdb.hgetall('h'),
            'pipeline': [str(reply) for reply in replies],
            'keys': sorted(keys),
            'fields': fields,
            'length': await self.kvdb.execute('HLEN', 'h'),
        }


class Plain(Service):
    """As written for Zato."""

    name = 'kvdb.plain'

    def handle(self) -> None:
        self.kvdb.conn.set('a', 1)
        self.kvdb.conn.expire('a', 60)
        self.kvdb.conn.hmset('h', {'x': 1, 'y': 2})
        with self.kvdb.conn.pipeline() as pipe:
            pipe.incr('a')
            pipe.lpush('a', 'wrong type')
            pipe.get('a')
            replies = pipe.execute(raise_on_error=False)
        self.response.payload = {
            'get': self.kvdb.conn.get('a'),
            'ttl': self.kvdb.conn.ttl('a'),
            'hash': self.kvdb.conn.hgetall('h'),
            'pipeline': [str(reply) for reply in replies],
            'keys': sorted(self.kvdb.conn.scan_iter(match='?')),
            'fields': list(self.kvdb.conn.hscan_iter('h')),
            'length': self.kvdb.execute('HLEN', 'h'),
        }


class Run(Service):
    """Executes one command."""

    name = 'kvdb.run'

    async def handle(self) -> None:
        self.response.payload = await self.kvdb.execute(*self.request.payload)


class NoAwait(Service):
    name = 'kvdb.no-await'

    async def handle(self) -> None:
        self.response.payload = {'value': self.kvdb.get('a')}


class KvdbTests(ServiceTesting, SynchronousTestCase):
    services = (Async, Plain, Run, NoAwait)

    def test_both_forms(self) -> None:
        """Async services await, `def` services get results; both get the same."""
        expected = {
            'get': '2', 'ttl': 60, 'hash': {'x': '1', 'y': '2'}, 'keys': ['a', 'h'], 'length': 2,
            'fields': [('x', '1'), ('y', '2')],
            'pipeline': ['2', 'WRONGTYPE Operation against a key holding the wrong kind of value', '2'],
        }  # fmt: skip
        self.assertEqual(self.call(Async).payload, expected)
        self.redis.wipe()
        self.assertEqual(self.call(Plain).payload, expected)

    def test_errors(self) -> None:
        """Errors are typed, and commands on the cluster are refused."""
        with self.assertRaises(RedisError):
            self.call(Run, ['INCR'])
        with self.assertRaisesRegex(CommandRefusedError, 'FLUSHALL is not available to services'):
            self.call(Run, ['FLUSHALL'])
        self.redis.fail_with(Timeout(None, 'Redis did not reply to GET within 5 s'))
        with self.assertRaisesRegex(Timeout, 'Redis did not reply'):
            self.call(Run, ['GET', 'a'])

    def test_missing_await(self) -> None:
        """A missing `await` is reported with its line."""
        with self.assertRaisesRegex(TypeError, r"test_redis_methods.py:\d+: 'await' is missing before self.kvdb.get"):
            self.call(NoAwait)

    def test_unknown_method(self) -> None:
        """An unknown method is an AttributeError that suggests one."""
        class Typo(Service):
            async def handle(self) -> None:
                await self.kvdb.hgettall('h')

        with self.assertRaisesRegex(AttributeError, "no method 'hgettall'.*hgetall"):
            self.call(Typo)

    def test_pipeline_errors(self) -> None:
        """The first error of a pipeline is raised; a wrong form prevents a transaction."""
        class Pipe(Service):
            async def handle(self) -> None:
                pipe = self.kvdb.pipeline()
                pipe.set('a', 'text').incr('a')
                pipe.execute_command('ECHO', 'queued')
                if len(pipe) != 3:
                    raise AssertionError(len(pipe))
                await pipe.execute()

        with self.assertRaisesRegex(RedisError, 'not an integer'):
            self.call(Pipe)
        self.assertEqual(self.successResultOf(self.redis.execute('GET', 'a')), 'text')

    def test_fenced(self) -> None:
        """Writes of an earlier holder of a lock are rejected."""
        class Fenced(Service):
            async def handle(self) -> None:
                async with self.lock('a') as first:
                    await self.kvdb.execute_fenced(first, [('SET', 'a', 'first')])
                async with self.lock('a') as second:
                    replies = await self.kvdb.execute_fenced(second, [('SET', 'a', 'second'), ('STRLEN', 'a')])
                try:
                    await self.kvdb.execute_fenced(first, [('SET', 'a', 'late')])
                except Conflict:
                    self.response.payload = [first.token < second.token, replies, await self.kvdb.get('a')]

        self.assertEqual(self.call(Fenced).payload, [True, ['OK', 6], 'second'])

    def test_without_redis(self) -> None:
        """A node without Redis for services says so."""
        self.assertTrue(RedisMethods.get.__doc__)  # type: ignore[attr-defined]
        self.assertIn('node', Invoker.__init__.__annotations__)
        self.kit._invoker.node.service_redis = None
        with self.assertRaisesRegex(Exception, 'This node has no Redis for services'):
            self.call(Run, ['GET', 'a'])
