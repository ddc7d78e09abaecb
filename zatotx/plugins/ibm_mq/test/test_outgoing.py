"""Outgoing connections over real pymqi and the loopback queue manager."""

from __future__ import annotations

from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from trial_tests.support import mqi_loopback
from trial_tests.support.calling import Asking
from trial_tests.support.waiting import allowed
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.model.errors import BadGateway, BadRequest, ServiceUnavailable, Timeout
from zatotx.plugins.ibm_mq.outgoing import make_outgoing
from zatotx.plugins.ibm_mq.schema import MqOutgoing
from zatotx.plugins.ibm_mq.test.channel_case import definition
from zatotx.plugins.ibm_mq.wire.descriptor import MessageDescriptor
from zatotx.plugins.ibm_mq.wire.jms import DecodedMessage, decode_message
from zatotx.schema.circuit_breaker import CircuitBreakerSettings
from zatotx.schema.snapshot import Snapshot, StoredObject

_numbers = count()


class OutgoingCase(TestCase):
    """A connection `out`, and a queue of its own for each test."""

    timeout = 60.0

    def setUp(self) -> None:
        mqi_loopback.install()
        self.qmgr = self.find_queue_manager()
        self.queue = f'OUT.{next(_numbers)}'
        self.qmgr.define(self.queue)
        self.outgoing: Any = make_outgoing(OutgoingContext(
            reactor=self.reactor, settings={}, run_in_thread=deferToThread,
        ))  # fmt: skip
        self.addCleanup(self.outgoing.stop)

    def find_queue_manager(self) -> mqi_loopback.LoopbackQueueManager:
        """The shared queue manager."""
        return mqi_loopback.shared()

    @property
    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor

    async def configure(self, definition_fields: Any = None, **fields: Any) -> Any:
        """Return `self.out.ibm_mq['out']`."""
        value = MqOutgoing(**{'name': 'out', 'definition': 'QM1', 'queue': self.queue, **fields})
        objects = [definition(self.qmgr.port, **(definition_fields or {})),
                   StoredObject(2, 'outgoing_ibm_mq', value, 1)]  # fmt: skip
        await self.outgoing.apply(Snapshot(1, objects))
        return self.outgoing.namespaces['ibm_mq'](Asking())['out']

    async def error(self, sending: Any, kind: type[Exception]) -> str:
        """The text of what a call raises."""
        raised: Any = await self.assertFailure(Deferred.fromCoroutine(sending), kind)
        return str(raised)

    def received(self, queue: str = '') -> list[tuple[DecodedMessage, bytes]]:
        """The messages on a queue, as a channel would decode them, with their descriptors."""
        found = []
        for one in self.qmgr.control('browse', queue=queue or self.queue):
            raw = bytes.fromhex(one['descriptor'])
            name = raw[32:40].decode().strip()
            descriptor = MessageDescriptor(format=name, message_id=raw[48:72], correlation_id=raw[72:96])
            found.append((decode_message(descriptor, bytes.fromhex(one['data']), use_jms=True), raw))
        return found


class SendTests(OutgoingCase):
    """What is sent."""

    async def test_text(self) -> None:
        """Text becomes a persistent JMS text message with the priority of the connection; its identifier comes back."""
        connection = await self.configure()
        found = await connection.send('Zażółć', properties={'color': 'red'})
        ((message, raw),) = self.received()
        self.assertEqual((message.body.decode(), message.is_text, message.headers['color']), ('Zażółć', True, 'red'))
        self.assertEqual(found, 'ID:' + raw[48:72].hex())
        self.assertEqual(raw[40:48], bytes.fromhex('0500000001000000'))  # priority and persistence

    async def test_bytes_and_values(self) -> None:
        """Bytes are sent as they are; other values as JSON text."""
        connection = await self.configure()
        await connection.send(b'\0\xff')
        await connection.send({'a': [1]})
        self.assertEqual([(one.body, one.is_text) for one, _ in self.received()],
                         [(b'\0\xff', False), (b'{"a":[1]}', True)])  # fmt: skip

    async def test_fields_of_one_message(self) -> None:
        """Fields of a call have precedence over those of the connection."""
        connection = await self.configure(delivery_mode=2, priority=1, expiration=60_000)
        self.qmgr.define('OTHER')
        await connection.send('abc', 'queue:///OTHER', delivery_mode=1, priority=9, expiration=0, reply_to='BACK',
                              correlation_id='c-1')  # fmt: skip
        ((message, raw),) = self.received('OTHER')
        self.assertEqual(raw[12:20], bytes.fromhex('01000000ffffffff'))  # a request that does not expire
        self.assertEqual(raw[40:48], bytes.fromhex('0900000000000000'))
        self.assertEqual((message.headers['JMSReplyTo'], message.headers['JMSCorrelationID']), ('queue:///BACK', 'c-1'))

    async def test_zato_form(self) -> None:
        """`self.outgoing.jms_wmq.send(msg, name, queue, delivery_mode, expiration, priority, max_chars_printed)`."""
        await self.configure()
        await self.outgoing.namespaces['jms_wmq'](Asking()).send('abc', 'out', self.queue, 1, 60_000, 7, 10)
        ((_, raw),) = self.received()
        self.assertEqual(raw[40:48], bytes.fromhex('0700000000000000'))
        self.assertEqual(raw[16:20], bytes.fromhex('58020000'))  # 600 tenths of a second

    async def test_plain(self) -> None:
        """Without use_jms the message is the body alone."""
        connection = await self.configure(use_jms=False, ccsid=819)
        await connection.send('é')
        self.assertEqual(self.qmgr.browse(self.queue), [b'\xe9'])

    async def test_many_at_once(self) -> None:
        """More messages than connections wait for their turn; the connections are used again."""
        connection = await self.configure(pool_size=2)
        await gatherResults([Deferred.fromCoroutine(connection.send(str(number))) for number in range(50)])
        self.assertEqual(sorted(int(one.body) for one, _ in self.received()), list(range(50)))

    async def test_open_queues(self) -> None:
        """A handle keeps the queues of its messages open, unless cache_open_send_queues is false."""
        for is_cached in (False, True):
            connection = await self.configure({'cache_open_send_queues': is_cached})
            await connection.send('abc')
            self.assertEqual(self.qmgr.control('state')['queues'][self.queue]['outputs'], int(is_cached))

    async def test_ping(self) -> None:
        """A ping names the queue manager."""
        connection = await self.configure()
        self.assertIn('Queue manager QM1 answered in', await connection.ping())

    async def test_messages_that_cannot_be_sent(self) -> None:
        """Wrong fields are reported all at once, and what no message can hold with its reason."""
        connection = await self.configure(queue='', definition_fields={'max_message_size': 1024})
        with self.assertRaises(BadRequest) as caught:
            connection.send('abc', self.queue, delivery_mode=3, priority=10, expiration=-1)
        for text in ('connection out', 'delivery_mode must be 1 or 2', 'priority must be 0-9', 'expiration must be'):
            self.assertIn(text, str(caught.exception))
        self.assertIn('names no queue', await self.error(connection.send('abc'), BadRequest))
        self.assertIn('1024', await self.error(connection.send('x' * 2000, self.queue), BadRequest))
        self.assertRaises(BadRequest, connection.send, object())


class RefusedTests(OutgoingCase):
    """What the queue manager refuses, with the sentence of its reason code."""

    async def test_refused_messages(self) -> None:
        """An unknown queue, a full one, one that takes none, a message that is too large: the connection works on."""
        connection = await self.configure()
        self.assertIn('2085', await self.error(connection.send('abc', 'NO.SUCH'), BadGateway))
        for attributes, code, kind in (({'max_depth': 0}, '2053', ServiceUnavailable),
                                       ({'max_depth': 9, 'inhibit_put': 1}, '2051', ServiceUnavailable),
                                       ({'inhibit_put': 0, 'max_message_length': 10}, '2030', BadRequest)):
            self.qmgr.define(self.queue, **attributes)
            text = await self.error(connection.send('abc'), kind)
            self.assertIn('Outgoing connection out (ibm_mq)', text)
            self.assertIn(code, text)
        self.qmgr.define(self.queue, max_message_length=1_000_000)
        await connection.send('abc')

    async def test_syncpoint_limit(self) -> None:
        """2024 is passed on, and nothing stays uncommitted."""
        connection = await self.configure()
        self.qmgr.fault('MQPUT', 2024)
        self.assertIn('2024', await self.error(connection.send('abc'), ServiceUnavailable))
        await connection.send('next')
        self.assertEqual([one.body for one, _ in self.received()], [b'next'])


class FailureTests(OutgoingCase):
    """A queue manager that dies or freezes: the test's own."""

    def find_queue_manager(self) -> mqi_loopback.LoopbackQueueManager:
        return mqi_loopback.disposable()

    async def test_restart(self) -> None:
        """A message whose connection was lost before the commit is sent on a new one; none is lost or doubled."""
        connection = await self.configure()
        await connection.send('one')
        self.qmgr.kill()
        self.assertIn('reason code 2', await self.error(connection.send('away'), ServiceUnavailable))
        self.qmgr.start()
        await connection.send('two')
        self.qmgr.control('break')
        await connection.send('three')
        self.assertEqual([one.body for one, _ in self.received()], [b'one', b'two', b'three'])

    async def test_unknown_outcome(self) -> None:
        """A commit without an answer is an error that says so, and is not repeated."""
        connection = await self.configure()
        self.qmgr.fault('MQCMIT', 2009, after=True)
        text = await self.error(connection.send('abc'), ServiceUnavailable)
        self.assertIn('did not confirm a message, which may have been sent', text)
        self.assertEqual(len(self.received()), 1)

    async def test_frozen(self) -> None:
        """A call ends with Timeout at its time + 10 %; its thread is counted, the others go on, and the message that
        was given up is not sent later."""
        connection = await self.configure(timeout=0.5, pool_size=1)
        await connection.send('one')
        self.qmgr.freeze()
        for _ in range(2):  # the first one has abandoned its thread, so that the second one has one
            began = self.reactor.seconds()
            text = await self.error(connection.send('frozen'), Timeout)
            self.assertLess(self.reactor.seconds() - began, allowed(0.55))
            self.assertIn('Outgoing connection out (ibm_mq) gave no answer within 0.5 s', text)
        self.assertIn('do not return in 2 threads', ' '.join(self.outgoing.findings()))
        self.assertEqual(list(self.outgoing.metrics()), [('zatotx_ibm_mq_stuck_calls', (), 2)])
        self.qmgr.thaw()
        await connection.send('two')
        registry = self.outgoing.registries['outgoing_ibm_mq']
        while registry.connections['out'].stuck_threads:
            waiting: Deferred[None] = Deferred()
            self.reactor.callLater(0.02, waiting.callback, None)
            await waiting
        self.assertEqual([one.body for one, _ in self.received()], [b'one', b'two'])

    async def test_circuit_breaker(self) -> None:
        """After as many failures as configured nothing is tried until the time is over."""
        connection = await self.configure(circuit_breaker=CircuitBreakerSettings(failures=2, reset=60))
        self.qmgr.kill()
        for _ in range(2):
            await self.error(connection.send('abc'), ServiceUnavailable)
        self.assertIn('circuit breaker', await self.error(connection.send('abc'), ServiceUnavailable))
        self.assertIn('is cut off by its circuit breaker', ' '.join(self.outgoing.findings()))

    async def test_an_edit_while_messages_are_under_way(self) -> None:
        """The connection that was replaced sends what it has, and closes its handles."""
        connection = await self.configure()
        self.qmgr.control('delay', call='MQPUT', seconds=0.2)
        sending = Deferred.fromCoroutine(connection.send('old'))
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(0.1, waiting.callback, None)
        await waiting
        await (await self.configure(priority=9)).send('new')
        await sending
        self.assertEqual({one.body for one, _ in self.received()}, {b'old', b'new'})
