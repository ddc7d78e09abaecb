"""Scripts, batches and polling on a real Redis."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from trial_tests.support.redis import RedisCase
from zatotx.interfaces.redis import IPipelinedCommands, IScriptRunner, LuaScript, RedisError
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.redis.client import ScriptRunner
from zatotx.redis.leases import poll_until_result

ADD = LuaScript('add', "return redis.call('INCRBY', KEYS[1], ARGV[1])")
WRONG = LuaScript('wrong', "return redis.call('INCR', KEYS[1], 'too', 'many')")


class ScriptTests(RedisCase):
    async def calls(self, client: Any, command: str) -> int:
        """Return how many times Redis executed a command."""
        stats = str(await client.execute('INFO', 'commandstats'))
        line = next((line for line in stats.splitlines() if line.startswith(f'cmdstat_{command}:')), '=0,')
        return int(line.partition('=')[2].partition(',')[0])

    async def test_sent_once(self) -> None:
        """The text is sent the first time, and again after Redis lost it; each run executes the script once."""
        client = await self.client()
        scripts = ScriptRunner(client)
        verifyObject(IScriptRunner, scripts)
        for _ in range(3):
            await scripts.run(ADD, ['n'], [2])
        self.assertEqual(await self.calls(client, 'eval'), 1)
        await client.execute('SCRIPT', 'FLUSH')
        self.assertEqual(await scripts.run(ADD, ['n'], [2]), 8)
        await self.restarted(client)
        self.assertEqual(await scripts.run(ADD, ['n'], [2]), 10)
        self.assertEqual(await self.calls(client, 'eval'), 1)

    async def test_wrong(self) -> None:
        """A rejected script fails with Redis's message; a script also fails while Redis is unavailable."""
        client = await self.client()
        with self.assertRaisesRegex(RedisError, 'rong number of arg'):
            await ScriptRunner(client).run(WRONG, ['n'])
        self.server.kill()
        await self.until(lambda: client.problem, 'the loss')
        with self.assertRaisesRegex(ServiceUnavailable, 'Redis at .* is unavailable'):
            await ScriptRunner(client).run(ADD, ['n'], [1])


class BatchTests(RedisCase):
    async def test_in_order(self) -> None:
        """One reply per command in order, for batches of none, one and thousands of commands."""
        client = await self.client()
        verifyObject(IPipelinedCommands, client)
        self.assertEqual(await client.execute_batch([]), [])
        self.assertEqual(await client.execute_batch([('INCR', 'n')]), [1])
        self.assertEqual(await client.execute_batch([('INCR', 'n')] * 20_000), list(range(2, 20_002)))
        batch = [('SET', 'n', 'x'), ('GET', 'n')]
        both: list[Any] = [client.execute('GET', 'n'), client.execute_batch(batch)]
        self.assertEqual([await answer for answer in both], ['20001', ['OK', 'x']])

    async def test_a_refused_one(self) -> None:
        """A rejected command does not affect the others: its error is at its position."""
        client = await self.client()
        first, wrong, last = await client.execute_batch([('SET', 'text', 'abc'), ('INCR', 'text'), ('GET', 'text')])
        self.assertEqual((first, last), ('OK', 'abc'))
        assert isinstance(wrong, RedisError)
        self.assertIn('not an integer', str(wrong))

    async def test_not_sent(self) -> None:
        """A batch with an invalid word or an unsupported command is not sent at all."""
        client = await self.client()
        with self.assertRaises(TypeError):
            await client.execute_batch([('INCR', 'n'), ('SET', 'x', None)])
        with self.assertRaisesRegex(RedisError, 'BLPOP needs a connection of its own'):
            await client.execute_batch([('INCR', 'n'), ('BLPOP', 'q', 0)])
        self.assertIsNone(await client.execute('GET', 'n'))

    async def test_lost(self) -> None:
        """A batch to a frozen Redis fails as a whole within its deadline; nothing is executed twice."""
        client = await self.client(timeout=2.0)
        self.server.freeze()
        with self.assertRaisesRegex(Timeout, 'did not reply to a batch of 500 within 2 s'):
            await self.got(client.execute_batch([('INCR', 'n')] * 500))
        self.server.thaw()
        await self.got(client.wait_connected())
        self.assertIn(await client.execute('GET', 'n'), (None, '500'))
        self.server.kill()
        await self.until(lambda: client.problem, 'the loss')
        with self.assertRaises(ServiceUnavailable):
            await client.execute_batch([('INCR', 'n')])


class PollTests(SynchronousTestCase):
    """Polling."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.looks: list[float] = []

    def poll(self, within: float, found: Any = None) -> Deferred[Any]:
        def look() -> Deferred[Any]:
            self.looks.append(self.clock.seconds())
            return succeed(found() if found else None)

        return Deferred.fromCoroutine(poll_until_result(self.clock, look, timeout=within, random=lambda: 0.5))

    def test_until_found(self) -> None:
        """The delays grow; at most four polls per second on average, until there is a result."""
        waiting = self.poll(60, lambda: 'here' if self.clock.seconds() >= 10 else None)
        self.clock.pump([0.01] * 1100)
        self.assertEqual(self.successResultOf(waiting), 'here')
        self.assertTrue(10 <= self.looks[-1] < 10.3, self.looks[-1])
        self.assertLess(len(self.looks), 60)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_end(self) -> None:
        """Polls at least once, and a last time at the end."""
        self.assertIsNone(self.successResultOf(self.poll(0)))
        waiting = self.poll(1)
        self.clock.pump([0.01] * 101)
        self.assertIsNone(self.successResultOf(waiting))
        self.assertAlmostEqual(self.looks[-1], 1.0, places=1)

    def test_jitter(self) -> None:
        """Two that start together do not poll together."""
        looks: list[list[float]] = []
        for number in (0.1, 0.9):
            clock = Clock()
            seen: list[float] = []

            async def look(clock: Clock = clock, seen: list[float] = seen) -> None:
                seen.append(clock.seconds())

            Deferred.fromCoroutine(poll_until_result(clock, look, timeout=1, random=lambda number=number: number))  # type: ignore[misc]
            clock.pump([0.001] * 500)
            looks.append(seen)
        self.assertEqual(set(looks[0][1:]) & set(looks[1][1:]), set())

    def test_cancelled(self) -> None:
        """Cancelling leaves nothing behind."""
        waiting = self.poll(60)
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
