"""AMQP channels and outgoing connections without a node, and a RabbitMQ that they share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from trial_tests.support import rabbitmq
from trial_tests.support.calling import Asking
from trial_tests.support.rabbitmq import PASSWORD, USER, RabbitMQ
from zatotx.interfaces.connector_kind import ChannelContext, OutgoingContext
from zatotx.interfaces.delivery import DeadLetter, IDeadLetterSink
from zatotx.metrics.meters import MeterRegistry
from zatotx.model.errors import InternalServerError, ServiceError
from zatotx.model.message import Message, Reply
from zatotx.plugins.amqp import kind
from zatotx.plugins.amqp.channel import make_channel
from zatotx.plugins.amqp.outgoing import make_outgoing
from zatotx.plugins.amqp.schema.channel_amqp import AmqpChannel
from zatotx.plugins.amqp.schema.definition_amqp import AmqpDefinition
from zatotx.plugins.amqp.schema.outgoing_amqp import AmqpOutgoing
from zatotx.plugins.http.test.server_doubles import Lines, ScriptedExchange
from zatotx.schema.snapshot import Snapshot, StoredObject

PATIENCE = 30.0


@implementer(IDeadLetterSink)
@define
class Letters:
    """Dead letters in memory. `refuses`: errors that the next stores fail with."""

    kept: list[DeadLetter] = field(factory=list)
    refuses: list[Exception] = field(factory=list)

    def store(self, letter: DeadLetter) -> Deferred[None]:
        """See IDeadLetterSink."""
        if self.refuses:
            failed: Deferred[None] = Deferred()
            failed.errback(self.refuses.pop(0))
            return failed
        self.kept.append(letter)
        return succeed(None)


def definition(broker: RabbitMQ, **fields: Any) -> StoredObject:
    """The definition `rabbit` of a broker."""
    values = {'host': '127.0.0.1', 'port': broker.port, 'username': USER, 'password': PASSWORD, **fields}
    return StoredObject(1, 'definition_amqp', AmqpDefinition(name='rabbit', **values), 1)


class WithBroker(TestCase):
    """A test that has the shared broker."""

    timeout = 120.0

    def setUp(self) -> None:
        self.broker = rabbitmq.shared()
        self.meters = MeterRegistry()

    @property
    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor

    def blocking(self, function: Callable[..., Any], *args: Any, **fields: Any) -> Deferred[Any]:
        """Run something that blocks, as the methods of the broker do, in a thread."""
        return deferToThread(function, *args, **fields)

    def sleep(self, seconds: float) -> Deferred[None]:
        """Let the reactor run."""
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, waiting.callback, None)
        return waiting

    async def until(self, is_true: Callable[[], object], within: float = PATIENCE) -> None:
        """Wait for it."""
        end = self.reactor.seconds() + within
        while not is_true():
            if self.reactor.seconds() > end:
                raise AssertionError('It does not come')
            await self.sleep(0.02)

    async def raises(self, type_: type[Exception], coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The error of a call."""
        return await self.assertFailure(Deferred.fromCoroutine(coroutine), type_)


class WithChannel(WithBroker):
    """A test that has a channel named `in`."""

    definition_fields: Mapping[str, Any] = {}

    def setUp(self) -> None:
        super().setUp()
        self.letters = Letters()
        self.exchange = ScriptedExchange(lambda inbound: Reply(200, body_of(inbound).upper(), b'text/plain'))
        self.channel: Any = make_channel(ChannelContext(
            reactor=self.reactor, settings={'grace': 2.0}, line_sink=lambda name: Lines(), work_dir=self.mktemp(),
            run_in_thread=deferToThread, channel_meters=self.meters.channels, declaration=kind,
            dead_letters=self.letters,
        ))  # fmt: skip
        self.addCleanup(self.channel.stop)

    def objects(self, queue: str, **fields: Any) -> list[StoredObject]:
        """The configuration of a channel of the queue."""
        port = fields.pop('broker_port', self.broker.port)
        values = {'name': 'in', 'definition': 'rabbit', 'queue': queue, 'service': 'one', **fields}
        return [definition(self.broker, port=port, **self.definition_fields),
                StoredObject(2, 'channel_amqp', AmqpChannel(**values), 1)]  # fmt: skip

    async def serve(self, queue: str, **fields: Any) -> None:
        """Configure the channel and start."""
        await self.channel.apply(Snapshot(1, self.objects(queue, **fields)))
        await self.channel.start(self.exchange)

    async def finding(self) -> str:
        """The finding of the channel, once there is one."""
        await self.until(lambda: list(self.channel.findings()))
        (finding,) = self.channel.findings()
        return str(finding)

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of the messages that services got."""
        return [body_of(delivery.inbound) for delivery in self.exchange.delivered]

    def figures(self) -> dict[str, float]:
        """The metrics of the channel."""
        return {name.removeprefix('zatotx_amqp_'): value for name, _, value in self.channel.metrics()}


class WithOutgoing(WithBroker):
    """A test that has outgoing connections."""

    def setUp(self) -> None:
        super().setUp()
        self.outgoing: Any = make_outgoing(OutgoingContext(
            reactor=self.reactor, settings={}, run_in_thread=deferToThread, meters=self.meters.outgoing,
            client_name='server1@host',
        ))  # fmt: skip
        self.addCleanup(self.outgoing.stop)

    async def configure(self, *values: AmqpOutgoing, **fields: Any) -> None:
        """Bring the configuration of connections to the broker into force. `fields`: of the definition."""
        stored = [StoredObject(number, 'outgoing_amqp', value, 1) for number, value in enumerate(values, 2)]
        await self.outgoing.apply(Snapshot(1, [definition(self.broker, **fields), *stored]))

    async def connect(self, **fields: Any) -> Any:
        """Configure the connection `out` and return it as services see it. `fields`: of the connection."""
        await self.configure(AmqpOutgoing(**{'name': 'out', 'definition': 'rabbit', 'timeout': PATIENCE, **fields}))
        return self.facade()

    def facade(self, name: str = 'out', call: Any = None) -> Any:
        """`self.out.amqp[name]`."""
        return self.namespace(call)[name]

    def namespace(self, call: Any = None) -> Any:
        """`self.out.amqp`."""
        return self.outgoing.namespaces['amqp'](call or Asking())


def body_of(message: Message) -> bytes:
    """The body of a message."""
    body = message.body
    return body if isinstance(body, bytes) else body.read()


def failing(error: Exception | None = None) -> Callable[[Message], Reply]:
    """A service that fails."""
    raised = error or InternalServerError(None, 'it fails')
    status = raised.status if isinstance(raised, ServiceError) else 500
    return lambda inbound: Reply(status, b'error', b'text/plain', error=raised)
