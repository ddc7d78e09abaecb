"""How a node comes to its listening sockets: it binds them, or adopts those that the parent of its workers bound.

TLS is put around the connections here and not by the reactor, so that a certificate changes while its socket stays.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.node.descriptions import Wanted, read_description
from zatotx.node.workers.adopting import adopt_tcp, adopt_unix
from zatotx.node.workers.board import Shared


@implementer(IOpenSSLServerConnectionCreator)
class Certificate:
    """TLS of one listener, as TLSMemoryBIOFactory asks for it: connections that come after `reload` get the new
    certificate, the others keep theirs. Those that come while it is `asking` may send a certificate of their own."""

    def __init__(self, description: str, context: Any) -> None:
        self.description = description
        self.asking = False
        self._context = context.getContext()

    def getContext(self) -> Any:
        """The context in force."""
        return self._context

    def serverConnectionForTLS(self, tlsProtocol: object) -> Any:
        """What Twisted calls for each connection. Sessions are not resumed, so no certificate is lost that way."""
        from OpenSSL.SSL import VERIFY_PEER, Connection

        connection = Connection(self._context, None)
        if self.asking:
            connection.set_verify(VERIFY_PEER, _any)
        return connection

    def reload(self) -> str:
        """Read the files again; '', or a sentence that says why the old certificate stays."""
        try:
            wanted = read_description(self.description, Factory())
            assert wanted is not None
            self._context = wanted.context.getContext()
        except Exception as error:  # whatever OpenSSL, the files or the parser come up with
            return (f'[http] listen: the certificate of {self.description!r} cannot be loaded, the old one stays: '
                    f'{error or type(error).__name__}')  # fmt: skip
        return ''


def _any(*_certificate: object) -> bool:
    """OpenSSL asks whether a certificate is to be trusted. That depends on the channel, which is not known yet: what
    the handshake has to show is that the client has its key."""
    return True


def _unshared(name: str) -> None:
    """No count that others see."""


@define(eq=False)
class Listeners:
    """Listens for the kinds of a node. `adopted` maps descriptions to the descriptors of sockets that the parent
    process bound; `shared` gives the count of that name which the workers have in common."""

    reactor: Any  # IReactorTCP, IReactorUNIX, IReactorSocket
    adopted: Mapping[str, int] = field(factory=dict)
    shared: Callable[[str], Shared | None] = _unshared
    certificates: list[Certificate] = field(factory=list, init=False)
    _asking: bool = field(default=False, init=False)

    _log = Logger()

    def listen(self, description: str, factory: Any) -> Deferred[IListeningPort]:
        """The listening port. Fails with what Twisted, the kernel and OpenSSL say where that cannot be."""
        return Deferred.fromCoroutine(self._listen(description, factory))

    async def _listen(self, description: str, factory: Any) -> IListeningPort:
        wanted = read_description(description, factory)
        if wanted is None:
            other: IListeningPort = await serverFromString(self.reactor, description).listen(factory)
            return other
        inner = wanted.factory if wanted.context is None else self._with_tls(description, wanted)
        port: IListeningPort = self._open(description, wanted, inner)
        return port

    def _with_tls(self, description: str, wanted: Wanted) -> Any:
        from twisted.protocols.tls import TLSMemoryBIOFactory  # costs memory that plain HTTP does not need

        certificate: Any = Certificate(description, wanted.context)
        certificate.asking = self._asking
        self.certificates.append(certificate)
        return TLSMemoryBIOFactory(certificate, False, wanted.factory)

    def _open(self, description: str, wanted: Wanted, factory: Any) -> Any:
        descriptor = self.adopted.get(description, wanted.inherited)
        if descriptor < 0 and isinstance(wanted.address, str):
            return self.reactor.listenUNIX(wanted.address, factory, wanted.backlog, mode=wanted.mode,
                                           wantPID=wanted.lock)
        if descriptor < 0:
            return self.reactor.listenTCP(wanted.address, factory, wanted.backlog, wanted.interface)
        with socket.socket(fileno=socket.dup(descriptor)) as known:
            family = known.family
        if family == socket.AF_UNIX:
            return adopt_unix(self.reactor, descriptor, wanted, factory)
        return adopt_tcp(self.reactor, descriptor, family, factory, self.shared(f'connections of {description}'))

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
