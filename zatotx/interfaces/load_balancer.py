"""Interfaces between the parts of the load balancer: the data path, the backends, and the administration agent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Literal, NamedTuple

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface


class ServerUseOutcome(Enum):
    """The outcome of using a backend server. The outcome depends on the transport only, and never on the status of a
    response."""

    RESPONDED = 'responded'  # a well-formed response began, whatever its status
    NOT_CONNECTED = 'not connected'  # refused, unreachable, or not connected in time
    RESET = 'reset'  # the connection was closed or reset before the response was complete
    MALFORMED = 'malformed'  # the response is not HTTP
    TIMED_OUT = 'timed out'  # the server did not respond within its timeout
    ABANDONED = 'abandoned'  # the client went away: says nothing about the server


class BalancingKey(NamedTuple):
    """The parts of a request, or of a TCP connection, that a balancing algorithm may use."""

    client_address: str
    headers: Mapping[str, str]  # by lower-case name; only those that the backend's algorithm needs
    cookies: Mapping[str, str]


class NoServerAvailableError(Exception):
    """No server of a backend accepts the request. Either all servers are down or in maintenance, or the backend's queue
    is full, or the request has waited too long in the queue."""


class IServerSlot(Interface):
    """The permission to send one request to a backend server, or to hold one TCP connection to it."""

    name: str = Attribute('The name of the server')
    host: str = Attribute('The address to connect to')
    port: int = Attribute('The port to connect to')
    cookie: str = Attribute('The value of the sticky cookie to set in the response; "" if none')

    def release(outcome: ServerUseOutcome) -> None:
        """Give the slot back. A second call has no effect."""


class IBackend(Interface):
    """A named group of servers, with the algorithm that chooses one of them for each request."""

    name: str = Attribute('The name of the backend')
    key_headers: Collection[str] = Attribute('Lower-case names of the header fields that a BalancingKey must contain')
    key_cookies: Collection[str] = Attribute('Names of the cookies that a BalancingKey must contain')

    def acquire_now(key: BalancingKey, excluded: Collection[str] = ()) -> IServerSlot | None:
        """Return a slot at once, as `acquire` does, or None if all servers are full: then call `acquire`, which queues.
        Raises NoServerAvailableError. It is called for each request, so it should create nothing but the slot."""

    def acquire(key: BalancingKey, excluded: Collection[str] = ()) -> Deferred[IServerSlot]:
        """Fire with a slot of a server that is not in `excluded` (the names of servers already tried), after waiting in
        the queue if all are full. Cancel the Deferred to leave the queue. Fails with NoServerAvailableError."""


class LocalResponse(NamedTuple):
    """A response that the load balancer itself creates."""

    status: int
    content_type: str
    body: bytes
    fields: tuple[tuple[bytes, bytes], ...] = ()


class ILocalResponder(Interface):
    """Creates the load balancer's own pages on a frontend: statistics and metrics."""

    def respond(method: str, path: bytes, query: bytes, headers: Mapping[bytes, bytes]) -> LocalResponse | None:
        """Return the response to a request, or None if its path is none of these pages. `headers` by lower-case
        name."""


class ExchangeRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The log record of a finished HTTP exchange (request and response), or of a finished TCP connection. Times are in
    seconds; -1 means that the phase was not reached."""

    frontend: str
    backend: str  # '' = none was chosen
    server: str  # '' = none was chosen
    client_address: str
    client_port: int
    started_at: float  # on the reactor's clock
    head_time: float  # from the first byte of the request to the end of its head
    queue_time: float  # until a server had room
    connect_time: float  # until the connection to the server was established; 0 for a reused one
    response_time: float  # until the head of the response
    total_time: float
    status: int  # sent to the client; 0 = none was sent, or a TCP connection
    received_bytes: int  # of the request's body, or from the client of a TCP connection
    sent_bytes: int  # to the client
    retries: int
    termination: str  # HAProxy's two letters: who ended it, C(lient), S(erver), P(roxy), s or c = a timeout; and when
    request_line: bytes  # as sent; b'' for a TCP connection


class ITrafficCounters(Interface):
    """Counts the exchanges of one frontend with one backend."""

    def count(status: int, termination: str, received: int, sent: int, seconds: float) -> bool:
        """Count a finished exchange; the arguments are those of ExchangeRecord. Return whether it failed, so that it is
        to be logged in any case. It must not cost much: it is called for each request."""

    def count_retry() -> None:
        """Count a request that is sent once more."""


class IExchangeLog(Interface):
    """The interface that counts and logs finished exchanges."""

    def counters(frontend: str, backend: str) -> ITrafficCounters:
        """Return the counters of a frontend and a backend; '' = no backend was chosen. The same for the same names."""

    def log(record: ExchangeRecord, *, is_written: bool) -> None:
        """Log a finished exchange: as a line of the log file, if `is_written`, and if it failed, as a recent error.
        Must not block."""


ServerState = Literal['UP', 'DOWN', 'MAINT', 'DRAIN']


class ServerStatus(NamedTuple):
    """The status of a backend server, in the form that the agent and the statistics page show."""

    backend: str
    name: str
    address: str  # host:port
    state: ServerState
    reason: str  # why it is not UP, a sentence fragment; '' if it is
    weight: int
    is_backup: bool
    current_sessions: int
    queued: int
    total_requests: int
    errors: int  # outcomes that are failures of the transport
    last_change: float  # seconds since the state changed


class RenamedServer(NamedTuple):
    """A server that a new configuration has under another name."""

    backend: str
    old: str
    new: str


class IBalancerControl(Interface):
    """The operations of a running load balancer that its agent can perform."""

    def config_source() -> str:
        """Return the text of lb.toml, comments included."""

    def validate(source: str) -> list[str]:
        """Return the mistakes in the text of a configuration, one sentence each; empty if there are none."""

    def apply(source: str, renamed: RenamedServer | None = None) -> Deferred[list[str]]:
        """Validate, write lb.toml atomically and put it into force in all workers. A server that is renamed keeps the
        administrative state that was set. Fires with the mistakes; if there is one, nothing has changed."""

    def servers() -> Sequence[ServerStatus]:
        """Return the current status of all servers of all backends."""

    def set_state(backend: str, name: str, state: Literal['ready', 'drain', 'maint']) -> Deferred[None]:
        """Set the administrative state of a server, and save it for the next start. Fails with LookupError if there is
        no such server, and with OSError if the state cannot be saved; then it is not set."""

    def info() -> Mapping[str, str | int | float]:
        """Return facts about the process: version, pid, uptime in seconds, workers, current and total sessions."""

    def recent_errors() -> Sequence[str]:
        """Return the last malformed messages and failed exchanges, one line each, newest last."""
