"""The outgoing ZeroMQ connections of a node. The ZeroMQ library is imported when the first connection is configured."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.connectors.guaranteed_delivery import StoredCall
from zatotx.connectors.outgoing_connections import ConnectionType, OutgoingConnections, Sources
from zatotx.interfaces.config import PreparedConfigChange
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.outgoing import IOutgoingKind, IServiceCall
from zatotx.schema.snapshot import Snapshot, StoredObject

KIND = 'zmq'
OBJECT_TYPE = 'outgoing_zmq'


class ZmqNamespace:
    """The object `self.out.zmq`, which is created for each service invocation."""

    __slots__ = ('_call', '_registry')

    def __init__(self, registry: ConnectionRegistry[Any], call: IServiceCall) -> None:
        self._registry, self._call = registry, call

    def __getitem__(self, name: str) -> ZmqFacade:
        """Return the connection of that name. Raises NotFound, Inactive and ServiceUnavailable."""
        return ZmqFacade(self._registry.find(name, self._call.cid), self._call)

    def get(self, name: str) -> ZmqFacade:
        """Zato's form of `[name]`."""
        return self[name]

    def send(self, msg: Any, name: str) -> Any:
        """Zato's form of `[name].send(msg)`."""
        return self[name].send(msg)


class ZmqFacade:
    """An outgoing ZeroMQ connection, `self.out.zmq[name]`, as seen by one service invocation."""

    __slots__ = ('_call', '_connection')

    def __init__(self, connection: Any, call: IServiceCall) -> None:
        self._connection, self._call = connection, call

    def send(self, msg: Any, *, timeout: float | None = None) -> Any:
        """Send a message: text, bytes, a list of them for several frames, or a dict as JSON. PUSH and DEALER return
        when the message is sent or in the queue, PUB at once, and REQ with the reply. With `delivery: guaranteed` it
        returns the id of the stored message. `timeout`: seconds, if fewer than the connection's. Raises Timeout,
        ServiceUnavailable and BadRequest."""
        return self._call.run(partial(self._connection.send, msg, self._call, timeout))

    def call(self, msg: Any, *, timeout: float | None = None) -> Any:
        """Send a request by REQ or DEALER and return the reply: bytes, or a list where it has several frames. Raises
        the same as `send`."""
        return self._call.run(partial(self._connection.call, msg, self._call, timeout))

    def ping(self) -> Any:
        """Wait until a peer is connected. Returns the state of the connection, for people."""
        return self._call.run(partial(self._connection.ping, self._call))


class ZmqOutgoingConnections(OutgoingConnections):
    """Implements IOutgoingKind for ZeroMQ. Connections open their sockets when their configuration becomes active."""

    def __init__(self, context: OutgoingContext) -> None:
        self._context = context
        self._environment: Any = None  # SenderEnvironment, from the first connection on
        self._unstarted: list[Any] = []  # SocketConnection
        super().__init__(context, [
            ConnectionType(object_type=OBJECT_TYPE, kind=KIND, names=(KIND,), namespace=ZmqNamespace,
                           build=self._build_connection, sends=('send',), prepare_stored=prepare_stored,
                           modules=('zatotx.plugins.zmq.connection',)),
        ])  # fmt: skip

    def prepare(self, snapshot: Snapshot) -> Deferred[PreparedConfigChange]:
        """See IOutgoingKind."""
        return super().prepare(snapshot).addCallback(
            lambda prepared: PreparedConfigChange(partial(self._commit_and_begin, prepared), prepared.discard)
        )

    def stop(self) -> Deferred[None]:
        """See IOutgoingKind."""
        stopped = super().stop()
        if self._environment is not None:
            stopped.addCallback(lambda _: self._environment.end())
        return stopped

    def metrics(self) -> Iterator[MetricRow]:
        """The figures of the metrics that the kind declares."""
        for connection in self.registries[OBJECT_TYPE]:
            yield from connection.metrics()

    def _commit_and_begin(self, prepared: PreparedConfigChange) -> Any:
        unstarted, self._unstarted = self._unstarted, []
        for connection in unstarted:  # before those that they replace are retired: they may take over their sockets
            connection.begin()
        return prepared.commit()

    def _build_connection(self, stored: StoredObject, references: Sources, title: str, meter: Any) -> Any:
        from zatotx.plugins.zmq import connection

        if self._environment is None:
            self._environment = connection.SenderEnvironment(self._context)
        built = connection.SocketConnection(stored.value, title, self._environment, meter)
        self._unstarted.append(built)
        return built


def prepare_stored(value: Any, call: StoredCall, message_id: str) -> StoredCall:
    """Return a call of a connection with `delivery: guaranteed` in the form in which it is stored, which consists of
    the frames of the message. Raises TypeError and ValueError."""
    from zatotx.plugins.zmq.message_frames import to_frames  # loaded with the first connection

    arguments = dict(call.kwargs)
    if len(call.args) + ('msg' in arguments) != 1:
        raise TypeError('send() takes one message')
    frames = to_frames(call.args[0] if call.args else arguments.pop('msg'))
    size = sum(map(len, frames))
    if size > value.max_message_size:
        raise ValueError(f'the message of {size} bytes is larger than max_message_size ({value.max_message_size})')
    return evolve(call, args=[frames], kwargs=arguments)


def make_outgoing(context: OutgoingContext) -> IOutgoingKind:
    """Create the outgoing ZeroMQ connections of a node (ConnectorKind.outgoing)."""
    connections: IOutgoingKind = ZmqOutgoingConnections(context)
    return connections
