"""The HTTP client of one outgoing connection. The client has one connection pool for each origin, and usually there is
one origin.

    client = make_client(ClientSettings(follow_redirects=5), environment)
    client.send(HttpRequest('GET', Origin('http', 'crm.example.com', 80))).addCallback(…)
    …
    await client.close()
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from weakref import WeakValueDictionary

from attrs import field, frozen
from twisted.internet.defer import Deferred, fail

from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.connectors.tls_settings import TlsSettings
from zatotx.interfaces.reactor import IReactor
from zatotx.plugins.http.client.connection_pool import ConnectionPool, PoolLimits
from zatotx.plugins.http.client.connector import AddressResolver, Connector
from zatotx.plugins.http.client.errors import ClientClosed, TotalTimeout
from zatotx.plugins.http.client.forward_proxy import ForwardProxySender
from zatotx.plugins.http.client.http_messages import BodySource, Dial, HttpRequest, HttpResponse, Origin, Sender
from zatotx.plugins.http.client.pending_call import PendingCall, SharedCallResources
from zatotx.plugins.http.client.response_processing import Offload, RedirectFollower, ResponseDecoder, ResponseProcessor
from zatotx.rules.http.proxy_selection import ENVIRONMENT, make_proxy_selector
from zatotx.wire.http1.header_fields import is_authority
from zatotx.wire.http1.request_writer import CHUNKED, CLOSE, CONTENT_LENGTH, EXPECT, NO_BODY, write_request_head

MAX_JOINED_BODY = 64 * 1024  # bytes of a body that are copied behind the head, to be sent in one write
_MAX_POOLS = 8  # pools that are kept; beyond that, those without connections are dropped
_WITH_BODY = frozenset({'POST', 'PUT', 'PATCH'})  # send `Content-Length: 0` if they have no body (RFC 9110 §8.6)
DEFAULT_MAX_REDIRECTS = 10  # default limit of redirects per call
DEFAULT_MAX_RATIO = 100  # default limit for the growth of a body, as a factor


class HttpClient:
    """Sends requests over pooled connections."""

    __slots__ = ('_closed', '_dial', '_environment', '_keeps_alive', '_limits', '_pools', '_retired', '_when_empty')

    def __init__(self, environment: SharedCallResources, dial: Dial, limits: PoolLimits = PoolLimits()) -> None:  # noqa: B008 - a frozen value
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
        data, body = serialize_request(request, keep_alive=self._keeps_alive)
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


def serialize_request(request: HttpRequest, *, keep_alive: bool) -> tuple[bytes, bytes | BodySource | None]:
    """Serialize a request. Returns the bytes to send immediately, and the body to send after them. Raises ValueError
    for a request that must not be sent."""
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


@frozen(kw_only=True)
class ClientSettings:
    """The client settings of an outgoing connection. Timeouts and size limits are set for each call (`HttpRequest`)."""

    pool_limits: PoolLimits = field(factory=PoolLimits)
    tls: TlsSettings = field(factory=TlsSettings)
    proxy: str = field(default=ENVIRONMENT, repr=False)  # DIRECT, ENVIRONMENT, or a URL, which may contain a password
    max_redirects: int = DEFAULT_MAX_REDIRECTS  # 0 = return redirects like any other response
    redirect_to_any_origin: bool = False  # whether redirects to other origins are followed
    secret_fields: frozenset[bytes] = frozenset()  # lower-case names never sent to another origin; see is_credential
    decode_content: bool = True  # whether gzip and deflate are decoded; content_decoding.ACCEPT asks for them
    max_ratio: int = DEFAULT_MAX_RATIO


class ClientEnvironment:
    """The dependencies that all HTTP clients of a node share, such as the reactor."""

    def __init__(
        self, reactor: IReactor, offload: Offload, *, environ: Mapping[str, str],
        resolver: AddressResolver | None = None,
    ) -> None:
        """`offload(function, *args)` runs a function in a thread; `environ` may name proxies (http_proxy …)."""
        self.reactor = reactor
        self.offload = offload
        self.environ = environ
        self.resolver = AddressResolver(reactor) if resolver is None else resolver
        self.call_environment = SharedCallResources(reactor)
        self._tls: WeakValueDictionary[TlsSettings, TlsClientFactory] = WeakValueDictionary()

    def tls_factory(self, settings: TlsSettings) -> TlsClientFactory:
        """Return a factory that is in use, or a new one. Raises InvalidTlsSettings."""
        factory = self._tls.get(settings)
        if factory is None:
            factory = self._tls[settings] = TlsClientFactory(settings, alpn=(b'http/1.1',))
        return factory


@frozen
class HttpClientWithSenders:
    """An HTTP client together with the senders that wrap it. The statistics `active`, `idle` and `waiting` are those of
    `client`."""

    client: HttpClient
    raw_sender: Sender  # without redirects and content decoding, for callers that do both themselves
    send: Callable[[HttpRequest], Deferred[HttpResponse]]
    send_awaitable: Callable[[HttpRequest], Awaitable[HttpResponse]]  # `send` for coroutines

    def close_idle(self) -> None:
        """Keep no idle connections from now on."""
        self.client.close_idle()

    def close(self) -> Deferred[None]:
        """Accept no more calls; fires when those in progress have ended."""
        return self.client.close()


def make_client(settings: ClientSettings, environment: ClientEnvironment) -> HttpClientWithSenders:
    """Create an HTTP client. Wrappers that are not needed are omitted, and cause no overhead. Raises
    UnusableCredentials if a certificate cannot be used, and UnusableProxy if a proxy cannot be used."""
    proxies = make_proxy_selector(settings.proxy, environment.environ)
    connector = Connector(environment.reactor, environment.resolver, environment.tls_factory(settings.tls), proxies)
    core = HttpClient(environment.call_environment, connector.connect, settings.pool_limits)
    sender: Sender = ForwardProxySender(core, proxies) if proxies.http else core
    if not settings.max_redirects and not settings.decode_content:
        return HttpClientWithSenders(core, sender, sender.send, sender.send)
    redirects = RedirectFollower(
        sender,
        max_redirects=settings.max_redirects,
        any_origin=settings.redirect_to_any_origin,
        secret_fields=settings.secret_fields,
    )
    decoder = ResponseDecoder(environment.offload, max_ratio=settings.max_ratio)
    processor = ResponseProcessor(
        sender, environment.reactor.seconds,
        redirects=redirects if settings.max_redirects else None, decoder=decoder if settings.decode_content else None,
    )  # fmt: skip
    return HttpClientWithSenders(core, sender, processor.send, processor.send_awaitable)
