"""ZeroMQ channels with real peers: subscriptions, replies, limits, keys, edits, and the end of a channel."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import zmq
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from trial_tests.support.ports import free_port
from trial_tests.support.zmq_peers import WithPeers
from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.interfaces.inbound_delivery import DeadLetter, IDeadLetterSink
from zatotx.model.message import Message, Reply
from zatotx.model.work_message import ValueMessage
from zatotx.plugins.http.test.server_doubles import Lines, ScriptedExchange
from zatotx.plugins.zmq import kind
from zatotx.plugins.zmq.channels import make_channel
from zatotx.plugins.zmq.reactor_sockets import READ_BUDGET, make_key_pair
from zatotx.plugins.zmq.schema import BIND, CONNECT, LIST, REP, ROUTER, SUB, ZmqChannel
from zatotx.plugins.zmq.test import zmtp
from zatotx.schema.delivery_fields import DeliveryRetry
from zatotx.schema.snapshot import Snapshot, StoredObject

TITLE = 'Channel in (zmq)'


@implementer(IDeadLetterSink)
class DeadLetterList(list[DeadLetter]):
    """Dead letters in memory, unless `error` is raised instead of storing one."""

    error: Exception | None = None

    def store(self, letter: DeadLetter) -> Deferred[None]:
        """See IDeadLetterSink."""
        if self.error is not None:
            return fail(self.error)
        self.append(letter)
        return succeed(None)

    @property
    def bodies(self) -> list[Any]:
        """The bodies of the letters."""
        return [letter.message.body for letter in self]


class WithChannel(WithPeers):
    """A test case with a channel `in`, whose service answers in capitals, or when told."""

    grace = 1.0

    def setUp(self) -> None:
        super().setUp()
        self.letters = DeadLetterList()
        self.exchange = ScriptedExchange(self.answer)
        self.channel: Any = make_channel(ChannelContext(
            reactor=self.reactor, settings={'grace': self.grace}, line_sink=lambda name: Lines(),
            work_dir=self.mktemp(), run_in_thread=deferToThread, channel_meters=self.meters.channels,
            declaration=kind, dead_letters=self.letters,
        ))  # fmt: skip
        self.addCleanup(self.channel.stop)

    def answer(self, message: Message) -> Reply:
        """What the service does."""
        assert isinstance(message.body, bytes)
        return Reply(200, message.body.upper(), b'text/plain')

    async def serve(self, address: str = '', **fields: Any) -> str:
        """Configure the channel and start: its address. It listens on a free port unless there is an address."""
        if not address:
            fields = {'socket_method': BIND, **fields}
            address = f'tcp://127.0.0.1:{free_port()}'
        await self.configure(address, **fields)
        await self.channel.start(self.exchange)
        return address

    async def configure(self, address: str, **fields: Any) -> None:
        """Edit the channel."""
        value = ZmqChannel(**{'name': 'in', 'address': address, 'service': 'one', 'retry': None, **fields})
        await self.channel.apply(Snapshot(1, [StoredObject(1, 'channel_zmq', value, 1)]))

    def bodies(self) -> list[Any]:
        """The bodies of what was delivered."""
        return [delivery.inbound.body for delivery in self.exchange.delivered]

    async def delivered(self, count: int) -> list[Any]:
        """Wait for so many deliveries: the bodies."""
        await self.until(lambda: len(self.exchange.delivered) >= count)
        return self.bodies()

    def figure(self, name: str) -> float:
        """The metric `zatotx_zmq_<name>` of the channel."""
        rows: dict[str, float] = {row: value for row, _, value in self.channel.metrics()}
        return rows[f'zatotx_zmq_{name}']


class PullTests(WithChannel):
    async def test_several_addresses(self) -> None:
        """A channel connects to several peers, by TCP and by files."""
        first, address = self.bound(zmq.PUSH)
        second = self.socket(zmq.PUSH)
        path = f'ipc://{self.mktemp()}.sock'
        second.bind(path)
        await self.serve(f'{address}, {path}')
        await deferToThread(first.send, b'by TCP')
        await deferToThread(second.send, b'by file')
        self.assertEqual(sorted(await self.delivered(2)), [b'by TCP', b'by file'])
        second.close()

    async def test_frames(self) -> None:
        """Of several frames, the last one is the body and the others are headers; or all are joined, or a list."""
        address = await self.serve()
        peer = self.connected(zmq.PUSH, address)
        await deferToThread(peer.send_multipart, [b'topic', b'\xff', b'body'])
        await self.delivered(1)
        message = self.exchange.delivered[0].inbound
        self.assertEqual((message.body, message.headers),
                         (b'body', {b'x-zmq-frame-0': b'topic', b'x-zmq-frame-1': b'\xff'}))  # fmt: skip
        await self.configure(address, socket_method=BIND, multipart='join')
        await deferToThread(peer.send_multipart, [b'a', b'b'])
        self.assertEqual((await self.delivered(2))[-1], b'ab')
        await self.configure(address, socket_method=BIND, multipart=LIST)
        await deferToThread(peer.send_multipart, [b'a', b'b'])
        await self.delivered(3)
        listed = self.exchange.delivered[-1].inbound
        assert isinstance(listed, ValueMessage)
        self.assertEqual(listed.value, [b'a', b'b'])

    async def test_limit(self) -> None:
        """At max_in_flight, no further messages are read: ZeroMQ keeps them at the peer. They come when there is room,
        each once and in order."""
        self.exchange.at_once = None
        address = await self.serve(max_in_flight=3, receive_hwm=5)
        peer = self.connected(zmq.PUSH, address, sndhwm=100_000)
        for number in range(200):
            peer.send(b'%d ' % number + bytes(1000))
        await self.delivered(3)
        await self.sleep(0.1)
        self.assertEqual(len(self.exchange.delivered), 3)
        self.assertEqual(self.figure('in_flight'), 3)
        answered = 0
        while answered < 200:
            await self.delivered(answered + 1)
            self.assertLessEqual(len(self.exchange.delivered) - answered, 3)
            self.exchange.delivered[answered].answer(b'')
            answered += 1
        self.assertEqual([int(body.split()[0]) for body in self.bodies()], list(range(200)))

    async def test_budget(self) -> None:
        """However many messages wait, other work of the reactor has its turn after a few milliseconds."""
        def slow(message: Message) -> Reply:
            until = time.thread_time() + 0.0005
            while time.thread_time() < until:
                pass
            return Reply(200, b'', b'')

        self.exchange.at_once = slow
        address = await self.serve(receive_hwm=5000)
        peer = self.connected(zmq.PUSH, address)
        for _ in range(2000):
            peer.send(b'x')
        turns: list[float] = []

        def turn() -> None:
            turns.append(time.thread_time())
            if len(self.exchange.delivered) < 2000:
                self.reactor.callLater(0, turn)

        turn()
        await self.delivered(2000)
        longest = max(after - before for before, after in pairwise(turns))
        self.assertGreater(len(turns), 50)
        self.assertLess(longest, 0.25)  # seconds of this thread's processor time; without a budget it is one
        self.assertGreater(0.0005 * 2000, READ_BUDGET * 20)

    async def test_failed_message(self) -> None:
        """A message whose service fails is repeated as `retry` says, and becomes a dead letter; the next one comes."""
        self.exchange.at_once = lambda message: Reply(500, b'', b'', error=ValueError('no'))
        address = await self.serve(retry=DeliveryRetry(attempts=2, backoff=0.01))
        peer = self.connected(zmq.PUSH, address)
        peer.send(b'poison')
        await self.until(lambda: self.letters)
        self.assertEqual((self.bodies(), self.letters.bodies), ([b'poison', b'poison'], [b'poison']))
        self.exchange.at_once = self.answer
        peer.send(b'good')
        self.assertEqual((await self.delivered(3))[-1], b'good')

    async def test_kept_until_it_can_be_settled(self) -> None:
        """A message whose dead letter cannot be stored stays here, since ZeroMQ takes none back."""
        self.letters.error = OSError('the database is away')
        self.exchange.at_once = lambda message: Reply(500, b'', b'', error=ValueError('no'))
        address = await self.serve()
        peer = self.connected(zmq.PUSH, address)
        peer.send(b'poison')
        await self.delivered(1)
        self.assertEqual(self.figure('in_flight'), 1)
        self.letters.error = None
        await self.until(lambda: self.letters)
        self.assertEqual(self.letters.bodies, [b'poison'])
        self.assertTrue(self.flushLoggedErrors(OSError))
        await self.until(lambda: not self.figure('in_flight'))

    async def test_stop(self) -> None:
        """A channel that stops delivers what ZeroMQ has received; what is not processed within the time of grace
        becomes a dead letter. None is lost."""
        self.exchange.at_once = None
        address = await self.serve(max_in_flight=2, receive_hwm=50)
        peer = self.connected(zmq.PUSH, address)
        for number in range(20):
            peer.send(b'%d' % number)
        await self.delivered(2)
        await self.sleep(0.1)  # ZeroMQ receives the others
        stopping = self.channel.stop()
        for number in range(10):
            await self.delivered(number + 1)
            self.exchange.delivered[number].answer(b'')
        await stopping
        answered = [b'%d' % number for number in range(10)]
        self.assertEqual(sorted(answered + self.letters.bodies, key=int), [b'%d' % number for number in range(12)])
        self.assertIn('the node stopped', str(self.letters[0].history.last))

    async def test_stop_delivers_all_that_is_received(self) -> None:
        """With services that end, a channel that stops processes everything that ZeroMQ has received."""
        self.exchange.at_once = None
        address = await self.serve(max_in_flight=2, receive_hwm=50)
        peer = self.connected(zmq.PUSH, address)
        for number in range(40):
            peer.send(b'%d' % number)
        await self.delivered(2)
        await self.sleep(0.1)
        self.exchange.at_once = self.answer
        for delivery in self.exchange.delivered[:1]:
            delivery.answer(b'')
        stopping = self.channel.stop()
        self.exchange.delivered[1].answer(b'')
        await stopping
        self.assertEqual(self.bodies(), [b'%d' % number for number in range(40)])

    async def test_edit_keeps_the_socket(self) -> None:
        """An edit that does not concern the socket keeps it open, with its peers and their messages; one that does
        opens another one on the same address."""
        address = await self.serve()
        peer = self.connected(zmq.PUSH, address)
        peer.send(b'1')
        await self.delivered(1)
        await self.configure(address, socket_method=BIND, service='two')
        self.assertEqual(self.figure('channel_peers'), 1)
        peer.send(b'2')
        await self.delivered(2)
        self.assertEqual(self.exchange.delivered[1].inbound.service, 'two')
        await self.configure(address, socket_method=BIND, receive_hwm=7)
        while len(self.exchange.delivered) < 3:  # what the peer sends before it notices the end is lost
            peer.send(b'3')
            await self.sleep(0.1)
        self.assertEqual(self.bodies()[:3], [b'1', b'2', b'3'])

    async def test_address_in_use(self) -> None:
        """An address that another program has is a finding; the channel starts when it is free."""
        other, address = self.bound(zmq.PULL)
        await self.serve(address, socket_method=BIND)
        await self.until(lambda: list(self.channel.findings()))
        self.assertEqual(list(self.channel.findings()),
                         [f'{TITLE} does not run: it cannot listen on {address}: the address is in use'])
        other.close()
        peer = self.connected(zmq.PUSH, address)
        while not self.exchange.delivered:  # the socket that closes may still take a message
            peer.send(b'x')
            await self.sleep(0.02)
        self.assertEqual(list(self.channel.findings()), [])


class SubTests(WithChannel):
    async def publish(self, messages: Sequence[Sequence[bytes]], **fields: Any) -> list[Any]:
        """Messages that are published until the channel has subscribed: what arrives, once each."""
        publisher, address = self.bound(zmq.PUB)
        await self.serve(address, socket_type=SUB, **fields)
        while not self.exchange.delivered:
            publisher.send_multipart(messages[0])
            await self.sleep(0.02)
        for message in messages[1:]:
            publisher.send_multipart(message)
        last = messages[-1][-1]
        await self.until(lambda: self.bodies()[-1] == last)
        return list(dict.fromkeys(self.bodies()))

    async def test_all(self) -> None:
        """An empty sub_key subscribes to everything."""
        self.assertEqual(await self.publish([[b'a'], [b'b']]), [b'a', b'b'])

    async def test_prefixes(self) -> None:
        """Only messages with one of the prefixes come, without it; a frame that is only the prefix is left out."""
        messages = [[b'orders.1'], [b'other.2'], [b'events.', b'3'], [b'orders.4']]
        found = await self.publish([*messages, [b'events.', b'end']], sub_key='orders.', sub_keys=['events.'])
        self.assertEqual(found, [b'1', b'3', b'4', b'end'])
        self.assertEqual(self.exchange.delivered[-1].inbound.headers, {})

    async def test_prefix_is_kept(self) -> None:
        """strip_sub_key: false leaves messages as they are."""
        found = await self.publish([[b'orders.1'], [b'other.2'], [b'orders.3']], sub_key='orders.', strip_sub_key=False)
        self.assertEqual(found, [b'orders.1', b'orders.3'])


class ReplyTests(WithChannel):
    async def test_rep(self) -> None:
        """REQ clients get the response of the service, many at once, each its own."""
        self.exchange.at_once = None
        address = await self.serve(socket_type=REP)
        clients = [self.connected(zmq.REQ, address) for _ in range(10)]
        for number, client in enumerate(clients):
            client.send(b'%d' % number)
        await self.delivered(10)
        for delivery in reversed(self.exchange.delivered):
            assert isinstance(delivery.inbound.body, bytes)
            delivery.answer(b'reply to ' + delivery.inbound.body)
        replies = [await self.read(client) for client in clients]
        self.assertEqual(replies, [[b'reply to %d' % number] for number in range(10)])

    async def test_error(self) -> None:
        """Clients get the error of the service, which is no dead letter; messages without an envelope are dropped and
        counted."""
        self.exchange.at_once = lambda message: Reply(400, b'bad', b'', error=ValueError('bad'))
        address = await self.serve(socket_type=REP, retry=DeliveryRetry(attempts=3, backoff=60))
        client = self.connected(zmq.REQ, address)
        client.send(b'x')
        self.assertEqual(await self.read(client), [b'bad'])
        self.assertEqual(list(self.letters), [])
        dealer = self.connected(zmq.DEALER, address)
        dealer.send_multipart([b'no', b'delimiter'])
        await self.until(lambda: self.figure('channel_dropped'))
        self.assertEqual(len(self.exchange.delivered), 1)

    async def test_stop(self) -> None:
        """A request that is not processed within the time of grace is answered, too."""
        self.exchange.at_once = None
        address = await self.serve(socket_type=REP)
        client = self.connected(zmq.REQ, address)
        client.send(b'x')
        await self.delivered(1)
        await self.channel.stop()
        self.assertEqual(await self.read(client), [b'The node stopped before the request was processed'])

    async def test_router(self) -> None:
        """ROUTER replies to DEALER clients with and without an envelope, and to REQ clients."""
        address = await self.serve(socket_type=ROUTER)
        dealer = self.connected(zmq.DEALER, address)
        for sent, expected in (([b'plain'], [b'PLAIN']), ([b'', b'empty'], [b'', b'EMPTY']),
                               ([b'id', b'', b'both'], [b'id', b'', b'BOTH'])):
            dealer.send_multipart(sent)
            self.assertEqual(await self.read(dealer), expected)
        client = self.connected(zmq.REQ, address)
        client.send(b'req')
        self.assertEqual(await self.read(client), [b'REQ'])

    async def test_connected_rep(self) -> None:
        """A REP channel can be a worker behind the DEALER socket of a proxy."""
        proxy, address = self.bound(zmq.DEALER)
        await self.serve(address, socket_type=REP, socket_method=CONNECT)
        await deferToThread(proxy.send_multipart, [b'client', b'', b'work'])
        self.assertEqual(await self.read(proxy), [b'client', b'', b'WORK'])


class PeersThatDoNotFitTests(WithChannel):
    async def test_curve(self) -> None:
        """Only clients with a key of the list are accepted; others are told by findings, which show no key."""
        public, secret = make_key_pair()
        client_public, client_secret = make_key_pair()
        other_public, other_secret = make_key_pair()
        address = await self.serve(curve_secret_key=secret, curve_client_keys=[client_public])
        common = {'curve_serverkey': public.encode()}
        stranger = self.connected(zmq.PUSH, address, curve_publickey=other_public.encode(),
                                  curve_secretkey=other_secret.encode(), **common)  # fmt: skip
        stranger.setsockopt(zmq.IMMEDIATE, 1)
        await self.until(lambda: self.figure('channel_failed_handshakes'))
        finding = next(self.channel.findings())
        self.assertEqual(finding, f'{TITLE}: a peer could not connect: the CURVE server does not accept the key of the '
                                  'client')  # fmt: skip
        before = self.figure('channel_failed_handshakes')
        plain = self.connected(zmq.PUSH, address)
        await self.until(lambda: self.figure('channel_failed_handshakes') > before)
        plain.close()
        friend = self.connected(zmq.PUSH, address, curve_publickey=client_public.encode(),
                                curve_secretkey=client_secret.encode(), **common)  # fmt: skip
        friend.send(b'hello')
        self.assertEqual(await self.delivered(1), [b'hello'])

    async def test_curve_with_any_client(self) -> None:
        """curve_any_client accepts all clients that know the key of the server."""
        public, secret = make_key_pair()
        other_public, other_secret = make_key_pair()
        address = await self.serve(curve_secret_key=secret, curve_any_client=True)
        peer = self.connected(zmq.PUSH, address, curve_publickey=other_public.encode(),
                              curve_secretkey=other_secret.encode(), curve_serverkey=public.encode())  # fmt: skip
        peer.send(b'x')
        await self.delivered(1)

    async def test_wrong_type(self) -> None:
        """A peer of another socket type, as findings tell, while others are served."""
        address = await self.serve()
        self.connected(zmq.SUB, address)
        await self.until(lambda: self.figure('channel_failed_handshakes'))
        self.assertIn('its socket has another type', next(self.channel.findings()))
        peer = self.connected(zmq.PUSH, address)
        peer.send(b'x')
        await self.delivered(1)

    async def test_garbage(self) -> None:
        """Clients that speak no ZeroMQ, or stop in the middle of a message, harm nobody."""
        address = await self.serve()
        port = int(address.rpartition(':')[2])
        for data in (b'GET / HTTP/1.1\r\n\r\n' * 10, bytes(1000), zmtp.GREETING + b'\xff' * 50, zmtp.GREETING[:30],
                     zmtp.GREETING + zmtp.ready(b'PUSH') + b'\x02' + b'\xff' * 8):
            with socket.create_connection(('127.0.0.1', port), 20) as client:
                client.sendall(data)
                await self.sleep(0.02)
        peer = self.connected(zmq.PUSH, address)
        peer.send(b'x')
        self.assertEqual(await self.delivered(1), [b'x'])
        self.assertGreater(self.figure('channel_failed_handshakes'), 1)

    async def test_too_large(self) -> None:
        """Many frames that are too large together are dropped and counted; a frame that is too large ends the
        connection of its peer, and nothing of it comes."""
        address = await self.serve(max_message_size=2000)
        peer = self.connected(zmq.PUSH, address)
        peer.send_multipart([bytes(900)] * 3)
        peer.send_multipart([b''] * 1500)
        peer.send(bytes(2001))
        peer.send(b'fits')
        await self.until(lambda: self.figure('channel_dropped') == 2)
        other = self.connected(zmq.PUSH, address)
        other.send(b'x')
        await self.until(lambda: b'x' in self.bodies())
        self.assertNotIn(2001, map(len, self.bodies()))
