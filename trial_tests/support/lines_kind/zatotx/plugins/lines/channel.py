"""Channels of the lines kind: each line of a client goes to a service, whose response goes back as a line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from zatotx.connectors.channels import ChannelParts, Channels, ChannelType, make_channel_delivery
from zatotx.connectors.connection_definitions import refers_to_definition, require_active
from zatotx.connectors.inbound_delivery import MessageDelivery
from zatotx.connectors.outgoing_connections import Sources
from zatotx.interfaces.connector_kind import ChannelContext, IChannel
from zatotx.interfaces.inbound_delivery import InboundDelivery
from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.model.cid import new_cid
from zatotx.model.message import ChannelSpec, Message, Reply
from zatotx.schema.snapshot import StoredObject

from .metrics import LinesCounters
from .schema import LinesChannel, LinesDefinition
from .settings import LinesSettings, read_settings

KIND = 'lines'
BACKLOG = 16  # lines of one client


class ListeningChannel(Factory):
    """One configured channel, and the factory of its connections."""

    noisy = False

    def __init__(self, value: LinesChannel, definition: LinesDefinition, parts: ChannelParts, settings: LinesSettings,
                 counters: LinesCounters) -> None:
        self.value, self.definition = value, definition
        self.parts, self.settings, self.counters = parts, settings, counters
        self.spec = ChannelSpec(name=value.name, kind=KIND, service=value.service, timeout=value.timeout,
                                max_in_flight=value.max_in_flight or 0)  # fmt: skip
        self.reactor: Any = parts.context.reactor
        self.connections: set[LineConnection] = set()
        self.is_draining = False
        self.delivery: MessageDelivery | None = None
        self._empty: Deferred[None] | None = None
        self._timers: list[Any] = []  # IDelayedCall

    async def start(self, dispatcher: IDispatcher, lost: Callable[[str], None]) -> None:
        """See InboundChannel."""
        self.delivery = make_channel_delivery(self.parts, dispatcher, self.value)
        await self.parts.listeners.acquire(self.parts.address, self)

    def stop(self) -> Deferred[None]:
        """See InboundChannel."""
        self.parts.listeners.release(self.parts.address, self)
        self.is_draining = True
        if not self.connections:
            return succeed(None)
        if self._empty is None:
            self._empty = Deferred()
            self._timers = [self.reactor.callLater(min(1.0, self.settings.grace / 2), self._close_idle),
                            self.reactor.callLater(self.settings.grace, self._end_grace)]  # fmt: skip
        return self._empty

    def findings(self) -> Iterator[str]:
        """See InboundChannel."""
        if len(self.connections) >= self.settings.max_clients:
            yield f'{self.parts.title} has as many clients as [lines] max_clients allows'

    def buildProtocol(self, addr: IAddress) -> LineConnection | None:  # type: ignore[override]
        """None, which closes the connection, at the limit."""
        return LineConnection(self) if len(self.connections) < self.settings.max_clients else None

    def opened(self, connection: LineConnection) -> None:
        """A client has connected."""
        self.connections.add(connection)
        self.counters.clients += 1

    def closed(self, connection: LineConnection) -> None:
        """A client has gone."""
        self.connections.discard(connection)
        if self._empty is not None and not self.connections and not self._empty.called:
            for timer in self._timers:
                if timer.active():
                    timer.cancel()
            self._empty.callback(None)

    def _close_idle(self) -> None:
        for connection in tuple(self.connections):
            connection.close_when_idle()

    def _end_grace(self) -> None:
        if self.delivery is not None:
            self.delivery.cancel()
        for connection in tuple(self.connections):
            connection.abort()


class LineConnection(LineOnlyReceiver):
    """One client: its lines are delivered one after another. It is read no further while BACKLOG lines wait; up to
    there, so that it is noticed when the client goes away."""

    delimiter = b'\n'

    def __init__(self, channel: ListeningChannel) -> None:
        self._channel = channel
        self._lines: deque[bytes] = deque()
        self._delivering: Deferred[None] | None = None
        self._has_sent = False
        self.MAX_LENGTH = channel.definition.max_length

    def connectionMade(self) -> None:
        self._channel.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lines.clear()
        if self._delivering is not None:
            self._delivering.cancel()
        self._channel.closed(self)

    def lineReceived(self, line: bytes) -> None:
        self._has_sent = True
        self._lines.append(line.removesuffix(b'\r'))
        self._next()

    def close_when_idle(self) -> None:
        """Close now, unless a line is being processed: then with its reply. A client that has sent nothing yet may have
        just connected: it has until the end of the grace."""
        if self._delivering is None and self._has_sent:
            self.abort()

    def abort(self) -> None:
        """Close now."""
        transport: Any = self.transport
        transport.loseConnection()

    def _next(self) -> None:
        transport: Any = self.transport
        if len(self._lines) >= BACKLOG:
            transport.pauseProducing()
        if self._delivering is not None or not self._lines:
            return
        channel = self._channel
        assert channel.delivery is not None
        line = self._lines.popleft()
        channel.counters.lines += 1
        channel.parts.meter.requests += 1
        began = channel.reactor.seconds()
        delivering = channel.delivery.deliver(InboundDelivery(
            make_message=partial(self._message, line), ack=partial(self._replied, began),
            nack=partial(self._failed, began),
        ))  # fmt: skip
        if not delivering.called:
            self._delivering = delivering
        delivering.addCallback(self._over)

    def _message(self, line: bytes) -> Message:
        channel = self._channel
        deadline = channel.reactor.seconds() + channel.value.timeout
        return Message(new_cid(), channel.spec, channel.spec.service, {}, line, deadline)

    def _replied(self, began: float, reply: Reply | None) -> None:
        self._answer(began, 2, b'' if reply is None else reply.body)

    def _failed(self, began: float, reply: Reply | None, *, requeue: bool) -> None:
        if reply is None:  # the client is gone, or the node stops: there is no queue to return the line to
            self._channel.parts.meter.observe_response(0, self._channel.reactor.seconds() - began)
        else:
            self._answer(began, reply.status // 100, b'ERROR %d ' % reply.status + reply.body)

    def _answer(self, began: float, hundreds: int, text: bytes) -> None:
        channel = self._channel
        channel.parts.meter.observe_response(hundreds, channel.reactor.seconds() - began)
        self.sendLine(channel.definition.prefix.encode() + b' '.join(text.split()))

    def _over(self, _: None) -> None:
        transport: Any = self.transport
        self._delivering = None
        if len(self._lines) == BACKLOG - 1:
            transport.resumeProducing()
        if self._channel.is_draining and not self._lines:
            self.abort()
        self._next()


class LinesChannels(Channels):
    """The channels of a node, and what they count together."""

    def __init__(self, context: ChannelContext) -> None:
        self._settings = read_settings(context.settings)
        self.counters = LinesCounters()
        names = ('channel_lines', 'channel_lines_single', 'channel_lines_leader')
        super().__init__(context, [
            ChannelType(object_type=name, kind=KIND, build=self._channel, nodes=_nodes_of,
                        references=refers_to_definition('definition_lines'))
            for name in names
        ])  # fmt: skip

    def metrics(self) -> Iterator[MetricRow]:
        """The figures of the metrics that the kind declares."""
        return self.counters.rows()

    def _channel(self, stored: StoredObject, sources: Sources, parts: ChannelParts) -> ListeningChannel:
        return ListeningChannel(stored.value, require_active(sources[0]), parts, self._settings, self.counters)


def _nodes_of(stored: StoredObject) -> list[str]:
    nodes: list[str] = stored.value.nodes
    return nodes


def make_channel(context: ChannelContext) -> IChannel:
    """See ConnectorKind.channel."""
    channel: IChannel = LinesChannels(context)
    return channel
