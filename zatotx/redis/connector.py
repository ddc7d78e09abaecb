"""Opens connections to a Redis address, over TCP, TLS, or a Unix socket with a path of any length."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory

from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.redis import RedisError
from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.error_conversion import UnusableServerError, disconnect_cause
from zatotx.redis.redis_url import RedisAddress, RedisTlsFiles
from zatotx.redis.txredisapi_adapter import make_protocol


def tls_client_options(host: str, tls: RedisTlsFiles) -> Any:
    """Return Twisted's TLS options for a connection to `host`: TLS 1.2 or newer, with verification of the certificate
    chain and the host name. The files are read for each connection, so that renewed files are used. Raises
    UnusableServerError for unusable files."""
    from twisted.internet.ssl import TLSVersion, optionsForClientTLS, platformTrust, trustRootFromCertificates

    trust = trustRootFromCertificates(_certificates(tls.ca)) if tls.ca else platformTrust()
    extra: dict[str, Any] = {'raiseMinimumTo': TLSVersion.TLSv1_2}
    client_certificate = None
    if tls.cert:
        client_certificate, chain = _load_client_certificate(tls)
        if chain:
            extra['extraCertChain'] = chain
    return optionsForClientTLS(
        host, trustRoot=trust, clientCertificate=client_certificate, extraCertificateOptions=extra
    )


def _load_client_certificate(tls: RedisTlsFiles) -> tuple[Any, list[Any]]:
    """Load the client certificate with its key and the rest of its chain."""
    from twisted.internet.ssl import KeyPair, PrivateCertificate

    leaf, *intermediates = _certificates(tls.cert)
    path = tls.key or tls.cert
    try:
        key = KeyPair.load(_read_file(path), 1)  # PEM
    except UnusableServerError:
        raise
    except Exception:  # OpenSSL's own exception types, whose messages could quote the file
        raise UnusableServerError(
            f'{path} holds no private key in PEM form that can be read without a passphrase'
        ) from None
    return PrivateCertificate.fromCertificateAndKeyPair(leaf, key), [
        certificate.original for certificate in intermediates
    ]


def _certificates(path: str) -> list[Any]:
    from cryptography.x509 import load_pem_x509_certificates
    from OpenSSL.crypto import X509
    from twisted.internet.ssl import Certificate

    try:
        certificates = load_pem_x509_certificates(_read_file(path))
    except ValueError:
        raise UnusableServerError(f'{path} holds no certificate in PEM form') from None
    return [Certificate(X509.from_cryptography(certificate)) for certificate in certificates]


def _read_file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnusableServerError(f'{path} cannot be read: {error.strerror}') from None


_MAX_SOCKET_PATH = 100  # bytes; sun_path holds 108 in Linux, including its NUL, fewer elsewhere


class _SingleProtocolFactory(Factory):
    noisy = False

    def __init__(self, protocol: IProtocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Any:
        return self._protocol


async def connect_to_address(reactor: IReactor, address: RedisAddress, protocol: Any, timeout: float) -> None:
    """Connect `protocol` (an IProtocol) to the address within `timeout` seconds. Raises the errors of Twisted's
    endpoints, OSError if the directory of the socket does not exist, and UnusableServerError for unusable TLS files. An
    untrusted certificate is detected only when the first command is sent. The connection then ends, and the protocol
    receives the reason."""
    if not address.path:
        endpoint: Any = HostnameEndpoint(reactor, address.host, address.port, timeout=timeout)
        if address.tls is not None:
            endpoint = wrapClientTLS(tls_client_options(address.host, address.tls), endpoint)
        await _connect(endpoint, protocol)
        return
    path = Path(address.path)
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        await _connect(_unix_endpoint(reactor, str(path), timeout), protocol)
        return
    # The directory is opened with O_PATH, which gives the socket a short name below /proc/self/fd.
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        await _connect(_unix_endpoint(reactor, f'/proc/self/fd/{directory}/{path.name}', timeout), protocol)
    finally:
        os.close(directory)


async def _connect(endpoint: Any, protocol: Any) -> None:
    try:
        await endpoint.connect(_SingleProtocolFactory(protocol))
    except ConnectingCancelledError:  # callers expect a CancelledError
        raise CancelledError from None


def _unix_endpoint(reactor: IReactor, path: str, timeout: float) -> Any:
    return UNIXClientEndpoint(reactor, path, timeout=timeout)


async def perform_handshake(protocol: Any, address: RedisAddress, name: str, *, master: bool) -> None:
    """Authenticate, select the database, set the connection's name, and check that the server replies, because even a
    frozen server accepts connections. If `master` is true, also check that the server is a master, as a sentinel has
    reported. Raises the errors of the commands, and UnusableServerError."""
    await authenticate(protocol, address)
    if address.db:
        await protocol.send_command('SELECT', address.db)
    await protocol.send_command('PING')
    if name:
        await _set_name(protocol, name)
    if master:
        await _require_master(protocol)


async def authenticate(protocol: Any, address: RedisAddress) -> None:
    """Send AUTH if the address has a password."""
    if address.password:
        await protocol.send_command('AUTH', *((address.username,) if address.username else ()), address.password)


async def _set_name(protocol: Any, name: str) -> None:
    # A user may lack the right to name a connection and still do everything else.
    with suppress(RedisError):
        await protocol.send_command('CLIENT', 'SETNAME', name)


async def _require_master(protocol: Any) -> None:
    role = await protocol.send_command('ROLE')
    if not (isinstance(role, list) and role and role[0] == 'master'):
        raise UnusableServerError('the server that the sentinels name as master is not a master')


async def send_single_command(reactor: IReactor, address: RedisAddress, *words: str, timeout: float = 2.0) -> object:
    """Connect, authenticate, send one command and return its reply. Raises RedisError if Redis rejects the command,
    RedisNotReady if Redis cannot execute it at the moment, the reason for the disconnect if Redis disconnects, Timeout
    after `timeout` seconds without a reply, and the errors of connecting."""
    protocol = make_protocol(reactor, str(address), timeout)
    await connect_to_address(reactor, address, protocol, timeout)
    try:
        await authenticate(protocol, address)
        return await protocol.send_command(*words)
    except ServiceUnavailable as error:
        raise disconnect_cause(error, protocol) from None
    finally:
        disconnected: Deferred[object] = protocol.whenDisconnected()
        if protocol.connected:
            protocol.transport.abortConnection()
            await disconnected
