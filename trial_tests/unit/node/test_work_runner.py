"""Runs of the messages of the work stream, on the double of the stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zatotx.interfaces.config import NodeRow
from zatotx.interfaces.pipeline import IDispatcher, IPendingRequest
from zatotx.model.errors import BadRequest, ServiceUnavailable
from zatotx.model.message import Message, Reply, ServiceResult
from zatotx.model.work_message import WORK_VERSION, ValueReply, WorkMessage
from zatotx.node.work_runner import NEWER_DELAY, TENDED_BY, WorkContext, WorkRunner
from zatotx.testing.memory_work_stream import MemoryWorkConsumer, MemoryWorkStream
from zatotx.testing.work_stream_contract import make_numbered_work_message


@implementer(IPendingRequest)
class Pending:
    def __init__(self, dispatcher: ScriptedDispatcher, answered: Callable[[Reply], None]) -> None:
        self.dispatcher, self.answered = dispatcher, answered

    def cancel(self) -> None:
        self.dispatcher.cancelled += 1


@implementer(IDispatcher)
class ScriptedDispatcher:
    """Replies at once with `outcome(message)`: a result or an error; None = the test replies later."""

    def __init__(self) -> None:
        self.outcome: Callable[[Message], Any] = lambda message: 'ok'
        self.messages: list[Message] = []
        self.pending: list[Pending] = []
        self.cancelled = 0

    def deliver(self, message: Message, on_reply: Callable[[Reply], None]) -> Any:
        self.messages.append(message)
        pending = Pending(self, on_reply)
        outcome = self.outcome(message)
        if outcome is None:
            self.pending.append(pending)
        else:
            on_reply(reply(outcome))
        return pending

    def authenticate(self, message: Message, on_result: Callable[[Reply | None], None]) -> Any:
        """The work stream does not ask."""


def reply(outcome: Any) -> ValueReply:
    made = ValueReply(200, b'', b'', error=outcome if isinstance(outcome, Exception) else None)
    made.result = ServiceResult(outcome)
    return made


class Letters:
    """Dead letters in memory."""

    def __init__(self) -> None:
        self.stored: list[WorkMessage] = []
        self.is_away = False

    def store_dead_letter(self, message: WorkMessage) -> Deferred[None]:
        if self.is_away:
            return fail(ServiceUnavailable(None, 'The ODB is away'))
        self.stored.append(message)
        return succeed(None)

    def count_dead_letters(self) -> Deferred[int]:
        return succeed(len(self.stored))


class RunnerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.work = MemoryWorkStream(self.clock)
        self.dispatcher, self.letters = ScriptedDispatcher(), Letters()
        self.room = self.exists = True
        self.runner = self.another('server1', 1)

    def another(self, node: str, node_id: int, concurrency: int = 5) -> WorkRunner:
        letters: Any = self.letters
        context = WorkContext(
            dispatcher=self.dispatcher, dead_letters=letters, clock=self.clock, has_room=lambda name: self.room,
            has_service=lambda name: self.exists, concurrency=concurrency, now=self.clock.seconds, random=lambda: 0.5,
        )  # fmt: skip
        runner = WorkRunner(context=context, make_consumer=lambda queue, name: self.work.consumer(name, queue),
                            node=node)  # fmt: skip
        runner.start(node_id)
        return runner

    def add(self, *messages: WorkMessage) -> None:
        self.successResultOf(self.work.add(messages))

    def left(self) -> int:
        """The number of messages that are not settled, delayed ones included."""
        queue = self.work.queue('')
        return len(queue.entries) + len(queue.delayed)

    def beat(self, *alive: int, times: int = 1, among: tuple[int, ...] = (1, 2)) -> None:
        """Heartbeats of the first node, in which only these nodes changed their rows."""
        for _ in range(times):
            now = self.clock.seconds()
            self.runner.heartbeat([
                NodeRow(id=id_, name=f'server{id_}', up_status='running', seen_at=now if id_ in alive else 0.5)
                for id_ in among
            ])
            self.clock.advance(2)


class RunTests(RunnerCase):
    def test_success(self) -> None:
        """A message runs with its payload, cid, channel and principal, and is removed."""
        self.add(make_numbered_work_message(1))
        (message,) = self.dispatcher.messages
        value: Any = message
        self.assertEqual((message.cid, message.service, value.value), ('cid-1', 'a.b', {'n': 1}))
        self.assertEqual((message.channel.kind, message.principal and message.principal.kind),
                         ('invoke-async', 'anonymous'))  # fmt: skip
        self.assertEqual((self.left(), self.runner.counters.runs, self.runner.counters.running), (0, 1, 0))

    def test_callbacks(self) -> None:
        """The result goes to each callback, with the cid that it replies to."""
        self.add(make_numbered_work_message(1, callbacks=('one', 'two')))
        self.assertEqual([m.service for m in self.dispatcher.messages], ['a.b', 'one', 'two'])
        called: Any = self.dispatcher.messages[2]
        self.assertEqual((called.value, called.channel.kind, called.headers[b'x-zato-in-reply-to']),
                         ('ok', 'invoke-async-callback', b'cid-1'))  # fmt: skip
        self.assertNotEqual(called.cid, 'cid-1')

    def test_result_that_cannot_be_passed(self) -> None:
        """A result that cannot be stored for callbacks makes the message a dead letter that says so."""
        self.dispatcher.outcome = lambda message: object()
        self.add(make_numbered_work_message(1, callbacks=('one',)))
        self.assertIn('cannot be passed to callbacks', self.letters.stored[0].cause)
        self.assertEqual(self.left(), 0)

    def test_retries_and_dead_letter(self) -> None:
        """A service that fails runs five times; then the dead letter has the history, and the message is removed."""
        self.dispatcher.outcome = lambda message: RuntimeError('boom')
        self.add(make_numbered_work_message(1))
        counts = []
        for _ in range(36):
            counts.append(len(self.dispatcher.messages))
            self.clock.advance(1)
        self.assertEqual([counts.index(n) for n in range(1, 6)], [0, 1, 4, 13, 31])
        (letter,) = self.letters.stored
        self.assertEqual((letter.attempts, letter.first_failed, letter.last_failed, letter.cause),
                         (5, letter.first_failed, 31.0, 'RuntimeError: boom'))  # fmt: skip
        self.assertEqual((self.left(), self.runner.counters.retries, self.runner.counters.dead_letters), (0, 4, 1))
        self.flushLoggedErrors()

    def test_permanent_error(self) -> None:
        """A message that its service says is wrong is a dead letter at once."""
        self.dispatcher.outcome = lambda message: BadRequest(None, 'no such account')
        self.add(make_numbered_work_message(1))
        self.assertEqual([letter.attempts for letter in self.letters.stored], [1])
        self.assertEqual(self.letters.stored[0].cause, 'BadRequest: no such account')

    def test_missing_service(self) -> None:
        """A service that is missing may be deployed again: the message is retried, then a dead letter."""
        self.exists = False
        self.dispatcher.outcome = lambda message: BadRequest(None, 'No such service')
        self.add(make_numbered_work_message(1))
        self.assertEqual((self.letters.stored, self.left()), ([], 1))
        for _ in range(36):
            self.clock.advance(1)
        self.assertEqual([letter.attempts for letter in self.letters.stored], [5])

    def test_expired(self) -> None:
        """A message that has expired does not run, and is counted."""
        self.clock.advance(10)
        self.add(make_numbered_work_message(1, expires_at=9.0), make_numbered_work_message(2, expires_at=11.0))
        self.assertEqual([m.cid for m in self.dispatcher.messages], ['cid-2'])
        self.assertEqual((self.left(), self.runner.counters.expired), (0, 1))

    def test_newer_version(self) -> None:
        """A message that a newer version of zatotx wrote is neither run nor lost, whatever its form: it stays in the
        work stream for the nodes of that version."""
        newer = msgspec.msgpack.encode({'version': WORK_VERSION + 1, 'id': ['another', 'form'], 'added': True})
        self.work.append('', newer)
        self.add(make_numbered_work_message(2))
        for _ in range(20):
            self.clock.advance(NEWER_DELAY / 2)
        self.assertEqual([message.cid for message in self.dispatcher.messages], ['cid-2'])
        self.assertEqual(self.letters.stored, [])
        self.assertGreater(self.runner.counters.newer, 3)
        self.runner.drain()
        queue = self.work.queue('')
        self.assertEqual([body for _, body in queue.delayed] + [one.body for one in queue.entries.values()], [newer])

    def test_full_server(self) -> None:
        """While the concurrency limits admit nothing, messages wait; that is no attempt."""
        self.room = False
        self.add(make_numbered_work_message(1))
        self.clock.pump([0.5] * 20)
        self.assertEqual((self.dispatcher.messages, self.left()), ([], 1))
        self.room = True
        self.clock.advance(1)
        self.assertEqual((len(self.dispatcher.messages), self.left()), (1, 0))

    def test_no_more_than_the_limit(self) -> None:
        """A process takes no more messages than it may run at once; the others are left to other processes."""
        self.dispatcher.outcome = lambda message: None
        self.add(*(make_numbered_work_message(number) for number in range(8)))
        self.assertEqual(len(self.dispatcher.messages), 5)
        self.dispatcher.pending[0].answered(reply('ok'))
        self.assertEqual(len(self.dispatcher.messages), 6)

    def test_idle(self) -> None:
        """An idle process reads each queue three times a minute, and not more often."""
        self.clock.advance(0)
        calls = len(self.clock.getDelayedCalls())
        self.assertEqual(calls, 2)
        self.assertGreater(min(call.getTime() for call in self.clock.getDelayedCalls()), 15)


class OutageTests(RunnerCase):
    def test_odb_away(self) -> None:
        """Without the ODB, a message that is given up stays that of this process until its dead letter is stored."""
        self.letters.is_away = True
        self.dispatcher.outcome = lambda message: BadRequest(None, 'x')
        self.add(make_numbered_work_message(1))
        self.clock.pump([1] * 20)
        self.assertEqual(self.left(), 1)
        self.letters.is_away = False
        self.clock.advance(10)
        self.assertEqual((self.left(), len(self.letters.stored), len(self.dispatcher.messages)), (0, 1, 1))

    def test_broker_away(self) -> None:
        """Without the broker, results are stored when it is back; nothing runs twice meanwhile."""
        self.dispatcher.outcome = lambda message: None
        self.add(make_numbered_work_message(1))
        consumer: Any = self.runner._queues[0].consumer
        consumer.problem = ServiceUnavailable(None, 'Redis is away')
        self.dispatcher.pending[0].answered(reply('ok'))
        self.clock.pump([1] * 20)
        self.assertEqual(self.left(), 1)
        consumer.problem = None
        self.clock.pump([1] * 10)
        self.assertEqual((self.left(), len(self.dispatcher.messages)), (0, 1))


class DeathTests(RunnerCase):
    def test_dead_node(self) -> None:
        """The messages of a node without heartbeats run here; those of a node that lives do not, however long they
        take."""
        self.runner.drain()
        self.dispatcher.outcome = lambda message: None
        second = self.another('server2', 2)
        self.add(make_numbered_work_message(1))
        self.runner = self.another('server1', 1)
        self.beat(1, 2, times=50)
        self.assertEqual(len(self.dispatcher.messages), 1)
        second.drain()
        self.beat(1, times=3)
        self.assertEqual(len(self.dispatcher.messages), 1)
        self.beat(1, times=1)
        self.assertEqual((len(self.dispatcher.messages), self.runner.counters.recovered), (2, 1))

    def test_large_cluster(self) -> None:
        """In a large cluster the nodes take turns at taking over messages, so that the load of the broker does not grow
        with the square of their number; what a dead node had still runs."""
        others = tuple(range(3, 3 + 4 * TENDED_BY))
        self.runner.drain()
        self.add(make_numbered_work_message(1))
        self.successResultOf(self.work.consumer('2.dead').take(1, 0))
        self.runner = self.another('server1', 1)
        asked: list[str] = []
        recover = MemoryWorkConsumer.recover

        def note(consumer: MemoryWorkConsumer, *args: Any) -> Deferred[Any]:
            asked.append(consumer.queue)
            return recover(consumer, *args)

        self.patch(MemoryWorkConsumer, 'recover', note)
        self.beat(1, *others, times=16, among=(1, 2, *others))
        self.assertEqual(asked.count(''), 4)
        self.assertEqual([message.cid for message in self.dispatcher.messages], ['cid-1'])

    def test_odb_outage(self) -> None:
        """While this node cannot write its heartbeat, no other node is taken for dead."""
        self.runner.drain()
        self.dispatcher.outcome = lambda message: None
        self.another('server2', 2)
        self.add(make_numbered_work_message(1))
        self.runner = self.another('server1', 1)
        self.beat(1, 2)
        for _ in range(10):
            self.runner.heartbeat(None)
            self.clock.advance(2)
        self.beat(1, times=3)
        self.assertEqual(len(self.dispatcher.messages), 1)

    def test_process_before_us(self) -> None:
        """The messages of an earlier process with our row run at once: a row has one process at a time."""
        self.dispatcher.outcome = lambda message: None
        self.add(make_numbered_work_message(1))
        self.runner.drain()
        self.runner = self.another('server1', 1)
        self.beat(1)
        self.assertEqual(len(self.dispatcher.messages), 2)

    def test_poison(self) -> None:
        """A message that ends its process each time runs five times, then it is a dead letter."""
        self.dispatcher.outcome = lambda message: None
        self.add(make_numbered_work_message(1))
        for _ in range(60):
            runs = len(self.dispatcher.messages)
            self.runner.drain()
            self.runner = self.another('server1', 1)
            for _ in range(12):
                self.beat(1)
                if len(self.dispatcher.messages) > runs:
                    break
        self.assertEqual(len(self.dispatcher.messages), 5)
        (letter,) = self.letters.stored
        self.assertEqual((letter.attempts, letter.cause), (5, 'the process that ran it ended before the service did'))
        self.assertEqual(self.left(), 0)

    def test_suspects_run_one_at_a_time(self) -> None:
        """Messages whose process has died twice may be the reason: they run one after another."""
        self.dispatcher.outcome = lambda message: None
        self.add(make_numbered_work_message(1), make_numbered_work_message(2), make_numbered_work_message(3))
        for _ in range(2):
            self.runner.drain()
            self.runner = self.another('server1', 1)
            self.beat(1)
        runs = len(self.dispatcher.messages)
        self.beat(1, times=3)
        self.assertEqual(len(self.dispatcher.messages), runs + 1)
        self.dispatcher.pending[-1].answered(reply('ok'))
        self.assertEqual(len(self.dispatcher.messages), runs + 2)


class StopTests(RunnerCase):
    def test_drain(self) -> None:
        """A stop waits for running messages, and takes no others; what is not done in time stays in the stream."""
        self.dispatcher.outcome = lambda message: None
        self.add(make_numbered_work_message(1), make_numbered_work_message(2))
        stopped = Deferred.fromCoroutine(self.runner.stop())
        self.add(make_numbered_work_message(3))
        self.dispatcher.pending[0].answered(reply('ok'))
        self.clock.advance(9)
        self.assertNoResult(stopped)
        self.clock.advance(2)
        self.successResultOf(stopped)
        self.assertEqual((self.dispatcher.cancelled, self.left(), len(self.dispatcher.messages)), (1, 2, 2))
