"""The outgoing HTTP connections of a node, REST and SOAP, and the document fetcher for the rest of the node."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults
from zope.interface import implementer

from zatotx.connectors.outgoing_connections import ConnectionType, OutgoingConnections, Sources
from zatotx.connectors.security_types import credentials_error, find_security_types, make_credentials
from zatotx.interfaces.config import PreparedConfig, commit_when_prepared
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import IOutgoingMeter
from zatotx.interfaces.outgoing import FetchedDocument, IFetcher, IOutgoingKind, IServiceCall
from zatotx.interfaces.security_type import OutgoingCredentials, UnusableCredentials
from zatotx.model.errors import ServiceUnavailable
from zatotx.plugins.http.client.call import HttpRequest, Timeouts, split_url
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.client.http_client import ClientEnvironment, ClientSettings, make_client
from zatotx.plugins.http.client.response_processing import ACCEPT_ENCODING
from zatotx.plugins.http.guaranteed_calls import (
    REST_METHODS,
    SOAP_METHODS,
    make_response,
    make_rest_call,
    make_soap_call,
)
from zatotx.plugins.http.rest.connection import OutgoingConnection
from zatotx.plugins.http.rest.error_mapping import map_error
from zatotx.plugins.http.rest.facade import RestNamespace
from zatotx.plugins.http.rest.factory import REST, USER_AGENT, BuildContext, build_connection
from zatotx.plugins.http.rest.oauth2 import HttpCredentialsContext, TokenCache
from zatotx.plugins.http.soap.outgoing.connection import SOAP
from zatotx.plugins.http.soap.outgoing.facade import SoapNamespace
from zatotx.schema.security.definition import FOR_OUTGOING_REST, FOR_OUTGOING_SOAP
from zatotx.schema.snapshot import Snapshot, StoredObject

_FIELDS = (USER_AGENT, (b'Accept', b'*/*'), ACCEPT_ENCODING)
_NO_CREDENTIALS = OutgoingCredentials()


class DocumentFetcher:
    """IFetcher with an HTTP client that belongs to no connection."""

    def __init__(self, environment: ClientEnvironment) -> None:
        self._client = make_client(ClientSettings(max_redirects=0), environment)

    def fetch(self, url: str, *, timeout: float, max_body: int) -> Deferred[FetchedDocument]:
        """See IFetcher."""
        try:
            origin, target = split_url(url)
        except ValueError as error:
            return fail(ServiceUnavailable(None, f'There is no document to be had: its URL {error}'))
        timeouts = Timeouts(
            queue_timeout=inf, connect_timeout=inf, first_byte_timeout=inf, read_timeout=inf, total_timeout=timeout
        )
        outbound = HttpRequest('GET', origin, target, _FIELDS, timeouts=timeouts, max_body=max_body)
        return Deferred.fromCoroutine(self._fetch(outbound, timeout))

    async def _fetch(self, outbound: HttpRequest, timeout: float) -> FetchedDocument:
        try:
            response = await self._client.send(outbound)
        except CallFailed as failure:
            error = map_error(failure, f'The server {outbound.origin.host}', '', timeout)
            if isinstance(error, ServiceUnavailable):
                raise error from failure
            raise ServiceUnavailable(None, str(error)) from failure
        assert isinstance(response.body, bytes)
        return FetchedDocument(status=response.status, headers=response.headers, body=response.body)

    def close(self) -> Deferred[None]:
        """Close its connections."""
        return self._client.close()


@implementer(IOutgoingKind, IFetcher)
class HttpOutgoingConnections:
    """IOutgoingKind of HTTP. Connections that refer to one security definition share its credentials, e.g. an OAuth 2.0
    token."""

    def __init__(self, context: OutgoingContext) -> None:
        self.environment = ClientEnvironment(context.reactor, context.run_in_thread, environ=os.environ)
        self._credentials_context = HttpCredentialsContext(
            context.decrypt, environment=self.environment, token_cache=_token_cache(context)
        )
        self._component = context.client_name.encode('utf-8')
        self._fetcher = DocumentFetcher(self.environment)
        self.credentials: dict[
            str, tuple[StoredObject, OutgoingCredentials]
        ] = {}  # by the name of the security definition
        self._connections = OutgoingConnections(context, (
            ConnectionType(object_type='outgoing_rest', kind='rest', names=('rest', 'plain_http'),
                           namespace=RestNamespace, build=self._build_rest, references=_security_of,
                           sends=REST_METHODS, prepare_stored=make_rest_call(context.run_in_thread),
                           make_stored_result=make_response),
            ConnectionType(object_type='outgoing_soap', kind='soap', names=('soap',),
                           namespace=SoapNamespace, build=self._build_soap, references=_security_of,
                           sends=SOAP_METHODS, prepare_stored=make_soap_call, make_stored_result=make_response),
        ))  # fmt: skip
        self.registries = self._connections.registries
        self.pingable_types: Sequence[str] = self._connections.pingable_types
        self.namespaces: Mapping[str, Callable[[IServiceCall], Any]] = self._connections.namespaces

    # IOutgoingKind

    def prepare(self, snapshot: Snapshot) -> Deferred[PreparedConfig]:
        """See IOutgoingKind. Drops the credentials of definitions that no connection refers to any more."""
        return self._connections.prepare(snapshot).addCallback(self._prepared)

    def apply(self, snapshot: Snapshot) -> Deferred[None]:
        """See IOutgoingKind."""
        return commit_when_prepared(self.prepare(snapshot))

    def ping(self, object_type: str, name: str) -> Deferred[str]:
        """See IOutgoing.ping."""
        return self._connections.ping(object_type, name)

    def stop(self) -> Deferred[None]:
        """See IOutgoingKind."""
        stopped: Deferred[Any] = gatherResults([self._connections.stop(), self._fetcher.close()])
        return stopped.addCallback(lambda _: None)

    def findings(self) -> Iterator[str]:
        """Yield a sentence for each problem that keeps a connection from working now."""
        return self._connections.findings()

    # IFetcher

    def fetch(self, url: str, *, timeout: float, max_body: int) -> Deferred[FetchedDocument]:
        """See IFetcher."""
        return self._fetcher.fetch(url, timeout=timeout, max_body=max_body)

    # Building connections

    def _prepared(self, connections: PreparedConfig) -> PreparedConfig:
        def commit() -> None:
            connections.commit()
            used = {definition.name for definition in self._connections.references()}
            self.credentials = {name: entry for name, entry in self.credentials.items() if name in used}

        return PreparedConfig(commit, connections.discard)

    def _build_rest(
        self, stored: StoredObject, references: Sources, title: str, meter: IOutgoingMeter
    ) -> OutgoingConnection:
        credentials = self._credentials_of(references[0], FOR_OUTGOING_REST)
        return build_connection(stored.value, title, credentials, self._context(meter), REST)

    def _build_soap(
        self, stored: StoredObject, references: Sources, title: str, meter: IOutgoingMeter
    ) -> OutgoingConnection:
        credentials = self._credentials_of(references[0], FOR_OUTGOING_SOAP)
        return build_connection(stored.value, title, credentials, self._context(meter), SOAP)

    def _context(self, meter: IOutgoingMeter) -> BuildContext:
        return BuildContext(environment=self.environment, component=self._component, meter=meter)

    def _credentials_of(self, security: StoredObject | None, purpose: str) -> OutgoingCredentials:
        if security is None:
            return _NO_CREDENTIALS
        if error := credentials_error(security, purpose):
            raise UnusableCredentials(error)
        entry = self.credentials.get(security.name)
        if entry is None or entry[0].value != security.value or entry[0].type != security.type:
            entry = self.credentials[security.name] = security, make_credentials(security, self._credentials_context)
        return entry[1]


def _security_of(stored: StoredObject, snapshot: Snapshot) -> Sources:
    name = stored.value.security
    if name is None:
        return (None,)
    found = (snapshot.find(key, name) for key in find_security_types())
    return (next((definition for definition in found if definition is not None), None),)


def _token_cache(context: OutgoingContext) -> TokenCache | None:
    if context.redis is None or context.leases is None:
        return None
    return TokenCache(redis=context.redis, leases=context.leases, make_key=context.redis_key, seal=context.encrypt,
                      unseal=context.decrypt, clock=context.reactor)


def make_outgoing(context: OutgoingContext) -> HttpOutgoingConnections:
    """Create the outgoing connections; ConnectorKind.outgoing names this function."""
    return HttpOutgoingConnections(context)
