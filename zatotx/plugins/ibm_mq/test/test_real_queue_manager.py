"""What every queue manager does: on the loopback, or on a real one where ZATOTX_TEST_MQ names one.

ZATOTX_TEST_MQ is 'QUEUE_MANAGER CHANNEL CONNECTION_NAME USER PASSWORD QUEUE OTHER_QUEUE'; both queues are empty, and
may be written to. See docs/ibm-mq.md.
"""

from __future__ import annotations

import os
import time
from itertools import count
from typing import Any

from attrs import evolve, frozen
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import mqi_loopback
from zatotx.plugins.ibm_mq.driver_loading import connect
from zatotx.plugins.ibm_mq.mqi_interfaces import ConnectOptions, MqiError, QueueManagerHandle
from zatotx.plugins.ibm_mq.reason_codes import Action, explain
from zatotx.plugins.ibm_mq.wire.jms import MessageToSend, decode_message, encode_message

VARIABLE = 'ZATOTX_TEST_MQ'
_numbers = count()


@frozen(kw_only=True)
class QueueManagerUnderTest:
    """Where the queue manager is, and two queues of it."""

    options: ConnectOptions
    queue: str
    other: str


class QueueManagerContract:
    """Mixin: the driver with a queue manager."""

    def queue_manager(self) -> QueueManagerUnderTest:
        """The queue manager of the test."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.peer = self.queue_manager()
        self.handle = self.opened()

    def opened(self, **changes: Any) -> QueueManagerHandle:
        """A handle that is closed when the test ends."""
        handle = connect(evolve(self.peer.options, **changes))
        case: Any = self
        case.addCleanup(handle.close)
        return handle

    def send(self, body: str | bytes, **fields: Any) -> bytes:
        """Send a JMS message in a unit of work of its own: its identifier."""
        message = MessageToSend(body=body, queue=self.peer.queue, **fields)
        descriptor, data = encode_message(message, use_jms=True, needs_mcd=False, now=int(time.time() * 1000))
        found = self.handle.put(self.peer.queue, descriptor, data, syncpoint=True)
        self.handle.commit()
        return found

    def test_ping(self) -> None:
        """The queue manager says its name."""
        case: Any = self
        case.assertIn(self.peer.options.queue_manager, self.handle.ping())

    def test_jms_messages(self) -> None:
        """Text, bytes and properties come back as they were sent."""
        case: Any = self
        handle = self.opened()
        queue = handle.open_input(self.peer.queue, with_properties=True)
        for body in ('Zażółć', b'\0\xff' * 1000, 'x' * 200_000):
            identifier = self.send(body, properties={'color': 'red', 'n': 7}, correlation_id='c-1', priority=3)
            got = queue.get(5)
            assert got is not None
            message = decode_message(got.descriptor, got.data, use_jms=True)
            case.assertEqual(message.body, body.encode() if isinstance(body, str) else body)
            case.assertEqual((message.headers['color'], message.headers['n']), ('red', '7'))
            case.assertEqual((message.headers['JMSCorrelationID'], message.headers['JMSPriority']), ('c-1', '3'))
            case.assertEqual(got.descriptor.message_id, identifier)
            handle.commit()

    def test_units_of_work(self) -> None:
        """What is backed out comes again, with one more in its count; what is committed does not."""
        case: Any = self
        self.send('abc')
        handle = self.opened()
        queue = handle.open_input(self.peer.queue, with_properties=True)
        for expected in (0, 1):
            got = queue.get(5)
            assert got is not None
            case.assertEqual(got.descriptor.backout_count, expected)
            handle.back_out()
        got = queue.get(5)
        assert got is not None
        handle.put(self.peer.other, got.descriptor, got.data, syncpoint=True)
        handle.commit()
        case.assertIsNone(queue.get(0.2))
        moved = handle.open_input(self.peer.other, with_properties=True).get(5)
        assert moved is not None
        case.assertEqual(moved.descriptor.message_id, got.descriptor.message_id)
        handle.commit()

    def test_a_handle_that_is_closed_backs_out(self) -> None:
        """Closing a handle leaves its message on the queue, though MQDISC commits."""
        self.send('abc')
        handle = self.opened()
        queue = handle.open_input(self.peer.queue, with_properties=True)
        assert queue.get(5) is not None
        handle.close()
        handle = self.opened()
        assert handle.open_input(self.peer.queue, with_properties=True).get(5) is not None
        handle.commit()

    def test_waiting(self) -> None:
        """A queue without messages gives None after the wait."""
        case: Any = self
        queue = self.handle.open_input(self.peer.queue, with_properties=True)
        began = time.monotonic()
        case.assertIsNone(queue.get(0.3))
        case.assertLess(0.25, time.monotonic() - began)

    def test_configuration_errors(self) -> None:
        """A wrong password and an unknown queue are errors of the configuration."""
        case: Any = self
        error = case.assertRaises(MqiError, self.handle.open_input, 'ZATOTX.NO.SUCH', with_properties=True)
        case.assertEqual((error.reason, explain(error.reason).action), (2085, Action.CONFIGURATION))
        error = case.assertRaises(MqiError, self.opened, password='wrong')
        case.assertEqual(error.reason, 2035)


if VARIABLE in os.environ:  # then pymqi is IBM's, which the loopback cannot stand beside

    class RealQueueManagerTests(QueueManagerContract, SynchronousTestCase):
        """The queue manager that ZATOTX_TEST_MQ names."""

        def queue_manager(self) -> QueueManagerUnderTest:
            name, channel, connection_name, user, password, queue, other = os.environ[VARIABLE].split()
            options = ConnectOptions(connection_name=connection_name, channel=channel, queue_manager=name, user=user,
                                     password=password)  # fmt: skip
            return QueueManagerUnderTest(options=options, queue=queue, other=other)

else:

    class LoopbackTests(QueueManagerContract, SynchronousTestCase):
        """The loopback queue manager."""

        def queue_manager(self) -> QueueManagerUnderTest:
            mqi_loopback.install()
            qmgr = mqi_loopback.shared()
            queues = [f'REAL.{next(_numbers)}' for _ in range(2)]
            for queue in queues:
                qmgr.define(queue)
            options = ConnectOptions(
                connection_name=f'127.0.0.1({qmgr.port})', channel=mqi_loopback.CHANNEL, queue_manager=qmgr.name,
                user=mqi_loopback.USER, password=mqi_loopback.PASSWORD,
            )  # fmt: skip
            return QueueManagerUnderTest(options=options, queue=queues[0], other=queues[1])
