"""The Twisted service of the web admin, which consists of the site, its listener, and the client of the cluster's
API."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import define, field
from treq.client import HTTPClient
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.logger import Logger
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.server import Request, Site

from zatotx.admin.application import AdminApplication
from zatotx.admin.break_glass import BreakGlassAccount
from zatotx.admin.break_glass_file import FILE
from zatotx.admin.cluster_api import HttpClusterApi
from zatotx.admin.screens import all_routes
from zatotx.admin.settings import AdminSettings, ClusterSettings, LoadBalancerSettings, load_settings, plaintext_warning
from zatotx.interfaces.reactor import IReactor
from zatotx.model.errors import StartError
from zatotx.processes.lb_agent_client import AgentClientFiles, LoadBalancerAgentClient
from zatotx.processes.listeners import Listeners
from zatotx.system.thread_pool import DaemonThreadPool, make_offload, stop_pools

MAX_BODY = 64 * 1024 * 1024  # bytes: uploads of packages
CONNECT_TIMEOUT = 3.0  # seconds
IDLE_TIMEOUT = 65  # seconds of a browser's connection
_CONNECTIONS = 16  # kept per server


class LimitedRequest(Request):
    """A request whose body size is limited. It is not logged, because twisted.web would also log the query string."""

    def gotLength(self, length: int | None) -> None:
        """Reject a request that announces too large a body."""
        if length is not None and length > MAX_BODY:
            self.channel.write(b'HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
            self.channel.loseConnection()
            length = 0
        super().gotLength(length)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        """Drop a connection that sends more than the limit in chunks."""
        if self.content is not None and self.content.tell() + len(data) > MAX_BODY:
            self.channel.loseConnection()
            return
        super().handleContentChunk(data)  # type: ignore[no-untyped-call]


class AdminSite(Site):
    """A twisted.web site without an access log."""

    def __init__(self, resource: Any, reactor: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            resource,
            requestFactory=LimitedRequest,
            timeout=IDLE_TIMEOUT,
            reactor=reactor,
            parsePOSTFormSubmission=False,
        )
        self.displayTracebacks = False

    def log(self, request: Any) -> None:
        """Do nothing."""


@define(kw_only=True, eq=False)
class WebAdminService(Service):
    """The Twisted service of the web admin."""

    settings: AdminSettings
    reactor: IReactor
    api: HttpClusterApi
    pool: HTTPConnectionPool
    threads: DaemonThreadPool
    balancer: LoadBalancerAgentClient | None = None
    break_glass: BreakGlassAccount | None = None
    _port: IListeningPort | None = field(default=None, init=False)

    _log = Logger()

    def startService(self) -> Deferred[None]:  # ComponentService waits for it
        super().startService()  # type: ignore[no-untyped-call]
        self.threads.start()
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        application = AdminApplication(
            api=self.api, cluster=self.settings.cluster.name, settings=self.settings.web, clock=self.reactor,
            routes=all_routes(), balancer=self.balancer, break_glass=self.break_glass,
        )  # fmt: skip
        site = AdminSite(application.klein.resource(), self.reactor)
        listen = self.settings.web.listen
        try:
            self._port = await Listeners(self.reactor).listen(listen, site)
        except Exception as error:  # Twisted, the kernel and OpenSSL raise various types
            raise StartError(f'The web admin cannot listen on {listen!r}: {error}') from None
        if warning := plaintext_warning(self.settings.web, getattr(self._port.getHost(), 'host', '')):
            self._log.warn('{warning}', warning=warning)
        self._log.info('The web admin of {name} listens on {where}', name=self.settings.cluster.name, where=listen)

    async def _stop(self) -> None:
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        await self.pool.closeCachedConnections()
        await stop_pools(self.reactor, [self.threads])

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())


def make_admin_service(directory: str, reactor: IReactor) -> WebAdminService:
    """Create the service of the web admin in a directory, without starting it. Raises StartError."""
    settings = load_settings(Path(directory) / 'config' / 'admin.toml')
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = _CONNECTIONS
    agent = Agent(reactor, _tls_policy(settings.cluster, Path(directory)), CONNECT_TIMEOUT, pool=pool)
    api = HttpClusterApi(client=HTTPClient(agent), clock=reactor, servers=settings.cluster.servers,
                         timeout=settings.cluster.timeout)  # fmt: skip
    balancer = _balancer_client(settings.load_balancer, Path(directory), reactor)
    threads = DaemonThreadPool('login', 2)
    account = BreakGlassAccount(path=Path(directory) / 'config' / FILE, clock=reactor,
                                offload=make_offload(reactor, threads))  # fmt: skip
    return WebAdminService(settings=settings, reactor=reactor, api=api, pool=pool, balancer=balancer,
                           break_glass=account, threads=threads)  # fmt: skip


def _balancer_client(
    settings: LoadBalancerSettings, directory: Path, reactor: IReactor
) -> LoadBalancerAgentClient | None:
    """Return the client of the load balancer's agent; None if there is none."""
    if not settings.agent:
        return None
    url = urlsplit(settings.agent)
    files = AgentClientFiles(*(directory / name for name in (settings.certificate, settings.key, settings.ca)))
    is_https = url.scheme == 'https'
    return LoadBalancerAgentClient(
        reactor, url.hostname or '', url.port or (443 if is_https else 80), files if is_https else None
    )


def _tls_policy(cluster: ClusterSettings, directory: Path) -> BrowserLikePolicyForHTTPS:
    """Return which certificates of servers are accepted. Raises StartError."""
    if not cluster.ca:
        return BrowserLikePolicyForHTTPS()
    try:
        text = (directory / cluster.ca).read_text('ascii')
        ends = text.split('-----END CERTIFICATE-----')[:-1]
        certificates = [Certificate.loadPEM(f'{part}-----END CERTIFICATE-----\n'.encode()) for part in ends]
    except Exception as error:  # OpenSSL raises various types
        raise StartError(f'[cluster] ca of the web admin: {cluster.ca} is not readable: {error}') from None
    return BrowserLikePolicyForHTTPS(trustRoot=trustRootFromCertificates(certificates))
