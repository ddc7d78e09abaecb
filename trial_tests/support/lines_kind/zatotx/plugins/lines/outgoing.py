"""Outgoing connections of the lines kind, by plain blocking sockets in threads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from zatotx.connectors.blocking_pool import BlockingPool, BlockingPoolClosed
from zatotx.connectors.call_policies import CallTimedOut
from zatotx.connectors.connection_definitions import refers_to_definition, require_active
from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.connectors.failure_log import FailureLog
from zatotx.connectors.outgoing_connections import ConnectionType, OutgoingConnections, Sources
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import count_call
from zatotx.interfaces.outgoing import IOutgoingKind, IServiceCall
from zatotx.model.errors import BadGateway, ServiceError, ServiceUnavailable, Timeout
from zatotx.schema.snapshot import StoredObject

from .schema import LinesDefinition, LinesOutgoing


class SocketDriver:
    """One call of the blocking driver: connects, sends a line, reads a line. `interrupt` ends it from any thread."""

    def __init__(self, host: str, port: int, max_length: int) -> None:
        self._address = (host, port)
        self._max_length = max_length
        self._socket: socket.socket | None = None
        self._is_interrupted = False

    def call(self, line: bytes, connect_timeout: float) -> bytes:
        """The reply. Raises OSError, EOFError where the peer closes the connection, ValueError for a long line."""
        with socket.create_connection(self._address, connect_timeout) as connected:
            self._socket = connected
            if self._is_interrupted:
                raise EOFError('the call was cancelled')
            connected.settimeout(None)
            connected.sendall(line + b'\n')
            received = b''
            while b'\n' not in received:
                if len(received) > self._max_length:
                    raise ValueError(f'its reply is longer than {self._max_length} bytes')
                data = connected.recv(65_536)
                if not data:
                    raise EOFError('the peer closed the connection')
                received += data
            return received.partition(b'\n')[0]

    def interrupt(self) -> None:
        """Shut the socket down, which wakes up whoever reads from it."""
        self._is_interrupted = True
        if self._socket is not None:
            with suppress(OSError):  # the peer has closed it meanwhile
                self._socket.shutdown(socket.SHUT_RDWR)


class LinesConnection:
    """One outgoing connection: OutgoingConnection of the connector layer."""

    def __init__(self, value: LinesOutgoing, definition: LinesDefinition, title: str, context: OutgoingContext,
                 meter: Any) -> None:
        self._value, self._definition, self._title = value, definition, title
        self._reactor, self._meter = context.reactor, meter
        self._pool = BlockingPool(context.reactor, value.pool_size, f'lines-{value.name}')
        self._failures = FailureLog(title, context.reactor.seconds)

    async def send(self, text: str, call: IServiceCall) -> str:
        """The reply. Raises Timeout, ServiceUnavailable and BadGateway naming the connection."""
        if '\n' in text:
            raise ValueError('a line has no line feed')
        try:
            reply = await count_call(self._meter, self._reactor.seconds, self._called(text.encode(), call))
        except ServiceError as error:
            self._failures.failed(error.msg)
            raise
        if self._failures.cause:
            self._failures.recovered()
        return reply.decode('utf-8', 'replace')

    def _called(self, line: bytes, call: IServiceCall) -> Deferred[bytes]:
        value = self._value
        timeout = min(value.timeout, max(0.0, call.deadline - self._reactor.seconds()))
        driver = SocketDriver(value.host, value.port, self._definition.max_length)
        calling = self._pool.run(driver.call, line, min(timeout, 5.0), timeout=timeout, interrupt=driver.interrupt)
        return calling.addErrback(self._mapped, call.cid)

    def _mapped(self, failure: Any, cid: str) -> Any:
        error = failure.value
        if isinstance(error, CallTimedOut):
            raise Timeout(cid, f'{self._title}: {error}')
        if isinstance(error, BlockingPoolClosed):
            raise ServiceUnavailable(cid, f'{self._title}: it is being closed')
        if isinstance(error, OSError | EOFError):
            raise ServiceUnavailable(cid, f'{self._title} cannot be reached: {error}')
        if isinstance(error, ValueError):
            raise BadGateway(cid, f'{self._title}: {error}')
        return failure

    async def ping(self, call: IServiceCall) -> str:
        return f'Sent ping, received {await self.send("ping", call)}'

    def retire(self) -> None:
        self._pool.close()

    def end(self) -> Deferred[None]:
        return self._pool.close()

    def findings(self) -> Iterator[str]:
        if self._failures.cause:
            yield f'Last call of an outgoing connection failed: {self._failures.cause}'


class LinesNamespace:
    """`self.out.lines` of one call."""

    def __init__(self, registry: ConnectionRegistry[LinesConnection], call: IServiceCall) -> None:
        self._registry, self._call = registry, call

    def __getitem__(self, name: str) -> LinesFacade:
        return LinesFacade(self._registry.find(name, self._call.cid), self._call)

    def get(self, name: str) -> LinesFacade:
        """The same as `[name]`."""
        return self[name]


class LinesFacade:
    """`self.out.lines[name]` of one call."""

    def __init__(self, connection: LinesConnection, call: IServiceCall) -> None:
        self._connection, self._call = connection, call

    def send(self, text: str) -> Any:
        """Send a line. Gives the reply, or an awaitable of it in an async service."""
        return self._call.run(partial(self._connection.send, text, self._call))

    def ping(self) -> Any:
        """Send `ping`. Gives what was sent and received, for people."""
        return self._call.run(partial(self._connection.ping, self._call))


def make_outgoing(context: OutgoingContext) -> IOutgoingKind:
    """See ConnectorKind.outgoing."""

    def build(stored: StoredObject, references: Sources, title: str, meter: Any) -> LinesConnection:
        return LinesConnection(stored.value, require_active(references[0]), title, context, meter)

    connections: IOutgoingKind = OutgoingConnections(context, [
        ConnectionType(object_type='outgoing_lines', kind='lines', names=('lines',), namespace=LinesNamespace,
                       build=build, references=refers_to_definition('definition_lines'), sends=('send',)),
    ])  # fmt: skip
    return connections



