"""Mutual TLS for a listener. A client needs a certificate that a configured authority has issued and not revoked.

The files are read again when they have changed, before the next handshake: a renewed certificate and a new revocation
list take effect without a restart, each time in a new OpenSSL context. Files that cannot be used are logged, and the
old ones stay in force; an expired revocation list refuses everybody. There are no TLS sessions to resume, so each
connection is verified.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey, X509StoreFlags
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IReactorTime,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from zatotx.connectors.tls_settings import INTERMEDIATE_CIPHERS
from zatotx.model.errors import StartError
from zatotx.rules.http.tls_errors import describe_certificate_error
from zatotx.wire.certificates import parse_certificates, parse_revocation_lists
from zatotx.wire.malformed import Malformed

MAX_CONNECTIONS = 100  # at the same time, those in a handshake included
MAX_LINES, WINDOW = 100, 60.0  # lines about refused clients in the log, and the seconds in which they are counted
LIFETIME = 60.0  # seconds of one connection
LINGER = 2.0  # seconds in which a client may close its side of a connection that has ended

# X509_V_ERR_* of OpenSSL that mean something else for clients than in tls_errors: clauses about a certificate.
_CLIENT_ERRORS = {
    3: 'cannot be checked: there is no revocation list of who signed it',
    8: 'cannot be checked: the signature of the revocation list is wrong',
    11: 'cannot be checked: the revocation list is not valid yet',
    12: 'cannot be checked: the revocation list has expired',
    26: 'is not made for clients',
}
_NO_CERTIFICATE = 'peer did not return a certificate'

SubjectCheck = Callable[[x509.Name], str]  # returns why a subject is refused, as a clause; '' = it is accepted


class MutualTlsFiles(NamedTuple):
    """The TLS files of a listener with mutual TLS, in PEM format."""

    certificate: Path  # followed by intermediate certificates
    key: Path
    authorities: Path  # that sign the certificates of clients
    revocation_list: Path | None  # of the authorities; None = revocations are not checked


class MutualTlsError(StartError):
    """The TLS files of a listener cannot be used. The message is one sentence."""


def load_tls_context(files: MutualTlsFiles) -> SSL.Context:
    """Create an OpenSSL context with the certificates in the files. Raises MutualTlsError."""
    chain = _parse(files.certificate, parse_certificates)
    key = _load_key(files.key)
    if key.public_key() != chain[0].public_key():
        raise MutualTlsError(f'{files.key} is not the key of {files.certificate}: install a matching pair')
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_cipher_list(INTERMEDIATE_CIPHERS.encode('ascii'))
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_certificate(X509.from_cryptography(chain[0]))
    context.use_privatekey(PKey.from_cryptography_key(key))
    for certificate in chain[1:]:
        context.add_extra_chain_cert(X509.from_cryptography(certificate))
    store = context.get_cert_store()
    assert store is not None
    for authority in _parse(files.authorities, parse_certificates):
        store.add_cert(X509.from_cryptography(authority))
    if files.revocation_list is not None:
        for revocation_list in _parse(files.revocation_list, parse_revocation_lists):
            store.add_crl(revocation_list)
        store.set_flags(X509StoreFlags.CRL_CHECK)
    return context


def _read(path: Path) -> str:
    try:
        return path.read_text('ascii')
    except OSError as error:
        raise MutualTlsError(f'{path} cannot be read: {error.strerror}') from None
    except UnicodeDecodeError:
        raise MutualTlsError(f'{path} is not in PEM format') from None


def _parse(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(_read(path))
    except Malformed as error:
        raise MutualTlsError(f'{path} {error}') from None


def _load_key(path: Path) -> Any:
    text = _read(path)
    try:
        return load_pem_private_key(text.encode('ascii'), None)
    except TypeError:
        raise MutualTlsError(f'{path} is encrypted: store the key without a pass phrase, with mode 600') from None
    except (ValueError, UnsupportedAlgorithm):
        raise MutualTlsError(f'{path} contains no private key in PEM format') from None


class ClientVerifier:
    """Verifies the certificate of one client. `error` is the reason why the certificate is rejected, or '' if it has
    not been rejected; `subject` is the subject of the verified certificate."""

    __slots__ = ('_check_subject', 'error', 'subject')

    def __init__(self, check_subject: SubjectCheck) -> None:
        self._check_subject = check_subject
        self.error = ''
        self.subject = ''

    def verify(self, _connection: SSL.Connection, certificate: X509, code: int, depth: int, ok: int) -> bool:
        """OpenSSL's verify callback: called for each certificate of the chain, and for each error that it finds. An
        exception would be raised in the middle of a handshake, so there is none."""
        if not self.error:
            try:
                self.error = self._error(certificate.to_cryptography(), code, depth, is_valid=bool(ok))
            except Exception:  # parsing the client's bytes may raise anything
                self.error = 'its certificate cannot be read'
        return not self.error

    def _error(self, certificate: x509.Certificate, code: int, depth: int, *, is_valid: bool) -> str:
        if not is_valid:
            reason = _CLIENT_ERRORS.get(code) or describe_certificate_error(code, of_peer=depth == 0)
            return f'the certificate {_describe(certificate)} {reason}'
        if depth == 0:
            refused = self._check_subject(certificate.subject)
            if refused:
                return f'the certificate {_describe(certificate)} {refused}'
            self.subject = certificate.subject.rfc4514_string()
        return ''


def _describe(certificate: x509.Certificate) -> str:
    return f'{certificate.subject.rfc4514_string()!r} (serial {certificate.serial_number:X})'


@implementer(IOpenSSLServerConnectionCreator)
class MutualTlsServerContext:
    """The server-side TLS context of a listener with mutual TLS, for TLSMemoryBIOFactory."""

    def __init__(self, files: MutualTlsFiles, check_subject: SubjectCheck, log: Logger) -> None:
        """Raises MutualTlsError. `log`: where changes of the files are logged."""
        self._files = files
        self._check_subject = check_subject
        self._log = log
        self._signature = self._read_signature()
        self._context = load_tls_context(files)

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """Return the OpenSSL connection of a new client. The verify mode and callback are the connection's own."""
        self.refresh()
        connection = SSL.Connection(self._context, None)
        verifier = ClientVerifier(self._check_subject)
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verifier.verify)
        observer = getattr(tlsProtocol, 'wrappedProtocol', None)
        if isinstance(observer, ClientObserver):
            observer.verifier = verifier
        return connection

    def refresh(self) -> None:
        """Read the files again if one of them has changed."""
        signature = self._read_signature()
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._context = load_tls_context(self._files)
        except MutualTlsError as error:
            self._log.error('{error}; the old certificates stay in use', error=str(error))
        else:
            self._log.info('New connections use the certificates that are on disk now')

    def _read_signature(self) -> tuple[tuple[int, int, int], ...]:
        """Return what differs after a change of the files; links are followed."""
        found = []
        for path in self._files:
            try:
                status = path.stat() if path is not None else None
            except OSError:
                status = None  # load_tls_context names the reason
            found.append((status.st_ino, status.st_mtime_ns, status.st_size) if status else (0, 0, 0))
        return tuple(found)


@implementer(IHandshakeListener)
class ClientObserver(ProtocolWrapper):
    """A protocol wrapper between TLS and the protocol of a listener. It logs clients that are rejected."""

    handshake_completed = False
    verifier: ClientVerifier | None = None  # what is known about the client's certificate

    def handshakeCompleted(self) -> None:
        self.handshake_completed = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.handshake_completed:
            assert isinstance(self.factory, ClientObserverFactory)
            self.factory.log_refusal(self.transport, self.verifier.error if self.verifier else '', reason)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class RejectedClientLog:
    """Logs the clients that a listener rejects. At most MAX_LINES lines are logged in WINDOW seconds, so that the log
    cannot be flooded; further clients are only counted. `what` is the name of the listener."""

    def __init__(self, what: str, log: Logger, clock: IReactorTime) -> None:
        self._what = what
        self._log = log
        self._clock = clock
        self._window_start = clock.seconds()
        self._lines = 0

    def add(self, action: str, address: Any, reason: str) -> None:
        """Log that the listener did `action` to the client at an address."""
        now = self._clock.seconds()
        if now - self._window_start >= WINDOW:
            if self._lines > MAX_LINES:
                self._log.warn('{what} refused {count} more clients', what=self._what, count=self._lines - MAX_LINES)
            self._window_start, self._lines = now, 0
        self._lines += 1
        if self._lines <= MAX_LINES:
            self._log.warn('{what} {action} {peer}: {reason}', what=self._what, action=action, peer=_address(address),
                           reason=reason)


class ClientObserverFactory(WrappingFactory[ClientObserver]):
    """The factory of ClientObserver. It wraps the factory of the protocol that TLS carries."""

    protocol = ClientObserver
    noisy = False

    def __init__(self, factory: Any, refusals: RejectedClientLog) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self._refusals = refusals

    def log_refusal(self, transport: Any, error: str, reason: Failure) -> None:
        """Log a client whose handshake has failed."""
        self._refusals.add('refused a client at', transport.getPeer(), error or describe_handshake_failure(reason))


class LingeringTcpTransport:
    """A TCP transport that closes in two steps. It first stops sending, and then reads the client's data until the
    client closes its side, for at most LINGER seconds. If the transport closed immediately while a request of the
    client is in transit, the kernel would reset the connection, and the client would lose the TLS alert with the reason
    for the rejection."""

    def __init__(self, transport: Any, clock: IReactorTime) -> None:
        self._transport = transport
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._is_closed = False
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def is_closing(self) -> bool:
        """Whether the connection is being closed, so that what the client still sends is of no use."""
        return self._is_closed or self._timer is not None

    def loseConnection(self) -> None:
        """Begin to close the connection."""
        if self._timer is None and not self._is_closed:
            self._timer = self._clock.callLater(LINGER, self._transport.abortConnection)
            self._transport.loseWriteConnection()
            self._transport.resumeProducing()  # HTTP stops reading after its last request

    def closed(self) -> None:
        """Stop waiting: the connection is closed."""
        self._is_closed = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class LingeringTlsTransport(BufferingTLSTransport):
    """TLS over a LingeringTcpTransport. It exists for at most LIFETIME seconds, because clients that do not close their
    side after the response would otherwise exhaust the connection limit."""

    _end: IDelayedCall | None = None

    def makeConnection(self, transport: Any) -> None:
        assert isinstance(self.factory, MutualTlsFactory)
        clock = self.factory.clock
        self._end = clock.callLater(LIFETIME, self.abortConnection)
        super().makeConnection(LingeringTcpTransport(transport, clock))  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        if not transport.is_closing:  # otherwise TLS would keep the bytes, however many there are
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._end is not None and self._end.active():
            self._end.cancel()
        transport: Any = self.transport
        transport.closed()
        super().connectionLost(reason)


class MutualTlsFactory(TLSMemoryBIOFactory):
    """The TLS factory of a listener. It runs TLS with `context` around the protocols of `factory`. `what` is the name
    of the listener in the log. There are at most MAX_CONNECTIONS connections. Beyond that, the oldest connection that
    is still in its handshake is closed, so that clients without a certificate cannot block others. If no connection is
    in its handshake, the new connection is closed."""

    protocol = LingeringTlsTransport

    def __init__(
        self, context: MutualTlsServerContext, factory: Any, *, what: str, clock: IReactorTime, log: Logger
    ) -> None:
        self._refusals = RejectedClientLog(what, log, clock)
        super().__init__(context, False, ClientObserverFactory(factory, self._refusals), clock)
        self.clock = clock

    def buildProtocol(self, addr: Any) -> Any:
        if len(self.protocols) >= MAX_CONNECTIONS:
            oldest = next(filter(_is_in_handshake, self.protocols), None)
            peer = addr if oldest is None else oldest.getPeer()
            self._refusals.add('closed a connection from', peer, f'{MAX_CONNECTIONS} are open already')
            if oldest is None:
                return None
            oldest.abortConnection()
        return super().buildProtocol(addr)


def _is_in_handshake(protocol: TLSMemoryBIOProtocol) -> bool:
    observer = protocol.wrappedProtocol
    return isinstance(observer, ClientObserver) and not observer.handshake_completed and not protocol.disconnecting


def _address(address: Any) -> str:
    host, port = getattr(address, 'host', None), getattr(address, 'port', None)
    return f'{host}:{port}' if host is not None else str(address)


def describe_handshake_failure(reason: Failure) -> str:
    """Return the reason why a TLS handshake with a client has failed, as a clause."""
    error = reason.value
    entries = error.args[0] if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list) else ()
    texts = [str(entry[2]) for entry in entries if len(entry) > 2]
    if any(_NO_CERTIFICATE in text for text in texts):
        return 'it has no certificate'
    if texts:
        return f'the TLS handshake failed: {", ".join(texts)}'
    return 'it closed the connection before the end of the TLS handshake, or was too slow'
