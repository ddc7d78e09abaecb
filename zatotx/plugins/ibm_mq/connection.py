"""One outgoing IBM MQ connection, which sends the messages of services in the threads of a bounded pool.

Each message is put in syncpoint and committed, so that a connection that is lost before the commit has sent nothing:
the message is put again on a new connection, within the time of the call. A commit without an answer leaves the outcome
unknown. A call whose time is over is abandoned: when the client library returns, the message is backed out.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from zatotx.connectors.blocking_pool import BlockingPool
from zatotx.connectors.call_policies import CircuitBreaking
from zatotx.connectors.failure_log import FailureLog
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import IOutgoingMeter, count_call
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.interfaces.reactor import IReactor
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.rules.resilience.circuit_breaker import CLOSED, CircuitBreaker

from .driver_loading import connect
from .error_mapping import UnansweredCommit, map_error
from .handle_pool import HandlePool
from .mqi_interfaces import Connect, MqiError, QueueManagerHandle
from .reason_codes import loses_handle
from .schema import MqDefinition, MqOutgoing, connect_options
from .wire.descriptor import MessageDescriptor
from .wire.jms import InvalidMessage, MessageToSend, encode_message, id_text, parse_queue

LARGE = 262_144  # characters or bytes of messages that a thread encodes
MAX_ABANDONED = 8  # threads of one connection whose calls do not return


@define(eq=False)
class PendingPut:
    """A message that is being sent. `run` is called in a thread, and `give_up` in the reactor's thread."""

    handles: HandlePool
    queue: str
    queue_manager: str
    descriptor: MessageDescriptor
    data: bytes
    is_given_up: bool = field(default=False, init=False)

    def give_up(self) -> None:
        """Nobody waits for the message any more: do not commit it."""
        self.is_given_up = True

    def run(self) -> bytes:
        """Send the message; return its identifier. Raises MqiError and UnansweredCommit."""
        while True:
            handle, is_new = self.handles.acquire()
            try:
                return self._send(handle)
            except MqiError as error:
                if not loses_handle(error.reason):
                    self._recover(handle)
                    raise
                self.handles.discard(handle)
                if is_new or self.is_given_up:
                    raise
            except BaseException:
                self.handles.discard(handle)
                raise

    def _send(self, handle: QueueManagerHandle) -> bytes:
        message_id = handle.put(self.queue, self.descriptor, self.data, syncpoint=True,
                                queue_manager=self.queue_manager)  # fmt: skip
        if self.is_given_up:
            handle.back_out()
        else:
            try:
                handle.commit()
            except MqiError as error:
                if loses_handle(error.reason):
                    raise UnansweredCommit(error) from None
                raise
        self.handles.release(handle)
        return message_id

    def _recover(self, handle: QueueManagerHandle) -> None:
        """Use the handle again after an error of one message."""
        try:
            handle.back_out()
        except MqiError:
            self.handles.discard(handle)
        else:
            self.handles.release(handle)


class MqConnection:
    """Implements OutgoingConnection for IBM MQ."""

    def __init__(self, value: MqOutgoing, definition: MqDefinition, title: str, context: OutgoingContext,
                 meter: IOutgoingMeter, connect: Connect = connect) -> None:
        self.value, self.title = value, title
        self._definition, self._meter = definition, meter
        self._reactor: IReactor = context.reactor
        self._offload = context.run_in_thread
        self._pool = BlockingPool(context.reactor, value.pool_size, f'ibm_mq-{value.name}', MAX_ABANDONED)
        self._handles = HandlePool(partial(connect, connect_options(definition)))
        self._failures = FailureLog(title, context.reactor.seconds)
        self._breaking: CircuitBreaking[Callable[[], Awaitable[Any]], Any] | None = None
        if value.circuit_breaker is not None:
            self._breaking = CircuitBreaking(
                inner=_begin, breaker=CircuitBreaker(value.circuit_breaker.failures, value.circuit_breaker.reset),
                seconds=context.reactor.seconds, meter=meter, is_failed_response=lambda response: False,
                is_failure=_is_failure,
            )  # fmt: skip

    @property
    def stuck_threads(self) -> int:
        """Threads whose call of the client library was given up and has not returned."""
        return self._pool.abandoned

    async def send(self, message: MessageToSend, call: IServiceCall) -> str:
        """Send a message; return its identifier, as JMS writes it. Raises BadRequest, BadGateway, ServiceUnavailable
        and Timeout, which name the connection."""
        try:
            if not message.queue:
                raise InvalidMessage('names no queue, and neither does its connection')
            queue, manager = parse_queue(message.queue)
            descriptor, data = await self._encode(message)
            if len(data) > self._definition.max_message_size:
                raise InvalidMessage(f'has {len(data)} bytes, and its definition allows '
                                     f'{self._definition.max_message_size}')  # fmt: skip
        except InvalidMessage as error:
            raise map_error(error, self.title, call.cid) from None
        pending = PendingPut(self._handles, queue, manager, descriptor, data)
        message_id = await self._guarded(partial(self._run, pending.run, pending.give_up, call, queue), call)
        return id_text(message_id)

    async def _encode(self, message: MessageToSend) -> tuple[MessageDescriptor, bytes]:
        encode = partial(encode_message, message, use_jms=self.value.use_jms, needs_mcd=self._definition.needs_mcd,
                         now=int(time.time() * 1000))  # fmt: skip
        if len(message.body) < LARGE:
            return encode()
        encoded: tuple[MessageDescriptor, bytes] = await self._offload(encode)
        return encoded

    # OutgoingConnection

    async def ping(self, call: IServiceCall) -> str:
        """Ask the queue manager for its name."""
        began = self._reactor.seconds()
        name = await self._run(self._query_name, _nothing, call, '')
        return f'Queue manager {name} answered in {(self._reactor.seconds() - began) * 1000:.1f} ms'

    def retire(self) -> None:
        """Take no further calls. Messages under way are sent."""
        self._pool.drain().addCallback(self._close_handles)

    def end(self) -> Deferred[None]:
        """Take no further calls, and close all handles."""
        return self._pool.close().addCallback(self._close_handles)

    def findings(self) -> Iterator[str]:
        """Yield what keeps the connection from working now."""
        if self._breaking is not None and self._breaking.breaker.state is not CLOSED:
            yield f'{self.title} is cut off by its circuit breaker'
        if self._failures.cause:
            yield f'{self.title}: its last message failed: {self._failures.cause}'
        if self._pool.abandoned:
            yield f'{self.title}: calls of the client library do not return in {self._pool.abandoned} threads'

    def _run(self, function: Callable[[], Any], give_up: Callable[[], None], call: IServiceCall, queue: str
             ) -> Deferred[Any]:
        timeout = min(self.value.timeout, max(0.0, call.deadline - self._reactor.seconds()))
        running = self._pool.run(function, timeout=timeout)
        running.addCallbacks(self._succeeded, self._failed, errbackArgs=(call.cid, queue, give_up))
        return count_call(self._meter, self._reactor.seconds, running)

    async def _guarded(self, begin: Callable[[], Awaitable[Any]], call: IServiceCall) -> Any:
        if self._breaking is None:
            return await begin()
        try:
            return await self._breaking.send(begin)
        except Exception as error:
            raise map_error(error, self.title, call.cid) from error.__cause__

    def _query_name(self) -> str:
        while True:
            handle, is_new = self._handles.acquire()
            try:
                name = handle.ping()
            except MqiError as error:
                self._handles.discard(handle)
                if is_new or not loses_handle(error.reason):
                    raise
            else:
                self._handles.release(handle)
                return name

    def _succeeded(self, result: Any) -> Any:
        if self._failures.cause:
            self._failures.recovered()
        return result

    def _failed(self, failure: Failure, cid: str, queue: str, give_up: Callable[[], None]) -> Failure:
        give_up()
        error = failure.value
        if failure.check(CancelledError) or error is None:
            return failure
        mapped = map_error(error, self.title, cid, queue)
        if mapped is error:
            return failure
        mapped.__cause__ = error
        if _is_failure(mapped):
            self._failures.failed(str(mapped))
        return Failure(mapped)

    def _close_handles(self, _: None) -> Deferred[None]:
        closing: Deferred[None] = self._offload(self._handles.close)
        return closing


async def _begin(begin: Callable[[], Awaitable[Any]]) -> Any:
    return await begin()


def _is_failure(error: BaseException) -> bool:
    """Whether an error says that the queue manager cannot be used."""
    return isinstance(error, ServiceUnavailable | Timeout)


def _nothing() -> None:
    """A ping that was given up leaves nothing to undo."""
