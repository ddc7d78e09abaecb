"""TLS of a frontend. There is one TLS context for each certificate, the server name (SNI) selects the context, and the
contexts are replaced when the files change.

A context is never modified once it is in use: a changed certificate gets a new one. All contexts of a frontend are set
up alike, because OpenSSL takes verification and versions from the context that a connection begins with, and the store
of authorities and ALPN from the one that the server name selects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.x509 import load_pem_x509_crl
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from twisted.internet.interfaces import IDelayedCall, IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from zatotx.connectors.tls_settings import INTERMEDIATE_CIPHERS, load_certificates
from zatotx.lb.config.model import ListenerTls
from zatotx.lb.tls.certificate_files import CertificateFile, file_fingerprints, load_certificate_files
from zatotx.lb.tls.tls_connection import FrontendTlsConnection
from zatotx.processes.listener_tls import make_alpn_callback
from zatotx.processes.mutual_tls import ClientVerifier, RejectedClientLog

WATCH_INTERVAL = 2.0  # seconds between two looks at the files
_VERSIONS = {'TLSv1.2': SSL.TLS1_2_VERSION, 'TLSv1.3': SSL.TLS1_3_VERSION}
_VERIFY = {
    'none': SSL.VERIFY_NONE,
    'optional': SSL.VERIFY_PEER,
    'required': SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}
_CRL_BEGIN = b'-----BEGIN X509 CRL-----'


class TlsContextSet:
    """The TLS contexts of a frontend, by the names in their certificates. The object is immutable."""

    def __init__(self, settings: ListenerTls, directory: Path, alpn: Sequence[bytes]) -> None:
        """Load all files. Raises ValueError, one line for each error."""
        errors: list[str] = []
        files: list[CertificateFile] = []
        authorities: Sequence[Any] = ()
        revocation_lists: Sequence[Any] = ()
        try:
            files = load_certificate_files(directory / settings.certificates)
        except ValueError as error:
            errors.append(str(error))
        try:
            authorities = load_certificates(_read(directory, settings.client_ca)) if settings.client_ca else ()
            revocation_lists = _load_crls(_read(directory, settings.client_crl)) if settings.client_crl else ()
        except ValueError as error:
            errors.append(str(error))
        if settings.default and files and settings.default not in {file.name for file in files}:
            errors.append(f'tls.default: there is no certificate file {settings.default}')
        if settings.client_certificates != 'none' and not settings.client_ca:
            errors.append('tls.client_ca: is missing: without it no client certificate can be verified')
        if errors:
            raise ValueError('\n'.join(errors))
        contexts = {
            file.name: _make_context(settings, file, authorities, revocation_lists, alpn) for file in files
        }
        self.verify_mode = _VERIFY[settings.client_certificates]
        self.default = contexts[settings.default or files[0].name]
        self.default.set_tlsext_servername_callback(self._select)
        self._by_name: Mapping[bytes, SSL.Context] = {
            name.encode('idna' if not name.isascii() else 'ascii'): contexts[file.name]
            for file in reversed(files) for name in file.names
        }  # fmt: skip

    def find(self, server_name: bytes) -> SSL.Context:
        """Return the context for a server name: of the name itself, of a wildcard, or the default."""
        name = server_name.lower().removesuffix(b'.')
        context = self._by_name.get(name)
        if context is None:
            context = self._by_name.get(b'*.' + name.partition(b'.')[2], self.default)
        return context

    def _select(self, connection: SSL.Connection) -> None:
        """OpenSSL's callback for the server name of a client."""
        name = connection.get_servername()
        if name:
            context = self.find(name)
            if context is not self.default:
                connection.set_context(context)


@implementer(IOpenSSLServerConnectionCreator)
class TlsListener:
    """Creates the TLS connections of all listeners of a frontend. `contexts` is replaced when a file changes."""

    _log = Logger()

    def __init__(
        self, name: str, settings: ListenerTls, directory: str, clock: IReactorTime, *, alpn: Sequence[bytes]
    ) -> None:
        """Raises ValueError, one line for each error."""
        self._name = name
        self._settings = settings
        self._directory = Path(directory)
        self._clock = clock
        self._alpn = alpn
        self._versions = self._read_versions()
        self._watch_call: IDelayedCall | None = None
        self.contexts = TlsContextSet(settings, self._directory, alpn)
        self._refusals = RejectedClientLog(f'The frontend {name}', self._log, clock)
        self._factory = TLSMemoryBIOFactory(self, False, Factory(), clock)

    def wrap(self, protocol: Any) -> Any:
        """Return a protocol that speaks TLS and passes what it decrypts to `protocol`."""
        return FrontendTlsConnection(self._factory, protocol, self._refusals)

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """Return an OpenSSL connection; called by Twisted for each client."""
        contexts = self.contexts
        connection = SSL.Connection(contexts.default, None)
        if contexts.verify_mode != SSL.VERIFY_NONE:  # a context that SNI selects does not carry it
            verifier = ClientVerifier(_accept_subject)
            connection.set_verify(contexts.verify_mode, verifier.verify)
            if isinstance(tlsProtocol, FrontendTlsConnection):
                tlsProtocol.verifier = verifier
        return connection

    def start(self) -> None:
        """Watch the files."""
        if self._watch_call is None:
            self._watch_call = self._clock.callLater(WATCH_INTERVAL, self._watch)

    def stop(self) -> None:
        """Stop watching."""
        call, self._watch_call = self._watch_call, None
        if call is not None:
            call.cancel()

    def _watch(self) -> None:
        self._watch_call = self._clock.callLater(WATCH_INTERVAL, self._watch)
        versions = self._read_versions()
        if versions == self._versions:
            return
        self._versions = versions
        try:
            self.contexts = TlsContextSet(self._settings, self._directory, self._alpn)
        except ValueError as error:  # a file may be half written: then it changes once more
            self._log.error('The certificates of the frontend {name} cannot be loaded, the old ones stay: {error}',
                            name=self._name, error=str(error))  # fmt: skip
        else:
            self._log.info('The certificates of the frontend {name} are reloaded', name=self._name)

    def _read_versions(self) -> object:
        settings = self._settings
        names = [settings.certificates, settings.client_ca, settings.client_crl]
        return file_fingerprints([self._directory / name for name in names if name])


def _make_context(
    settings: ListenerTls, file: CertificateFile, authorities: Sequence[Any], revocation_lists: Sequence[Any],
    alpn: Sequence[bytes],
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[settings.minimum_version])
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_TICKET
    )
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    try:
        context.set_cipher_list((settings.ciphers or INTERMEDIATE_CIPHERS).encode())
    except SSL.Error:
        raise ValueError(f'tls.ciphers: OpenSSL knows none of {settings.ciphers!r}') from None
    own, *chain = file.chain
    try:
        context.use_certificate(X509.from_cryptography(own))
        context.use_privatekey(file.key)
        for certificate in chain:
            context.add_extra_chain_cert(X509.from_cryptography(certificate))
    except SSL.Error as error:  # a key that is too short, or a signature with a broken hash
        reasons = ', '.join(entry[2] for entry in error.args[0]) if error.args else ''
        raise ValueError(f'{file.name}: OpenSSL does not accept the certificate: {reasons}') from None
    if alpn:
        context.set_alpn_select_callback(make_alpn_callback(alpn))
    if settings.client_certificates != 'none':
        store = context.get_cert_store()
        assert store is not None
        for authority in authorities:
            store.add_cert(X509.from_cryptography(authority))
        for crl in revocation_lists:
            store.add_crl(crl)
        if revocation_lists:
            store.set_flags(X509StoreFlags.CRL_CHECK)
        context.set_client_ca_list([X509.from_cryptography(authority).get_subject() for authority in authorities])
        context.set_verify(_VERIFY[settings.client_certificates], _is_verified)
        context.set_session_id(b'zatotx-lb')
    return context


def _accept_subject(_subject: Any) -> str:
    """Accept each subject: servers decide what a verified certificate allows."""
    return ''


def _is_verified(_connection: Any, _certificate: X509, _code: int, _depth: int, ok: int) -> bool:
    """OpenSSL's verify callback: accept what OpenSSL accepts."""
    return bool(ok)


def _read(directory: Path, name: str) -> bytes:
    try:
        return (directory / name).read_bytes()
    except OSError as error:
        raise ValueError(f'{directory / name}: {error.strerror}') from None


def _load_crls(text: bytes) -> list[Any]:
    parts = text.split(_CRL_BEGIN)[1:]
    try:
        lists = [load_pem_x509_crl(_CRL_BEGIN + part) for part in parts]
    except ValueError:
        lists = []
    if not lists:
        raise ValueError('tls.client_crl: it holds no revocation list in PEM form')
    return lists
