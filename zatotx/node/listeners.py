"""How a node comes to its listening sockets: it binds them, or adopts those that the parent of its workers bound.

TLS is put around the connections here and not by the reactor, so that a certificate changes while its socket stays.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from zatotx.interfaces.listener import IListenerOptions
from zatotx.node.endpoint_spec import EndpointSpec, parse_description, without_proxy
from zatotx.node.proxy_protocol import ProxyProtocolFactory
from zatotx.node.workers.listening_sockets import BoundSocket
from zatotx.node.workers.shared_counters import SharedCounterRow
from zatotx.node.workers.shared_listeners import adopt_tcp, adopt_unix
from zatotx.node.workers.socket_handover import SocketBorrower


def _unshared(name: str) -> None:
    """No count that others see."""


@define(eq=False)
class Listeners:
    """Listens for the kinds of a node. `adopted` maps descriptions to the descriptors of sockets that the parent
    process bound; `borrower` asks it for others; `shared` gives the count of that name which the workers have in
    common."""

    reactor: Any  # IReactorTCP, IReactorUNIX, IReactorSocket
    adopted: Mapping[str, int] = field(factory=dict)
    shared: Callable[[str], SharedCounterRow | None] = _unshared
    borrower: SocketBorrower | None = None  # of a worker
    certificates: list[Any] = field(factory=list, init=False)  # node.tls.Certificate
    _asking: bool = field(default=False, init=False)

    _log = Logger()

    def listen(self, description: str, factory: Any) -> Deferred[IListeningPort]:
        """The listening port. Fails with what Twisted, the kernel and OpenSSL say where that cannot be."""
        return Deferred.fromCoroutine(self._listen(description, factory))

    async def _listen(self, description: str, factory: Any) -> IListeningPort:
        wanted = parse_description(description, factory)
        plain = without_proxy(description)
        inner = factory if wanted is None or wanted.context is None else self._with_tls(plain, wanted)
        if plain != description:
            inner = ProxyProtocolFactory(self.reactor, inner, IListenerOptions(factory, None))
        if wanted is None:
            other: IListeningPort = await serverFromString(self.reactor, plain).listen(inner)
            return other
        borrower = self.borrower
        if borrower is None or description in self.adopted or wanted.inherited >= 0:
            port: IListeningPort = self._open(description, wanted, inner)
            return port
        descriptor = await borrower.open(description)
        try:
            shared: IListeningPort = self._adopt(description, descriptor, wanted, inner,
                                                 partial(borrower.give_back, description))
            return shared
        except BaseException:
            borrower.give_back(description)
            raise
        finally:
            os.close(descriptor)

    def _with_tls(self, description: str, wanted: EndpointSpec) -> Any:
        from twisted.protocols.tls import TLSMemoryBIOFactory  # costs memory that plain HTTP does not need

        from zatotx.node.listener_tls import ReloadableCertificate

        certificate: Any = ReloadableCertificate(description, wanted.context, IListenerOptions(wanted.factory, None))

        def opened() -> None:
            certificate.asking = self._asking
            self.certificates.append(certificate)

        factory: Any = TLSMemoryBIOFactory(certificate, False, wanted.factory)
        factory.startFactory, factory.stopFactory = opened, partial(self.certificates.remove, certificate)
        return factory

    def _open(self, description: str, wanted: EndpointSpec, factory: Any) -> Any:
        descriptor = self.adopted.get(description, wanted.inherited)
        if descriptor < 0 and isinstance(wanted.address, str):
            bound = BoundSocket(wanted)
            return adopt_unix(self.reactor, bound.descriptor, wanted, factory, bound.close)
        if descriptor < 0:
            return self.reactor.listenTCP(wanted.address, factory, wanted.backlog, wanted.interface)
        return self._adopt(description, descriptor, wanted, factory)

    def _adopt(self, description: str, descriptor: int, wanted: EndpointSpec, factory: Any,
               closed: Callable[[], None] | None = None) -> Any:
        with socket.socket(fileno=socket.dup(descriptor)) as known:
            family = known.family
        if family == socket.AF_UNIX:
            return adopt_unix(self.reactor, descriptor, wanted, factory, closed)
        shared = self.shared(f'connections of {description}')
        return adopt_tcp(self.reactor, descriptor, family, factory, shared, closed)

    def ask_clients(self, asking: bool) -> None:
        """Whether clients are asked for a certificate, from the next handshake on."""
        self._asking = asking
        for certificate in self.certificates:
            certificate.asking = asking

    def reload(self) -> None:
        """Take over the certificates as they are on disk now; what is wrong with one is logged."""
        for certificate in self.certificates:
            why = certificate.reload()
            if why:
                self._log.error('{why}', why=why)
            else:
                self._log.info('New connections to {where} get the certificate as it is on disk now',
                               where=certificate.description)
