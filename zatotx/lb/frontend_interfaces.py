"""The interfaces of a frontend, and the context that the load balancer passes to it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from zope.interface import Attribute, Interface

from zatotx.interfaces.load_balancer import IBackend, IExchangeLog, ILocalResponder
from zatotx.interfaces.reactor import IReactor
from zatotx.lb.config.model import Configuration


@frozen(kw_only=True)
class FrontendContext:
    """The dependencies that the load balancer passes to a frontend."""

    name: str
    reactor: IReactor
    directory: str  # of the load balancer; relative paths of the configuration begin there
    find_backend: Callable[[str], IBackend]  # raises LookupError; to be called for each request or connection
    exchange_log: IExchangeLog
    local_responder: ILocalResponder


class IFrontendUpdate(Interface):
    """The interface of a new configuration of a frontend, which is prepared while the current configuration is still
    active."""

    def commit() -> None:
        """Put the new state into force for new requests and connections. Must not fail."""


class IFrontend(Interface):
    """The interface of a running frontend."""

    factory: IProtocolFactory = Attribute('The protocol factory of all of its listeners, which are plain sockets')
    connections: int = Attribute('The number of open connections of clients')
    total_connections: int = Attribute('The number of all connections of clients since the start')
    rejected_connections: int = Attribute('Connections closed at once: by an access list, a rate, or their limit')

    def prepare(configuration: Configuration) -> IFrontendUpdate:  # noqa: N805
        """Build the state for the frontend's part of a configuration, which is valid by itself. Raises ValueError, one
        sentence for each error and line, for what only the data path can find (a certificate that cannot be
        loaded). Existing connections stay open."""

    def server_down(backend: str, server: str) -> None:  # noqa: N805
        """Send the requests that wait for a server to others, if they may be sent again: probes find the server
        down."""

    def drain(idle_grace: float = 0.0) -> None:  # noqa: N805
        """End each connection with the response to its current request, or its next one; idle connections after
        `idle_grace` seconds. A client may have sent a request on a connection that is idle here."""

    def wait_idle() -> Deferred[None]:
        """Fire when no connection is left."""

    def stop() -> None:
        """Abort all connections that are left, and release what the frontend holds."""


MakeFrontend = Callable[[FrontendContext], IFrontend]
