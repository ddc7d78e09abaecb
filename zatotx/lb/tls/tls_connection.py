"""The TLS connection of a client. Compared with Twisted's class, it does less work for each request, and logs failed
handshakes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection as TCPConnection
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from zatotx.processes.mutual_tls import ClientVerifier, RejectedClientLog, describe_handshake_failure

_SEND_SIZE = 2**15  # bytes taken from OpenSSL in one call
_APPLICATION_DATA = b'\x17\x03\x03'  # type and version of a record (RFC 8446 §5.1)
_HEADER_SIZE = 5


class FrontendTlsConnection(TLSMemoryBIOProtocol):
    """The TLS protocol that wraps the protocol of a client. `verifier` holds the result of verifying the client's
    certificate.

    Twisted reads until OpenSSL wants more, and sends through the buffer of the TCP transport. That is an exception of
    OpenSSL twice, and two changes of the epoll set, for each request.
    """

    verifier: ClientVerifier | None = None
    _is_tcp = False

    def __init__(self, factory: TLSMemoryBIOFactory, protocol: Any, refusals: RejectedClientLog) -> None:
        super().__init__(factory, protocol)  # type: ignore[no-untyped-call]
        self._refusals = refusals

    def makeConnection(self, transport: Any) -> None:
        self._is_tcp = isinstance(transport, TCPConnection)
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Decrypt the client's bytes. If they are one record of application data, OpenSSL has nothing left after it,
        and nothing to send. Bytes that only look like one, at a cut within a longer record, are complete with the next
        read."""
        if not self._handshakeDone or self._appSendBuffer or not _is_one_record(data):
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            return
        connection = self._tlsConnection
        connection.bio_write(data)
        try:
            decrypted = connection.recv(len(data))
        except SSL.Error:  # the record holds something else, or TLS ends: this handles it
            self._flushReceiveBIO()  # type: ignore[no-untyped-call]
            return
        if not self._aborted:
            self.wrappedProtocol.dataReceived(decrypted)

    def _flushSendBIO(self) -> None:
        """Send what OpenSSL has encrypted: directly, unless the transport still has earlier bytes."""
        try:
            data: bytes = self._tlsConnection.bio_read(_SEND_SIZE)
        except SSL.WantReadError:
            return
        transport: Any = self.transport
        if self._is_tcp and transport.connected and not transport.dataBuffer and not transport._tempDataBuffer:
            with suppress(OSError):  # the transport finds out what it is
                data = data[transport.socket.send(data) :]
        if data:
            transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._handshakeDone:
            self._log_refusal(self._reason or reason)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _log_refusal(self, reason: Failure) -> None:
        """Log a failed handshake. Clients that only connect and disconnect, as TCP probes do, are not logged."""
        error = self.verifier.error if self.verifier is not None else ''
        if error or reason.check(SSL.Error):
            transport: Any = self.transport
            self._refusals.add('refused a client at', transport.getPeer(), error or describe_handshake_failure(reason))


def _is_one_record(data: bytes) -> bool:
    """Return whether bytes are exactly one TLS record of application data."""
    return data.startswith(_APPLICATION_DATA) and len(data) == _HEADER_SIZE + int.from_bytes(data[3:5], 'big')
