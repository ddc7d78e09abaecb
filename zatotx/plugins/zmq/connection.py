"""One outgoing ZeroMQ connection, which sends the messages of services with time limits, a meter and a log of
failures."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from math import inf
from typing import Any, NoReturn

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from zatotx.connectors.connection_supervisor import ConnectionSupervisor
from zatotx.connectors.failure_log import FailureLog
from zatotx.connectors.guaranteed_delivery import is_guaranteed
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import MetricRow, count_call
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.model.errors import BadRequest, ServiceError, ServiceUnavailable, Timeout
from zatotx.plugins.zmq.addresses import parse_addresses
from zatotx.plugins.zmq.message_frames import DELIMITER, from_frames, to_frames
from zatotx.plugins.zmq.queued_sender import QueuedSender
from zatotx.plugins.zmq.reactor_sockets import SocketError, SocketFactory, SocketSpec, curve_of
from zatotx.plugins.zmq.reusable_sockets import BIND_ATTEMPTS, ReusableSockets, acquire_with_retry
from zatotx.plugins.zmq.schema import BIND, DEALER, PUB, REQ, ZmqOutgoing

RECEIVE_HWM = 1000  # replies of one peer that are not read yet
POLL = 0.02  # seconds between two looks of a ping at the state of the connection
_NO_PEER = 'had no peer'
_NO_REPLY = 'gave no reply'
_FULL = 'took no message from its full queue of {size}'
_NOT_TAKEN = 'took no message'


@define(eq=False)
class SenderEnvironment:
    """The resources that the connections of a node share: the ZeroMQ context, and the sockets by connection name."""

    context: OutgoingContext
    factory: SocketFactory = field(init=False)
    registries: dict[str, ReusableSockets[QueuedSender]] = field(factory=dict, init=False)
    finishing: dict[QueuedSender, str] = field(factory=dict, init=False)  # sockets that still send -> their connection

    def __attrs_post_init__(self) -> None:
        self.factory = SocketFactory(self.context.reactor, self.context.run_in_thread)

    def end(self) -> Deferred[None]:
        """Close the sockets that are left."""
        for sender in tuple(self.finishing):
            sender.close()
        return self.factory.end()


class SocketConnection:
    """Implements OutgoingConnection for ZeroMQ. The method `begin` opens the socket."""

    def __init__(self, value: ZmqOutgoing, title: str, environment: SenderEnvironment, meter: Any) -> None:
        self._value, self._title, self._meter = value, title, meter
        self._environment = environment
        self._reactor: Any = environment.context.reactor
        self._spec = _socket_spec(value)
        # A stored message stays in the work stream until the socket takes it, and is in no queue of the process.
        self._queue_size = 0 if is_guaranteed(value) else value.queue_size
        self._ids = (secrets.token_bytes(8) + number.to_bytes(8, 'big') for number in count())
        self._calls = 0
        self._is_retired = False
        self._ended: Deferred[None] | None = None
        self._failures = FailureLog(title, self._reactor.seconds)
        self._supervisor = ConnectionSupervisor(
            title, self._open, self._close, clock=self._reactor, up=_ignore, down=_ignore
        )

    def begin(self) -> None:
        """Open the socket. Does nothing if that was done before."""
        if not self._is_retired:
            self._supervisor.start()

    @property
    def replies(self) -> bool:
        """Whether `send` waits for a reply."""
        return self._value.socket_type == REQ

    async def send(self, message: Any, call: IServiceCall, timeout: float | None = None) -> Any:
        """Send a message: see schema.ZmqOutgoing. Returns the reply for REQ, otherwise None. Raises Timeout,
        ServiceUnavailable and BadRequest, which name the connection."""
        frames = self._frames(message, call)
        if self.replies:
            return await self._observed(partial(self._request, frames), call, timeout)
        await self._observed(partial(self._enqueue, frames), call, timeout)
        return None

    async def call(self, message: Any, call: IServiceCall, timeout: float | None = None) -> Any:
        """Send a request, and return its reply. For REQ and DEALER. Raises the same as `send`."""
        if self._value.socket_type not in (REQ, DEALER):
            own = self._value.socket_type
            raise BadRequest(call.cid, f'{self._title}: {own} sockets receive no replies: use REQ or DEALER')
        return await self._observed(partial(self._request, self._frames(message, call)), call, timeout)

    async def ping(self, call: IServiceCall) -> str:
        """Wait until a peer is connected, as the socket monitor tells; a socket that listens needs none. Ends early if
        an attempt to connect to the only address fails meanwhile. Sends nothing."""
        limit = self._seconds_left(call, None)
        began = self._reactor.seconds()
        sender = await self._limited(self._supervisor.when_up(), call, limit, _NO_PEER)
        while not sender.has_peer and not self._spec.is_bound:
            peers = sender.socket.peers
            has_failed = bool(peers.failure) and peers.failed_at > began and len(self._spec.addresses) == 1
            if has_failed or self._reactor.seconds() >= began + limit:
                self._raise_overdue(call, limit, _NO_PEER)
            await deferLater(self._reactor, POLL)
        verb = 'Listens on' if self._spec.is_bound else 'Connected to'
        return (f'{verb} {", ".join(self._spec.addresses)}: {sender.socket.peers.ready} connected peers, '
                f'{len(sender.queue)} messages in the queue')  # fmt: skip

    # OutgoingConnection

    def retire(self) -> None:
        """Take no further calls. Those under way end here, and the queue is sent."""
        self._is_retired = True
        if not self._calls:
            self._supervisor.stop()

    def end(self) -> Deferred[None]:
        """Take no further calls. Fires when those under way are over, and the queue is sent; cancelling it drops
        both."""
        self._is_retired = True
        sender = self._supervisor.connection
        ended = self._ended = Deferred(lambda _: None if sender is None else sender.close())
        if not self._calls:
            self._finish()
        return ended

    def findings(self) -> Iterator[str]:
        """Yield why the connection does not work now."""
        sender = self._supervisor.connection
        if sender is None:
            yield from self._supervisor.findings()
        elif not sender.has_peer and sender.socket.peers.failure:
            waiting = f', {len(sender.queue)} messages wait' if sender.queue else ''
            yield f'{self._title} is not connected: {sender.socket.peers.failure}{waiting}'
        elif self._failures.cause:
            yield f'{self._title}: its last call failed: {self._failures.cause}'

    def metrics(self) -> Iterator[MetricRow]:
        """The figures of this connection."""
        sender = self._supervisor.connection
        if sender is not None:
            label = (self._value.name,)
            yield 'zatotx_zmq_connection_peers', label, sender.socket.peers.ready
            yield 'zatotx_zmq_connection_failed_handshakes', label, sender.socket.peers.failed_handshakes
            yield 'zatotx_zmq_queued', label, len(sender.queue)
            yield 'zatotx_zmq_dropped', label, sender.dropped
            yield 'zatotx_zmq_late_replies', label, sender.late_replies

    # Calls

    async def _enqueue(self, frames: list[bytes], call: IServiceCall, timeout: float | None) -> None:
        sender = self._supervisor.connection
        if sender is None:
            sender = await self._limited(self._supervisor.when_up(), call, timeout, _NO_PEER)
        if self._value.socket_type == PUB:
            sender.publish(frames)
            return
        _, accepted = sender.send(frames)
        if not accepted.called:
            await self._limited(accepted, call, timeout, self._cause)

    async def _request(self, frames: list[bytes], call: IServiceCall, timeout: float | None) -> bytes | list[bytes]:
        began = self._reactor.seconds()
        limit = self._seconds_left(call, timeout)
        sender = await self._limited(self._supervisor.when_up(), call, limit, _NO_PEER)
        request_id = next(self._ids)
        reply: Deferred[list[bytes]] = Deferred()
        sender.replies[request_id] = reply
        message, accepted = sender.send([request_id, DELIMITER, *frames])
        try:
            await self._limited(accepted, call, limit - (self._reactor.seconds() - began), self._cause)
            received = await self._limited(reply, call, limit - (self._reactor.seconds() - began), _NO_REPLY)
        finally:
            if sender.replies.pop(request_id, None) is not None:  # nobody waits for it any more: do not send it
                sender.queue.discard(message)
        return from_frames(received)

    async def _observed(
        self, begin: Callable[[IServiceCall, float | None], Any], call: IServiceCall, timeout: float | None
    ) -> Any:
        """Count a call, and log its failures."""
        self._calls += 1
        try:
            result = await count_call(self._meter, self._reactor.seconds,
                                      Deferred.fromCoroutine(begin(call, timeout)))  # fmt: skip
        except SocketError as error:
            raise ServiceUnavailable(call.cid, f'{self._title} cannot be used: {error}') from None
        except ServiceError as error:
            self._failures.failed(error.msg)
            raise
        finally:
            self._calls -= 1
            if self._is_retired and not self._calls:
                self._finish()
        if self._failures.cause:
            self._failures.recovered()
        return result

    def _limited(
        self, waiting: Deferred[Any], call: IServiceCall, timeout: float | None, cause: str
    ) -> Deferred[Any]:
        """Let it take no longer than the timeout and the deadline allow. `cause`: what has not happened then."""
        if waiting.called:
            return waiting
        limit = self._seconds_left(call, timeout)

        def overdue(result: Any, seconds: float) -> NoReturn:
            self._raise_overdue(call, limit, cause)

        return waiting.addTimeout(limit, self._reactor, overdue)

    @property
    def _cause(self) -> str:
        """Why a message was not sent in time."""
        return _FULL if self._queue_size else _NOT_TAKEN

    def _seconds_left(self, call: IServiceCall, timeout: float | None) -> float:
        until_deadline = inf if call.deadline == inf else call.deadline - self._reactor.seconds()
        return max(0.0, min(self._value.timeout, until_deadline, inf if timeout is None else timeout))

    def _raise_overdue(self, call: IServiceCall, limit: float, cause: str) -> NoReturn:
        sender, title = self._supervisor.connection, self._title
        if sender is None:
            why = self._supervisor.failures.cause or 'its socket is not open yet'
            raise ServiceUnavailable(call.cid, f'{title} cannot be used: {why}')
        size = sender.queue.limit
        if not sender.has_peer and not sender.socket.peers.has_pending:
            queue = f', and its queue of {size} messages is full' if cause == _FULL else ''
            why = sender.socket.peers.failure or 'no peer is connected'
            raise ServiceUnavailable(call.cid, f'{title} cannot be used: {why}{queue}')
        raise Timeout(call.cid, f'{title} {cause.format(size=size)} within {round(limit, 3):g} s')

    def _frames(self, message: Any, call: IServiceCall) -> list[bytes]:
        frames = to_frames(message)
        size = sum(map(len, frames))
        if size > self._value.max_message_size:
            raise BadRequest(call.cid, f'{self._title}: a message of {size} bytes is larger than max_message_size '
                                       f'({self._value.max_message_size})')  # fmt: skip
        return frames

    # The socket

    @property
    def _registry(self) -> ReusableSockets[QueuedSender]:
        value, environment = self._value, self._environment
        registry = environment.registries.get(value.name)
        if registry is None:
            open_sender = partial(QueuedSender, environment.factory, self._title, self._queue_size)
            registry = environment.registries[value.name] = ReusableSockets(open_sender)
        return registry

    def _finishing_senders(self) -> list[QueuedSender]:
        """The sockets of earlier versions of this connection that still send."""
        return [sender for sender, name in self._environment.finishing.items() if name == self._value.name]

    async def _open(self) -> QueuedSender:
        registry = self._registry
        earlier = self._finishing_senders()
        if self._spec.is_bound:
            for sender in earlier:
                sender.release_addresses()
        attempts = BIND_ATTEMPTS if earlier or registry.newest is not None else 1
        sender = await acquire_with_retry(registry, self._spec, self._reactor, attempts)
        sender.queue.limit = self._queue_size
        for each in self._finishing_senders():  # also those that ended while this one waited for its address
            sender.take_over(each)
            each.close()
        return sender

    async def _close(self, sender: QueuedSender) -> None:
        registry = self._registry
        is_last = registry.is_last_user(sender)
        registry.release(sender)
        if not is_last:
            return
        successor = registry.newest
        if successor is not None and not self.replies:
            successor.take_over(sender)
            sender.close()
        else:
            finishing = self._environment.finishing
            finishing[sender] = self._value.name
            try:
                await sender.finish(self._value.linger)
            finally:
                finishing.pop(sender, None)

    def _finish(self) -> None:
        """The last call is over."""
        ended, self._ended = self._ended, None
        stopped = self._supervisor.stop()
        if ended is not None:
            stopped.addBoth(lambda _: None if ended.called else ended.callback(None))


def _socket_spec(value: ZmqOutgoing) -> SocketSpec:
    return SocketSpec(
        socket_type=value.socket_type, is_bound=value.socket_method == BIND, addresses=parse_addresses(value.address),
        send_hwm=value.send_hwm, receive_hwm=RECEIVE_HWM, max_message_size=value.max_message_size,
        heartbeat=value.heartbeat, is_immediate=value.socket_type == REQ, **curve_of(value),
    )  # fmt: skip


def _ignore(*args: object) -> None:
    """Nothing is to be done."""
