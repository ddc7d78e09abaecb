"""Manages the outgoing REST and SOAP connections of a node, and provides the document fetcher for other components. The
client is imported when the first connection is configured, or the first document is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from zatotx.connectors.guaranteed_delivery import StoredCall
from zatotx.connectors.lazy_imports import LazyNamespace, import_modules_now
from zatotx.connectors.outgoing_connections import ConnectionType, OutgoingConnections, Sources
from zatotx.connectors.security_type_registry import find_security_types
from zatotx.interfaces.config import PreparedConfigChange, commit_when_prepared
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import IOutgoingMeter
from zatotx.interfaces.outgoing import FetchedDocument, IFetcher, IOutgoingKind, IServiceCall
from zatotx.schema.snapshot import Snapshot, StoredObject

_WRITES = ('post', 'put', 'patch', 'delete')
# Methods that `delivery: guaranteed` stores. Operations of a WSDL, which return values, are made directly.
REST_METHODS = (*_WRITES, 'call', *(f'conn.{method}' for method in (*_WRITES, 'send')))
SOAP_METHODS = ('post', 'send', 'call', 'conn.post', 'conn.send')
_MODULES = ('zatotx.plugins.http.connection_builder', 'zatotx.plugins.http.guaranteed_calls')
_REST_NAMESPACE = 'zatotx.plugins.http.rest.facade:RestNamespace'
_SOAP_NAMESPACE = 'zatotx.plugins.http.soap.outgoing.facade:SoapNamespace'
_FETCHER = 'zatotx.plugins.http.document_fetcher'


@implementer(IOutgoingKind, IFetcher)
class HttpOutgoingConnections:
    """Implements IOutgoingKind for REST and SOAP connections."""

    def __init__(self, context: OutgoingContext) -> None:
        self._context = context
        self._lazy_builder: Any = None  # ConnectionBuilder
        self._fetcher: Any = None  # DocumentFetcher
        rest, soap = LazyNamespace(_REST_NAMESPACE), LazyNamespace(_SOAP_NAMESPACE)
        self._connections = OutgoingConnections(context, (
            ConnectionType(object_type='outgoing_rest', kind='rest', names=('rest', 'plain_http'),
                           namespace=rest, build=self._build_rest, references=_security_of, sends=REST_METHODS,
                           prepare_stored=self._prepare_rest, make_stored_result=_make_response,
                           modules=(*_MODULES, rest.module)),
            ConnectionType(object_type='outgoing_soap', kind='soap', names=('soap',),
                           namespace=soap, build=self._build_soap, references=_security_of, sends=SOAP_METHODS,
                           prepare_stored=_prepare_soap, make_stored_result=_make_response,
                           modules=(*_MODULES, soap.module)),
        ))  # fmt: skip
        self.registries = self._connections.registries
        self.pingable_types: Sequence[str] = self._connections.pingable_types
        self.namespaces: Mapping[str, Callable[[IServiceCall], Any]] = self._connections.namespaces

    @property
    def builder(self) -> Any:
        """The ConnectionBuilder, which is there from the first use on."""
        if self._lazy_builder is None:
            from zatotx.plugins.http.connection_builder import ConnectionBuilder

            self._lazy_builder = ConnectionBuilder(self._context)
        return self._lazy_builder

    # IOutgoingKind

    def prepare(self, snapshot: Snapshot) -> Deferred[PreparedConfigChange]:
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
        closing = [] if self._fetcher is None else [self._fetcher.close()]
        stopped: Deferred[Any] = gatherResults([self._connections.stop(), *closing])
        return stopped.addCallback(lambda _: None)

    def findings(self) -> Iterator[str]:
        """Yield a sentence for each problem that keeps a connection from working now."""
        return self._connections.findings()

    # IFetcher

    def fetch(self, url: str, *, timeout: float, max_body: int) -> Deferred[FetchedDocument]:
        """See IFetcher."""
        if self._fetcher is not None:
            fetching: Deferred[FetchedDocument] = self._fetcher.fetch(url, timeout=timeout, max_body=max_body)
            return fetching
        loading = self._context.run_in_thread(import_modules_now, (_MODULES[0], _FETCHER))
        return loading.addCallback(lambda _: self._fetch_first(url, timeout, max_body))

    def _fetch_first(self, url: str, timeout: float, max_body: int) -> Deferred[FetchedDocument]:
        from zatotx.plugins.http.document_fetcher import DocumentFetcher

        if self._fetcher is None:
            self._fetcher = DocumentFetcher(self.builder.environment)
        return self.fetch(url, timeout=timeout, max_body=max_body)

    # Building connections

    def _prepared(self, connections: PreparedConfigChange) -> PreparedConfigChange:
        def commit() -> None:
            connections.commit()
            if self._lazy_builder is not None:
                self.builder.retain_credentials({definition.name for definition in self._connections.references()})

        return PreparedConfigChange(commit, connections.discard)

    def _build_rest(self, stored: StoredObject, references: Sources, title: str, meter: IOutgoingMeter) -> Any:
        return self.builder.build_rest(stored, references, title, meter)

    def _build_soap(self, stored: StoredObject, references: Sources, title: str, meter: IOutgoingMeter) -> Any:
        return self.builder.build_soap(stored, references, title, meter)

    def _prepare_rest(self, value: Any, call: StoredCall, message_id: str) -> StoredCall | None:
        from zatotx.plugins.http.guaranteed_calls import make_rest_call_preparer

        return make_rest_call_preparer(self._context.run_in_thread)(value, call, message_id)


def _prepare_soap(value: Any, call: StoredCall, message_id: str) -> StoredCall | None:
    from zatotx.plugins.http.guaranteed_calls import prepare_soap_call

    return prepare_soap_call(value, call, message_id)


def _make_response(message_id: str, call: IServiceCall) -> Any:
    from zatotx.plugins.http.guaranteed_calls import make_accepted_response

    return make_accepted_response(message_id, call)


def _security_of(stored: StoredObject, snapshot: Snapshot) -> Sources:
    name = stored.value.security
    if name is None:
        return (None,)
    found = (snapshot.find(key, name) for key in find_security_types())
    return (next((definition for definition in found if definition is not None), None),)


def make_outgoing(context: OutgoingContext) -> HttpOutgoingConnections:
    """Create the manager of outgoing HTTP connections (ConnectorKind.outgoing)."""
    return HttpOutgoingConnections(context)
