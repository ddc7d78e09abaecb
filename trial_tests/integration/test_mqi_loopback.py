"""The loopback queue manager, through unmodified pymqi: what it promises to those who test with it."""

from __future__ import annotations

import struct
import time
from itertools import count
from threading import Thread, Timer
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import mqi_loopback
from trial_tests.support.waiting import allowed

_numbers = count()


class MqiCase(SynchronousTestCase):
    """A queue of the shared queue manager for each test."""

    def setUp(self) -> None:
        self.qmgr = mqi_loopback.shared()
        self.queue = f'MQI.{next(_numbers)}'
        self.qmgr.define(self.queue)
        import pymqi

        self.mqi: Any = pymqi
        self.c: Any = pymqi.CMQC

    def connect(self, options: int | None = None, **fields: Any) -> Any:
        """A handle. It is disconnected when the test ends."""
        definition = self.mqi.CD(ChannelName=b'DEV.APP.SVRCONN',
                                 ConnectionName=f'127.0.0.1({self.qmgr.port})'.encode())  # fmt: skip
        manager = self.mqi.QueueManager(None)
        manager.connect_with_options(fields.pop('name', 'QM1'), **{
            'cd': definition, 'opts': self.c.MQCNO_HANDLE_SHARE_BLOCK if options is None else options,
            'user': mqi_loopback.USER, 'password': mqi_loopback.PASSWORD, **fields,
        })  # fmt: skip
        return manager

    def open(self, manager: Any, options: int | None = None, queue: str = '') -> Any:
        """The queue of the test, for all purposes."""
        all_of = self.c.MQOO_OUTPUT | self.c.MQOO_INPUT_SHARED | self.c.MQOO_INQUIRE
        return self.mqi.Queue(manager, queue or self.queue, all_of if options is None else options)

    def get(self, queue: Any, options: int = 0, wait: int = 0, **fields: Any) -> tuple[bytes, Any]:
        """A message and its descriptor."""
        flags = options | (self.c.MQGMO_WAIT if wait else 0)
        descriptor = self.mqi.MD(**fields)
        found = queue.get(None, descriptor, self.mqi.GMO(Options=flags, WaitInterval=wait))
        return found, descriptor

    def refused(self, reason: int, function: Any, *args: Any, **named: Any) -> None:
        error = self.assertRaises(self.mqi.MQMIError, function, *args, **named)
        self.assertEqual(error.reason, reason)


class StructureTests(MqiCase):
    def test_structures_have_the_sizes_of_the_published_interface(self) -> None:
        """pymqi's own layouts, which come from IBM's headers, agree with those of the library."""
        sizes = {'OD': 424, 'MD': 364, 'PMO': 184, 'GMO': 112, 'SD': 344}
        self.assertEqual({name: getattr(self.mqi, name)().get_length() for name in sizes}, sizes)
        self.assertEqual(struct.calcsize('P'), 8)

    def test_calls_that_it_does_not_have(self) -> None:
        """They are refused, never ignored: subscriptions, message handles, PCF commands, browsing."""
        manager = self.connect()
        self.assertEqual(self.mqi.pymqe.MQSUB(manager.get_handle(), self.mqi.SD().pack(), 0)[-2:], (2, 2298))
        self.assertEqual(self.mqi.pymqe.MQCRTMH(manager.get_handle(), self.mqi.CMHO().pack())[-2:], (2, 2298))
        self.refused(2298, self._execute, manager)
        self.refused(2046, self.open, manager, self.c.MQOO_BROWSE)

    def _execute(self, manager: Any) -> None:
        found = self.mqi.pymqe.mqaiExecute(manager.get_handle(), 1, {}, [])
        raise self.mqi.MQMIError(*found[-2:])


class ConnectionTests(MqiCase):
    def test_who_may_connect(self) -> None:
        """2035, 2058, 2540, 2538; nobody learns more."""
        self.refused(2035, self.connect, password='wrong')
        self.refused(2058, self.connect, name='OTHER')
        self.qmgr.control('configure', channels={'OTHER': ''})
        self.refused(2540, self.connect)
        self.qmgr.control('configure', channels={})
        self.qmgr.control('configure', is_available=False)
        self.refused(2059, self.connect)
        self.qmgr.control('configure', is_available=True)
        definition = self.mqi.CD(ChannelName=b'X', ConnectionName=b'127.0.0.1(1)')
        self.refused(2538, self.connect, cd=definition)

    def test_a_handle_belongs_to_its_thread(self) -> None:
        """2018 in another one, unless the handle is shared."""
        reasons: list[int] = []

        def use(manager: Any) -> None:
            try:
                manager.commit()
                reasons.append(0)
            except self.mqi.MQMIError as error:
                reasons.append(error.reason)

        for options in (self.c.MQCNO_NONE, self.c.MQCNO_HANDLE_SHARE_BLOCK):
            manager = self.connect(options)
            thread = Thread(target=use, args=(manager,))
            thread.start()
            thread.join()
        self.assertEqual(reasons, [2018, 0])

    def test_lost_connection(self) -> None:
        """2009, and for each call after that; the unit of work is backed out."""
        manager = self.connect()
        queue = self.open(manager)
        queue.put(b'abc', self.mqi.MD(), self.mqi.PMO(Options=self.c.MQPMO_SYNCPOINT))
        self.qmgr.control('break')
        self.refused(2009, manager.commit)
        self.refused(2009, queue.put, b'abc')
        self.assertEqual(self.qmgr.depth(self.queue), 0)

    def test_disconnecting_commits(self) -> None:
        """MQDISC commits what is uncommitted: a trap for those who leave it to a garbage collector."""
        manager = self.connect()
        self.open(manager).put(b'abc', self.mqi.MD(), self.mqi.PMO(Options=self.c.MQPMO_SYNCPOINT))
        self.assertEqual(self.qmgr.browse(self.queue), [])
        manager.disconnect()
        self.assertEqual(self.qmgr.browse(self.queue), [b'abc'])

    def test_quiescing(self) -> None:
        """2161 for those who ask for it, at once for an MQGET that waits, and for new connections."""
        manager = self.connect()
        queue = self.open(manager)
        timer = Timer(0.2, self.qmgr.control, ['quiesce'], {'reason': 2161})
        timer.start()
        began = time.monotonic()
        self.refused(2161, self.get, queue, self.c.MQGMO_FAIL_IF_QUIESCING, 5000)
        self.assertLess(time.monotonic() - began, allowed(4))
        timer.join()
        self.refused(2161, self.connect)
        self.qmgr.control('quiesce', reason=0)
        queue.put(b'abc')


class MessageTests(MqiCase):
    def test_get_and_put(self) -> None:
        """What is put is what is got, with the descriptor that the queue manager completed."""
        queue = self.open(self.connect())
        queue.put(b'abc\0def', self.mqi.MD(Format=b'MQSTR   ', Persistence=1, Priority=3))
        found, descriptor = self.get(queue)
        self.assertEqual((found, descriptor.Format, descriptor.Priority), (b'abc\0def', b'MQSTR   ', 3))
        self.assertTrue(descriptor.MsgId.startswith(b'AMQ QM1         '))
        self.assertEqual((descriptor.UserIdentifier.strip(), len(descriptor.PutDate.strip())), (b'app', 8))

    def test_waiting(self) -> None:
        """2033 at once or after the wait; a message that comes meanwhile ends it."""
        queue = self.open(self.connect())
        self.refused(2033, self.get, queue)
        began = time.monotonic()
        self.refused(2033, self.get, queue, 0, 200)
        self.assertGreaterEqual(time.monotonic() - began, 0.19)
        timer = Timer(0.1, self.qmgr.put, [b'late', self.queue])
        timer.start()
        self.assertEqual(self.get(queue, 0, 5000)[0], b'late')
        timer.join()

    def test_units_of_work(self) -> None:
        """Each handle has its own: what one has put is seen after its commit, what it backs out comes again with one
        more in its back-out count."""
        first, second = self.connect(), self.connect()
        writer, reader = self.open(first), self.open(second)
        for text in (b'one', b'two'):
            writer.put(text, self.mqi.MD(Persistence=1), self.mqi.PMO(Options=self.c.MQPMO_SYNCPOINT))
        self.refused(2033, self.get, reader)
        first.commit()
        for expected in range(3):
            found, descriptor = self.get(reader, self.c.MQGMO_SYNCPOINT)
            self.assertEqual((found, descriptor.BackoutCount), (b'one', expected))
            self.assertEqual(self.get(writer, self.c.MQGMO_SYNCPOINT)[0], b'two')
            first.backout()
            second.backout()
        writer.put(b'gone', self.mqi.MD(), self.mqi.PMO(Options=self.c.MQPMO_SYNCPOINT))
        first.backout()
        self.assertEqual(self.qmgr.browse(self.queue), [b'one', b'two'])

    def test_too_large(self) -> None:
        """2080 leaves the message where it is, and pymqi gets it with its second call; 2079 where that is accepted."""
        queue = self.open(self.connect())
        queue.put(b'x' * 10_000)
        error = self.assertRaises(self.mqi.MQMIError, queue.get, 100)
        self.assertEqual((error.reason, error.original_length, self.qmgr.depth(self.queue)), (2080, 10_000, 1))
        self.assertEqual(len(queue.get()), 10_000)
        queue.put(b'x' * 1000)
        options = self.mqi.GMO(Options=self.c.MQGMO_ACCEPT_TRUNCATED_MSG)
        error = self.assertRaises(self.mqi.MQMIError, queue.get, 100, self.mqi.MD(), options)
        self.assertEqual((error.reason, len(error.message), self.qmgr.depth(self.queue)), (2079, 100, 0))

    def test_matching(self) -> None:
        """MsgId and CorrelId select messages."""
        queue = self.open(self.connect())
        for number in range(3):
            queue.put(b'%d' % number, self.mqi.MD(CorrelId=b'%d' % number * 24))
        self.assertEqual(self.get(queue, CorrelId=b'1' * 24)[0], b'1')
        self.refused(2033, self.get, queue, CorrelId=b'1' * 24)
        self.assertEqual(self.get(queue)[0], b'0')

    def test_limits(self) -> None:
        """2016, 2024, 2030, 2042, 2051, 2053, 2085, 2035 by queue; attributes can be inquired and set."""
        manager = self.connect()
        purposes = self.c.MQOO_OUTPUT | self.c.MQOO_INPUT_SHARED | self.c.MQOO_INQUIRE | self.c.MQOO_SET
        queue = self.open(manager, purposes)
        self.qmgr.define(self.queue, max_message_length=5, max_depth=1)
        self.refused(2030, queue.put, b'123456')
        queue.put(b'12345')
        self.refused(2053, queue.put, b'1')
        self.assertEqual(queue.inquire(self.c.MQIA_CURRENT_Q_DEPTH), 1)
        queue.set(self.c.MQIA_INHIBIT_GET, 1)
        queue.set(self.c.MQIA_INHIBIT_PUT, 1)
        self.refused(2016, queue.get)
        self.refused(2051, queue.put, b'1')
        self.refused(2085, self.open, manager, queue='NO.SUCH')
        self.refused(2042, self.open, manager, self.c.MQOO_INPUT_EXCLUSIVE)
        self.qmgr.define(self.queue, denied_users=[mqi_loopback.USER], inhibit_put=0, max_depth=100)
        self.refused(2035, self.open, manager)
        self.qmgr.control('configure', max_uncommitted=1)
        options = self.mqi.PMO(Options=self.c.MQPMO_SYNCPOINT)
        queue.put(b'1', self.mqi.MD(), options)
        self.refused(2024, queue.put, b'2', self.mqi.MD(), options)
        self.qmgr.control('configure', max_uncommitted=10_000)

    def test_faults(self) -> None:
        """Any reason code, once or several times; 2003 backs out."""
        manager = self.connect()
        queue = self.open(manager)
        self.qmgr.fault('MQPUT', 2102, count=2)
        self.refused(2102, queue.put, b'1')
        self.refused(2102, queue.put, b'1')
        queue.put(b'1', self.mqi.MD(), self.mqi.PMO(Options=self.c.MQPMO_SYNCPOINT))
        self.qmgr.fault('MQCMIT', 2003)
        self.refused(2003, manager.commit)
        self.assertEqual(self.qmgr.depth(self.queue), 0)


class RestartTests(MqiCase):
    def test_persistent_messages_survive_kill(self) -> None:
        """After kill -9 persistent messages that were committed are there, got ones that were not, too; others not."""
        qmgr = mqi_loopback.LoopbackQueueManager()
        self.addCleanup(qmgr.close)
        qmgr.start()
        self.qmgr, self.queue = qmgr, mqi_loopback.QUEUE
        manager = self.connect()
        queue = self.open(manager)
        syncpoint = self.mqi.PMO(Options=self.c.MQPMO_SYNCPOINT)
        queue.put(b'persistent', self.mqi.MD(Persistence=1))
        queue.put(b'not', self.mqi.MD(Persistence=0))
        queue.put(b'uncommitted', self.mqi.MD(Persistence=1), syncpoint)
        self.assertEqual(self.get(queue, self.c.MQGMO_SYNCPOINT)[0], b'persistent')
        qmgr.kill()
        self.refused(2009, manager.commit)
        qmgr.start()
        self.assertEqual(qmgr.browse(), [b'persistent'])
