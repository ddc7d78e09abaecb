"""TLS of a listener: its certificate, its cipher suites, and the protocol that clients ask for in the handshake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory
from zope.interface import implementer

from zatotx.interfaces.listener import IListenerOptions
from zatotx.node.endpoint_spec import parse_description


class NoApplicationProtocol(SSL.Error):
    """A client asks for protocols that are not spoken here."""


@implementer(IOpenSSLServerConnectionCreator)
class ReloadableCertificate:
    """TLS of one listener, as TLSMemoryBIOFactory asks for it: connections that come after `reload` get the new
    certificate, the others keep theirs. Those that come while it is `asking` may send a certificate of their own."""

    def __init__(self, description: str, context: Any, options: IListenerOptions | None = None) -> None:
        """Raises ValueError for cipher suites that OpenSSL does not know."""
        self.description = description
        self.asking = False
        self._options = options
        self._context = self._prepared(context)

    def getContext(self) -> Any:
        """The context in force."""
        return self._context

    def serverConnectionForTLS(self, tlsProtocol: object) -> Any:
        """What Twisted calls for each connection. Sessions are not resumed, so no certificate is lost that way."""
        connection = SSL.Connection(self._context, None)
        if self.asking:
            connection.set_verify(SSL.VERIFY_PEER, _any)
        return connection

    def reload(self) -> str:
        """Read the files again; '', or a sentence that says why the old certificate stays."""
        try:
            wanted = parse_description(self.description, Factory())
            assert wanted is not None
            self._context = self._prepared(wanted.context)
        except Exception as error:  # whatever OpenSSL, the files or the parser come up with
            return (f'[http] listen: the certificate of {self.description!r} cannot be loaded, the old one stays: '
                    f'{error or type(error).__name__}')  # fmt: skip
        return ''

    def _prepared(self, certificate_options: Any) -> Any:
        """The OpenSSL context of Twisted's CertificateOptions, by the options of this listener."""
        context = certificate_options.getContext()
        options = self._options
        if options is None:
            return context
        if options.tls_ciphers:
            try:
                context.set_cipher_list(options.tls_ciphers.encode('ascii'))
            except (SSL.Error, UnicodeEncodeError):
                raise ValueError(f'[http] tls_ciphers: OpenSSL knows none of {options.tls_ciphers!r}') from None
        if options.application_protocols:
            context.set_alpn_select_callback(select_protocol(options.application_protocols))
        return context


def select_protocol(spoken: Sequence[bytes]) -> Callable[[Any, Sequence[bytes]], bytes]:
    """A callback for OpenSSL. Twisted's own selects an empty name where nothing fits, which ends the handshake in an
    `internal_error` alert; an exception makes it `no_application_protocol` (RFC 7301 §3.2). It is an SSL.Error, which
    Twisted takes for the end of the handshake and not for a bug."""

    def select(_connection: Any, asked: Sequence[bytes]) -> bytes:
        for protocol in spoken:
            if protocol in asked:
                return protocol
        raise NoApplicationProtocol([('SSL routines', '', 'no application protocol')])

    return select


def _any(*_certificate: object) -> bool:
    """OpenSSL asks whether a certificate is to be trusted. That depends on the channel, which is not known yet: what
    the handshake has to show is that the client has its key."""
    return True
