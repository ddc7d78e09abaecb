"""A consumer thread, which has one connection to the queue manager and processes one message at a time in a unit of
work.

MQCMIT commits everything that a connection has got and put, so that consumers share none. MQGET waits at most a second,
as nothing can interrupt it. The thread passes a message to the reactor and waits for its settlement:

============  ==========================================================================
decision      what the thread does
============  ==========================================================================
COMMIT        puts the reply, if there is one, and commits
BACK_OUT      backs out; the queue manager counts it, and delivers the message again
REJECT        puts the message on the back-out queue of its queue and commits; where that
              cannot be, the reactor keeps it as a dead letter
HOLD          waits a moment with the message, and passes it to the reactor again; backs
              out when the channel stops
============  ==========================================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from functools import partial
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Protocol, TypeVar

import msgspec
from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from .driver_loading import DriverUnavailable
from .mqi_interfaces import Connect, ConnectOptions, GotMessage, InputQueue, MqiError, QueueManagerHandle
from .reason_codes import Action, explain
from .wire.descriptor import MessageDescriptor
from .wire.jms import DecodedMessage, InvalidMessage, decode_message

T = TypeVar('T')

DEPTH_INTERVAL = 5.0  # seconds between two questions for the depth of the queue
HOLD_DELAY, MAX_HOLD_DELAY = 0.5, 10.0  # seconds between two deliveries of a message that is held
BACK_OUT_DELAY, MAX_BACK_OUT_DELAY = 0.1, 5.0  # seconds after a back-out


class Decision(Enum):
    """The decision about a received message: commit, back out, reject or hold."""

    COMMIT = 'commit'
    BACK_OUT = 'back out'
    REJECT = 'reject'
    HOLD = 'hold'


@frozen(kw_only=True)
class ReplyMessage:
    """The reply to a request. It is put within the unit of work of the request."""

    queue: str
    queue_manager: str
    descriptor: MessageDescriptor
    data: bytes


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The decision that the reactor made about a received message. `cause` is the reason for a rejection, and `queue`
    is the back-out queue of the message."""

    decision: Decision
    cause: str = ''
    queue: str = ''
    reply: ReplyMessage | None = None


COMMITTED = Settlement(decision=Decision.COMMIT)


class ConsumerOwner(Protocol):
    """The interface of a consumer's owner, which is called in the reactor's thread."""

    def consumer_up(self, consumer: ConsumerThread) -> None:
        """The queue is open."""

    def received(self, consumer: ConsumerThread, message: DecodedMessage) -> None:
        """Process a message; `consumer.settle` ends that."""

    def moved(self, consumer: ConsumerThread, queue: str, cause: str) -> None:
        """A message was put on the back-out queue."""

    def give_up(self, consumer: ConsumerThread, message: GotMessage, cause: str) -> None:
        """Keep a message that no back-out queue takes; `consumer.settle` ends that, with COMMIT or BACK_OUT."""

    def reply_failed(self, consumer: ConsumerThread, reply: ReplyMessage, cause: str) -> None:
        """The reply could not be put; its request is committed all the same."""

    def consumer_ended(self, consumer: ConsumerThread, error: Exception | None) -> None:
        """The thread has ended. None = it was stopped."""


@frozen(kw_only=True)
class ConsumerSettings:
    """The settings of a consumer: the queue that it reads, and its limits."""

    name: str  # of its thread
    wait: float  # seconds that one MQGET waits
    options: ConnectOptions
    queue: str
    max_backouts: int  # where the queue has no threshold
    max_message_size: int
    use_jms: bool


class ThreadAbandoned(Exception):  # noqa: N818 - never reported: it unwinds the thread
    """The consumer was abandoned because one of its calls did not return."""


@define(eq=False)
class ConsumerThread:
    """One thread that consumes messages. The thread connects only once; if the connection is lost, a new thread
    replaces it.

    `call_began`: when the MQI call that runs now began, on the monotonic clock; None while none runs.
    """

    settings: ConsumerSettings
    connect: Connect
    owner: ConsumerOwner
    reactor: IReactorFromThreads
    monotonic: Callable[[], float] = time.monotonic
    call_began: float | None = field(default=None, init=False)
    depth: int | None = field(default=None, init=False)
    is_abandoned: bool = field(default=False, init=False)
    _stopping: Event = field(factory=Event, init=False)
    _settlements: SimpleQueue[Settlement] = field(factory=SimpleQueue, init=False)
    _depth_at: float = field(default=0.0, init=False)

    _log = Logger()

    def start(self) -> None:
        """Start the thread."""
        Thread(target=self._run, name=self.settings.name, daemon=True).start()

    def stop(self) -> None:
        """Get no further message. The thread ends when the one under way is settled, and its call has returned."""
        self._stopping.set()

    def abandon(self) -> None:
        """Do not wait for the thread any more. When its call returns, it backs out and disconnects."""
        self.is_abandoned = True
        self.stop()

    def settle(self, settlement: Settlement) -> None:
        """Say how the message under way is settled. May be called in any thread."""
        self._settlements.put(settlement)

    # In the thread.

    def _run(self) -> None:
        error: Exception | None = None
        handle: QueueManagerHandle | None = None
        try:
            handle = self._timed(self.connect, self.settings.options)
            opening = partial(handle.open_input, self.settings.queue, with_properties=self.settings.use_jms)
            queue = self._call(opening)
            self._notify(self.owner.consumer_up, self)
            while not self._stopping.is_set():
                message = self._call(queue.get, self.settings.wait)
                if message is not None:
                    self._process(handle, queue, message)
                self._update_depth(queue)
        except (ThreadAbandoned, DriverUnavailable, MqiError) as raised:
            error = raised
        except Exception as raised:
            self._log.failure('{name} has failed', name=self.settings.name)
            error = raised
        finally:
            if handle is not None:
                self._timed(handle.close)
            self._notify(self.owner.consumer_ended, self, error)

    def _process(self, handle: QueueManagerHandle, queue: InputQueue, message: GotMessage) -> None:
        cause = self._rejection(queue, message)
        settlement = _rejected(cause) if cause else self._deliver(message)
        if settlement.decision is Decision.REJECT:
            settlement = self._reject(handle, queue, message, settlement.cause)
        if settlement.decision is Decision.COMMIT:
            if settlement.reply is not None:
                self._put_reply(handle, settlement.reply)
            self._call(handle.commit)
            if settlement.queue:
                self._notify(self.owner.moved, self, settlement.queue, settlement.cause)
            return
        self._call(handle.back_out)
        count = message.descriptor.backout_count
        self._stopping.wait(min(BACK_OUT_DELAY * 2 ** min(count, 10), MAX_BACK_OUT_DELAY))

    def _rejection(self, queue: InputQueue, message: GotMessage) -> str:
        """Why a message is not given to its service; '' = it is."""
        threshold = queue.attributes.backout_threshold or self.settings.max_backouts
        count = message.descriptor.backout_count
        if count >= threshold:
            return f'it was backed out {count} times, and {threshold} times are allowed'
        if len(message.data) > self.settings.max_message_size:
            return f'it has {len(message.data)} bytes, and {self.settings.max_message_size} are allowed'
        return ''

    def _deliver(self, message: GotMessage) -> Settlement:
        """Decode the message here, as that takes long for a large one, and pass it to the reactor."""
        delay = HOLD_DELAY
        try:
            decoded = decode_message(message.descriptor, message.data, use_jms=self.settings.use_jms)
        except InvalidMessage as error:
            return _rejected(f'it {error}')
        while True:
            settlement = self._request_settlement(self.owner.received, decoded)
            if settlement.decision is not Decision.HOLD:
                return settlement
            if self._stopping.wait(delay):
                return Settlement(decision=Decision.BACK_OUT)
            delay = min(delay * 2, MAX_HOLD_DELAY)

    def _reject(self, handle: QueueManagerHandle, queue: InputQueue, message: GotMessage, cause: str) -> Settlement:
        backout_queue = queue.attributes.backout_queue
        if backout_queue:
            try:
                self._call_put(handle, backout_queue, message.descriptor, message.data)
            except MqiError as error:
                if explain(error.reason).action is Action.RECONNECT:
                    raise
                cause = f'{cause}; the back-out queue {backout_queue} does not take it: it {error}'
            else:
                return Settlement(decision=Decision.COMMIT, cause=cause, queue=backout_queue)
        return self._request_settlement(self.owner.give_up, message, cause)

    def _put_reply(self, handle: QueueManagerHandle, reply: ReplyMessage) -> None:
        try:
            self._call_put(handle, reply.queue, reply.descriptor, reply.data, reply.queue_manager)
        except MqiError as error:
            if explain(error.reason).action is Action.RECONNECT:
                raise
            self._notify(self.owner.reply_failed, self, reply, str(error))

    def _call_put(self, handle: QueueManagerHandle, queue: str, descriptor: MessageDescriptor, data: bytes,
                  queue_manager: str = '') -> None:
        self._call(partial(handle.put, queue, descriptor, data, syncpoint=True, queue_manager=queue_manager))

    def _update_depth(self, queue: InputQueue) -> None:
        now = self.monotonic()
        if now - self._depth_at >= DEPTH_INTERVAL:
            self._depth_at = now
            self.depth = self._call(queue.depth)

    def _request_settlement(self, function: Callable[..., None], message: object, *args: Any) -> Settlement:
        self._notify(function, self, message, *args)
        return self._settlements.get()

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        """Make an MQI call. Raises MqiError, and ThreadAbandoned if nobody waits for it any more."""
        self._require_wanted()
        result = self._timed(function, *args)
        self._require_wanted()
        return result

    def _timed(self, function: Callable[..., T], *args: Any) -> T:
        self.call_began = self.monotonic()
        try:
            return function(*args)
        finally:
            self.call_began = None

    def _require_wanted(self) -> None:
        if self.is_abandoned:
            raise ThreadAbandoned

    def _notify(self, function: Callable[..., None], *args: Any) -> None:
        self.reactor.callFromThread(function, *args)


def _rejected(cause: str) -> Settlement:
    return Settlement(decision=Decision.REJECT, cause=cause)
