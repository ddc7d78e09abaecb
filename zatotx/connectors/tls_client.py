"""TLS for clients, version 1.2 or newer. The certificate chain is verified against the authorities of the system or of
a connection, and the host name against the certificate (RFC 9525). The handshake sends the host name (SNI) and the
protocols of the kind (ALPN).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from cryptography.x509 import Certificate, DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey, X509StoreFlags
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.connectors.tls_settings import TlsSettings, parse_tls_settings
from zatotx.rules.http.tls_errors import (
    describe_certificate_error,
    describe_handshake_error,
    describe_late_handshake_error,
)
from zatotx.wire.http.host_names import is_address

_MAX_NAMES_SHOWN = 3  # of a certificate that does not match
_PARTIAL_WRITE = 1  # SSL_MODE_ENABLE_PARTIAL_WRITE of OpenSSL, which pyOpenSSL sets: a write takes one record only
_UNUSED_FACTORY = Factory()  # TLSMemoryBIOFactory requires one; its buildProtocol is not called


class TlsHandshakeFailed(Exception):  # noqa: N818 - kinds map it to an error of their own
    """The TLS handshake failed, or the peer's certificate is not valid. The message is a clause that names the host."""


class TlsClientFactory:
    """Creates TLS protocols with one set of settings. One factory is created for all connections that use the same
    settings."""

    def __init__(self, settings: TlsSettings, *, alpn: Sequence[bytes] = ()) -> None:
        """`alpn`: the protocols to offer (RFC 7301). Raises InvalidTlsSettings."""
        self._credentials = parse_tls_settings(settings)
        self._verify = settings.verify
        self._alpn = list(alpn)

    def handshake(
        self, transport: Any, host: str, clock: IReactorTime, *, session: SSL.Session | None = None,
        protocol: type[TLSMemoryBIOProtocol] = TLSMemoryBIOProtocol,
    ) -> HandshakeObserver:
        """Start a handshake over a connected transport, and make TLS its protocol. `session`: of another connection
        to the same peer, to be resumed. `protocol`: the class of that protocol."""
        handshake = HandshakeObserver(host)
        connection = self._connection(host, handshake.verifier)
        if session is not None:
            connection.set_session(session)
        creator = _ConnectionCreator(connection)
        tls = protocol(TLSMemoryBIOFactory(creator, True, _UNUSED_FACTORY, clock), handshake)
        transport.protocol = tls
        tls.makeConnection(transport)
        return handshake

    def _connection(self, host: str, verdict: CertificateVerifier) -> SSL.Connection:
        connection = SSL.Connection(self._context)
        if not is_address(host):  # RFC 6066 §3
            connection.set_tlsext_host_name(host.removesuffix('.').encode('ascii'))
        if self._verify:
            connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verdict.verify)
        return connection

    @cached_property
    def _context(self) -> SSL.Context:
        """The context, created with the first connection: loading the system's authorities takes milliseconds."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.clear_mode(_PARTIAL_WRITE)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        if self._alpn:
            context.set_alpn_protos(self._alpn)
        self._trust(context)
        self._use_certificate(context)
        return context

    def _trust(self, context: SSL.Context) -> None:
        if not self._credentials.authorities:
            context.set_default_verify_paths()
            return
        store = context.get_cert_store()
        assert store is not None
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)  # a server's own certificate may be trusted without its issuer
        for authority in self._credentials.authorities:
            store.add_cert(X509.from_cryptography(authority))

    def _use_certificate(self, context: SSL.Context) -> None:
        key = self._credentials.key
        if key is None:
            return
        own, *chain = self._credentials.chain
        context.use_certificate(X509.from_cryptography(own))
        context.use_privatekey(PKey.from_cryptography_key(key))
        for certificate in chain:
            context.add_extra_chain_cert(X509.from_cryptography(certificate))


class CertificateVerifier:
    """Verifies the certificate chain of a peer. `error` describes the first error, or is '' if no error has
    occurred."""

    __slots__ = ('_host', 'error')

    def __init__(self, host: str) -> None:
        self._host = host
        self.error = ''

    def verify(self, connection: SSL.Connection, certificate: X509, code: int, depth: int, ok: int) -> bool:
        """OpenSSL's verify callback: called for each certificate of the chain, and for each error that it finds."""
        if not self.error:
            try:
                self.error = self._error(certificate, code, depth, bool(ok))
            except Exception:  # parsing the peer's bytes may raise anything: the certificate is not accepted
                self.error = 'cannot be read'
        return not self.error

    def _error(self, certificate: X509, code: int, depth: int, ok: bool) -> str:
        if not ok:
            return describe_certificate_error(code, of_peer=depth == 0)
        if depth:
            return ''
        expected = IPAddress_ID(self._host) if is_address(self._host) else DNS_ID(self._host.removesuffix('.'))
        try:
            verify_service_identity(extract_patterns(certificate), [expected], [])
        except (CertificateError, VerificationError):
            return f'is for {_names(certificate.to_cryptography())}'
        return ''


@implementer(IHandshakeListener)
class HandshakeObserver(Protocol):
    """A protocol that waits for the end of a TLS handshake. `done` fires with the TLS transport, or fails with
    TlsHandshakeFailed."""

    def __init__(self, host: str) -> None:
        self._host = host
        self.verifier = CertificateVerifier(host)
        self.done: Deferred[Any] = Deferred()

    def handshakeCompleted(self) -> None:
        self.done.callback(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.errback(Failure(self._make_error(reason.value)))

    def _make_error(self, error: BaseException | None) -> TlsHandshakeFailed:
        if self.verifier.error:
            return TlsHandshakeFailed(f'the certificate of {self._host} {self.verifier.error}')
        return TlsHandshakeFailed(f'{self._host} {describe_handshake_error(_reasons(error))}')


def rejected_certificate_error(error: BaseException | None) -> str:
    """Return the error if a TLS 1.3 peer has rejected the local certificate, otherwise ''. The error is a clause that
    follows the host. The peer closes the connection after the local side of the handshake has finished, while the
    client waits for a response. The peer has not read the data that the client sent."""
    return describe_late_handshake_error(_reasons(error))


@implementer(IOpenSSLClientConnectionCreator)
class _ConnectionCreator:
    """Returns the TLS connection of one handshake to its factory."""

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return self._connection


def _reasons(error: BaseException | None) -> Sequence[str]:
    """Return the reasons of an OpenSSL error; () for another error."""
    if not isinstance(error, SSL.Error) or not error.args or not isinstance(error.args[0], list):
        return ()
    return [entry[2] for entry in error.args[0] if len(entry) > 2]


def _names(certificate: Certificate) -> str:
    """Return the names that a certificate is valid for, for an error message."""
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return 'nobody: it has no subjectAltName'
    values = [*names.get_values_for_type(DNSName), *map(str, names.get_values_for_type(IPAddress))]
    more = f' and {len(values) - _MAX_NAMES_SHOWN} more' if len(values) > _MAX_NAMES_SHOWN else ''
    return f'another name: {", ".join(values[:_MAX_NAMES_SHOWN])}{more}'
