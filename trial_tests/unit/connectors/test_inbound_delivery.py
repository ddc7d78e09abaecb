"""The delivery policy of inbound messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zatotx.connectors.inbound_delivery import MessageDelivery
from zatotx.interfaces.inbound_delivery import DeadLetter, IDeadLetterSink, IIdempotencyKeyStore, InboundDelivery
from zatotx.interfaces.pipeline import IDispatcher, IPendingRequest
from zatotx.model.errors import BadRequest, NoSuchService, Overloaded
from zatotx.model.message import ChannelSpec, Message, Reply
from zatotx.rules.resilience.inbound_retry import InboundRetryPolicy

SPEC = ChannelSpec(name='in', kind='lines', service='crm')


def reply(error: Exception | None = None) -> Reply:
    return Reply(500 if error else 200, b'', b'', error=error)


@implementer(IDispatcher, IPendingRequest)
class Service:
    """A dispatcher whose replies the test gives; `outcomes` are replies that come at once."""

    def __init__(self) -> None:
        self.outcomes: list[Reply] = []
        self.messages: list[Message] = []
        self.waiting: list[Callable[[Reply], None]] = []
        self.cancelled = 0

    def deliver(self, message: Message, on_reply: Callable[[Reply], None]) -> Any:
        self.messages.append(message)
        if self.outcomes:
            on_reply(self.outcomes.pop(0))
        else:
            self.waiting.append(on_reply)
        return self

    def authenticate(self, message: Message, on_result: Callable[[Reply | None], None]) -> Any:
        """Channels of messages do not ask."""

    def cancel(self) -> None:
        self.cancelled += 1


@implementer(IDeadLetterSink, IIdempotencyKeyStore)
class Memory:
    """Dead letters and keys in memory."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.keys: set[str] = set()
        self.confirmed: list[tuple[str, float]] = []
        self.noted: set[str] = set()
        self.is_away = False

    def store(self, letter: DeadLetter) -> Deferred[None]:
        if self.is_away:
            return fail(OSError('away'))
        self.letters.append(letter)
        return succeed(None)

    def claim(self, key: str) -> Deferred[bool]:
        is_new = key not in self.keys
        self.keys.add(key)
        return succeed(is_new)

    def confirm(self, key: str, ttl: float) -> Deferred[None]:
        if self.is_away:
            return fail(OSError('away'))
        self.confirmed.append((key, ttl))
        return succeed(None)

    def note_delivery(self, key: str, ttl: float) -> Deferred[bool]:
        if self.is_away:
            return fail(OSError('away'))
        was_noted = key in self.noted
        self.noted.add(key)
        return succeed(was_noted)

    def release(self, key: str) -> Deferred[None]:
        self.keys.discard(key)
        return succeed(None)


class DeliveryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.service, self.memory = Clock(), Service(), Memory()
        self.delivery = MessageDelivery(
            title='Channel in (lines)', dispatcher=self.service, clock=self.clock, dead_letters=self.memory,
            policy=InboundRetryPolicy(attempts=3, backoff=1.0, max_delay=10.0), processed_keys=self.memory,
            random=lambda: 1.0, now=lambda: 100.0 + self.clock.seconds(),
        )  # fmt: skip
        self.acks: list[Reply | None] = []
        self.nacks: list[tuple[Reply | None, bool]] = []

    def deliver(self, key: str = '') -> Deferred[None]:
        return self.delivery.deliver(self.inbound(key))

    def give_up(self, cause: str) -> Deferred[None]:
        return self.delivery.give_up(self.inbound(), cause)

    def inbound(self, key: str = '') -> InboundDelivery:
        def nack(reply: Reply | None, *, requeue: bool) -> None:
            self.nacks.append((reply, requeue))

        return InboundDelivery(
            make_message=lambda: Message('c', SPEC, 'crm', {}, b'x', 1e9), ack=self.acks.append, nack=nack, key=key,
        )  # fmt: skip

    def test_acknowledged_after_the_service(self) -> None:
        """The message is acknowledged when its service has succeeded, and not before."""
        delivering = self.deliver()
        self.assertEqual(self.acks, [])
        self.service.waiting[0](reply())
        self.successResultOf(delivering)
        self.assertEqual((len(self.acks), self.nacks, self.delivery.pending), (1, [], set()))

    def test_retries_are_delayed(self) -> None:
        """Each attempt gets a fresh message, after a delay that grows."""
        self.service.outcomes = [reply(RuntimeError('a')), reply(RuntimeError('b')), reply()]
        delivering = self.deliver()
        self.assertEqual(len(self.service.messages), 1)
        self.clock.advance(0.9)
        self.assertEqual(len(self.service.messages), 1)
        self.clock.advance(0.1)
        self.assertEqual(len(self.service.messages), 2)
        self.clock.advance(2.0)
        self.successResultOf(delivering)
        self.assertEqual((len(set(map(id, self.service.messages))), len(self.acks)), (3, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_keys_of_messages(self) -> None:
        """The key is the peer's id, or where the configuration says: a header, the body, a value in JSON; without one,
        a message is no duplicate."""
        self.delivery.key_ttl = 7.0
        for expression, first, same, other in (
            ('message', ('m1', {}, b'a'), ('m1', {}, b'b'), ('m2', {}, b'a')),
            ('body', ('m1', {}, b'a'), ('m2', {}, b'a'), ('m1', {}, b'b')),
            ('header:X-Id', ('', {b'x-id': b'1'}, b''), ('', {b'x-id': b'1'}, b'z'), ('', {b'x-id': b'2'}, b'')),
            ('json:/o/1/id', ('', {}, b'{"o":[0,{"id":5}]}'), ('', {}, b'{"x":1,"o":[1,{"id":5}]}'), ('', {}, b'5')),
        ):
            self.delivery.key, self.memory.keys = expression, set()
            began = len(self.service.messages)
            for key, headers, body in (first, same, other):
                self.service.outcomes = [reply()]
                self.successResultOf(self.delivery.deliver(InboundDelivery(
                    make_message=lambda: Message('c', SPEC, 'crm', headers, body, 1e9),  # noqa: B023
                    ack=self.acks.append, nack=lambda reply, requeue: None, key=key)))  # fmt: skip
            self.assertEqual(len(self.service.messages) - began, 2, expression)
        self.assertEqual({ttl for _, ttl in self.memory.confirmed}, {7.0})
        self.assertEqual(len({key for key, _ in self.memory.confirmed}), 7)

    def test_dead_letter(self) -> None:
        """A message that is given up is stored with its cause, attempts, first and last failure."""
        self.service.outcomes = [reply(RuntimeError('a')), reply(RuntimeError('b')), reply(RuntimeError('c'))]
        delivering = self.deliver()
        self.clock.advance(1.0)
        self.clock.advance(2.0)
        self.successResultOf(delivering)
        (letter,) = self.memory.letters
        history = letter.history
        assert history.first is not None and history.last is not None
        self.assertEqual((history.attempts, history.first.cause, history.first.at, history.last.cause, history.last.at),
                         (3, 'a', 100.0, 'c', 103.0))
        self.assertEqual((self.acks, [requeue for _, requeue in self.nacks]), ([], [False]))

    def test_wrong_message(self) -> None:
        """A message that is wrong itself is not tried again."""
        self.service.outcomes = [reply(BadRequest('c', 'no number'))]
        self.successResultOf(self.deliver())
        self.assertEqual((len(self.service.messages), len(self.memory.letters)), (1, 1))

    def test_missing_service(self) -> None:
        """A service that does not exist yet is no fault of the message: it is repeated."""
        self.service.outcomes = [reply(NoSuchService(None, 'No such service')), reply()]
        delivering = self.deliver()
        self.clock.advance(1.0)
        self.successResultOf(delivering)
        self.assertEqual((len(self.acks), self.memory.letters), (1, []))

    def test_no_capacity(self) -> None:
        """A message waits, without using up attempts, while there is no capacity, but on channels with clients."""
        self.delivery.policy = InboundRetryPolicy(attempts=1)
        self.delivery.waits_for_capacity = True
        self.service.outcomes = [reply(Overloaded(None, 'full')) for _ in range(5)]
        delivering = self.deliver()
        for _ in range(5):
            self.assertNoResult(delivering)
            self.clock.advance(2.0)
        self.service.waiting.pop()(reply())
        self.successResultOf(delivering)
        self.assertEqual((len(self.acks), self.memory.letters), (1, []))
        self.delivery.waits_for_capacity = False
        self.service.outcomes = [reply(Overloaded(None, 'full'))]
        self.successResultOf(self.deliver())
        self.assertEqual(len(self.memory.letters), 1)

    def test_given_up_without_the_service(self) -> None:
        """A message that cannot be given to its service is a dead letter with the cause; it is returned where that
        cannot be stored."""
        self.successResultOf(self.give_up('its body is too large'))
        self.assertEqual((self.service.messages, self.nacks), ([], [(None, False)]))
        (letter,) = self.memory.letters
        assert letter.history.last is not None
        self.assertEqual(letter.history.last.cause, 'its body is too large')
        self.memory.is_away = True
        self.successResultOf(self.give_up('its body is too large'))
        self.assertEqual(self.nacks[1], (None, True))
        self.flushLoggedErrors(OSError)

    def test_dead_letters_away(self) -> None:
        """A message whose dead letter cannot be stored is returned to the peer: it is not lost."""
        self.memory.is_away = True
        self.service.outcomes = [reply(BadRequest('c', 'no number'))]
        self.successResultOf(self.deliver())
        self.assertEqual(self.nacks, [(None, True)])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_duplicates(self) -> None:
        """A message whose key was processed is acknowledged without its service."""
        self.service.outcomes = [reply()]
        self.deliver('k')
        self.deliver('k')
        self.assertEqual((len(self.service.messages), self.acks[1]), (1, None))

    def test_failed_messages_are_no_duplicates(self) -> None:
        """The key of a message that was not processed is forgotten."""
        self.service.outcomes = [reply(BadRequest('c', 'no number')), reply()]
        self.deliver('k')
        self.deliver('k')
        self.assertEqual((len(self.service.messages), len(self.acks)), (2, 1))

    def test_cancelled(self) -> None:
        """Cancelling ends the service, returns the message to the peer and forgets its key, while a service runs and
        between two attempts."""
        self.deliver('k').cancel()
        self.assertEqual((self.service.cancelled, self.nacks, self.memory.keys), (1, [(None, True)], set()))
        self.service.outcomes = [reply(RuntimeError('a'))]
        self.deliver('k')
        self.delivery.cancel()
        self.assertEqual((self.nacks, self.memory.keys), ([(None, True)] * 2, set()))
        self.assertEqual((self.clock.getDelayedCalls(), self.delivery.pending), ([], set()))
