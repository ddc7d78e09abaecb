"""Delivers inbound messages according to the channel's delivery policy, which covers acknowledgment, delayed retries,
dead letters and duplicate detection.

What ends a delivery, and how:

==============================  ===========================================
event                           result
==============================  ===========================================
the service succeeded           ack with the reply
the message is a duplicate      ack without a reply
it failed for the last time     dead letter stored, then nack
it cannot be given to a service the same
the dead letter is not stored   nack, and the peer delivers it again
the channel cancels it          nack, and the peer delivers it again
==============================  ===========================================
"""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256
from time import time

from attrs import Factory, define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.connectors.rate_limited_event_log import RateLimitedEventLog
from zatotx.interfaces.inbound_delivery import DeadLetter, IDeadLetterSink, IIdempotencyKeyStore, InboundDelivery
from zatotx.interfaces.pipeline import IDispatcher, IPendingRequest
from zatotx.model.errors import NoSuchService, Overloaded, ServiceError, ServiceUnavailable
from zatotx.model.message import Message, Reply
from zatotx.rules.resilience.idempotency_key import MESSAGE, find_idempotency_key
from zatotx.rules.resilience.inbound_retry import (
    DeliveryHistory,
    InboundRetryPolicy,
    capacity_delay,
    inbound_retry_delay,
)


class _Attempt:
    """One attempt to process a message. `reply`: None until there is one."""

    __slots__ = ('_waiting', 'message', 'pending', 'reply')

    def __init__(self, message: Message) -> None:
        self.message = message
        self.pending: IPendingRequest | None = None
        self.reply: Reply | None = None
        self._waiting: Deferred[Reply] | None = None

    def answered(self, reply: Reply) -> None:
        """Called by the dispatcher."""
        self.reply = reply
        if self._waiting is not None:
            self._waiting.callback(reply)

    def replied(self) -> Deferred[Reply]:
        """Fires with the reply that is still to come. Cancelling it cancels the service."""
        pending = self.pending
        assert pending is not None
        self._waiting = Deferred(lambda _: pending.cancel())
        return self._waiting


@define(eq=False, kw_only=True)
class MessageDelivery:
    """Delivers the messages of one channel to its service. `title` is the name of the channel in log messages; `now`
    returns unix time."""

    title: str
    dispatcher: IDispatcher
    clock: IReactorTime
    policy: InboundRetryPolicy = field(factory=InboundRetryPolicy)
    dead_letters: IDeadLetterSink | None = None  # None = messages that are given up are dropped
    processed_keys: IIdempotencyKeyStore | None = None  # None = duplicates are not recognized
    key: str = MESSAGE  # where the key of a message is: see rules.resilience.idempotency_key
    key_ttl: float = 86_400.0  # seconds for which the keys of processed messages are remembered
    # Whether a message waits, without using up its attempts, while the node or its service is at its limit: for
    # channels that fetch messages, and fetch no further ones meanwhile.
    waits_for_capacity: bool = False
    random: Callable[[], float] = random.random
    now: Callable[[], float] = time
    events: RateLimitedEventLog = field(
        default=Factory(lambda self: RateLimitedEventLog(self.title, self.clock), takes_self=True)
    )
    failed_event: str = 'a message was given up'  # what the log calls a message that failed for the last time
    pending: set[Deferred[None]] = field(factory=set, init=False)

    _log = Logger()

    def deliver(self, delivery: InboundDelivery) -> Deferred[None]:
        """Fires when the message is acknowledged or returned; never fails. Cancelling it returns the message."""
        first: _Attempt | None = None
        if self.processed_keys is None:  # the usual case, which costs no coroutine where the service does not wait
            try:
                first = self._begin(delivery)
            except Exception:
                self._returned(Failure(), delivery)
                return succeed(None)
            reply = first.reply
            if reply is not None and reply.error is None:
                delivery.ack(reply)
                return succeed(None)
        delivering = Deferred.fromCoroutine(self._deliver(delivery, first))
        if not delivering.called:
            self.pending.add(delivering)
        delivering.addErrback(self._returned, delivery)
        return delivering.addBoth(self._over, delivering)

    def give_up(self, delivery: InboundDelivery, cause: str) -> Deferred[None]:
        """Give up a message that cannot be given to its service: it becomes a dead letter. Fires as `deliver` does."""
        giving_up = Deferred.fromCoroutine(self._give_up(delivery, cause))
        if not giving_up.called:
            self.pending.add(giving_up)
        giving_up.addErrback(self._returned, delivery)
        return giving_up.addBoth(self._over, giving_up)

    def cancel(self) -> None:
        """Return all messages that are being delivered to their peers."""
        for delivering in tuple(self.pending):
            delivering.cancel()

    async def _deliver(self, delivery: InboundDelivery, first: _Attempt | None) -> None:
        key = '' if self.processed_keys is None else self._key_of(delivery)
        if self.processed_keys is not None and key and not await self.processed_keys.claim(key):
            delivery.ack(None)
            return
        try:
            message, reply, history = await self._attempts(delivery, first)
            if reply.error is not None and self.dead_letters is not None:
                await self.dead_letters.store(DeadLetter(message=message, history=history, id=delivery.key))
        except BaseException:
            await self._forget(key)
            raise
        if reply.error is None:
            await self._confirm(key)
            delivery.ack(reply)
            return
        await self._forget(key)
        assert history.last is not None
        attempts = f' after {history.attempts} attempts' if history.attempts > 1 else ''
        self.events.add(f'{self.failed_event}{attempts}', history.last.cause, cid=message.cid)
        delivery.nack(reply, requeue=False)

    async def _give_up(self, delivery: InboundDelivery, cause: str) -> None:
        message = delivery.make_message()
        history = DeliveryHistory().failed(self.now(), cause)
        if self.dead_letters is not None:
            await self.dead_letters.store(DeadLetter(message=message, history=history, id=delivery.key))
        self.events.add('a message was given up', cause, cid=message.cid)
        delivery.nack(None, requeue=False)

    async def _attempts(
        self, delivery: InboundDelivery, first: _Attempt | None
    ) -> tuple[Message, Reply, DeliveryHistory]:
        history, rejections = DeliveryHistory(), 0
        while True:
            attempt, first = first or self._begin(delivery), None
            reply = attempt.reply or await attempt.replied()
            message, error = attempt.message, reply.error
            if error is None:
                return message, reply, history
            if self.waits_for_capacity and isinstance(error, Overloaded):
                rejections += 1
                await deferLater(self.clock, capacity_delay(rejections, self.random))
                continue
            rejections = 0
            history = history.failed(self.now(), str(error) or type(error).__name__)
            status = ServiceUnavailable.status if isinstance(error, NoSuchService) else getattr(error, 'status', 500)
            delay = inbound_retry_delay(self.policy, history, status, self.random)
            if delay is None:
                return message, reply, history
            await deferLater(self.clock, delay)

    def _begin(self, delivery: InboundDelivery) -> _Attempt:
        """Give the message to its service, once."""
        attempt = _Attempt(delivery.make_message())
        attempt.pending = self.dispatcher.deliver(attempt.message, attempt.answered)
        return attempt

    def _key_of(self, delivery: InboundDelivery) -> str:
        """The key of a message among those of all channels, '' where it has none."""
        if self.key == MESSAGE:
            found, channel = delivery.key, self.title
        else:
            message = delivery.make_message()
            body = message.body if isinstance(message.body, bytes) else message.body.read()
            found, channel = find_idempotency_key(self.key, delivery.key, message.headers, body), self.title
        return sha256(f'{channel}\0{found}'.encode('utf-8', 'surrogateescape')).hexdigest() if found else ''

    async def _confirm(self, key: str) -> None:
        if self.processed_keys is None or not key:
            return
        try:
            await self.processed_keys.confirm(key, self.key_ttl)
        except CancelledError:
            raise
        except Exception as error:
            self._log.error('{title}: the key of a message that was processed cannot be stored, so a duplicate of it '
                            'would run again: {why}', title=self.title, why=str(error))

    async def _forget(self, key: str) -> None:
        if self.processed_keys is None or not key:
            return
        try:
            await self.processed_keys.release(key)
        except Exception as error:
            self._log.error('{title}: the key of a message that was not processed cannot be released, so it counts as '
                            'a duplicate when it comes again: {why}', title=self.title, why=str(error))

    def _returned(self, failure: Failure, delivery: InboundDelivery) -> None:
        if not failure.check(CancelledError):
            self.events.add('a message is returned to its peer', failure.getErrorMessage(),
                            failure=None if failure.check(ServiceError) else failure)  # fmt: skip
        delivery.nack(None, requeue=True)

    def _over(self, result: None, delivering: Deferred[None]) -> None:
        self.pending.discard(delivering)
