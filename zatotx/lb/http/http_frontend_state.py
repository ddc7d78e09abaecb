"""The state of an HTTP frontend that is replaced when the configuration changes. It consists of routes, rules, and
connection pools of servers.

A client that keeps its connection usually sends identical heads, and the parser then returns the same RequestHead
again. So everything that follows from the head and the configuration is computed once, as a `PreparedRequest`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import msgspec
from attrs import define, frozen

from zatotx.interfaces.load_balancer import BalancingKey, IBackend, IServerSlot, ITrafficCounters, LocalResponse
from zatotx.lb.config.model import Backend, Configuration, Frontend
from zatotx.lb.http.error_responses import (
    FORBIDDEN,
    METHOD_NOT_ALLOWED,
    NO_BACKEND,
    UNSUPPORTED_EXPECTATION,
    error_response,
    redirect_response,
)
from zatotx.lb.http.request_rewriting import (
    IDEMPOTENT_METHODS,
    ClientConnectionInfo,
    RequestRewritingRules,
    request_target,
    requests_websocket,
    rewrite_request_head,
)
from zatotx.lb.http.response_rewriting import ResponseRewritingRules
from zatotx.lb.http.routing import CompiledRoutingRule, choose_backend
from zatotx.lb.http.server_connection_pool import ServerConnectionPool
from zatotx.rules.balancing.sticky_cookie import make_cookie_name
from zatotx.rules.http.trusted_proxies import TrustedProxies, find_request_origin, parse_trusted_proxies
from zatotx.rules.resilience.retry_budget import RequestRetryBudget
from zatotx.wire.http1.request_parser import RequestHead

_ALLOWED = ((b'Allow', b'DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT'),)


@define(eq=False, kw_only=True)
class BackendTarget:
    """A backend as used by one frontend, with rewriting rules and connection pools. The keys of `pools` are the
    server's name and address."""

    name: str
    settings: Backend
    request_rules: RequestRewritingRules
    response_rules: ResponseRewritingRules
    budget: RequestRetryBudget
    counters: ITrafficCounters
    make_pool: Callable[[str, str, int], ServerConnectionPool]  # of a server's name, host and port
    cookie: bytes = b''  # Set-Cookie line with a place for the value; b'' = no sticky cookie
    pools: dict[tuple[str, str, int], ServerConnectionPool]

    def add_pool(self, slot: IServerSlot) -> ServerConnectionPool:
        """Create the pool of a server."""
        pool = self.pools[slot.name, slot.host, slot.port] = self.make_pool(slot.name, slot.host, slot.port)
        return pool

    def hand_over(self, successor: BackendTarget | None) -> None:
        """Pass the connections on to the target that replaces this one, where its servers are the same. The others are
        closed, after the exchanges in progress."""
        if successor is not None and successor.budget.percent == self.budget.percent:
            successor.budget = self.budget
        for key, pool in self.pools.items():
            if successor is not None and self._link_settings(*key) == successor._link_settings(*key):
                successor.pools[key] = pool
            else:
                pool.close()

    def _link_settings(self, name: str, host: str, port: int) -> object:
        """Return what connections to a server depend on; an object that equals nothing if there is no such server."""
        server, settings = self.settings.servers.get(name), self.settings
        if server is None or (server.host, server.port) != (host, port):
            return object()
        return server.tls, settings.timeouts.connect, settings.timeouts.idle, settings.proxy_protocol

    def close(self) -> None:
        """Close the connections to all servers, after the exchanges in progress."""
        self.hand_over(None)


class PreparedRequest(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The routing result and the rewriting rules for one request. They are determined by the head of the request and
    the state of the frontend."""

    head: RequestHead
    state: HttpFrontendState
    client_address: str
    request_line: bytes  # for the log
    local: LocalResponse | None = None  # the response, if no server is needed
    is_page: bool = False  # whether a page of the load balancer is asked for
    target: BackendTarget | None = None
    counters: ITrafficCounters
    data: bytes = b''  # the head for the server
    key: BalancingKey
    is_websocket: bool = False
    is_idempotent: bool = False


@frozen(eq=False, kw_only=True)
class HttpFrontendState:
    """The immutable state of an HTTP frontend. A configuration change replaces it."""

    settings: Frontend
    configuration: Configuration
    routes: tuple[CompiledRoutingRule, ...]
    targets: Mapping[str, BackendTarget]
    counters: ITrafficCounters  # of requests for which no backend is chosen
    allow: TrustedProxies | None
    deny: TrustedProxies | None
    trusted_proxies: TrustedProxies
    find_backend: Callable[[str], IBackend]
    is_alive: Callable[[], bool]

    def prepare(self, head: RequestHead, peer: ClientConnectionInfo) -> PreparedRequest:
        """Route a request, and write its head for the server."""
        address = peer.address
        if peer.is_trusted:
            address = find_request_origin(head.headers, address, self.trusted_proxies).address
        line = b'%b %b HTTP/1.%d' % (head.method.encode('ascii'), head.target, head.version[1])
        key = BalancingKey(address, {}, {})
        local = self._local_response(head, peer, address)
        if local is not None or self._is_page(head):
            return PreparedRequest(head=head, state=self, client_address=address, request_line=line, local=local,
                                   counters=self.counters, is_page=local is None, key=key)  # fmt: skip
        target = self.targets.get(choose_backend(self.routes, self.settings.default_backend, head))
        if target is None:
            missing = error_response(404, NO_BACKEND, self.configuration.error_bodies)
            return PreparedRequest(
                head=head, state=self, client_address=address, request_line=line, local=missing, key=key,
                counters=self.counters,
            )  # fmt: skip
        return PreparedRequest(
            head=head, state=self, client_address=address, request_line=line, target=target,
            counters=target.counters,
            data=rewrite_request_head(head, peer, target.request_rules), key=self._key(address, target.name, head),
            is_websocket=requests_websocket(head), is_idempotent=head.method in IDEMPOTENT_METHODS,
        )  # fmt: skip

    def _local_response(self, head: RequestHead, peer: ClientConnectionInfo, address: str) -> LocalResponse | None:
        """Return the response to a request that needs no server, or None."""
        settings, bodies = self.settings, self.configuration.error_bodies
        if settings.alive_path and head.path == settings.alive_path.encode():
            if self.is_alive():
                return LocalResponse(200, 'text/plain', b'OK\n')
            return LocalResponse(503, 'text/plain', b'The load balancer is stopping\n')
        if not is_address_allowed(address, self.allow, self.deny):
            return error_response(403, FORBIDDEN, bodies)
        if head.method == 'CONNECT':
            return error_response(405, METHOD_NOT_ALLOWED, bodies, _ALLOWED)
        if settings.redirect_to_https and not peer.is_tls and not _is_forwarded_https(head, peer):
            return redirect_response(b'https://%b%b' % (_host_name(head, peer), request_target(head)))
        if head.expects and head.expects != b'100-continue':
            return error_response(417, UNSUPPORTED_EXPECTATION, bodies)
        return None

    def _is_page(self, head: RequestHead) -> bool:
        stats = self.configuration.stats
        return self.settings.stats and head.path in (stats.path.encode(), stats.metrics_path.encode())

    def _key(self, address: str, name: str, head: RequestHead) -> BalancingKey:
        """Return what the balancing algorithm of a backend needs of a request."""
        try:
            backend = self.find_backend(name)
        except LookupError:
            return BalancingKey(address, {}, {})
        headers = {header: head.headers[header.encode('latin-1')].decode('latin-1') for header in backend.key_headers
                   if header.encode('latin-1') in head.headers}  # fmt: skip
        return BalancingKey(address, headers, _cookies(head, backend.key_cookies))


def make_http_frontend_state(
    name: str, configuration: Configuration, *, find_backend: Callable[[str], IBackend], is_alive: Callable[[], bool],
    make_pool: Callable[[str, Backend, str, str, int], ServerConnectionPool],
    find_counters: Callable[[str], ITrafficCounters],
    previous: HttpFrontendState | None,
) -> HttpFrontendState:
    """Create the state of a frontend from its configuration. Targets of `previous` that have not changed are reused
    together with their connections."""
    settings = configuration.frontends[name]
    used = {settings.default_backend, *(route.backend for route in settings.routes)}
    targets: dict[str, BackendTarget] = {}
    for backend in sorted(used & configuration.backends.keys()):
        known = previous.targets.get(backend) if previous is not None else None
        if known is not None and previous is not None and known.settings == configuration.backends[backend] and (
            previous.settings == settings and previous.configuration.main == configuration.main
        ):  # fmt: skip
            targets[backend] = known
        else:
            targets[backend] = _make_target(
                backend, configuration, settings, make_pool=make_pool, counters=find_counters(backend)
            )
    return HttpFrontendState(
        settings=settings,
        configuration=configuration,
        routes=tuple(map(CompiledRoutingRule.from_route, settings.routes)),
        targets=targets,
        counters=find_counters(''),
        allow=parse_trusted_proxies(settings.allow) if settings.allow else None,
        deny=parse_trusted_proxies(settings.deny) if settings.deny else None,
        trusted_proxies=parse_trusted_proxies(settings.trusted_proxies),
        find_backend=find_backend,
        is_alive=is_alive,
    )


def _make_target(
    name: str, configuration: Configuration, settings: Frontend, *,
    make_pool: Callable[[str, Backend, str, str, int], ServerConnectionPool], counters: ITrafficCounters,
) -> BackendTarget:
    backend = configuration.backends[name]
    requests = (settings.request_headers, backend.request_headers)
    responses = (backend.response_headers, settings.response_headers)
    return BackendTarget(
        name=name, settings=backend, pools={}, budget=RequestRetryBudget(backend.retries.budget), counters=counters,
        request_rules=RequestRewritingRules.from_settings(
            settings.forwarded, [field for rules in requests for field in rules.remove],
            [rules.set for rules in requests],
        ),
        response_rules=ResponseRewritingRules.from_settings(
            [field for rules in responses for field in rules.remove], [rules.set for rules in responses]
        ),
        make_pool=lambda server, host, port: make_pool(name, backend, server, host, port),
        cookie=_cookie_line(backend, configuration.main.cluster),
    )  # fmt: skip


def is_address_allowed(address: str, allow: TrustedProxies | None, deny: TrustedProxies | None) -> bool:
    """Return whether the access lists of a frontend allow a client."""
    return (allow is None or allow.trusts(address)) and (deny is None or not deny.trusts(address))


def _cookie_line(backend: Backend, cluster: str) -> bytes:
    cookie = backend.sticky_cookie
    if cookie is None:
        return b''
    name = make_cookie_name(cookie.name, cluster).replace('%', '%%')
    age = f'; Max-Age={cookie.max_age}' if cookie.max_age else ''
    secure = '; Secure' if cookie.secure else ''
    line = f'Set-Cookie: {name}=%b; Path=/; HttpOnly; SameSite={cookie.same_site}{age}{secure}\r\n'
    return line.encode('latin-1')


def _host_name(head: RequestHead, peer: ClientConnectionInfo) -> bytes:
    """Return the requested host without its port."""
    host = head.headers.get(b'host', b'') or peer.listener()
    name, colon, port = host.rpartition(b':')
    return name if colon and port.isdigit() else host


def _is_forwarded_https(head: RequestHead, peer: ClientConnectionInfo) -> bool:
    return peer.is_trusted and head.headers.get(b'x-forwarded-proto', b'').lower() == b'https'


def _cookies(head: RequestHead, names: Collection[str]) -> Mapping[str, str]:
    """Return the cookies of a request that have one of these names."""
    value = head.headers.get(b'cookie')
    if not names or value is None:
        return {}
    found: dict[str, str] = {}
    for pair in value.decode('latin-1').split(';'):
        name, equals, text = pair.strip(' \t').partition('=')
        if equals and name in names and name not in found:
            found[name] = text
    return found
