"""What every kind promises, as mixins of test cases: ChannelContract for channels, OutgoingContract for outgoing
connections, GuaranteedContract for those with `delivery: guaranteed`. A kind's tests say how it is configured and
spoken to; the promises are the same for all."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from trial_tests.support.calling import Asking
from trial_tests.support.ports import free_port
from zatotx.connectors.guaranteed_delivery import DELIVER_SERVICE
from zatotx.interfaces.connector_kind import ChannelContext, ConnectorKind, IChannel, OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind
from zatotx.metrics.meters import MeterRegistry
from zatotx.model.errors import BadRequest, Inactive, NotFound, ServiceUnavailable, Timeout
from zatotx.model.message import Message, Reply
from zatotx.model.work import WorkMessage, decode_work, encode_work
from zatotx.plugins.http.test.server_doubles import Lines, ScriptedExchange
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.testing.memory_work import MemoryWorkStream

SHORT = 0.3  # seconds of timeouts
PATIENCE = 20.0


def make_meters() -> MeterRegistry:
    """The meters of a node, for tests of kinds, which import no metrics."""
    return MeterRegistry()


class _Reactor(TestCase):
    timeout = 60.0

    @property
    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor

    def sleep(self, seconds: float) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, waiting.callback, None)
        return waiting

    async def until(self, is_true: Callable[[], object]) -> None:
        """Wait for it, at most PATIENCE seconds."""
        end = self.reactor.seconds() + PATIENCE
        while not is_true():
            if self.reactor.seconds() > end:
                raise AssertionError('It does not come')
            await self.sleep(0.02)


class ChannelContract(_Reactor):
    """Mixin. The channel under test is named `in` and leads to a service; `text` is what the client sends."""

    meter_kind: str  # of the channel's meters
    grace = 1.0
    # False = the client learns that its message was accepted, and the channel keeps it until its service has ended.
    returns_reply = True

    def declaration(self) -> ConnectorKind:
        """The kind."""
        raise NotImplementedError

    def make_channel(self, context: ChannelContext) -> IChannel:
        """What the kind's factory gives."""
        raise NotImplementedError

    def settings(self, port: int) -> dict[str, Any]:
        """The kind's section of server.toml."""
        return {}

    def objects(self, port: int, service: str, *, is_active: bool = True) -> list[StoredObject]:
        """The configuration of a channel that listens on the port."""
        raise NotImplementedError

    def send_text(self, connection: socket.socket, text: bytes) -> None:
        """Send a message on a connection. Blocks."""
        raise NotImplementedError

    def read_reply(self, connection: socket.socket) -> bytes:
        """Read the reply; b'' where the peer closes the connection. Blocks."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.port = free_port()
        self.meters = MeterRegistry()
        self.exchange = ScriptedExchange(lambda inbound: Reply(200, self.body(inbound).upper(), b'text/plain'))
        self.channel = self.make_channel(ChannelContext(
            reactor=self.reactor, settings={'grace': self.grace, **self.settings(self.port)},
            line_sink=lambda name: Lines(), work_dir=self.mktemp(), run_in_thread=deferToThread,
            channel_meters=self.meters.channels, declaration=self.declaration(),
        ))  # fmt: skip
        self.addCleanup(self.channel.stop)

    def body(self, inbound: Message) -> bytes:
        """The whole message."""
        body = inbound.body
        return body if isinstance(body, bytes) else body.read()

    async def serve(self, service: str = 'one') -> None:
        """Configure the channel and start."""
        await self.channel.apply(Snapshot(1, self.objects(self.port, service)))
        await self.channel.start(self.exchange)

    def ask(self, text: bytes = b'abc') -> Deferred[bytes]:
        """One message on a connection of its own."""

        def run() -> bytes:
            with socket.create_connection(('127.0.0.1', self.port), PATIENCE) as connection:
                self.send_text(connection, text)
                return self.read_reply(connection)

        return deferToThread(run)

    async def is_refused(self) -> bool:
        """Whether nobody listens any more."""

        def run() -> bool:
            try:
                socket.create_connection(('127.0.0.1', self.port), PATIENCE).close()
            except ConnectionRefusedError:
                return True
            return False

        return await deferToThread(run)

    def test_interface(self) -> None:
        """The channel provides IChannel."""
        self.assertTrue(verifyObject(IChannel, self.channel))

    async def test_delivers(self) -> None:
        """A message goes to the service that the configuration names, with the channel's name, a correlation id and a
        deadline; the reply goes back."""
        await self.serve()
        reply = await self.ask()
        self.assertTrue(reply)
        if self.returns_reply:
            self.assertIn(b'ABC', reply)
        (delivery,) = self.exchange.delivered
        inbound = delivery.inbound
        self.assertEqual((inbound.channel.name, inbound.service), ('in', 'one'))
        self.assertTrue(inbound.cid)
        self.assertGreater(inbound.deadline, self.reactor.seconds())

    async def test_live_edit(self) -> None:
        """An edit is in force when `apply` fires; the address stays open meanwhile."""
        await self.serve()
        await self.channel.apply(Snapshot(2, self.objects(self.port, 'two')))
        await self.ask()
        self.assertEqual(self.exchange.delivered[-1].inbound.service, 'two')

    async def test_discarded(self) -> None:
        """A configuration that was prepared and discarded changes nothing."""
        await self.serve()
        prepared = await self.channel.prepare(Snapshot(2, self.objects(self.port, 'two')))
        prepared.discard()
        await self.ask()
        self.assertEqual(self.exchange.delivered[-1].inbound.service, 'one')

    async def test_inactive(self) -> None:
        """An inactive channel delivers nothing."""
        await self.serve()
        await self.channel.apply(Snapshot(2, self.objects(self.port, 'one', is_active=False)))
        try:
            await self.ask()
        except OSError:
            self.assertEqual(self.exchange.delivered, [])
        self.assertEqual(self.exchange.delivered, [])

    async def test_counted(self) -> None:
        """Each message is counted when it comes, and with the class of its status when it is answered."""
        await self.serve()
        await self.ask()
        slots = self.meters.channels(self.meter_kind).get('in')
        self.assertEqual((slots.requests, slots.responses[2]), (1, 1))

    async def test_client_gone(self) -> None:
        """A client that goes away cancels its service, where it waits for a reply. An accepted message has no client
        that could cancel it."""
        self.exchange.at_once = None
        await self.serve()
        client = socket.create_connection(('127.0.0.1', self.port), PATIENCE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))  # closing it resets it
        await deferToThread(self.send_text, client, b'abc')
        await self.until(lambda: self.exchange.delivered)
        client.close()
        if self.returns_reply:
            await self.until(lambda: self.exchange.delivered[0].cancelled)
        else:
            await self.sleep(0.1)
            self.assertFalse(self.exchange.delivered[0].cancelled)

    async def test_drain(self) -> None:
        """Stopping takes no new clients, waits for the message under way, and then is done."""
        self.exchange.at_once = None
        await self.serve()
        asking = self.ask()
        await self.until(lambda: self.exchange.delivered)
        self.channel.drain()
        await self.sleep(0.05)
        self.assertTrue(await self.is_refused())
        stopping = self.channel.stop()
        self.assertNoResult(stopping)
        self.exchange.delivered[0].answer(b'late')
        reply = await asking
        if self.returns_reply:
            self.assertIn(b'late', reply)
        await stopping

    async def test_grace(self) -> None:
        """A message that does not end is cut off when the time of grace is over."""
        self.exchange.at_once = None
        await self.serve()
        asking = self.ask()
        await self.until(lambda: self.exchange.delivered)
        await self.channel.stop()
        self.assertTrue(self.exchange.delivered[0].cancelled)
        await asking.addErrback(lambda failure: failure.trap(OSError) and b'')


class OutgoingContract(_Reactor):
    """Mixin. The connection under test is named `peer`; its timeout is SHORT."""

    object_type: str
    namespace: str  # of self.out
    response: bytes  # what a peer sends whose answer is 'OK'

    def make_outgoing(self, context: OutgoingContext) -> IOutgoingKind:
        """What the kind's factory gives."""
        raise NotImplementedError

    def objects(self, port: int, *, timeout: float = SHORT, is_active: bool = True) -> list[StoredObject]:
        """The configuration of a connection to the port."""
        raise NotImplementedError

    def call(self, connection: Any) -> Awaitable[str]:
        """Call the peer: the text of the answer."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.meters = MeterRegistry()
        self.outgoing: Any = self.make_outgoing(OutgoingContext(
            reactor=self.reactor, settings={}, run_in_thread=deferToThread, meters=self.meters.outgoing,
        ))  # fmt: skip
        self.addCleanup(self.stopped)

    async def stopped(self) -> None:
        """Stop the connections, and wait for what a kind leaves running a moment longer."""
        await self.outgoing.stop()

    @contextmanager
    def peer(self, response: bytes | None) -> Iterator[int]:
        """A server: its port. None = it accepts, and is silent."""
        with socket.create_server(('127.0.0.1', 0)) as listening:
            kept: list[socket.socket] = []

            def serve() -> None:
                while True:
                    try:
                        connection, _ = listening.accept()
                    except OSError:
                        return
                    kept.append(connection)
                    if response is not None and connection.recv(65_536):
                        connection.sendall(response)

            Thread(target=serve, daemon=True).start()
            try:
                yield listening.getsockname()[1]
            finally:
                listening.shutdown(socket.SHUT_RDWR)
                for connection in kept:
                    connection.close()

    async def configure(self, port: int, **fields: Any) -> None:
        """Bring the configuration of a connection to the port into force."""
        await self.outgoing.apply(Snapshot(1, self.objects(port, **fields)))

    def connection(self, call: Any = None) -> Any:
        """`self.out.<kind>['peer']`."""
        return self.outgoing.namespaces[self.namespace](call or Asking())['peer']

    async def failed(self, kind: type[Exception], call: Any = None) -> Any:
        """What a call raises."""

        async def run() -> str:
            return await self.call(self.connection(call))

        error: Any = await self.assertFailure(Deferred.fromCoroutine(run()), kind)
        return error

    def test_interface(self) -> None:
        """The kind provides IOutgoingKind and can ping its object types."""
        self.assertTrue(verifyObject(IOutgoingKind, self.outgoing))
        self.assertIn(self.object_type, self.outgoing.pingable_types)

    async def test_call_and_ping(self) -> None:
        """A call gives the peer's answer and is counted; ping says that the peer answers."""
        with self.peer(self.response) as port:
            await self.configure(port, timeout=PATIENCE)
            self.assertEqual(await self.call(self.connection()), 'OK')
        rows = {name: value for name, label, value in self.meters._outgoing_rows() if label[1:] == ('peer',)}
        self.assertEqual((rows['zatotx_outgoing_calls'], rows['zatotx_outgoing_errors']), (1, 0))
        with self.peer(self.response) as port:
            await self.configure(port, timeout=PATIENCE)
            self.assertTrue(await self.outgoing.ping(self.object_type, 'peer'))

    async def test_frozen_peer(self) -> None:
        """A peer that accepts and is silent ends in Timeout naming the connection, at the connection's timeout."""
        with self.peer(None) as port:
            await self.configure(port)
            began = self.reactor.seconds()
            error = await self.failed(Timeout)
            self.assertGreaterEqual(self.reactor.seconds() - began, SHORT * 0.9)
            self.assertLess(self.reactor.seconds() - began, PATIENCE / 2)
        self.assertIn('peer', error.msg)

    async def test_deadline(self) -> None:
        """A call ends at the deadline of its service, where that is earlier."""
        with self.peer(None) as port:
            await self.configure(port, timeout=PATIENCE)
            began = self.reactor.seconds()
            await self.failed(Timeout, Asking(deadline=began + SHORT))
            self.assertLess(self.reactor.seconds() - began, PATIENCE / 2)

    async def test_unreachable(self) -> None:
        """A peer that is unavailable is ServiceUnavailable naming the connection."""
        await self.configure(free_port(), timeout=PATIENCE)
        error = await self.failed(ServiceUnavailable)
        self.assertIn('peer', error.msg)

    async def test_no_such_connection(self) -> None:
        """Names that are not configured, and inactive ones, are typed errors; so is a ping of them."""
        await self.failed(NotFound)
        await self.assertFailure(self.outgoing.ping(self.object_type, 'peer'), NotFound)
        await self.configure(1, is_active=False)
        await self.failed(Inactive)

    async def test_unchanged_connections_are_kept(self) -> None:
        """A change of another object keeps the connection; a change of its own builds another one."""
        registry = self.outgoing.registries[self.object_type]
        await self.configure(1)
        before = registry.connections['peer']
        await self.configure(1)
        self.assertIs(registry.connections['peer'], before)
        await self.configure(2)
        self.assertIsNot(registry.connections['peer'], before)

    async def test_cancelled(self) -> None:
        """A call that is cancelled ends at once, and leaves nothing in flight."""
        with self.peer(None) as port:
            await self.configure(port, timeout=PATIENCE)

            async def run() -> str:
                return await self.call(self.connection())

            coroutine: Coroutine[Any, Any, str] = run()
            calling = Deferred.fromCoroutine(coroutine)
            calling.addErrback(lambda failure: '')
            await self.sleep(0.1)
            calling.cancel()
            self.assertTrue(calling.called)
        rows = {name: value for name, _, value in self.meters._outgoing_rows()}
        self.assertEqual(rows['zatotx_outgoing_in_flight'], 0)


class GuaranteedContract(_Reactor):
    """Mixin. The connection under test is named `peer`, and its delivery is guaranteed."""

    object_type: str
    namespace: str  # of self.out

    def make_outgoing(self, context: OutgoingContext) -> IOutgoingKind:
        """What the kind's factory gives."""
        raise NotImplementedError

    def objects(self, *, is_reachable: bool) -> list[StoredObject]:
        """The configuration of a connection to a peer that works, or to none."""
        raise NotImplementedError

    def send(self, connection: Any, text: str) -> Any:
        """Send something that may be sent twice."""
        raise NotImplementedError

    def send_wrong(self, connection: Any) -> Any:
        """Send something that the peer rejects, whenever it is sent."""
        raise NotImplementedError

    def send_unstorable(self, connection: Any) -> Any:
        """Call a method that is stored with arguments that cannot be."""
        raise NotImplementedError

    async def received(self) -> list[str]:
        """What the peer has of `send`."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.work = MemoryWorkStream(Clock())
        self.outgoing: Any = self.make_outgoing(OutgoingContext(
            reactor=self.reactor, settings={}, run_in_thread=deferToThread, meters=MeterRegistry().outgoing,
            work=self.work,
        ))  # fmt: skip
        self.addCleanup(self.outgoing.stop)

    async def configure(self, *, is_reachable: bool) -> Any:
        """Bring the configuration into force; returns `self.out.<kind>['peer']`."""
        await self.outgoing.apply(Snapshot(1, self.objects(is_reachable=is_reachable)))
        return self.outgoing.namespaces[self.namespace](Asking())['peer']

    def messages(self) -> list[WorkMessage]:
        """The messages that a server could run now."""
        entries = [entry for queue in self.work.queues.values() for entry in queue.entries.values()]
        return [decode_work(entry.body, 'x') for entry in entries]

    async def deliver(self, message: WorkMessage) -> None:
        """What zato.outgoing.deliver does."""
        call = decode_work(encode_work(message), 'x').payload
        self.assertEqual((message.service, call['kind'], call['name']), (DELIVER_SERVICE, self.namespace, 'peer'))
        connection = self.outgoing.namespaces[self.namespace](Asking(service=DELIVER_SERVICE))['peer']
        await getattr(connection, call['method'])(*call['args'], **call['kwargs'])

    async def failed(self, message: WorkMessage, kind: type[Exception]) -> Any:
        """What a delivery raises."""
        error: Any = await self.assertFailure(Deferred.fromCoroutine(self.deliver(message)), kind)
        return error

    async def test_stored(self) -> None:
        """The call returns the id of the message, whether the peer is there or not; the peer has nothing yet."""
        ids = []
        for is_reachable in (False, True):
            connection = await self.configure(is_reachable=is_reachable)
            ids.append(await self.send(connection, 'later'))
            self.assertRegex(ids[-1], '^[0-9a-f]{24}$')
        self.assertEqual([message.id for message in self.messages()], ids[:1])
        self.assertEqual(await self.received(), [])

    async def test_delivered(self) -> None:
        """The stored call is made at the peer; making it twice does no harm."""
        await self.send(await self.configure(is_reachable=True), 'once')
        (message,) = self.messages()
        await self.deliver(message)
        self.assertEqual(await self.received(), ['once'])
        await self.deliver(message)
        self.assertEqual(await self.received(), ['once'])

    async def test_order(self) -> None:
        """While a call waits, those behind it on the same connection wait, too."""
        connection = await self.configure(is_reachable=True)
        for text in ('first', 'second'):
            await self.send(connection, text)
        self.assertEqual(len(self.messages()), 1)

    async def test_unreachable(self) -> None:
        """While the peer is away, a delivery fails with an error after which it is repeated."""
        await self.send(await self.configure(is_reachable=False), 'kept')
        error = await self.failed(self.messages()[0], ServiceUnavailable)
        self.assertIn('peer', error.msg)

    async def test_rejected(self) -> None:
        """What the peer rejects for good is not repeated."""
        await self.send_wrong(await self.configure(is_reachable=True))
        error = await self.failed(self.messages()[0], BadRequest)
        self.assertIn('peer', error.msg)

    async def test_what_cannot_be_stored(self) -> None:
        """It is an error of the call that names the connection and the reason, and nothing is stored."""
        connection = await self.configure(is_reachable=True)
        pattern = rf"self\.out\.{self.namespace}\['peer'\].* cannot be stored: "
        with self.assertRaisesRegex(BadRequest, pattern) as caught:
            await self.send_unstorable(connection)
        self.assertEqual(caught.exception.cid, Asking().cid)
        self.assertEqual(self.messages(), [])
