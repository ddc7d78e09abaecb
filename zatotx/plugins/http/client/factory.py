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

from zatotx.plugins.http.client.call import Answer, Outbound, Sender
from zatotx.plugins.http.client.client import Client
from zatotx.plugins.http.client.connector import Dialer
from zatotx.plugins.http.client.content_decoding import Decoder, Offload
from zatotx.plugins.http.client.credentials import TlsSettings
from zatotx.plugins.http.client.forward_proxy import Proxying
from zatotx.plugins.http.client.pending_call import Shared
from zatotx.plugins.http.client.pool import Bounds
from zatotx.plugins.http.client.redirects import Redirects
from zatotx.plugins.http.client.resolver import Resolver
from zatotx.plugins.http.client.response_processing import Finishing
from zatotx.plugins.http.client.tls import ClientTls
from zatotx.rules.http.proxy_selection import ENVIRONMENT, proxies

FOLLOWED = 10  # redirections of a call, where nothing else is said
RATIO = 100  # how much a body may grow, where nothing else is said


@frozen(kw_only=True)
class ClientSettings:
    """What an outgoing connection says of its client. How long a call may take, and how much an answer may hold, each
    call says itself (`Outbound`)."""

    bounds: Bounds = field(factory=Bounds)
    tls: TlsSettings = field(factory=TlsSettings)
    proxy: str = field(default=ENVIRONMENT, repr=False)  # DIRECT, ENVIRONMENT, or a URL, which may hold a password
    follow_redirects: int = FOLLOWED  # 0 = a redirection is an answer like any other
    any_origin: bool = False  # whether those to other origins are followed
    secret_fields: frozenset[bytes] = frozenset()  # lower-case names that no other origin must see; see is_credential
    inflate: bool = True  # answers are given without their gzip or deflate; they are asked for by decoding.ACCEPT
    ratio: int = RATIO


class Reach:
    """What all clients of a node have in common."""

    def __init__(
        self, reactor: Any, offload: Offload, *, environ: Mapping[str, str], resolver: Resolver | None = None
    ) -> None:
        """`offload(function, *args)` runs a function in a thread; `environ` may name proxies (http_proxy …)."""
        self.reactor = reactor
        self.offload = offload
        self.environ = environ
        self.resolver = Resolver(reactor) if resolver is None else resolver
        self.shared = Shared(reactor)
        self._tls: WeakValueDictionary[TlsSettings, ClientTls] = WeakValueDictionary()

    def tls(self, settings: TlsSettings) -> ClientTls:
        """One of those that are in use, or a new one. Raises Unfit."""
        found = self._tls.get(settings)
        if found is None:
            found = self._tls[settings] = ClientTls(settings)
        return found


@frozen
class MadeClient:
    """A Sender. Its figures are the core's: `core.active`, `core.idle`, `core.waiting`."""

    core: Client
    bare: Sender  # by which answers come as they are: redirections and codings are somebody else's to undo
    send: Callable[[Outbound], Deferred[Answer]]
    ask: Callable[[Outbound], Awaitable[Answer]]  # the same for coroutines

    def retire(self) -> None:
        """Keep no connection from now on."""
        self.core.retire()

    def close(self) -> Deferred[None]:
        """Take no more calls; fires when those under way are over."""
        return self.core.close()


def make_client(settings: ClientSettings, reach: Reach) -> MadeClient:
    """What is off is not wrapped around it, and costs nothing. Raises Unfit and Unusable, sentences of what is wrong
    with certificates or a proxy."""
    by_proxies = proxies(settings.proxy, reach.environ)
    dialer = Dialer(reach.reactor, reach.resolver, reach.tls(settings.tls), by_proxies)
    core = Client(reach.shared, dialer.dial, settings.bounds)
    sender: Sender = Proxying(core, by_proxies) if by_proxies.http else core
    if not settings.follow_redirects and not settings.inflate:
        return MadeClient(core, sender, sender.send, sender.send)
    redirects = Redirects(
        sender, most=settings.follow_redirects, any_origin=settings.any_origin, secret=settings.secret_fields
    )  # fmt: skip
    decoder = Decoder(reach.offload, ratio=settings.ratio)
    finishing = Finishing(
        sender, reach.reactor.seconds,
        redirects=redirects if settings.follow_redirects else None, decoder=decoder if settings.inflate else None,
    )  # fmt: skip
    return MadeClient(core, sender, finishing.send, finishing.ask)
