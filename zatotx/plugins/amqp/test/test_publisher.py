"""The fate of published messages: confirmations, returned messages, refused ones and closed channels, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.amqp.errors import (
    ChannelClosed,
    ConnectionLost,
    MessageReturned,
    MessageTooLarge,
    NotConnected,
    OutcomeUnknown,
    PublishRejected,
)
from zatotx.plugins.amqp.publisher import MAX_CHANNELS, OutgoingMessage, PublishChannel, Publisher


class FakeChannel:
    """BrokerChannel of a broker that the test plays."""

    def __init__(self, exchanges: set[str]) -> None:
        self.error: Any = None
        self.on_closed: Callable[[Any], object] = lambda error: None
        self.sent: list[str] = []
        self.is_closed = False
        self._exchanges = exchanges

    def declare_exchange(self, exchange: str, *, passive: bool) -> Deferred[None]:
        return succeed(None) if exchange in self._exchanges else fail(ChannelClosed('404 NOT_FOUND', 404))

    def confirm(self, confirmed: Any, returned: Any) -> Deferred[None]:
        self.confirmed, self.returned = confirmed, returned
        return succeed(None)

    def publish(self, method: bytes, properties: bytes, body: bytes) -> None:
        self.sent.append(body.decode())

    def close(self) -> None:
        self.is_closed = True

    def end(self, error: Exception) -> None:
        self.error = error
        self.on_closed(error)


class FakeConnection:
    """BrokerConnection with such channels."""

    def __init__(self) -> None:
        self.exchanges = {'e'}
        self.channels: list[FakeChannel] = []

    def open_channel(self) -> Deferred[FakeChannel]:
        channel = FakeChannel(self.exchanges)
        self.channels.append(channel)
        return succeed(channel)


def message(message_id: str, exchange: str = '') -> OutgoingMessage:
    return OutgoingMessage(exchange=exchange, message_id=message_id, method=b'', properties=b'',
                           body=message_id.encode())  # fmt: skip


class PublishTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.connection = FakeConnection()
        self.publisher = Publisher(self.connection, lambda *args: None)  # type: ignore[arg-type]
        self.channel = self.opened()
        self.broker = self.connection.channels[0]

    def opened(self, exchange: str = '') -> PublishChannel:
        opening = Deferred.fromCoroutine(self.publisher.channel(message('x', exchange)))
        return self.successResultOf(opening)

    def publish(self, *ids: str) -> list[Deferred[None]]:
        return [self.channel.publish(message(each)) for each in ids]

    def test_confirmations(self) -> None:
        """One confirmation is for one message, or for all up to it."""
        one, two, three, four = self.publish('1', '2', '3', '4')
        self.broker.confirmed(2, False, True)
        self.successResultOf(two)
        self.assertNoResult(one)
        self.broker.confirmed(3, True, True)
        self.successResultOf(one)
        self.successResultOf(three)
        self.assertNoResult(four)
        self.broker.confirmed(0, True, True)
        self.successResultOf(four)
        self.assertTrue(self.channel.is_idle)

    def test_returned(self) -> None:
        """Of messages that are confirmed together, those that were returned have failed, and no others."""
        sent = self.publish('1', '2', '3', '4')
        self.broker.returned(312, 'NO_ROUTE', '4')
        self.broker.returned(312, 'NO_ROUTE', '2')
        self.broker.confirmed(4, True, True)
        self.successResultOf(sent[0])
        self.successResultOf(sent[2])
        self.failureResultOf(sent[1], MessageReturned)
        self.failureResultOf(sent[3], MessageReturned)

    def test_same_message_id(self) -> None:
        """A message whose id is in flight is sent when the other one is settled, so that they are told apart."""
        first, second = self.publish('same', 'same')
        self.assertEqual(self.broker.sent, ['same'])
        self.broker.returned(312, 'NO_ROUTE', 'same')
        self.broker.confirmed(1, False, True)
        self.failureResultOf(first, MessageReturned)
        self.assertEqual(self.broker.sent, ['same', 'same'])
        self.broker.confirmed(2, False, True)
        self.successResultOf(second)

    def test_rejected(self) -> None:
        """A negative confirmation says that the message was not taken."""
        (sent,) = self.publish('1')
        self.broker.confirmed(1, False, False)
        self.failureResultOf(sent, PublishRejected)

    def test_cancelled(self) -> None:
        """A caller that gives up leaves the others alone."""
        one, two = self.publish('1', '2')
        one.addErrback(lambda failure: None)
        one.cancel()
        self.broker.confirmed(2, True, True)
        self.successResultOf(two)

    def test_refused(self) -> None:
        """Where the broker closes the channel because of the only message in flight, that one was not sent."""
        too_large = ChannelClosed('406 PRECONDITION_FAILED - message size 9 is larger', 406)
        for error, type_ in ((too_large, MessageTooLarge), (ChannelClosed('403 REFUSED', 403), PublishRejected)):
            self.channel = self.opened()
            (sent,) = self.publish('1')
            self.connection.channels[-1].end(error)
            self.failureResultOf(sent, type_)

    def test_unknown(self) -> None:
        """Where the connection is lost, or several messages are in flight, what became of them is unknown; those that
        were not sent are told apart."""
        one, two, waiting = self.publish('1', '2', '2')
        self.broker.end(ConnectionLost('gone'))
        self.failureResultOf(one, OutcomeUnknown)
        self.failureResultOf(two, OutcomeUnknown)
        self.failureResultOf(waiting, NotConnected)
        self.assertFalse(self.channel.is_open)

    def test_missing_exchange(self) -> None:
        """A missing exchange is known before anything is sent, for all that wait; it is looked for anew each time."""
        opening = [Deferred.fromCoroutine(self.publisher.channel(message('x', 'new'))) for _ in range(3)]
        for each in opening:
            self.failureResultOf(each, ChannelClosed)
        self.connection.exchanges.add('new')
        self.assertTrue(self.opened('new').is_open)

    def test_limit_of_channels(self) -> None:
        """Of many exchanges, the AMQP channel that was used least recently and is idle is closed for another one."""
        (sent,) = self.publish('1')
        names = [f'x{number}' for number in range(MAX_CHANNELS)]
        self.connection.exchanges.update(names)
        for name in names:
            self.opened(name)
        self.assertFalse(self.broker.is_closed)  # a message is in flight on it
        self.assertTrue(self.connection.channels[1].is_closed)
        self.assertNoResult(sent)

    def test_isolated(self) -> None:
        """Messages that the broker may refuse go one at a time."""
        first = self.successResultOf(Deferred.fromCoroutine(self.publisher.acquire_isolation(message('1'))))
        second = Deferred.fromCoroutine(self.publisher.acquire_isolation(message('2')))
        self.assertNoResult(second)
        first()
        self.successResultOf(second)()
