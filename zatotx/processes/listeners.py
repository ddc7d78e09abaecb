"""Opens the listening sockets of a node. Sockets are bound by the node, or adopted from the parent process of the
workers.

TLS is added to the connections here and not by the reactor, so that the certificate can be replaced while the socket
stays open.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from zatotx.interfaces.listener_options_provider import IListenerOptionsProvider
from zatotx.interfaces.reactor import IReactor
from zatotx.processes.endpoint_spec import EndpointSpec, parse_endpoint, strip_proxy_prefix
from zatotx.processes.proxy_protocol_endpoint import ProxyProtocolFactory
from zatotx.processes.workers.listening_sockets import BoundSocket
from zatotx.processes.workers.shared_counters import SharedCounterRow
from zatotx.processes.workers.shared_listeners import adopt_tcp, adopt_unix

if TYPE_CHECKING:
    from zatotx.processes.workers.socket_handover import WorkerSocketClient


def _no_shared_counter(name: str) -> None:
    """Return None: there are no workers to share a counter with."""


@define(eq=False)
class Listeners:
    """Opens the listeners of a node's kinds. `inherited_descriptors` maps endpoint descriptions to descriptors of
    sockets that the parent process has bound; `borrower` requests further sockets from the parent;
    `find_shared_counter` returns the workers' shared counter of a given name."""

    reactor: IReactor
    inherited_descriptors: Mapping[str, int] = field(factory=dict)
    find_shared_counter: Callable[[str], SharedCounterRow | None] = _no_shared_counter
    borrower: WorkerSocketClient | None = None  # of a worker
    certificates: list[Any] = field(factory=list, init=False)  # node.tls.Certificate
    _requests_client_certificate: bool = field(default=False, init=False)

    _log = Logger()

    def listen(self, description: str, factory: Any) -> Deferred[IListeningPort]:
        """Return a Deferred that fires with the listening port, or fails with an error of Twisted, the kernel or
        OpenSSL."""
        return Deferred.fromCoroutine(self._listen(description, factory))

    async def _listen(self, description: str, factory: Any) -> IListeningPort:
        spec = parse_endpoint(description, factory)
        inner_description = strip_proxy_prefix(description)
        wrapped = factory if spec is None or spec.tls_context is None else self._with_tls(inner_description, spec)
        if inner_description != description:
            wrapped = ProxyProtocolFactory(self.reactor, wrapped, IListenerOptionsProvider(factory, None))
        if spec is None:
            other: IListeningPort = await serverFromString(self.reactor, inner_description).listen(wrapped)
            return other
        borrower = self.borrower
        if borrower is None or description in self.inherited_descriptors or spec.inherited_descriptor >= 0:
            port: IListeningPort = self._open(description, spec, wrapped)
            return port
        descriptor = await borrower.open(description)
        try:
            shared: IListeningPort = self._adopt(description, descriptor, spec, wrapped,
                                                 partial(borrower.give_back, description))
            return shared
        except BaseException:
            borrower.give_back(description)
            raise
        finally:
            os.close(descriptor)

    def _with_tls(self, description: str, spec: EndpointSpec) -> Any:
        from twisted.protocols.tls import TLSMemoryBIOFactory  # costs memory that plain HTTP does not need

        from zatotx.processes.listener_tls import ReloadableCertificate

        certificate: Any = ReloadableCertificate(
            description, spec.tls_context, IListenerOptionsProvider(spec.factory, None)
        )

        def opened() -> None:
            certificate.requests_client_certificate = self._requests_client_certificate
            self.certificates.append(certificate)

        factory: Any = TLSMemoryBIOFactory(certificate, False, spec.factory)
        factory.startFactory, factory.stopFactory = opened, partial(self.certificates.remove, certificate)
        return factory

    def _open(self, description: str, spec: EndpointSpec, factory: Any) -> Any:
        descriptor = self.inherited_descriptors.get(description, spec.inherited_descriptor)
        if descriptor < 0:
            if isinstance(spec.address, str):
                bound = BoundSocket(spec)
                return adopt_unix(self.reactor, bound.descriptor, spec, factory, bound.close)
            return self.reactor.listenTCP(spec.address, factory, spec.backlog, spec.interface)
        return self._adopt(description, descriptor, spec, factory)

    def _adopt(self, description: str, descriptor: int, spec: EndpointSpec, factory: Any,
               closed: Callable[[], None] | None = None) -> Any:
        with socket.socket(fileno=socket.dup(descriptor)) as inherited:
            family = inherited.family
        if family == socket.AF_UNIX:
            return adopt_unix(self.reactor, descriptor, spec, factory, closed)
        shared = self.find_shared_counter(f'connections of {description}')
        return adopt_tcp(self.reactor, descriptor, family, factory, shared, closed)

    def request_client_certificates(self, enabled: bool) -> None:
        """Set whether TLS clients are asked for a certificate, starting with the next handshake."""
        self._requests_client_certificate = enabled
        for certificate in self.certificates:
            certificate.requests_client_certificate = enabled

    def reload(self) -> None:
        """Load the certificates from disk again; errors are logged."""
        for certificate in self.certificates:
            reason = certificate.reload()
            if reason:
                self._log.error('{why}', why=reason)
            else:
                self._log.info('New connections to {where} use the certificate that is on disk now',
                               where=certificate.description)
