"""The HTTP kind's listening side in one node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.interfaces.config import Prepared, commit_at_once
from zatotx.interfaces.kind import IChannel, KindContext
from zatotx.interfaces.listener import IListenerOptions
from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.model.errors import StartError
from zatotx.plugins.http.metrics import metric_rows
from zatotx.plugins.http.server.builtin_routes import builtin_routes
from zatotx.plugins.http.server.client_info import address_of
from zatotx.plugins.http.server.connection import ServerConnection
from zatotx.plugins.http.server.counters import HttpCounters
from zatotx.plugins.http.server.request_router import RequestRouter
from zatotx.plugins.http.server.response_filters import CompressionContext, filters_of
from zatotx.plugins.http.server.route_table import KIND, REST, SOAP, ChannelTable, build_table
from zatotx.plugins.http.server.server_context import ServerContext
from zatotx.plugins.http.server.timeout_sweeper import TimeoutSweeper
from zatotx.plugins.http.settings import read_settings
from zatotx.schema.snapshot import Snapshot, Stored

KEPT_ALIVE = 5.0  # seconds after the listeners are closed in which idle connections may still send a request
AT_ONCE = 200  # channels up to which a table is built on the reactor: it takes a millisecond or two


@implementer(IProtocolNegotiationFactory, IListenerOptions)
class ConnectionFactory(Factory):
    """Makes a Connection for each client."""

    noisy = False

    application_protocols: Sequence[bytes] = (b'http/1.1', b'http/1.0')

    def acceptableProtocols(self) -> list[bytes]:
        """The same for listeners of Twisted's own. Without it Twisted turns clients away that ask for a protocol."""
        return list(self.application_protocols)

    def trusts_proxy(self, address: IAddress) -> bool:
        """Where no proxies are named, whoever can connect to a `haproxy:` endpoint is taken for one."""
        forwarded = self._site.forwarded
        return forwarded is None or forwarded.trusts(address_of(address))

    def logPrefix(self) -> str:
        """What Twisted calls the listener in the log: 'HTTP starting on 17010'."""
        return 'HTTP'

    def __init__(self, site: ServerContext) -> None:
        self._site = site
        self.tls_ciphers = site.settings.tls_ciphers

    def buildProtocol(self, addr: IAddress) -> IProtocol:  # type: ignore[override]  # an IProtocol, not a Protocol
        return ServerConnection(self._site)


@implementer(IChannel)
class HTTPChannel:
    """Listens where the settings say, and serves the channels of the configuration in force.

    `addresses` are where it listens, once it does.
    """

    _log = Logger()

    def __init__(self, context: KindContext) -> None:
        self._context = context
        self._settings = read_settings(context.settings)
        self._applied: list[Stored] = []
        self._queries: list[str] = []  # parameters that carry API keys
        self._doors = builtin_routes(self._settings.openapi, docs=self._settings.docs, wsdl=self._settings.wsdl)
        self._meters = context.channel_meters(KIND)
        self._dress = partial(filters_of, CompressionContext(context.offload, context.reactor))
        self._reception = RequestRouter(build_table((), self._doors, self._meters.of)[0], self._settings.max_body)
        self._turn = DeferredLock()  # one configuration after the other
        self._ports: list[IListeningPort] = []
        self._closing: list[Deferred[Any]] = []  # listeners that are being closed
        self._site: ServerContext | None = None
        self._sweep: TimeoutSweeper | None = None
        self._stopping: Deferred[None] | None = None
        self._idle_until = 0.0  # on the reactor's clock, once it drains
        self.counters = HttpCounters()

    @property
    def addresses(self) -> list[IAddress]:
        return [port.getHost() for port in self._ports]

    def findings(self) -> Iterator[str]:
        """What is not as it should be here now."""
        if self._site is not None:
            yield from self._site.doorman.findings()
            yield from self._site.address_limit.findings()

    def metrics(self) -> Iterable[MetricRow]:
        """What HTTP as a whole has done since the start of the node."""
        return metric_rows(self.counters)

    # IChannel

    def start(self, exchange: IDispatcher) -> Deferred[None]:
        """Listen. Fails with StartError naming the address that cannot be had, and then listens nowhere."""
        self._site = ServerContext(self._context, self._settings, exchange, self._reception, self.counters)
        self._sweep = TimeoutSweeper(self._site)
        self._sweep.start()
        return Deferred.fromCoroutine(self._listen(self._site))

    def prepare(self, snapshot: Snapshot) -> Deferred[Prepared]:
        """Build the routes of the channels of a snapshot: requests whose head comes after the commit go by them."""
        queries = [stored.value.query for stored in snapshot.of('apikey') if stored.value.query]
        return Deferred.fromCoroutine(self._prepare(snapshot.of(REST, SOAP), queries))

    def apply(self, snapshot: Snapshot) -> Deferred[None]:
        """Take over the channels of a snapshot, after those of an earlier call."""
        applying: Deferred[None] = self._turn.run(lambda: commit_at_once(self.prepare(snapshot)))
        return applying

    def retire(self) -> Deferred[None]:
        """Listen no more; each connection is closed with its next answer, and none before: a client that sends a
        request at the moment its connection is closed cannot know whether it was served. Fires when the last one has
        gone."""
        self.drain()
        empty: Deferred[None] = Deferred()
        site = self._site
        if site is None or not site.connections:
            empty.callback(None)
            return empty
        site.when_empty = partial(_fire, empty)
        return empty

    def drain(self) -> None:
        """Listen no more; each connection is closed with its next answer, see `retire`. Those that have none by
        KEPT_ALIVE, or half of the time of grace, are closed then by `stop`."""
        self._close_ports()
        site = self._site
        if site is not None and not site.draining:
            site.draining = True
            self._idle_until = site.seconds() + min(KEPT_ALIVE, self._settings.grace / 2)

    def _close_ports(self) -> None:
        if self._site is not None:
            self._site.doorman.stop()
        for port in self._ports:
            self._closing.append(maybeDeferred(port.stopListening).addErrback(self._not_closed))
        self._ports = []

    def stop(self) -> Deferred[None]:
        """Drain; fires when the last connection has ended, or was ended because its time of grace is over."""
        if self._stopping is None:
            self.drain()
            self._stopping = Deferred.fromCoroutine(self._stop())
        waiting: Deferred[None] = Deferred()
        self._stopping.addBoth(_passed_on, waiting)
        return waiting

    async def _listen(self, site: ServerContext) -> None:
        factory = ConnectionFactory(site)
        for description in self._settings.listen:
            try:
                port = await self._context.listen(description, factory)
                self._ports.append(port)
                site.doorman.watch(port)
            except Exception as error:  # whatever an endpoint's parser or its files come up with
                await self.stop()
                raise StartError(_cannot_listen(description, error)) from None

    async def _prepare(self, channels: list[Stored], queries: list[str]) -> Prepared:
        if channels == self._applied and queries == self._queries:
            return Prepared()
        if len(channels) <= AT_ONCE:
            table, mistakes = build_table(channels, self._doors, self._meters.of, self._dress)
        else:
            table, mistakes = await self._context.offload(build_table, channels, self._doors, self._meters.of,
                                                          self._dress)
        return Prepared(partial(self._take_over, table, channels, queries, mistakes))

    def _take_over(self, table: ChannelTable, channels: list[Stored], queries: list[str], mistakes: list[str]) -> None:
        self._reception.keys.follow(queries)  # heads that are remembered go with the table they had
        self._reception.routes = table
        self._applied, self._queries = channels, queries
        self._meters.only([*(door.name for door in self._doors.values()), *(c.value.name for c in channels)])
        for mistake in mistakes:
            self._log.error('{mistake}', mistake=mistake)

    async def _stop(self) -> None:
        await gatherResults(self._closing)
        site = self._site
        if site is None or self._sweep is None:
            return
        if site.connections:
            empty: Deferred[None] = Deferred()
            site.when_empty = partial(_fire, empty)
            left = max(0.0, self._idle_until - site.seconds())
            calls = (site.reactor.callLater(left, self._close_idle, site),
                     site.reactor.callLater(self._settings.grace, self._abort, site))  # fmt: skip
            await empty
            for call in calls:
                if call.active():
                    call.cancel()
        self._sweep.stop()

    def _close_idle(self, site: ServerContext) -> None:
        for connection in list(site.connections):
            connection.drain()

    def _abort(self, site: ServerContext) -> None:
        self._log.warn('{count} connections are cut: the time of grace is over', count=len(site.connections))
        for connection in list(site.connections):
            connection.transport.abortConnection()

    def _not_closed(self, failure: Failure) -> None:
        self._log.failure('A listener cannot be closed', failure)


def _fire(waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)


def _passed_on(result: Any, waiting: Deferred[None]) -> None:
    waiting.callback(None)


def _cannot_listen(description: str, error: Exception) -> str:
    why = error.socketError if isinstance(error, CannotListenError) else error
    return (f'[http] listen: cannot listen on {description!r}: {why}; choose another address in config/server.toml, or '
            'end what uses this one')  # fmt: skip


def make_channel(context: KindContext) -> IChannel:
    """What the node calls, once. Raises StartError where the settings are wrong."""
    channel: IChannel = HTTPChannel(context)
    return channel
