"""Announcements over a real server: they reach every node, across restarts."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from trial_tests.support.reactor import reactor
from trial_tests.support.redis import RedisCase
from zatotx.interfaces.redis import IPubSub
from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.client import RedisClient
from zatotx.redis.cluster_announcements import MAX_MESSAGE_LENGTH, RedisPubSub


class Ear:
    """Records messages, and can be awaited for the next one."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._next: Deferred[str] | None = None

    def __call__(self, message: str) -> None:
        self.messages.append(message)
        if self._next is not None:
            waiting, self._next = self._next, None
            waiting.callback(message)

    def next(self) -> Deferred[str]:
        self._next = Deferred()
        return self._next.addTimeout(60, reactor)


class BusTests(RedisCase):
    async def bus(self, *, cluster: str = 'c1', timeout: float = 20.0) -> RedisPubSub:
        client = RedisClient(reactor, self.server.address, timeout=timeout)
        bus = RedisPubSub(reactor, self.server.address, client, cluster=cluster, timeout=timeout)
        parts: tuple[Any, ...] = (client, bus)
        for part in parts:
            part.startService()
            self.addCleanup(part.stopService)
        await client.wait_connected()
        await bus.wait_connected()
        return bus

    async def subscribed(self, count: int) -> None:
        """Wait until Redis reports that many subscribers of the topic `config` in the cluster c1."""
        asked, end = ('PUBSUB', 'NUMSUB', 'zatotx:c1:topic:config'), f':{count}\r\n'.encode()
        await self.until(lambda: self.server.command(*asked).endswith(end), 'the subscriptions')

    async def test_announcement(self) -> None:
        """A message reaches every subscribed node, including its sender, and no other topic or cluster."""
        here, there, elsewhere = await self.bus(), await self.bus(), await self.bus(cluster='c2')
        ears = [Ear(), Ear(), Ear(), Ear()]
        here.subscribe('config', ears[0])
        there.subscribe('config', ears[1])
        elsewhere.subscribe('config', ears[2])
        there.subscribe('other', ears[3])
        verifyObject(IPubSub, here)
        await self.subscribed(2)
        waiting = ears[1].next()
        await here.publish('config', 'revision zażółć 7')
        self.assertEqual(await waiting, 'revision zażółć 7')
        await self.until(lambda: ears[0].messages, 'the message where it was announced')
        await self.later(0.05)
        self.assertEqual([ear.messages for ear in ears], [['revision zażółć 7']] * 2 + [[], []])

    async def test_restart(self) -> None:
        """Subscriptions are renewed after Redis was killed and restarted; publishing meanwhile fails at once."""
        bus = await self.bus()
        ears = [Ear(), Ear(), Ear()]
        for number, ear in enumerate(ears[:2]):
            bus.subscribe(f'topic-{number}', ear)
        self.server.kill()
        await deferLater(reactor, 0.05)
        with self.assertRaises(ServiceUnavailable):
            await bus.publish('topic-0', 'lost')
        bus.subscribe('topic-2', ears[2])
        self.server.start()
        await bus.wait_connected()
        client = await self.bus()
        for number, ear in enumerate(ears):
            waiting = ear.next()
            await client.publish(f'topic-{number}', f'message {number}')
            await waiting
        self.assertEqual([ear.messages for ear in ears], [['message 0'], ['message 1'], ['message 2']])

    async def test_frozen(self) -> None:
        """A connection to a frozen Redis is detected, and messages arrive again once it continues."""
        bus = await self.bus(timeout=0.2)
        ear = Ear()
        bus.subscribe('config', ear)
        self.server.freeze()
        # on a busy machine the short deadline may end a connection before the freeze, too, which is opened again
        await self.until(lambda: 'no' in bus.problem and bus.state.value != 'connected', 'the loss')
        self.server.thaw()
        while not ear.messages:  # with so short a deadline a busy machine may lose it once more
            await self.got(bus.wait_connected())
            self.server.command('PUBLISH', 'zatotx:c1:topic:config', 'again')
            await self.later(0.05)
        self.assertEqual(set(ear.messages), {'again'})

    async def test_garbage(self) -> None:
        """Messages that no node can have published are ignored, and a listener that raises does not affect others."""
        bus = await self.bus()
        ear = Ear()
        wrong = ValueError('wrong')

        def raises(message: str) -> None:
            raise wrong

        bus.subscribe('config', raises)
        bus.subscribe('config', ear)
        await self.subscribed(1)
        binary = RedisClient(reactor, self.server.address)
        binary.startService()
        self.addCleanup(binary.stopService)
        await binary.wait_connected()
        await binary.execute('PUBLISH', 'zatotx:c1:topic:config', b'\xff\xfe\x00')
        await binary.execute('PUBLISH', 'zatotx:c1:topic:config', 'x' * (MAX_MESSAGE_LENGTH + 1))
        waiting = ear.next()
        await binary.execute('PUBLISH', 'zatotx:c1:topic:config', 'good')
        await waiting
        self.assertEqual(ear.messages, ['good'])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_newer_version(self) -> None:
        """An announcement of a newer version is ignored, whatever it contains; those of this version still arrive."""
        bus, ear = await self.bus(), Ear()
        bus.subscribe('config', ear)
        await self.subscribed(1)
        arrived = ear.next()
        for text in ('\x022\x02{"revision": 9}', '\x02x\x02', '\x02', '\x02999\x02', '7'):
            await bus.publish('config', text)
        await arrived
        self.assertEqual(ear.messages, ['7'])

    async def test_stopped_twice(self) -> None:
        """Stopping without a connection takes no time, and may be repeated."""
        self.server.kill()
        client = RedisClient(reactor, self.server.address)
        bus = RedisPubSub(reactor, self.server.address, client, cluster='c1')
        bus.startService()
        await bus.stopService()
        await bus.stopService()
        self.assertEqual(bus.problem, 'it was stopped')
