"""A client put together by its settings: the core, how it comes by connections, and what is wrapped around it.

    client = make_client(ClientSettings(follow_redirects=5), reach)
    client.send(Outbound('GET', Origin('http', 'crm.example.com', 80))).addCallback(…)
    …
    await client.close()
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from attrs import field, frozen
from twisted.internet.defer import Deferred

from zatotx.plugins.http.client.call import HttpRequest, HttpResponse, Sender
from zatotx.plugins.http.client.client import Client
from zatotx.plugins.http.client.connector import Connector
from zatotx.plugins.http.client.content_decoding import Decoder, Offload
from zatotx.plugins.http.client.credentials import TlsSettings
from zatotx.plugins.http.client.forward_proxy import ForwardProxySender
from zatotx.plugins.http.client.pending_call import CallEnvironment
from zatotx.plugins.http.client.pool import PoolLimits
from zatotx.plugins.http.client.redirects import RedirectFollower
from zatotx.plugins.http.client.resolver import AddressResolver
from zatotx.plugins.http.client.response_processing import ResponseProcessor
from zatotx.plugins.http.client.tls import TlsClientFactory
from zatotx.rules.http.proxy_selection import ENVIRONMENT, make_proxy_selector

FOLLOWED = 10  # redirections of a call, where nothing else is said
RATIO = 100  # how much a body may grow, where nothing else is said


@frozen(kw_only=True)
class ClientSettings:
    """What an outgoing connection says of its client. How long a call may take, and how much an answer may hold, each
    call says itself (`HttpRequest`)."""

    bounds: PoolLimits = field(factory=PoolLimits)
    tls: TlsSettings = field(factory=TlsSettings)
    proxy: str = field(default=ENVIRONMENT, repr=False)  # DIRECT, ENVIRONMENT, or a URL, which may hold a password
    follow_redirects: int = FOLLOWED  # 0 = a redirection is an answer like any other
    any_origin: bool = False  # whether those to other origins are followed
    secret_fields: frozenset[bytes] = frozenset()  # lower-case names that no other origin must see; see is_credential
    inflate: bool = True  # answers are given without their gzip or deflate; they are asked for by decoding.ACCEPT
    ratio: int = RATIO


class ClientEnvironment:
    """What all clients of a node have in common."""

    def __init__(
        self, reactor: Any, offload: Offload, *, environ: Mapping[str, str], resolver: AddressResolver | None = None
    ) -> None:
        """`offload(function, *args)` runs a function in a thread; `environ` may name proxies (http_proxy …)."""
        self.reactor = reactor
        self.offload = offload
        self.environ = environ
        self.resolver = AddressResolver(reactor) if resolver is None else resolver
        self.shared = CallEnvironment(reactor)
        self._tls: WeakValueDictionary[TlsSettings, TlsClientFactory] = WeakValueDictionary()

    def tls(self, settings: TlsSettings) -> TlsClientFactory:
        """One of those that are in use, or a new one. Raises Unfit."""
        found = self._tls.get(settings)
        if found is None:
            found = self._tls[settings] = TlsClientFactory(settings)
        return found


@frozen
class BuiltClient:
    """A Sender. Its figures are the core's: `core.active`, `core.idle`, `core.waiting`."""

    core: Client
    bare: Sender  # by which answers come as they are: redirections and codings are somebody else's to undo
    send: Callable[[HttpRequest], Deferred[HttpResponse]]
    ask: Callable[[HttpRequest], Awaitable[HttpResponse]]  # the same for coroutines

    def retire(self) -> None:
        """Keep no connection from now on."""
        self.core.retire()

    def close(self) -> Deferred[None]:
        """Take no more calls; fires when those under way are over."""
        return self.core.close()


def make_client(settings: ClientSettings, reach: ClientEnvironment) -> BuiltClient:
    """What is off is not wrapped around it, and costs nothing. Raises Unfit and Unusable, sentences of what is wrong
    with certificates or a proxy."""
    by_proxies = make_proxy_selector(settings.proxy, reach.environ)
    dialer = Connector(reach.reactor, reach.resolver, reach.tls(settings.tls), by_proxies)
    core = Client(reach.shared, dialer.dial, settings.bounds)
    sender: Sender = ForwardProxySender(core, by_proxies) if by_proxies.http else core
    if not settings.follow_redirects and not settings.inflate:
        return BuiltClient(core, sender, sender.send, sender.send)
    redirects = RedirectFollower(
        sender, most=settings.follow_redirects, any_origin=settings.any_origin, secret=settings.secret_fields
    )  # fmt: skip
    decoder = Decoder(reach.offload, ratio=settings.ratio)
    finishing = ResponseProcessor(
        sender, reach.reactor.seconds,
        redirects=redirects if settings.follow_redirects else None, decoder=decoder if settings.inflate else None,
    )  # fmt: skip
    return BuiltClient(core, sender, finishing.send, finishing.ask)
