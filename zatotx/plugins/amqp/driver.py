"""AMQP connections that are based on pika's Twisted adapter. All other modules use pika through this module only.

Importing this module installs Twisted's default reactor where the process has none, so it is imported when the first
definition is used. It depends on details of pika 1.4:

* The adapter's `ready` replaces the reason of a failure by a general error: `_on_connection_failed` keeps it.
* pika notices a frozen broker after two intervals of its own. Its heartbeats are replaced by ours, which do so within
  one, and which let the connection pause while messages in progress take too much memory.
* The adapter's channels keep one returned message at a time, and report it with the next confirmation, whichever that
  is. `BrokerChannel` is made of pika's own channel; `publisher` correlates what is returned.
* `connection.blocked` is only known to the adapter's `_impl`.
* pika takes most of the time of a message that is received. `frame_reader` reads those of consumers once the connection
  is open, and gives pika all other frames. pika gets whole frames only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pika import BasicProperties, ConnectionParameters, PlainCredentials
from pika.adapters.twisted_connection import TwistedProtocolConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ConnectionClosed
from pika.exceptions import ChannelClosed as PikaChannelClosed
from pika.frame import Heartbeat
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectionDone, DNSLookupError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from zatotx import __version__
from zatotx.connectors.tcp_client import connect_protocol
from zatotx.connectors.tls_client import TlsClientFactory, TlsHandshakeFailed
from zatotx.plugins.amqp.errors import ChannelClosed, ConnectionLost, NotConnected, broker_text
from zatotx.plugins.amqp.frame_reader import DeliveredMessage, FrameReader
from zatotx.plugins.amqp.schema.definition_amqp import AmqpDefinition, tls_settings
from zatotx.plugins.amqp.wire import encode_ack, encode_publish

logging.getLogger('pika').setLevel(logging.CRITICAL)  # connections and channels report what concerns them, once

_FIRST_BYTES = b'\x01A'  # of a method frame, and of the header with which a broker refuses the version
_FRAME_MAX = 131_072  # bytes, where the broker has no limit
_CHECKS = 4  # of the broker's signs of life, in the time after which it counts as dead

OnMessage = Callable[['BrokerChannel', int, bool, str, str, BasicProperties, bytes], None]
OnBytes = Callable[[DeliveredMessage[Any]], None]
OnConfirm = Callable[[int, bool, bool], None]
OnReturn = Callable[[int, str, str], None]


class BrokerConnection(TwistedProtocolConnection):  # type: ignore[misc]
    """A connection to a message broker. When an open connection ends, the function `lost` is called once with the
    reason, which is a clause."""

    def __init__(self, definition: AmqpDefinition, name: str, reactor: Any, lost: Callable[[str], object]) -> None:
        """`name`: what the broker's management pages call it."""
        super().__init__(_parameters(definition, name), custom_reactor=reactor)
        self.is_blocked = False  # whether the broker takes no messages now
        self.on_unblocked: Callable[[], object] = _ignore
        self.on_blocked: Callable[[], object] = _ignore
        self._reactor = reactor
        self._lost: Callable[[str], object] | None = lost
        self._cause = ''  # why it ends, where we or the broker know it
        self._code = 0  # the broker's, 0 = none
        self._blocked_timeout = definition.blocked_timeout
        self._blocked_timer: IDelayedCall | None = None
        self._idle_limit = float(definition.idle_limit)
        self._heard_at = 0.0
        self._is_attached = False  # whether it has a transport
        self._is_paused = False
        self._timer: IDelayedCall | None = None
        self._reader: FrameReader[OnBytes] = FrameReader()
        self._is_reading = False  # whether `_reader` gets what is received
        self._impl.add_on_connection_blocked_callback(self._on_blocked)
        self._impl.add_on_connection_unblocked_callback(self._on_unblocked)

    @property
    def is_usable(self) -> bool:
        """Whether it is open."""
        return bool(self._impl.is_open) and self._is_attached

    @property
    def broker(self) -> str:
        """The product and version of the broker."""
        found = self._impl.server_properties or {}
        return f'{found.get("product", "the broker")} {found.get("version", "")}'.strip()

    def open_channel(self) -> Deferred[BrokerChannel]:
        """Open an AMQP channel. Fails with ConnectionLost and ChannelClosed."""
        opening: Deferred[BrokerChannel] = Deferred()
        channel = BrokerChannel(self._reactor, self._reader)
        try:
            channel.channel = self._impl.channel(on_open_callback=lambda _: channel.opened(opening))
        except AMQPError as error:
            opening.errback(ConnectionLost(describe(error)))
            return opening
        channel.begin(opening)
        return opening

    def pause(self) -> None:
        """Read nothing from the broker until `resume`."""
        if not self._is_paused and self._is_attached:
            self._is_paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused and self._is_attached:
            self._is_paused = False
            self._heard_at = self._reactor.seconds()
            self.transport.resumeProducing()

    def shut_down(self) -> Deferred[None]:
        """Close the connection. Fires when it is closed, after a second at the latest. `lost` is not called."""
        self._lost = None
        self._reader.consumers.clear()
        closed: Deferred[None] = Deferred()
        closing = self.close() if self.is_usable else None
        if closing is None:
            self.abort('it is closed')
            closed.callback(None)
            return closed
        timer = self._reactor.callLater(1.0, self.abort, 'it is closed')

        def fire(_: object) -> None:
            if timer.active():
                timer.cancel()
            closed.callback(None)

        self.resume()
        closing.addBoth(fire)
        return closed

    def abort(self, cause: str) -> None:
        """Close the connection at once."""
        self._cause = self._cause or cause
        self._reader.consumers.clear()
        if self._is_attached:
            self.transport.abortConnection()

    # TwistedProtocolConnection

    def makeConnection(self, transport: Any) -> None:
        self._is_attached = True
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        self._heard_at = self._reactor.seconds()
        if not self._impl.bytes_received and data[0] not in _FIRST_BYTES:
            self.abort('the peer does not speak AMQP 0-9-1')
            return
        try:
            self._read(data)
        except Exception as error:  # pika raises anything for bytes that are not AMQP
            self.abort(f'the peer does not speak AMQP 0-9-1: {type(error).__name__}')

    def _read(self, data: bytes) -> None:
        impl = self._impl
        if not self._is_reading:
            super().dataReceived(data)
            self._is_reading = impl.is_open and not impl._frame_buffer  # pika has no part of a frame
            return
        for found in self._reader.read(data, impl.params.frame_max or _FRAME_MAX):
            if isinstance(found, bytes):
                super().dataReceived(found)
            else:
                found.consumer(found)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_timers()
        self._is_attached = False
        error = self._impl._error  # the adapter replaces what the broker said by ConnectionDone
        if not self._cause and isinstance(error, ConnectionClosed):
            self._cause = describe(error)
            self._code = error.reply_code
        super().connectionLost(reason)

    def _on_connection_ready(self, connection: Any) -> None:
        self._impl._remove_heartbeat()
        self._heard_at = self._reactor.seconds()
        self._timer = self._reactor.callLater(self._idle_limit / _CHECKS, self._check)
        super()._on_connection_ready(connection)

    def _on_connection_failed(self, connection: Any, error: Any = None) -> None:
        ready: Any = self.__dict__['ready']
        self.ready = None
        if ready is not None:
            ready.errback(NotConnected(self._cause or describe(error), self._code))

    def _on_connection_closed(self, connection: Any, exception: Any) -> None:
        self._stop_timers()
        lost, self._lost = self._lost, None
        super()._on_connection_closed(connection, exception)
        if lost is not None:
            lost(self._cause or describe(exception))

    # Private.

    def _check(self) -> None:
        """Send a heartbeat, and look whether the broker is alive."""
        self._timer = self._reactor.callLater(self._idle_limit / _CHECKS, self._check)
        if not self._is_paused and self._reactor.seconds() - self._heard_at >= self._idle_limit:
            self.abort(f'the broker gave no sign of life for {self._idle_limit:g} s')
        elif self.is_usable:
            self._impl._send_frame(Heartbeat())

    def _on_blocked(self, connection: Any, frame: Any) -> None:
        self.is_blocked = True
        if self._blocked_timeout and self._blocked_timer is None:
            cause = f'the broker has taken no messages for {self._blocked_timeout:g} s'
            self._blocked_timer = self._reactor.callLater(self._blocked_timeout, self.abort, cause)
        self.on_blocked()

    def _on_unblocked(self, connection: Any, frame: Any) -> None:
        self.is_blocked = False
        timer, self._blocked_timer = self._blocked_timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self.on_unblocked()

    def _stop_timers(self) -> None:
        timers = (self._timer, self._blocked_timer)
        self._timer = self._blocked_timer = None
        for timer in timers:
            if timer is not None and timer.active():
                timer.cancel()


class BrokerChannel:
    """An AMQP channel. `on_closed` is called with the error when the broker closes the channel, or its connection is
    lost."""

    def __init__(self, reactor: Any, reader: FrameReader[OnBytes]) -> None:
        """`reader`: of the connection."""
        self.channel: Channel = None  # set at once by open_channel
        self._reactor, self._reader = reactor, reader
        self._number = 0
        self._acks: list[bytes] = []
        self.error: ChannelClosed | ConnectionLost | None = None  # why it is closed
        self.on_closed: Callable[[ChannelClosed | ConnectionLost], object] = _ignore
        self._waiting: set[Deferred[Any]] = set()

    def begin(self, opening: Deferred[BrokerChannel]) -> None:
        """Watch for the end of a channel that is being opened."""
        self._waiting.add(opening)
        self._number = self.channel.channel_number
        self.channel.add_on_close_callback(self._on_close)

    def opened(self, opening: Deferred[BrokerChannel]) -> None:
        """The broker has opened the channel."""
        self._waiting.discard(opening)
        if not opening.called:
            opening.callback(self)

    # Methods of AMQP. The Deferreds fail with ChannelClosed and ConnectionLost.

    def declare_queue(
        self, queue: str, *, passive: bool = False, durable: bool = True, auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> Deferred[int]:
        """Declare a queue, or see that it exists. Fires with the number of messages that wait in it."""
        pending = self._request(self.channel.queue_declare, queue, passive=passive, durable=durable,
                                auto_delete=auto_delete, arguments=dict(arguments or {}))  # fmt: skip
        return pending.addCallback(lambda frame: int(frame.method.message_count))

    def bind_queue(self, queue: str, exchange: str, routing_key: str, arguments: Mapping[str, Any]) -> Deferred[Any]:
        """Bind a queue to an exchange."""
        return self._request(self.channel.queue_bind, queue, exchange, routing_key=routing_key,
                             arguments=dict(arguments))  # fmt: skip

    def declare_exchange(self, exchange: str, type_: str = 'direct', *, passive: bool = False) -> Deferred[Any]:
        """Declare a durable exchange, or see that it exists."""
        return self._request(self.channel.exchange_declare, exchange, exchange_type=type_, passive=passive,
                         durable=not passive)  # fmt: skip

    def set_prefetch(self, count: int) -> Deferred[Any]:
        """Limit the messages of each further consumer that are not acknowledged."""
        return self._request(self.channel.basic_qos, prefetch_count=count)

    def consume(
        self, queue: str, tag: str, on_message: OnMessage, *, exclusive: bool = False, auto_ack: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> Deferred[Any]:
        """Begin to consume a queue. `on_message` gets this channel, delivery tag, redelivered, exchange, routing key,
        properties and body."""

        def received(channel: Channel, method: Any, properties: BasicProperties, body: bytes) -> None:
            on_message(self, method.delivery_tag, method.redelivered, method.exchange, method.routing_key, properties,
                       body)  # fmt: skip

        def received_message(message: DeliveredMessage[Any]) -> None:
            properties = BasicProperties()
            properties.decode(message.properties)
            on_message(self, message.tag, message.redelivered, message.exchange, message.routing_key, properties,
                       message.body)  # fmt: skip

        if tag:  # otherwise pika makes one
            self._reader.consumers[self._number, tag.encode()] = received_message
        return self._request(self.channel.basic_consume, queue, received, exclusive=exclusive, auto_ack=auto_ack,
                         consumer_tag=tag, arguments=dict(arguments or {}))  # fmt: skip

    def cancel(self, tag: str) -> Deferred[Any]:
        """Consume no more. Messages that the broker has sent by then are returned to it."""
        self._reader.consumers.pop((self._number, tag.encode()), None)
        return self._request(self.channel.basic_cancel, tag)

    def watch_cancellation(self, cancelled: Callable[[], object]) -> None:
        """Call a function when the broker ends a consumer, because its queue is gone."""
        self.channel.add_on_cancel_callback(lambda frame: cancelled())

    def confirm(self, confirmed: OnConfirm, returned: OnReturn) -> Deferred[Any]:
        """Have the broker confirm messages: `confirmed` gets delivery tag, multiple and whether it has the message;
        `returned`, before that, reply code, reply text and message id."""

        def settle(frame: Any) -> None:
            method = frame.method
            confirmed(method.delivery_tag, method.multiple, method.NAME == 'Basic.Ack')

        def give_back(channel: Channel, method: Any, properties: BasicProperties, body: bytes) -> None:
            returned(method.reply_code, method.reply_text, properties.message_id or '')

        self.channel.add_on_return_callback(give_back)
        return self._request(partial(self.channel.confirm_delivery, settle))

    def publish(self, method: bytes, properties: bytes, body: bytes) -> None:
        """Send a message, whose parts are encoded as `wire` does. Raises ChannelClosed and ConnectionLost."""
        if self.error is not None:
            raise self.error
        connection = self.channel.connection
        if not self.channel.is_open or not connection.is_open:
            raise ConnectionLost('the connection is closed')
        frame_max = connection.params.frame_max or _FRAME_MAX
        connection._adapter_emit_data(encode_publish(self._number, method, properties, body, frame_max))

    def ack(self, tag: int) -> None:
        """Acknowledge a message, at the end of this reactor iteration together with others. Does nothing on a closed
        channel: the broker delivers the message again."""
        if not self._acks:
            self._reactor.callLater(0, self.flush)
        self._acks.append(encode_ack(self._number, tag))

    def flush(self) -> None:
        """Send the acknowledgments that wait for it."""
        acks, self._acks = self._acks, []
        if acks and self.channel.is_open and self.channel.connection.is_open:
            self.channel.connection._adapter_emit_data(b''.join(acks))

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Return a message to its queue, or have the broker drop it or route it to a dead letter exchange. Does
        nothing on a closed channel."""
        self.flush()
        if self.channel.is_open:
            self.channel.basic_reject(tag, requeue)

    def close(self) -> None:
        """Close the channel. `on_closed` is not called."""
        self.on_closed = _ignore
        self._forget_consumers()
        self.flush()
        if self.channel.is_open:
            self.channel.close()

    # Private.

    def _forget_consumers(self) -> None:
        """Leave further messages to pika, which drops them."""
        consumers = self._reader.consumers
        for key in [key for key in consumers if key[0] == self._number]:
            del consumers[key]

    def _request(self, method: Callable[..., Any], *args: Any, **fields: Any) -> Deferred[Any]:
        pending: Deferred[Any] = Deferred()
        if self.error is not None:
            pending.errback(self.error)
            return pending
        self._waiting.add(pending)

        def replied(frame: Any) -> None:
            self._waiting.discard(pending)
            if not pending.called:
                pending.callback(frame)

        try:
            method(*args, **fields, callback=replied)
        except AMQPError as error:
            self._waiting.discard(pending)
            pending.errback(ConnectionLost(describe(error)))
        except (TypeError, ValueError, AssertionError) as error:  # arguments that AMQP cannot transport
            self._waiting.discard(pending)
            pending.errback(ChannelClosed(f'what was asked for cannot be encoded: {error}'))
        return pending

    def _on_close(self, channel: Channel, reason: Exception) -> None:
        if isinstance(reason, PikaChannelClosed):
            self.error = ChannelClosed(describe(reason), reason.reply_code)
        else:
            self.error = ConnectionLost(describe(reason))
        self._forget_consumers()
        waiting, self._waiting = self._waiting, set()
        for pending in waiting:
            if not pending.called:
                pending.errback(self.error)
        on_closed, self.on_closed = self.on_closed, _ignore
        on_closed(self.error)


class BrokerConnector:
    """Connects to the broker of a definition. Each channel or outgoing connection creates one connector for all of its
    network connections. Raises ValueError if the TLS settings cannot be used."""

    def __init__(self, definition: AmqpDefinition, name: str, reactor: Any) -> None:
        self._definition, self._name, self._reactor = definition, definition.connection_name or name, reactor
        self._tls = TlsClientFactory(tls_settings(definition)) if definition.tls else None

    async def connect(self, lost: Callable[[str], object]) -> BrokerConnection:
        """Connect and log in. Raises NotConnected. Cancelling it leaves no socket open."""
        timeout = self._definition.timeout
        connecting = Deferred.fromCoroutine(self._connect(lost))
        connecting.addTimeout(timeout, self._reactor)
        try:
            return await connecting
        except DeferredTimeout as error:
            raise NotConnected(f'the broker did not accept the login within {timeout:g} s') from error

    async def _connect(self, lost: Callable[[str], object]) -> BrokerConnection:
        definition, reactor = self._definition, self._reactor
        connection = BrokerConnection(definition, self._name, reactor, lost)
        ready: Any = connection.__dict__['ready']  # the attribute's type is lost in the subclass
        endpoint = HostnameEndpoint(reactor, definition.host, definition.port, timeout=definition.timeout)
        try:
            if self._tls is None:
                await connect_protocol(endpoint, connection)
            else:
                await self._connect_tls(endpoint, connection)
            connection.transport.setTcpNoDelay(True)
            connection.transport.setTcpKeepAlive(True)
            await ready
        except DNSLookupError as error:
            raise NotConnected('the name of its host has no address') from error
        except ConnectError as error:
            raise NotConnected('nobody is at its address') from error
        except TlsHandshakeFailed as error:
            raise NotConnected(f'TLS could not be agreed on: {error}') from error
        except BaseException:
            ready.addErrback(lambda failure: None)
            connection.abort('it was given up')
            raise
        return connection

    async def _connect_tls(self, endpoint: HostnameEndpoint, connection: BrokerConnection) -> None:
        assert self._tls is not None
        plain = await connect_protocol(endpoint, Protocol())
        handshake = self._tls.handshake(plain.transport, self._definition.host, self._reactor)
        try:
            transport = await handshake.done
        except BaseException:
            abort: Any = plain.transport
            abort.abortConnection()
            raise
        transport.wrappedProtocol = connection
        connection.makeConnection(transport)


def describe(error: Any) -> str:
    """Return the message of an error that pika or Twisted raised, as a clause."""
    if isinstance(error, ConnectionClosed):
        return f'the broker closed the connection: {broker_text(error.reply_code, error.reply_text)}'
    if isinstance(error, PikaChannelClosed):
        return broker_text(error.reply_code, error.reply_text)
    if isinstance(error, ConnectionDone) or error is None:
        return 'the broker closed the connection'
    return f'the connection was lost ({str(error) or type(error).__name__})'


def _parameters(definition: AmqpDefinition, name: str) -> ConnectionParameters:
    return ConnectionParameters(
        host=definition.host, port=definition.port, virtual_host=definition.vhost,
        credentials=PlainCredentials(definition.username, definition.password),
        heartbeat=definition.idle_limit, frame_max=definition.frame_max, channel_max=definition.channel_max,
        client_properties={'connection_name': name, 'product': 'zatotx', 'version': __version__},
    )  # fmt: skip


def _ignore(*args: object) -> None:
    """Nothing is to be done."""
