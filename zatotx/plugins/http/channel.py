"""The HTTP channel of a node: opens its listeners, and serves the configured channels."""

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

from zatotx.connectors.security_type_registry import secret_query_parameters
from zatotx.interfaces.config import PreparedConfigChange, commit_when_prepared
from zatotx.interfaces.connector_kind import ChannelContext, IChannel
from zatotx.interfaces.listener_options_provider import IListenerOptionsProvider
from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.model.errors import StartError
from zatotx.model.message import ChannelSpec
from zatotx.plugins.http.metrics import HttpCounters, metric_rows
from zatotx.plugins.http.server.client_info import peer_address
from zatotx.plugins.http.server.connection import ServerConnection
from zatotx.plugins.http.server.request_router import RequestRouter
from zatotx.plugins.http.server.response_filters import CompressionContext, make_filters
from zatotx.plugins.http.server.route_table import (
    KIND,
    REST,
    SOAP,
    ChannelTable,
    build_table,
    enabled_endpoints,
    node_endpoints,
)
from zatotx.plugins.http.server.server_context import ConnectionChecks, ServerContext
from zatotx.plugins.http.settings import read_settings
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.wire.xml.parser import is_lxml_loaded, load_lxml

IDLE_GRACE = 5.0  # seconds after the listeners close during which idle connections may still send a request
MAX_INLINE_CHANNELS = (
    200  # largest number of channels whose table is built on the reactor: it takes a millisecond or two
)


@implementer(IProtocolNegotiationFactory, IListenerOptionsProvider)
class ServerConnectionFactory(Factory):
    """Builds a ServerConnection for each client connection."""

    noisy = False

    application_protocols: Sequence[bytes] = (b'http/1.1', b'http/1.0')

    def acceptableProtocols(self) -> list[bytes]:
        """Return the ALPN protocols for Twisted's own listeners. Without it Twisted rejects clients that offer ALPN."""
        return list(self.application_protocols)

    def trusts_proxy(self, address: IAddress) -> bool:
        """Return whether a peer's PROXY header is believed. Without trusted proxies, any peer of a `haproxy:` endpoint
        is."""
        forwarded = self._server_context.forwarded_clients
        return forwarded is None or forwarded.trusts(peer_address(address))

    def logPrefix(self) -> str:
        """Return the listener's name in Twisted's log messages: 'HTTP starting on 17010'."""
        return 'HTTP'

    def __init__(self, server_context: ServerContext) -> None:
        self._server_context = server_context
        self.tls_ciphers = server_context.settings.tls_ciphers

    def buildProtocol(self, addr: IAddress) -> IProtocol:  # type: ignore[override]  # an IProtocol, not a Protocol
        return ServerConnection(self._server_context)


@implementer(IChannel)
class HTTPChannel:
    """Implements IChannel: listens on the configured addresses and serves the channels of the current configuration.

    `addresses` are the addresses it listens on.
    """

    _log = Logger()

    def __init__(self, context: ChannelContext) -> None:
        self._context = context
        self._settings = read_settings(context.settings)
        self._applied: list[StoredObject] = []
        self._queries: list[str] = []  # names of query parameters that carry secrets
        self._endpoints = self._enabled_endpoints()
        self._channel_meters = context.channel_meters(KIND)
        self._build_filters = partial(
            make_filters,
            CompressionContext(context.run_in_thread, context.reactor),
            response_headers=context.response_headers,
        )
        table, _ = build_table((), self._endpoints, self._channel_meters.get)
        self._router = RequestRouter(table, self._settings.max_body)
        self._apply_lock = DeferredLock()  # applies one configuration at a time
        self._ports: list[IListeningPort] = []
        self._closing: list[Deferred[Any]] = []  # results of stopListening
        self._server_context: ServerContext | None = None
        self._checks: ConnectionChecks | None = None
        self._stopping: Deferred[None] | None = None
        self._idle_until = 0.0  # on the reactor's clock, set by drain
        self.counters = HttpCounters()

    def _enabled_endpoints(self) -> dict[str, ChannelSpec]:
        if self._context.endpoints_only:
            return node_endpoints()
        settings = self._settings
        return enabled_endpoints(settings.openapi, docs=settings.docs, wsdl=settings.wsdl)

    @property
    def addresses(self) -> list[IAddress]:
        return [port.getHost() for port in self._ports]

    def findings(self) -> Iterator[str]:
        """Yield a sentence for each problem that exists now."""
        if self._server_context is not None:
            yield from self._server_context.accept_limiter.findings()
            yield from self._server_context.address_limit.findings()

    def metrics(self) -> Iterable[MetricRow]:
        """What HTTP as a whole has done since the start of the node."""
        return metric_rows(self.counters)

    # IChannel

    def start(self, dispatcher: IDispatcher) -> Deferred[None]:
        """Start listening. Fails with StartError naming the address that cannot be bound, and then listens nowhere."""
        self._server_context = ServerContext(self._context, self._settings, dispatcher, self._router, self.counters)
        self._checks = ConnectionChecks(self._server_context)
        self._checks.start()
        return Deferred.fromCoroutine(self._listen(self._server_context))

    def prepare(self, snapshot: Snapshot) -> Deferred[PreparedConfigChange]:
        """Build the route table of a snapshot's channels. Requests whose head arrives after the commit use it."""
        queries = secret_query_parameters(snapshot)
        channels = [] if self._context.endpoints_only else snapshot.objects_of_types(REST, SOAP)
        return Deferred.fromCoroutine(self._prepare(channels, queries))

    def apply(self, snapshot: Snapshot) -> Deferred[None]:
        """Apply the channels of a snapshot, after earlier calls have finished."""
        applying: Deferred[None] = self._apply_lock.run(lambda: commit_when_prepared(self.prepare(snapshot)))
        return applying

    def retire(self) -> Deferred[None]:
        """Stop listening and close each connection with its next response, but no idle connection: a client that sends
        a request while its connection is being closed cannot know whether it was processed. Fires when the last
        connection has closed."""
        self.drain()
        empty: Deferred[None] = Deferred()
        context = self._server_context
        if context is None or not context.connections:
            empty.callback(None)
            return empty
        context.on_empty = partial(_fire, empty)
        return empty

    def drain(self) -> None:
        """Stop listening and close each connection with its next response, see `retire`. `stop` closes connections that
        are still idle after KEPT_ALIVE seconds, or after half of the grace period if that is shorter."""
        self._close_ports()
        context = self._server_context
        if context is not None and not context.draining:
            context.draining = True
            self._idle_until = context.seconds() + min(IDLE_GRACE, self._settings.grace / 2)

    def _close_ports(self) -> None:
        if self._server_context is not None:
            self._server_context.accept_limiter.forget_ports()
        for port in self._ports:
            self._closing.append(maybeDeferred(port.stopListening).addErrback(self._log_close_error))
        self._ports = []

    def stop(self) -> Deferred[None]:
        """Drain. Fires when the last connection has ended, or was aborted at the end of the grace period."""
        if self._stopping is None:
            self.drain()
            self._stopping = Deferred.fromCoroutine(self._stop())
        waiting: Deferred[None] = Deferred()
        self._stopping.addBoth(_fire_always, waiting)
        return waiting

    async def _listen(self, context: ServerContext) -> None:
        factory = ServerConnectionFactory(context)
        for description in self._settings.listen:
            try:
                port = await self._context.listen(description, factory)
                self._ports.append(port)
                context.accept_limiter.add_port(port)
            except Exception as error:  # the endpoint parser and the files it reads may raise anything
                await self.stop()
                raise StartError(_cannot_listen(description, error)) from None

    async def _prepare(self, channels: list[StoredObject], queries: list[str]) -> PreparedConfigChange:
        if channels == self._applied and queries == self._queries:
            return PreparedConfigChange()
        if not is_lxml_loaded() and any(map(_reads_xml, channels)):
            await self._context.run_in_thread(load_lxml)  # otherwise the first request would wait for it
        if len(channels) <= MAX_INLINE_CHANNELS:
            table, errors = build_table(channels, self._endpoints, self._channel_meters.get, self._build_filters)
        else:
            table, errors = await self._context.run_in_thread(
                build_table, channels, self._endpoints, self._channel_meters.get, self._build_filters
            )
        return PreparedConfigChange(partial(self._commit, table, channels, queries, errors))

    def _commit(self, table: ChannelTable, channels: list[StoredObject], queries: list[str], errors: list[str]) -> None:
        self._router.key_names.update(queries)  # ResolvedRequests refer to the table they were built with
        self._router.routes = table
        self._applied, self._queries = channels, queries
        names = [*(endpoint.name for endpoint in self._endpoints.values()), *(c.value.name for c in channels)]
        self._channel_meters.retain(names)
        for error in errors:
            self._log.error('{error}', error=error)

    async def _stop(self) -> None:
        await gatherResults(self._closing)
        context = self._server_context
        if context is None or self._checks is None:
            return
        if context.connections:
            empty: Deferred[None] = Deferred()
            context.on_empty = partial(_fire, empty)
            remaining = max(0.0, self._idle_until - context.seconds())
            calls = (context.reactor.callLater(remaining, self._close_idle, context),
                     context.reactor.callLater(self._settings.grace, self._abort, context))  # fmt: skip
            await empty
            for call in calls:
                if call.active():
                    call.cancel()
        self._checks.stop()

    def _close_idle(self, context: ServerContext) -> None:
        for connection in list(context.connections):
            connection.close_if_drained()

    def _abort(self, context: ServerContext) -> None:
        self._log.warn('{count} connections are cut: the time of grace is over', count=len(context.connections))
        for connection in list(context.connections):
            connection.transport.abortConnection()

    def _log_close_error(self, failure: Failure) -> None:
        self._log.failure('A listener cannot be closed', failure)


def _reads_xml(channel: StoredObject) -> bool:
    return bool(channel.value.data_format == 'xml')


def _fire(waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)


def _fire_always(result: Any, waiting: Deferred[None]) -> None:
    waiting.callback(None)


def _cannot_listen(description: str, error: Exception) -> str:
    reason = error.socketError if isinstance(error, CannotListenError) else error
    return (f'[http] listen: cannot listen on {description!r}: {reason}; choose another address in '
            'config/server.toml, or end what uses this one')  # fmt: skip


def make_channel(context: ChannelContext) -> IChannel:
    """Create the HTTP channel of a node. Raises StartError if the settings are invalid."""
    channel: IChannel = HTTPChannel(context)
    return channel
