"""The state shared by all TCP connections of a frontend."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from zatotx.connectors.http.buffered_writer import WriteBatch
from zatotx.interfaces.load_balancer import IBackend, IExchangeLog, ITrafficCounters
from zatotx.interfaces.timeout_sweeper import TimeoutSweeper
from zatotx.lb.config.model import Backend
from zatotx.lb.connection_handle import ClientConnectionHandle
from zatotx.lb.server_connector import ServerConnectionSettings


@frozen(eq=False, kw_only=True)
class TcpTarget:
    """The backend of a TCP frontend, with its connection settings."""

    name: str
    settings: Backend
    link: Callable[[str, str, int], ServerConnectionSettings]  # of a server's name, host and port
    counters: ITrafficCounters
    is_logged: bool


@define(eq=False, kw_only=True)
class TcpFrontendContext:
    """The clock, counters, sweeper and backends of a TCP frontend, which all of its connections share."""

    name: str
    clock: IReactorTime
    seconds: Callable[[], float]
    write_batch: WriteBatch
    sweeper: TimeoutSweeper
    find_backend: Callable[[str], IBackend]
    exchange_log: IExchangeLog
    connections: set[ClientConnectionHandle] = field(factory=set)
    on_lost: Callable[[], None]

    def connection_lost(self, connection: ClientConnectionHandle) -> None:
        """Forget a connection that is closed."""
        self.connections.discard(connection)
        self.on_lost()
