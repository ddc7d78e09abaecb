"""Creates the log records of finished exchanges."""

from __future__ import annotations

from typing import Protocol

from zatotx.interfaces.load_balancer import ExchangeRecord
from zatotx.lb.http.http_frontend_context import HttpFrontendContext
from zatotx.lb.http.http_frontend_state import PreparedRequest
from zatotx.lb.http.request_rewriting import ClientConnectionInfo


class LoggedClient(Protocol):
    """The attributes of a client connection that are logged."""

    runtime: HttpFrontendContext
    peer: ClientConnectionInfo
    peer_port: int
    head_began: float


class LoggedExchange(Protocol):
    """The attributes of an exchange that are logged. Times are in seconds on the reactor's clock; -1 means that the
    phase was not reached."""

    prepared: PreparedRequest
    started_at: float
    acquired_at: float
    connected_at: float
    responded_at: float
    server: str
    status: int
    received_bytes: int
    sent_bytes: int

    @property
    def retries(self) -> int:
        """How often the request was sent again."""

    @property
    def client(self) -> LoggedClient:
        """The connection of its client."""


def log_exchange(exchange: LoggedExchange, termination: str, now: float) -> None:
    """Count a finished exchange. The exchange is logged if its frontend logs all exchanges, or if it failed."""
    prepared, client = exchange.prepared, exchange.client
    has_failed = prepared.counters.count(
        exchange.status, termination, exchange.received_bytes, exchange.sent_bytes, now - client.head_began
    )
    is_written = prepared.state.settings.log
    if is_written or has_failed:
        client.runtime.exchange_log.log(_make_record(exchange, termination, now), is_written=is_written)


def _make_record(exchange: LoggedExchange, termination: str, now: float) -> ExchangeRecord:
    prepared, client = exchange.prepared, exchange.client
    target = prepared.target
    started, acquired = exchange.started_at, exchange.acquired_at
    connected, responded = exchange.connected_at, exchange.responded_at
    return ExchangeRecord(
        frontend=client.runtime.name,
        backend=target.name if target is not None else '',
        server=exchange.server,
        client_address=prepared.client_address,
        client_port=client.peer_port,
        started_at=client.head_began,
        head_time=started - client.head_began,
        queue_time=acquired - started if acquired >= 0 else -1,
        connect_time=connected - acquired if connected >= 0 else -1,
        response_time=responded - connected if responded >= 0 else -1,
        total_time=now - client.head_began,
        status=exchange.status,
        received_bytes=exchange.received_bytes,
        sent_bytes=exchange.sent_bytes,
        retries=exchange.retries,
        termination=termination,
        request_line=prepared.request_line,
    )


def log_malformed_input(client: LoggedClient, *, status: int, sent: int, request_line: bytes) -> None:
    """Log malformed input of a client. The client has received an error response."""
    runtime = client.runtime
    now = runtime.seconds()
    termination = 'cR' if status == 408 else 'PR'
    is_written = runtime.state.settings.log
    has_failed = runtime.state.counters.count(status, termination, 0, sent, now - client.head_began)
    if not is_written and not has_failed:
        return
    runtime.exchange_log.log(ExchangeRecord(
        frontend=runtime.name, backend='', server='', client_address=client.peer.address, client_port=client.peer_port,
        started_at=client.head_began, head_time=-1, queue_time=-1, connect_time=-1, response_time=-1,
        total_time=now - client.head_began, status=status, received_bytes=0, sent_bytes=sent, retries=0,
        termination=termination, request_line=request_line,
    ), is_written=is_written)  # fmt: skip
