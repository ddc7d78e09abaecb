"""The HTTP client of one outgoing connection: it has a connection pool per origin, usually one."""

from __future__ import annotations

from functools import lru_cache

from twisted.internet.defer import Deferred, fail

from zatotx.plugins.http.client.call import BodySource, Dial, HttpRequest, HttpResponse, Origin
from zatotx.plugins.http.client.errors import ClientClosed, TotalTimeout
from zatotx.plugins.http.client.pending_call import CallEnvironment, PendingCall
from zatotx.plugins.http.client.pool import ConnectionPool, PoolLimits
from zatotx.wire.http1.fields import is_authority
from zatotx.wire.http1.request_writer import CHUNKED, CLOSE, CONTENT_LENGTH, EXPECT, NO_BODY, write_request_head

MAX_JOINED_BODY = 64 * 1024  # bytes of a body that are copied behind the head, to be sent in one write
_MAX_POOLS = 8  # pools that are kept; beyond that, those without connections are dropped
_WITH_BODY = frozenset({'POST', 'PUT', 'PATCH'})  # send `Content-Length: 0` if they have no body (RFC 9110 §8.6)


class HttpClient:
    """Sends requests over pooled connections."""

    __slots__ = ('_closed', '_dial', '_environment', '_keeps_alive', '_limits', '_pools', '_retired', '_when_empty')

    def __init__(self, environment: CallEnvironment, dial: Dial, limits: PoolLimits = PoolLimits()) -> None:  # noqa: B008 - a frozen value
        self._environment = environment
        self._dial = dial
        self._limits = limits
        self._keeps_alive = limits.idle_timeout > 0
        self._pools: dict[Origin, ConnectionPool] = {}
        self._retired = False
        self._closed = False
        self._when_empty: list[Deferred[None]] = []

    @property
    def active(self) -> int:
        """Number of connections that are busy or being opened."""
        return sum(pool.occupied_slots - pool.idle_count for pool in self._pools.values())

    @property
    def idle(self) -> int:
        """Number of idle connections."""
        return sum(pool.idle_count for pool in self._pools.values())

    @property
    def waiting(self) -> int:
        """Number of calls that wait for a connection."""
        return sum(pool.waiting_count for pool in self._pools.values())

    def send(self, request: HttpRequest) -> Deferred[HttpResponse]:
        """See Sender."""
        data, body = format_request(request, keep_alive=self._keeps_alive)
        call = PendingCall(self._environment, request, data, body)
        now = call.started_at
        if call.deadline <= now:
            return fail(TotalTimeout('the time of the call was over before it began', reached_peer=False))
        if self._closed:
            return fail(ClientClosed('the connection is closed'))
        pool = self._pools.get(request.origin) or self._pool(request.origin)
        answered = call.start()
        pool.submit(call, now)
        return answered

    def close_idle(self) -> None:
        """Keep no idle connections from now on: another client takes most calls. Later calls are still sent."""
        self._retired = True
        for pool in self._pools.values():
            pool.close_idle()

    def close(self) -> Deferred[None]:
        """Accept no more calls, and fail those that wait for a connection with ClientClosed. Fires when all others have
        ended, at the latest at their timeouts."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()
        empty: Deferred[None] = Deferred()
        self._when_empty.append(empty)
        self._emptied()
        return empty

    def _emptied(self) -> None:
        if any(pool.occupied_slots for pool in self._pools.values()):
            return
        waiting, self._when_empty = self._when_empty, []
        for empty in waiting:
            empty.callback(None)

    def _pool(self, origin: Origin) -> ConnectionPool:
        if len(self._pools) >= _MAX_POOLS:
            self._pools = {known: pool for known, pool in self._pools.items() if pool.occupied_slots}
        pool = self._pools[origin] = ConnectionPool(
            origin, self._limits, environment=self._environment, dial=self._dial, on_empty=self._emptied
        )
        if self._retired:
            pool.close_idle()
        return pool


def format_request(request: HttpRequest, *, keep_alive: bool) -> tuple[bytes, bytes | BodySource | None]:
    """Return the bytes to send at once, and the body to send after them. Raises ValueError for a request that must not
    be sent."""
    body, method = request.body, request.method
    if method == 'CONNECT':
        raise ValueError('CONNECT is no request but makes a tunnel, which proxies are configured for')
    if body is None:
        ending = CONTENT_LENGTH % 0 if method in _WITH_BODY else NO_BODY
    elif type(body) is bytes and not request.expect_timeout:
        ending = CONTENT_LENGTH % len(body)
    else:
        ending = _framing_fields(body, request.expect_timeout)
    if not keep_alive:
        ending = CLOSE + ending
    head = write_request_head(method, request.target, _host(request.origin), request.headers, ending)
    if type(body) is bytes and len(body) <= MAX_JOINED_BODY and not request.expect_timeout:
        return head + body, None
    return head, body


def _framing_fields(body: bytes | BodySource, expect: float) -> bytes:
    """Return the framing fields of a body that is produced while it is sent, or waits for 100 Continue."""
    length = len(body) if isinstance(body, bytes) else body.length
    ending = CHUNKED if length is None else CONTENT_LENGTH % length
    return EXPECT + ending if expect else ending


@lru_cache(maxsize=256)
def _host(origin: Origin) -> bytes:
    host = origin.authority
    if not is_authority(host):
        raise ValueError(f'The host {origin.host!r} with the port {origin.port} is no address')
    return host
