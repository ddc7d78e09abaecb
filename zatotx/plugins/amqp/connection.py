"""One outgoing AMQP connection, which sends the messages of services with timeouts and limits. The connection is opened
when the first message is sent, and a supervisor keeps it open.

What a message waits for, in this order: a slot, as `max_in_flight` of them may be unconfirmed; the connection; the
AMQP channel of its exchange; that the broker takes messages; and its confirmation. A message that ends in one of the
waits before the last one was not sent.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any, TypeVar

from attrs import define, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed

from zatotx.connectors.call_policies import CallTimedOut, CircuitBreaking, Retrying
from zatotx.connectors.connection_supervisor import ConnectionState, ConnectionSupervisor
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import IOutgoingMeter
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.interfaces.timeout_sweeper import TimeoutSweeper
from zatotx.model.cid import new_cid
from zatotx.model.errors import MessagesNotSent, MessageUnroutable, ReplyTimeout
from zatotx.plugins.amqp.driver import BrokerConnection, BrokerConnector
from zatotx.plugins.amqp.error_mapping import PEER_FAILURES, REPEATABLE, map_error
from zatotx.plugins.amqp.errors import NotConnected, OutcomeUnknown
from zatotx.plugins.amqp.message_builder import MessageBuilder, SendRequest
from zatotx.plugins.amqp.metrics import ConnectionCounters
from zatotx.plugins.amqp.publisher import OutgoingMessage, Publisher
from zatotx.plugins.amqp.request_reply import AmqpReply
from zatotx.plugins.amqp.schema.definition_amqp import AmqpDefinition
from zatotx.plugins.amqp.schema.outgoing_amqp import AmqpOutgoing
from zatotx.rules.resilience.circuit_breaker import CLOSED, CircuitBreaker
from zatotx.rules.resilience.outgoing_retry import CallRetryBudget, backoff_delay

T = TypeVar('T')
SWEEP_INTERVAL = 0.02  # seconds: a deadline may be met this much late
_MAX_RETRY_DELAY = 30.0  # seconds


@define(eq=False)
class PendingSend:
    """A message that is being sent. At any time it waits for at most one event, such as the connection or the
    confirmation."""

    message: OutgoingMessage
    deadline: float  # on the reactor's clock
    timeout: float  # seconds that it had
    is_sent: bool = False
    has_expired: bool = False
    _waiting: Deferred[Any] | None = None

    async def wait(self, source: Deferred[T]) -> T:
        """Wait for something that is this message's alone. Raises CallTimedOut, or OutcomeUnknown for a message that
        was sent, at the deadline."""
        self._waiting = source
        try:
            return await source
        except CancelledError:
            if not self.has_expired:  # by the service
                raise
            raise self._timed_out() from None
        finally:
            self._waiting = None

    def expire(self, now: float) -> None:
        """The deadline has passed: see ObjectWithTimeout."""
        self.has_expired = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _timed_out(self) -> Exception:
        if self.is_sent:
            return OutcomeUnknown(f'the message was sent, but not confirmed within {round(self.timeout, 3):g} s')
        return CallTimedOut(self.timeout)


class _Waiters:
    """Deferreds that are fired together. Each may be cancelled."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def add(self) -> Deferred[None]:
        """Return one more."""
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def fire(self) -> None:
        """Fire all of them."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)


@frozen
class _RetryDecision:
    """RetryDecision: repeats what was not sent, within its time."""

    attempts: int
    backoff: float
    seconds: Callable[[], float]

    def after_error(self, request: PendingSend, attempts: int, error: Exception) -> float | None:
        """See RetryDecision."""
        if attempts >= self.attempts or not isinstance(error, REPEATABLE):
            return None
        delay = backoff_delay(attempts - 1, random.random, base=self.backoff, cap=_MAX_RETRY_DELAY)
        return delay if self.seconds() + delay < request.deadline else None

    def after_response(self, request: PendingSend, attempts: int, response: None) -> float | None:
        """See RetryDecision."""
        return None

    def discard(self, response: None) -> None:
        """See RetryDecision."""

    def ends_retries(self, request: PendingSend, error: Exception) -> bool:
        """See RetryDecision."""
        return False


class AmqpConnection:
    """Implements OutgoingConnection for AMQP. Raises ValueError if the TLS settings cannot be used."""

    def __init__(self, value: AmqpOutgoing, definition: AmqpDefinition, title: str, context: OutgoingContext,
                 meter: IOutgoingMeter, counters: ConnectionCounters) -> None:
        self.title, self.value = title, value
        self.reactor: Any = context.reactor
        self._meter, self._counters = meter, counters
        self._builder = MessageBuilder(value, definition.username, context.client_name)
        self._connector = BrokerConnector(definition, f'{context.client_name} {value.name}', context.reactor)
        self._supervisor: ConnectionSupervisor[BrokerConnection] = ConnectionSupervisor(
            title, self._connect, _close, clock=context.reactor, up=self._up, down=self._down,
            timeout=definition.timeout + 1,
        )  # fmt: skip
        self._publisher: Publisher | None = None  # while the connection is up
        self._attempted = _Waiters()  # for the end of an attempt to connect
        self._unblocked = _Waiters()
        self._slots: deque[tuple[PendingSend, Deferred[None]]] = deque()  # messages that wait for a slot
        self._in_flight = self._in_flight_bytes = 0
        self._requests: dict[str, Deferred[AmqpReply]] = {}  # that wait for a reply, by correlation id
        self._sweeper = TimeoutSweeper(context.reactor, SWEEP_INTERVAL)
        self._idle: Deferred[None] | None = None  # fires when the last message or request has ended
        self._breaker: CircuitBreaker | None = None
        self._send_attempts = self._make_chain()

    def _make_chain(self) -> Callable[[PendingSend], Any]:
        """The policies that are configured around `_send_once`."""
        send: Callable[[PendingSend], Any] = self._send_once
        value, seconds = self.value, self.reactor.seconds
        if value.circuit_breaker is not None:
            self._breaker = CircuitBreaker(value.circuit_breaker.failures, value.circuit_breaker.reset)
            send = CircuitBreaking(
                inner=send, breaker=self._breaker, seconds=seconds, meter=self._meter,
                is_failed_response=lambda response: False, is_failure=lambda error: isinstance(error, PEER_FAILURES),
            ).send  # fmt: skip
        if value.retry is not None:
            decision = _RetryDecision(value.retry.attempts, value.retry.backoff, seconds)
            send = Retrying(send, decision, self.reactor, self._meter, CallRetryBudget()).send
        return send

    # What services use.

    async def send(self, request: SendRequest, call: IServiceCall) -> str:
        """Send a message; return its message id when the broker has confirmed it. Raises the errors of
        `error_mapping`."""
        pending = self._pending(request, call)
        await self._observed(pending, call)
        return pending.message.message_id

    async def send_many(self, requests: Sequence[SendRequest], call: IServiceCall) -> list[str]:
        """Send messages at once, in this order; return their message ids when all are confirmed. Raises
        MessagesNotSent, and nothing is sent where one of them cannot be."""
        pending = [self._pending(request, call) for request in requests]
        sending = [Deferred.fromCoroutine(self._observed(each, call)) for each in pending]
        gathered: Deferred[Any] = DeferredList(sending, consumeErrors=True)
        try:
            results = await gathered
        except CancelledError:
            for each in sending:
                each.cancel()
            raise
        errors = {number: result.value for number, (is_sent, result) in enumerate(results) if not is_sent}
        if errors:
            first = min(errors)
            raise MessagesNotSent(call.cid, f'{self.title}: {len(errors)} of {len(pending)} messages failed, the first '
                                            f'one is number {first}: {errors[first]}', errors)  # fmt: skip
        return [each.message.message_id for each in pending]

    async def call(self, request: SendRequest, call: IServiceCall) -> AmqpReply:
        """Send a request, and return the reply to it. Raises ReplyTimeout, and what `send` raises."""
        correlation_id = request.correlation_id
        pending = self._pending(request, call)
        replied: Deferred[AmqpReply] = Deferred()
        self._requests[correlation_id] = replied
        try:
            await self._observed(pending, call)
            return await self._reply(replied, pending, call)
        finally:
            self._requests.pop(correlation_id, None)
            replied.addErrback(lambda failure: None)
            self._signal_idle()

    # OutgoingConnection

    async def ping(self, call: IServiceCall) -> str:
        """Open an AMQP channel; return with what and how fast."""
        pending = self._pending(SendRequest(message=b''), call)
        began = self.reactor.seconds()
        self._sweeper.add(pending)
        try:
            publisher = await self._connected(pending)
            await pending.wait(Deferred.fromCoroutine(publisher.channel(pending.message)))
        except Exception as error:
            raise self._mapped(error, call.cid) from error
        finally:
            self._sweeper.remove(pending)
        taken = (self.reactor.seconds() - began) * 1000
        return f'A channel to {publisher.connection.broker} was opened in {taken:.1f} ms'

    def retire(self) -> None:
        """Take no further calls. Messages under way end in the normal way."""
        self._when_idle().addCallback(lambda _: self._close())

    def end(self) -> Deferred[None]:
        """Take no further calls, and close when the messages under way have ended."""
        return self._when_idle().addBoth(lambda _: self._close())

    def findings(self) -> Iterator[str]:
        """Yield what keeps the connection from working now."""
        yield from self._supervisor.findings()
        if self._breaker is not None and self._breaker.state is not CLOSED:
            failures = self._breaker.failure_threshold
            yield f'{self.title} is cut off by its circuit breaker, after {failures} failures in a row'
        if self.is_blocked:
            yield f'{self.title}: the broker takes no messages now: see whether it is short of memory or disk space'

    @property
    def is_blocked(self) -> bool:
        """Whether the broker takes no messages now."""
        return self._publisher is not None and self._publisher.connection.is_blocked

    # One message.

    def _pending(self, request: SendRequest, call: IServiceCall) -> PendingSend:
        try:
            message = self._builder.build(request, call)
        except Exception as error:
            raise self._mapped(error, call.cid) from error
        now: float = self.reactor.seconds()
        timeout = self.value.timeout if request.timeout is None else float(request.timeout)
        timeout = max(0.0, min(timeout, call.deadline - now if call.deadline != inf else inf))
        return PendingSend(message, now + timeout, timeout)

    async def _observed(self, pending: PendingSend, call: IServiceCall) -> None:
        """Send a message within the limits, and count it."""
        meter, began = self._meter, self.reactor.seconds()
        meter.in_flight += 1
        self._counters.unconfirmed += 1
        self._sweeper.add(pending)
        has_slot = False
        try:
            if self._slots or not self._has_room(pending):
                await self._slot(pending)
            else:
                self._take_slot(pending)
            has_slot = True
            await self._send_attempts(pending)
        except CancelledError:
            raise
        except Exception as error:
            mapped = self._mapped(error, call.cid)
            meter.count_error(type(mapped).__name__)
            self._counters.returned += isinstance(mapped, MessageUnroutable)
            raise mapped from error
        finally:
            self._sweeper.remove(pending)
            if has_slot:
                self._free_slot(pending)
            self._counters.unconfirmed -= 1
            meter.in_flight -= 1
            meter.observe(self.reactor.seconds() - began)
            self._signal_idle()

    async def _send_once(self, pending: PendingSend) -> None:
        message = pending.message
        publisher = self._publisher or await self._connected(pending)
        channel = publisher.find_channel(message)
        if channel is None:
            channel = await pending.wait(Deferred.fromCoroutine(publisher.channel(message)))
        if message.wants_reply:
            await pending.wait(Deferred.fromCoroutine(channel.receive_replies()))
        release: Callable[[], None] | None = None
        if message.is_isolated:
            release = await pending.wait(Deferred.fromCoroutine(publisher.acquire_isolation(message)))
        try:
            while publisher.connection.is_blocked:
                await pending.wait(self._unblocked.add())
            if pending.has_expired:
                raise CallTimedOut(pending.timeout)
            confirmed = channel.publish(message)
            pending.is_sent = True
            try:
                await pending.wait(confirmed)
            except NotConnected:
                pending.is_sent = False
                raise
        finally:
            if release is not None:
                release()

    def _has_room(self, pending: PendingSend) -> bool:
        value, size = self.value, len(pending.message.body)
        if self._in_flight >= value.max_in_flight:
            return False
        return not self._in_flight or self._in_flight_bytes + size <= value.max_in_flight_bytes

    def _take_slot(self, pending: PendingSend) -> None:
        self._in_flight += 1
        self._in_flight_bytes += len(pending.message.body)

    async def _slot(self, pending: PendingSend) -> None:
        waiting: tuple[PendingSend, Deferred[None]] = (pending, Deferred(lambda _: self._slots.remove(waiting)))
        self._slots.append(waiting)
        await pending.wait(waiting[1])

    def _free_slot(self, pending: PendingSend) -> None:
        self._in_flight -= 1
        self._in_flight_bytes -= len(pending.message.body)
        while self._slots and self._has_room(self._slots[0][0]):
            following, waiter = self._slots.popleft()
            self._take_slot(following)
            waiter.callback(None)

    async def _reply(self, replied: Deferred[AmqpReply], pending: PendingSend, call: IServiceCall) -> AmqpReply:
        remaining = max(0.0, pending.deadline - self.reactor.seconds())
        replied.addTimeout(remaining, self.reactor)
        try:
            reply = await replied
        except CancelledError:
            raise
        except Exception as error:
            self._meter.count_error(ReplyTimeout.__name__)
            raise ReplyTimeout(call.cid, f'{self.title}: no reply came within {round(pending.timeout, 3):g} s: '
                                         f'{error}') from error  # fmt: skip
        return reply

    def _replied(self, correlation_id: str, properties: Any, body: bytes) -> None:
        waiting = self._requests.get(correlation_id)
        if waiting is not None and not waiting.called:
            waiting.callback(AmqpReply(self.title, properties, body))

    def _mapped(self, error: Exception, cid: str) -> Exception:
        return map_error(error, self.title, cid)

    # The connection.

    async def _connected(self, pending: PendingSend) -> Publisher:
        """Wait for the connection. If an attempt has just failed, or fails now, the message fails at once."""
        supervisor = self._supervisor
        supervisor.start()
        while self._publisher is None:
            if supervisor.state is ConnectionState.WAITING and self._has_failed and not supervisor.connect_now():
                raise NotConnected(supervisor.failures.cause)
            await pending.wait(self._attempted.add())
            if supervisor.state is ConnectionState.STOPPED:
                raise NotConnected('the connection is closed')
        return self._publisher

    _has_failed = False  # whether the last attempt to connect failed

    async def _connect(self) -> BrokerConnection:
        try:
            return await self._connector.connect(self._lost)
        except BaseException:
            self._has_failed = True
            self.reactor.callLater(0, self._attempted.fire)  # when the supervisor knows it
            raise

    def _lost(self, reason: str) -> None:
        self._supervisor.lost(reason)

    def _up(self, connection: BrokerConnection) -> None:
        self._has_failed = False
        connection.on_unblocked = self._unblocked.fire
        self._publisher = Publisher(connection, self._replied)
        self._attempted.fire()

    def _down(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()
        requests, self._requests = self._requests, {}
        for waiting in requests.values():
            if not waiting.called:
                waiting.errback(OutcomeUnknown('the connection was lost before a reply came'))
        self._unblocked.fire()

    def _close(self) -> Deferred[None]:
        self._sweeper.stop()
        return self._supervisor.stop()

    @property
    def _is_idle(self) -> bool:
        """Whether no message waits for its confirmation, and no request for its reply."""
        return not self._in_flight and not self._requests

    def _signal_idle(self) -> None:
        """Fire `_idle` if the last message or request has ended."""
        if self._idle is not None and self._is_idle:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _when_idle(self) -> Deferred[None]:
        if self._is_idle:
            return succeed(None)
        if self._idle is None:
            self._idle = Deferred()
        waiter: Deferred[None] = Deferred()
        self._idle.addCallback(lambda _: waiter.callback(None))
        return waiter


async def _close(connection: BrokerConnection) -> None:
    await connection.shut_down()


def new_correlation_id() -> str:
    """Return a new correlation ID, by which a reply is matched to its request."""
    return new_cid()
