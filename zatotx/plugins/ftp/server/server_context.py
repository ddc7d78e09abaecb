"""The state shared by all connections of one FTP channel: configuration, directory and limits."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions

from zatotx.plugins.ftp.server.command_syntax import ServerReply
from zatotx.plugins.ftp.server.control_connection import ServerControlConnection
from zatotx.plugins.ftp.server.session import SessionContext
from zatotx.rules.security.login_throttle import client_network


class _Refused(Protocol):
    """A client beyond a limit."""

    def __init__(self, text: str) -> None:
        self._text = text

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(ServerReply(421, self._text).encode())
        transport.loseConnection()


class FtpServer(Factory):
    """The protocol factory of a channel's control connections, and their shared state."""

    noisy = False

    def __init__(self, context: SessionContext) -> None:
        self.context = context
        self.connections: set[ServerControlConnection] = set()
        self._by_address: Counter[str] = Counter()
        self._empty: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress) -> Protocol | None:  # type: ignore[override]
        """A refusal with 421 beyond the limits."""
        value = self.context.value
        network = client_network(getattr(addr, 'host', ''))
        if len(self.connections) >= value.max_connections:
            return self._refuse('Too many clients, try again later')
        if self._by_address[network] >= value.max_connections_per_address:
            return self._refuse('Too many clients from your address, try again later')
        connection = ServerControlConnection(self.context, network, self._closed, self._implicit_tls())
        self.connections.add(connection)
        self._by_address[network] += 1
        self.context.counters.connections += 1
        return connection

    def stop(self) -> Deferred[None]:
        """Close idle connections now and the others after their command. Fires when none is left."""
        if self._empty is None:
            self._empty = Deferred()
            for connection in tuple(self.connections):
                connection.close_when_idle()
            self._check_empty()
        return self._empty

    def abort(self) -> None:
        """Close all connections now."""
        for connection in tuple(self.connections):
            connection.abort()

    def _implicit_tls(self) -> CertificateOptions | None:
        certificate = self.context.certificate
        if certificate is None or self.context.value.tls is None or not self.context.value.tls.implicit:
            return None
        return certificate.current

    def _refuse(self, text: str) -> Protocol:
        self.context.counters.refused_connections += 1
        return _Refused(text)

    def _closed(self, connection: ServerControlConnection) -> None:
        self.connections.discard(connection)
        self.context.counters.connections -= 1
        self._by_address[connection.network] -= 1
        if not self._by_address[connection.network]:
            del self._by_address[connection.network]
        self._check_empty()

    def _check_empty(self) -> None:
        if self._empty is not None and not self.connections and not self._empty.called:
            self._empty.callback(None)
