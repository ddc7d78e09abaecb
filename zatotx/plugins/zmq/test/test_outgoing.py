"""Outgoing ZeroMQ connections to real peers: queues, peers that freeze, go away or do not fit, replies, edits."""

from __future__ import annotations

import os
import signal
from typing import Any

import zmq
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher

from trial_tests.support.calling import Asking
from trial_tests.support.ports import free_port
from trial_tests.support.waiting import allowed
from trial_tests.support.zmq_peers import PeerProcess, WithPeers
from zatotx.connectors.guaranteed_delivery import DELIVER_SERVICE
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.model.errors import BadRequest, ServiceUnavailable, Timeout
from zatotx.model.work_message import decode_work
from zatotx.plugins.zmq.outgoing import make_outgoing
from zatotx.plugins.zmq.reactor_sockets import make_key_pair
from zatotx.plugins.zmq.schema import BIND, DEALER, PUB, REQ, ZmqOutgoing
from zatotx.schema.delivery_fields import GUARANTEED
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.testing.log_recorder import LogRecorder
from zatotx.testing.memory_work_stream import MemoryWorkStream

TITLE = 'Outgoing connection Out (zmq)'


class WithOutgoing(WithPeers):
    """A test case with outgoing connections of the kind."""

    work: MemoryWorkStream | None = None

    def setUp(self) -> None:
        super().setUp()
        self.outgoing: Any = make_outgoing(OutgoingContext(
            reactor=self.reactor, settings={}, run_in_thread=deferToThread, meters=self.meters.outgoing,
            work=self.work,
        ))  # fmt: skip
        self.addCleanup(self.outgoing.stop)

    async def configure(self, address: str, **fields: Any) -> None:
        """Bring the connection `Out` into force."""
        value = ZmqOutgoing(**{'name': 'Out', 'address': address, **fields})
        await self.outgoing.apply(Snapshot(1, [StoredObject(2, 'outgoing_zmq', value, 1)]))

    def send(self, message: Any, **options: Any) -> Deferred[Any]:
        """`self.out.zmq['Out'].send(message)`."""
        return Deferred.fromCoroutine(self.outgoing.namespaces['zmq'](Asking())['Out'].send(message, **options))

    def call(self, message: Any) -> Deferred[Any]:
        """`self.out.zmq['Out'].call(message)`."""
        return Deferred.fromCoroutine(self.outgoing.namespaces['zmq'](Asking())['Out'].call(message))

    def figure(self, name: str) -> float:
        """The metric `zatotx_zmq_<name>` of the connection."""
        rows: dict[str, float] = {row: value for row, _, value in self.outgoing.metrics()}
        return rows[f'zatotx_zmq_{name}']

    async def connected_to_peer(self) -> None:
        """Wait until the connection has a peer."""
        await self.until(lambda: self.figure('connection_peers'))


class PushTests(WithOutgoing):
    async def test_sends(self) -> None:
        """Text, bytes, several frames and a dict arrive in order, also in Zato's form of the call."""
        peer, address = self.bound(zmq.PULL)
        await self.configure(address)
        await self.send('text')
        await self.send(b'bytes')
        await self.send([b'several', 'frames'])
        await self.outgoing.namespaces['zmq'](Asking()).send({'a': 1}, 'Out')
        received = [await self.read(peer) for _ in range(4)]
        self.assertEqual(received, [[b'text'], [b'bytes'], [b'several', b'frames'], [b'{"a":1}']])

    async def test_wrong_messages(self) -> None:
        """What ZeroMQ cannot send is an error that says what it can."""
        await self.configure('tcp://127.0.0.1:1', max_message_size=2048)
        error = await self.assertFailure(self.send(1), TypeError)
        self.assertIn('text, bytes, a list of them, or a dict', str(error))
        await self.assertFailure(self.send([]), ValueError)
        error = await self.assertFailure(self.send(bytes(2049)), BadRequest)
        self.assertIn(f'{TITLE}: a message of 2049 bytes is larger than max_message_size', error.msg)
        error = await self.assertFailure(self.call('x'), BadRequest)
        self.assertIn('PUSH sockets receive no replies', error.msg)

    async def test_queue(self) -> None:
        """While there is no peer, queue_size messages are accepted. The next one waits for `timeout` and fails. The
        accepted ones are sent, in order, when a peer comes; the failed one is not."""
        address = f'tcp://127.0.0.1:{free_port()}'
        await self.configure(address, queue_size=20, timeout=0.3)
        for number in range(20):
            await self.send(f'{number}')
        began = self.reactor.seconds()
        error = await self.assertFailure(self.send('one too many'), ServiceUnavailable)
        self.assertLess(self.reactor.seconds() - began, allowed(0.3 * 1.1 + 1))
        self.assertIn(f'{TITLE} cannot be used: nobody is at the address {address}, and its queue of 20', error.msg)
        self.assertEqual(self.figure('queued'), 20)
        self.assertIn(', 20 messages wait', next(self.outgoing.findings()))
        peer = self.socket(zmq.PULL)
        peer.bind(address)
        self.assertEqual(await self.read_many(peer, 20), [b'%d' % number for number in range(20)])
        await self.send('works again')
        self.assertEqual(await self.read(peer), [b'works again'])
        self.assertEqual(list(self.outgoing.findings()), [])

    async def test_waits_for_room(self) -> None:
        """A message that waits for room is sent when there is some within its time."""
        address = f'tcp://127.0.0.1:{free_port()}'
        await self.configure(address, queue_size=1, timeout=20)
        await self.send('first')
        waiting = [self.send('second'), self.send('third')]
        cancelled = self.send('cancelled')
        cancelled.addErrback(lambda failure: None)
        cancelled.cancel()
        peer = self.socket(zmq.PULL)
        peer.bind(address)
        self.assertEqual(await self.read_many(peer, 3), [b'first', b'second', b'third'])
        await gatherResults(waiting)

    async def test_frozen_peer(self) -> None:
        """A peer that is frozen fills the queue; then sends end in Timeout at their timeout. What was accepted arrives,
        in order, when the peer goes on."""
        address = f'tcp://127.0.0.1:{free_port()}'
        peer = PeerProcess('PULL', address)
        self.addCleanup(peer.kill)
        await self.configure(address, queue_size=10, send_hwm=10, timeout=0.5)
        await self.connected_to_peer()
        os.kill(peer.process.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, peer.process.pid, signal.SIGCONT)
        accepted = 0
        while True:
            began = self.reactor.seconds()
            try:
                await self.send(f'{accepted:<20}'.encode() + bytes(500_000))
            except Timeout as error:
                self.assertIn(f'{TITLE} took no message from its full queue of 10 within 0.5 s', error.msg)
                break
            accepted += 1
        self.assertGreaterEqual(self.reactor.seconds() - began, 0.45)
        self.assertGreater(accepted, 10)
        began = self.reactor.seconds()
        await gatherResults([self.assertFailure(self.send(bytes(500_000)), Timeout) for _ in range(20)])
        self.assertLess(self.reactor.seconds() - began, allowed(0.5 * 1.1 + 1))
        self.assertEqual(self.figure('queued'), 10)
        os.kill(peer.process.pid, signal.SIGCONT)
        await self.send('last')
        received = await deferToThread(peer.read, lambda line: line == 'last')
        self.assertEqual([line.strip() for line in received], [*map(str, range(accepted)), 'last'])

    async def test_peer_comes_back(self) -> None:
        """What was accepted while the peer was away goes to its successor."""
        address = f'tcp://127.0.0.1:{free_port()}'
        peer = PeerProcess('PULL', address)
        await self.configure(address)
        await self.send('first')
        await deferToThread(peer.read, lambda line: line == 'first')
        peer.kill()
        await self.until(lambda: not self.figure('connection_peers'))
        for number in range(500):
            await self.send(f'{number}')
        successor = self.socket(zmq.PULL)
        successor.bind(address)
        self.assertEqual(await self.read_many(successor, 500), [b'%d' % number for number in range(500)])

    async def test_listens_without_peers(self) -> None:
        """A socket that listens keeps messages until a peer comes."""
        address = f'tcp://127.0.0.1:{free_port()}'
        await self.configure(address, socket_method=BIND, queue_size=10)
        for number in range(10):
            await self.send(f'{number}')
        self.assertIn('0 connected peers, 10 messages in the queue', await self.outgoing.ping('outgoing_zmq', 'Out'))
        peer = self.connected(zmq.PULL, address)
        self.assertEqual(await self.read_many(peer, 10), [b'%d' % number for number in range(10)])
        self.assertIn('1 connected peers, 0 messages', await self.outgoing.ping('outgoing_zmq', 'Out'))

    async def test_edit_keeps_the_socket(self) -> None:
        """An edit that does not concern the socket keeps it, with its peer; another address takes the queue along."""
        peer, address = self.bound(zmq.PULL)
        await self.configure(address)
        await self.connected_to_peer()
        await self.configure(address, timeout=1)
        self.assertEqual(self.figure('connection_peers'), 1)
        empty = f'tcp://127.0.0.1:{free_port()}'
        await self.configure(empty)
        await self.send('moves')
        await self.configure(address)
        self.assertEqual(await self.read(peer), [b'moves'])
        self.assertEqual(self.figure('dropped'), 0)

    async def test_edit_of_a_listening_socket(self) -> None:
        """An edit that needs another socket on the same address moves the address and the queue to it."""
        address = f'tcp://127.0.0.1:{free_port()}'
        await self.configure(address, socket_method=BIND)
        await self.send('one')
        await self.configure(address, socket_method=BIND, send_hwm=7)
        await self.send('two')
        registry = self.outgoing._environment.registries['Out']
        await self.until(lambda: registry.newest and len(registry.newest.queue) == 2)  # the old socket may close later
        peer = self.connected(zmq.PULL, address)
        self.assertEqual(await self.read_many(peer, 2), [b'one', b'two'])

    async def test_address_in_use(self) -> None:
        """An address that another program has is a finding, and an error of calls, which names the connection."""
        _, address = self.bound(zmq.PULL)
        await self.configure(address, socket_method=BIND, timeout=0.2)
        error = await self.assertFailure(self.send('x'), ServiceUnavailable)
        self.assertEqual(error.msg, f'{TITLE} cannot be used: it cannot listen on {address}: the address is in use')
        self.assertEqual(list(self.outgoing.findings()),
                         [f'{TITLE} is not connected: it cannot listen on {address}: the address is in use'])

    async def test_ping_of_an_address_without_peer(self) -> None:
        """A ping ends when it is known that nobody is at the address, and not only at the timeout."""
        address = f'tcp://127.0.0.1:{free_port()}'
        await self.configure(address, timeout=3600)
        error = await self.assertFailure(self.outgoing.ping('outgoing_zmq', 'Out'), ServiceUnavailable)
        self.assertEqual(error.msg, f'{TITLE} cannot be used: nobody is at the address {address}')

    async def test_lost_messages_are_told(self) -> None:
        """A queue that no peer takes until the node has stopped is lost; the log says how many messages that are."""
        await self.configure(f'tcp://127.0.0.1:{free_port()}')
        await self.send('x')
        await self.send('y')
        recorder = LogRecorder()
        globalLogPublisher.addObserver(recorder)
        self.addCleanup(globalLogPublisher.removeObserver, recorder)
        await self.outgoing.stop()
        messages = [record.getMessage() for record in recorder.records if record.levelname == 'ERROR']
        self.assertEqual(messages, [f'{TITLE}: 2 messages are lost, because no peer took them until the connection '
                                    'ended'])  # fmt: skip


class PeersThatDoNotFitTests(WithOutgoing):
    async def test_wrong_type(self) -> None:
        """A peer of another socket type is told by ping and findings; the message waits for one that fits."""
        peer, address = self.bound(zmq.SUB)
        await self.configure(address, timeout=0.5)
        await self.send('waits')
        await self.until(lambda: self.figure('connection_failed_handshakes'))
        error = await self.assertFailure(self.outgoing.ping('outgoing_zmq', 'Out'), ServiceUnavailable)
        self.assertIn('its socket has another type', error.msg)
        peer.close()
        successor = self.socket(zmq.PULL)
        await self.until(lambda: _binds(successor, address))
        self.assertEqual(await self.read(successor), [b'waits'])

    async def test_no_zeromq(self) -> None:
        """A peer that speaks another protocol."""
        import socket
        from threading import Thread

        with socket.create_server(('127.0.0.1', 0)) as listening:

            def serve() -> None:
                connection, _ = listening.accept()
                connection.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n' * 10)
                connection.close()

            Thread(target=serve, daemon=True).start()
            await self.configure(f'tcp://127.0.0.1:{listening.getsockname()[1]}', timeout=0.5)
            await self.until(lambda: self.figure('connection_failed_handshakes'))
            self.assertIn(TITLE, next(self.outgoing.findings()))

    async def test_curve(self) -> None:
        """Messages are encrypted where the keys fit; a wrong key of the server is told, and no key is shown."""
        public, secret = make_key_pair()
        _, own_secret = make_key_pair()
        other_public, _ = make_key_pair()
        peer, address = self.bound(zmq.PULL, curve_server=1, curve_secretkey=secret.encode())
        await self.configure(address, curve_secret_key=own_secret, curve_server_key=other_public, timeout=0.5)
        await self.until(lambda: self.figure('connection_failed_handshakes'))
        finding = next(self.outgoing.findings())
        self.assertIn('its CURVE keys do not fit', finding)
        self.assertNotIn(own_secret, finding)
        await self.configure(address, curve_secret_key=own_secret, curve_server_key=public)
        await self.send('secret')
        self.assertEqual(await self.read(peer), [b'secret'])


class PubTests(WithOutgoing):
    async def test_publishes(self) -> None:
        """All subscribers get a message; without any it is dropped and counted."""
        address = f'tcp://127.0.0.1:{free_port()}'
        await self.configure(address, socket_type=PUB, socket_method=BIND)
        await self.send('nobody')
        self.assertEqual(self.figure('dropped'), 1)
        subscribers = [self.connected(zmq.SUB, address) for _ in range(2)]
        for subscriber in subscribers:
            subscriber.subscribe(b'')
            subscriber.rcvtimeo = 200
        await self.until(lambda: self.figure('connection_peers') == 2)
        for subscriber in subscribers:  # its subscription takes a moment to arrive
            while True:
                await self.send('news')
                try:
                    self.assertEqual(await self.read(subscriber), [b'news'])
                    break
                except zmq.Again:
                    pass
        self.assertEqual(self.figure('dropped'), 1)


class ReqTests(WithOutgoing):
    async def test_replies_in_any_order(self) -> None:
        """Many requests are under way at once; each gets its own reply, whatever the order. Clients see REQ."""
        peer, address = self.bound(zmq.ROUTER)
        await self.configure(address, socket_type=REQ)
        calls = [self.send(f'{number}') for number in range(50)]

        def serve() -> None:
            requests = [peer.recv_multipart() for _ in range(50)]
            for *envelope, body in reversed(requests):
                assert envelope[2] == b''
                peer.send_multipart([*envelope, b'reply to ' + body])

        await deferToThread(serve)
        self.assertEqual(await gatherResults(calls), [b'reply to %d' % number for number in range(50)])

    async def test_late_reply(self) -> None:
        """A reply that comes too late goes to no other call, and is counted."""
        peer, address = self.bound(zmq.REP)
        await self.configure(address, socket_type=REQ, timeout=0.3)
        await self.assertFailure(self.send('slow'), Timeout)
        await self.read(peer)
        peer.send(b'late')
        call = self.send('next', timeout=20)
        await self.read(peer)
        peer.send_multipart([b'two', b'frames'])
        self.assertEqual(await call, [b'two', b'frames'])
        self.assertEqual(self.figure('late_replies'), 1)

    async def test_unsent_request_is_taken_back(self) -> None:
        """A request that timed out before a peer came is not sent later."""
        address = f'tcp://127.0.0.1:{free_port()}'
        await self.configure(address, socket_type=REQ, timeout=0.2)
        await self.assertFailure(self.send('old'), ServiceUnavailable)
        self.assertEqual(self.figure('queued'), 0)
        await self.configure(address, socket_type=REQ, timeout=20)
        call = self.send('new')
        peer = self.socket(zmq.REP)
        peer.bind(address)
        self.assertEqual(await self.read(peer), [b'new'])
        peer.send(b'')
        self.assertEqual(await call, b'')

    async def test_stop_ends_calls(self) -> None:
        """A node that stops ends calls that wait for a reply, with an error that names the connection."""
        _, address = self.bound(zmq.REP)
        await self.configure(address, socket_type=REQ, timeout=20)
        await self.connected_to_peer()
        call = self.send('x')
        failing = self.assertFailure(call, ServiceUnavailable)
        await self.outgoing.stop()
        error = await failing
        self.assertIn(f'{TITLE} cannot be used: it is being closed', error.msg)


class GuaranteedTests(WithOutgoing):
    def setUp(self) -> None:
        self.work = self.stored_messages = MemoryWorkStream(Clock())
        super().setUp()

    async def test_stores_the_frames(self) -> None:
        """`send` stores the frames of the message and returns its id; `call`, which waits for a reply, is made
        directly; a message that cannot be sent is refused at once."""
        address = f'tcp://127.0.0.1:{free_port()}'
        await self.configure(address, socket_type=REQ, delivery=GUARANTEED, timeout=0.2, max_message_size=2048)
        identifier = await self.send({'a': 1}, timeout=3)
        (entry,) = self.stored_messages.queue('').entries.values()
        message = decode_work(entry.body, 'x')
        self.assertEqual(message.id, identifier)
        self.assertEqual(message.payload, {'kind': 'zmq', 'name': 'Out', 'method': 'send', 'args': [[b'{"a":1}']],
                                           'kwargs': {'timeout': 3}})  # fmt: skip
        await self.assertFailure(self.call('direct'), ServiceUnavailable)
        wrong: Any
        for wrong in (1, [], bytes(2049)):
            with self.assertRaises(BadRequest) as caught:
                self.outgoing.namespaces['zmq'](Asking())['Out'].send(wrong)
            self.assertIn("self.out.zmq['Out'].send: its arguments cannot be stored", caught.exception.msg)

    async def test_delivered_when_the_socket_has_it(self) -> None:
        """The call that sends a stored message is over when the socket has taken the message: a queue in memory would
        lose it with the process. Without a peer the call fails, and nothing of it is sent later."""
        address = f'tcp://127.0.0.1:{free_port()}'
        await self.configure(address, delivery=GUARANTEED, timeout=0.2)
        await self.until(lambda: list(self.outgoing.findings()))  # which say that nobody is there
        deliver = self.outgoing.namespaces['zmq'](Asking(service=DELIVER_SERVICE))['Out']
        error = await self.assertFailure(Deferred.fromCoroutine(deliver.send([b'early'])), ServiceUnavailable)
        self.assertEqual(error.msg, f'{TITLE} cannot be used: nobody is at the address {address}')
        self.assertEqual(self.figure('queued'), 0)
        peer = self.socket(zmq.PULL)
        peer.bind(address)
        await self.connected_to_peer()
        await deliver.send([b'again'])
        self.assertEqual(await self.read(peer), [b'again'])


class DealerTests(WithOutgoing):
    async def test_sends_and_calls(self) -> None:
        """`send` waits for no reply; `call` does, and the peer sees an envelope as of REQ."""
        peer, address = self.bound(zmq.ROUTER)
        await self.configure(address, socket_type=DEALER)
        await self.send('one way')
        self.assertEqual((await self.read(peer))[1:], [b'one way'])
        call = self.call('question')
        identity, request_id, delimiter, body = await self.read(peer)
        self.assertEqual((delimiter, body), (b'', b'question'))
        peer.send_multipart([identity, b'nobody asked for this'])
        peer.send_multipart([identity, request_id, b'', b'answer'])
        self.assertEqual(await call, b'answer')
        self.assertEqual(self.figure('late_replies'), 1)


def _binds(socket: Any, address: str) -> bool:
    try:
        socket.bind(address)
    except zmq.ZMQError:
        return False
    return True


