"""The TLS settings of a listener: its certificate, cipher suites and application protocols (ALPN)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory
from zope.interface import implementer

from zatotx.interfaces.listener_options_provider import IListenerOptionsProvider
from zatotx.processes.endpoint_spec import parse_endpoint


class NoApplicationProtocol(SSL.Error):
    """The client offers only application protocols that the listener does not support."""


@implementer(IOpenSSLServerConnectionCreator)
class ReloadableCertificate:
    """The TLS context of one listener, used by TLSMemoryBIOFactory. After `reload`, new connections use the new
    certificate, and existing connections keep the old certificate. While `requests_client_certificate` is true, clients
    may send a certificate."""

    def __init__(self, description: str, context: Any, options: IListenerOptionsProvider | None = None) -> None:
        """Raises ValueError for cipher suites that OpenSSL does not know."""
        self.description = description
        self.requests_client_certificate = False
        self._options = options
        self._context = self._make_context(context)

    def getContext(self) -> Any:
        """Return the current OpenSSL context."""
        return self._context

    def serverConnectionForTLS(self, tlsProtocol: object) -> Any:
        """Return an OpenSSL connection; called by Twisted for each client. TLS sessions are not resumed, so client
        certificates are always available."""
        connection = SSL.Connection(self._context, None)
        if self.requests_client_certificate:
            connection.set_verify(SSL.VERIFY_PEER, _accept_any_certificate)
        return connection

    def reload(self) -> str:
        """Read the certificate's files again. Returns '' or a sentence that says why the old certificate is kept."""
        try:
            spec = parse_endpoint(self.description, Factory())
            assert spec is not None
            self._context = self._make_context(spec.tls_context)
        except Exception as error:  # OpenSSL, the files and the parser raise various types
            return (f'The certificate of the listener {self.description!r} cannot be loaded, the old one stays: '
                    f'{error or type(error).__name__}')  # fmt: skip
        return ''

    def _make_context(self, certificate_options: Any) -> Any:
        """Return the OpenSSL context of Twisted's CertificateOptions with the options of this listener applied."""
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
            context.set_alpn_select_callback(make_alpn_callback(options.application_protocols))
        return context


def make_alpn_callback(supported: Sequence[bytes]) -> Callable[[Any, Sequence[bytes]], bytes]:
    """Create an ALPN callback for OpenSSL. If no protocol matches, Twisted's own callback selects an empty name, which
    ends the handshake with an `internal_error` alert. This callback raises an exception, so that the alert is
    `no_application_protocol` (RFC 7301 §3.2). The exception is an SSL.Error, which Twisted treats as a failed handshake
    and not as a bug."""

    def select(_connection: Any, offered: Sequence[bytes]) -> bytes:
        for protocol in supported:
            if protocol in offered:
                return protocol
        raise NoApplicationProtocol([('SSL routines', '', 'no application protocol')])

    return select


def _accept_any_certificate(*_certificate: object) -> bool:
    """Accept every client certificate in the handshake, which proves only that the client has its key. Whether it is
    trusted depends on the channel, which is not known yet."""
    return True
