"""What the tests of channels share: a channel over the loopback queue manager, whose services are scripted."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from trial_tests.support import mqi_loopback
from zatotx.connectors import connection_supervisor
from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.interfaces.inbound_delivery import DeadLetter, IDeadLetterSink
from zatotx.model.errors import ServiceError
from zatotx.model.message import Message, Reply
from zatotx.plugins.http.test.server_doubles import Lines, ScriptedExchange
from zatotx.plugins.ibm_mq import consumer_thread, kind
from zatotx.plugins.ibm_mq.channel import MqChannels
from zatotx.plugins.ibm_mq.schema import MqChannel, MqDefinition
from zatotx.schema.snapshot import Snapshot, StoredObject

PATIENCE = 20.0
_numbers = count()


@implementer(IDeadLetterSink)
class LetterList(list[DeadLetter]):
    """Keeps dead letters in memory. `error`: what storing them fails with."""

    error: Exception | None = None

    def store(self, letter: DeadLetter) -> Deferred[None]:
        if self.error is not None:
            return Deferred.fromCoroutine(self._fail(self.error))
        self.append(letter)
        return succeed(None)

    async def _fail(self, error: Exception) -> None:
        raise error


def definition(port: int, **fields: Any) -> StoredObject:
    """The definition of a queue manager."""
    value = MqDefinition(**{'name': 'QM1', 'host': '127.0.0.1', 'port': port, 'channel': mqi_loopback.CHANNEL,
                            'username': mqi_loopback.USER, 'password': mqi_loopback.PASSWORD, **fields})  # fmt: skip
    return StoredObject(1, 'definition_ibm_mq', value, 1)


def failed(error: ServiceError) -> Reply:
    """The reply of a service that raised this error."""
    reply = Reply(error.status, str(error).encode(), b'text/plain')
    reply.error = error
    return reply


class ChannelCase(TestCase):
    """A queue of the shared queue manager for each test, with a back-out queue after three back-outs."""

    timeout = 60.0

    def setUp(self) -> None:
        mqi_loopback.install()
        self.patch(connection_supervisor, 'BACKOFF', 0.05)
        self.patch(consumer_thread, 'HOLD_DELAY', 0.05)
        self.qmgr = self.find_queue_manager()
        number = next(_numbers)
        self.queue, self.backout_queue = f'TEST.{number}', f'TEST.{number}.BACKOUT'
        self.qmgr.define(self.queue, backout_threshold=3, backout_queue=self.backout_queue)
        self.qmgr.define(self.backout_queue)
        self.letters = LetterList()
        self.exchange = ScriptedExchange(lambda inbound: Reply(200, inbound.body.upper(), b'text/plain'))  # type: ignore[union-attr]
        self.channels = MqChannels(ChannelContext(
            reactor=self.reactor, settings={'grace': 1.0, 'get_wait': 0.1}, line_sink=lambda name: Lines(),
            work_dir=self.mktemp(), run_in_thread=deferToThread, declaration=kind, dead_letters=self.letters,
        ))  # fmt: skip
        self.addCleanup(self.channels.stop)

    def find_queue_manager(self) -> mqi_loopback.LoopbackQueueManager:
        """The shared queue manager; tests that kill it start one of their own."""
        return mqi_loopback.shared()

    @property
    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor

    async def start(self, service: str = 'one', definition_fields: Any = None, **fields: Any) -> None:
        """Run a channel of the queue."""
        value = MqChannel(**{'name': 'in', 'definition': 'QM1', 'queue': self.queue, 'service': service, **fields})
        objects = [definition(self.qmgr.port, **(definition_fields or {})), StoredObject(2, 'channel_ibm_mq', value, 1)]
        await self.channels.apply(Snapshot(1, objects))
        await self.channels.start(self.exchange)
        await self.sleep(0)  # the channel is up in the next turn

    def sleep(self, seconds: float) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, waiting.callback, None)
        return waiting

    async def until(self, is_true: Callable[[], object], what: str = 'It') -> None:
        """Wait for it, at most PATIENCE seconds."""
        end = self.reactor.seconds() + PATIENCE
        while not is_true():
            if self.reactor.seconds() > end:
                raise AssertionError(f'{what} does not come; findings: {list(self.channels.findings())}')
            await self.sleep(0.02)

    async def until_empty(self, *queues: str) -> None:
        """Wait until the queues have no message, in units of work either."""
        for queue in queues or (self.queue,):
            await self.until(lambda queue=queue: not self.qmgr.depth(queue), f'The end of {queue}')  # type: ignore[misc]

    @property
    def delivered(self) -> list[Message]:
        """The messages that services got."""
        return [delivery.inbound for delivery in self.exchange.delivered]

    @property
    def bodies(self) -> list[Any]:
        """Their bodies."""
        return [message.body for message in self.delivered]

    def metric(self, name: str) -> float:
        """The figure of a metric, over all channels."""
        return sum(value for row, _, value in self.channels.metrics() if row == f'zatotx_ibm_mq_{name}')
