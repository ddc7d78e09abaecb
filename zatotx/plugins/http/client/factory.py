"""Builds an HTTP client from its settings: connection pools, connector, and the wrappers around them.

    client = make_client(ClientSettings(follow_redirects=5), environment)
    client.send(HttpRequest('GET', Origin('http', 'crm.example.com', 80))).addCallback(…)
    …
    await client.close()
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from attrs import field, frozen
from twisted.internet.defer import Deferred

from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.connectors.tls_settings import TlsSettings
from zatotx.plugins.http.client.call import HttpRequest, HttpResponse, Sender
from zatotx.plugins.http.client.connector import Connector
from zatotx.plugins.http.client.content_decoding import Decoder, Offload
from zatotx.plugins.http.client.forward_proxy import ForwardProxySender
from zatotx.plugins.http.client.http_client import HttpClient
from zatotx.plugins.http.client.pending_call import CallEnvironment
from zatotx.plugins.http.client.pool import PoolLimits
from zatotx.plugins.http.client.redirects import RedirectFollower
from zatotx.plugins.http.client.resolver import AddressResolver
from zatotx.plugins.http.client.response_processing import ResponseProcessor
from zatotx.rules.http.proxy_selection import ENVIRONMENT, make_proxy_selector

DEFAULT_MAX_REDIRECTS = 10  # default limit of redirects per call
DEFAULT_MAX_RATIO = 100  # default limit for the growth of a body, as a factor


@frozen(kw_only=True)
class ClientSettings:
    """Client settings of an outgoing connection. Timeouts and size limits are set per call (`HttpRequest`)."""

    pool_limits: PoolLimits = field(factory=PoolLimits)
    tls: TlsSettings = field(factory=TlsSettings)
    proxy: str = field(default=ENVIRONMENT, repr=False)  # DIRECT, ENVIRONMENT, or a URL, which may contain a password
    max_redirects: int = DEFAULT_MAX_REDIRECTS  # 0 = return redirects like any other response
    redirect_to_any_origin: bool = False  # whether redirects to other origins are followed
    secret_fields: frozenset[bytes] = frozenset()  # lower-case names never sent to another origin; see is_credential
    decode_content: bool = True  # whether gzip and deflate are decoded; content_decoding.ACCEPT asks for them
    max_ratio: int = DEFAULT_MAX_RATIO


class ClientEnvironment:
    """The environment that all clients of a node share."""

    def __init__(
        self, reactor: Any, offload: Offload, *, environ: Mapping[str, str], resolver: AddressResolver | None = None
    ) -> None:
        """`offload(function, *args)` runs a function in a thread; `environ` may name proxies (http_proxy …)."""
        self.reactor = reactor
        self.offload = offload
        self.environ = environ
        self.resolver = AddressResolver(reactor) if resolver is None else resolver
        self.call_environment = CallEnvironment(reactor)
        self._tls: WeakValueDictionary[TlsSettings, TlsClientFactory] = WeakValueDictionary()

    def tls_factory(self, settings: TlsSettings) -> TlsClientFactory:
        """Return a factory that is in use, or a new one. Raises InvalidTlsSettings."""
        factory = self._tls.get(settings)
        if factory is None:
            factory = self._tls[settings] = TlsClientFactory(settings, alpn=(b'http/1.1',))
        return factory


@frozen
class WrappedClient:
    """A client with its wrappers; a Sender. Its statistics are those of `client`: `active`, `idle`, `waiting`."""

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


def make_client(settings: ClientSettings, environment: ClientEnvironment) -> WrappedClient:
    """Build a client. Wrappers that are not needed are left out, and cost nothing. Raises UnusableCredentials and
    UnusableProxy, with messages about certificates or a proxy."""
    proxies = make_proxy_selector(settings.proxy, environment.environ)
    connector = Connector(environment.reactor, environment.resolver, environment.tls_factory(settings.tls), proxies)
    core = HttpClient(environment.call_environment, connector.connect, settings.pool_limits)
    sender: Sender = ForwardProxySender(core, proxies) if proxies.http else core
    if not settings.max_redirects and not settings.decode_content:
        return WrappedClient(core, sender, sender.send, sender.send)
    redirects = RedirectFollower(
        sender,
        max_redirects=settings.max_redirects,
        any_origin=settings.redirect_to_any_origin,
        secret_fields=settings.secret_fields,
    )
    decoder = Decoder(environment.offload, max_ratio=settings.max_ratio)
    processor = ResponseProcessor(
        sender, environment.reactor.seconds,
        redirects=redirects if settings.max_redirects else None, decoder=decoder if settings.decode_content else None,
    )  # fmt: skip
    return WrappedClient(core, sender, processor.send, processor.send_awaitable)
