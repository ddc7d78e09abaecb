"""TLS of data connections: what the protocol in it receives, and how it ends."""

from __future__ import annotations

import contextlib
import gc
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from trial_tests.support.authority import Authority
from zatotx.plugins.ftp.client.bulk_tls import BUFFER_SIZE, RECORD_SIZE, BulkTlsProtocol, make_record_reader

DATA = bytes(range(256)) * 64 * 32  # 32 records, more than fits into the buffer


@implementer(IOpenSSLClientConnectionCreator)
class Creator:
    """Creates the TLS connection of the client, which accepts every certificate."""

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return SSL.Connection(SSL.Context(SSL.TLS_METHOD))


class Recorder(Protocol):
    """Records what it receives, and why the connection ended."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.reason: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.chunks.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason.value


class PublicTlsProtocol(BulkTlsProtocol):
    """Uses the public function of pyOpenSSL."""

    _make_reader = staticmethod(partial(make_record_reader, is_direct=False))


class BulkTlsTests(SynchronousTestCase):
    protocol: type[BulkTlsProtocol] = BulkTlsProtocol

    def setUp(self) -> None:
        """A server in memory, and a client whose handshake is over."""
        certificate, key = Authority(Path(self.mktemp())).sign('localhost')
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_file(str(certificate))
        context.use_privatekey_file(str(key))
        self.server = SSL.Connection(context)
        self.server.set_accept_state()
        self.recorder, self.transport = Recorder(), StringTransport()
        self.client: Any = self.protocol(TLSMemoryBIOFactory(Creator(), True, Factory()), self.recorder)
        self.client.makeConnection(self.transport)
        for _ in range(2):
            self.server.bio_write(self.transport.value())
            self.transport.clear()
            with contextlib.suppress(SSL.WantReadError):
                self.server.do_handshake()
            self.client.dataReceived(self.sent())
        self.assertTrue(self.client._handshakeDone)

    def sent(self) -> bytes:
        """What the server sends."""
        found = b''
        with contextlib.suppress(SSL.WantReadError):
            while True:
                found += self.server.bio_read(2**20)
        return found

    def encrypted(self, data: bytes) -> bytes:
        """Data as the server sends it, in full records."""
        for start in range(0, len(data), RECORD_SIZE):
            self.server.send(data[start : start + RECORD_SIZE])
        return self.sent()

    def test_one_call_for_many_records(self) -> None:
        """What arrives together is delivered together, also if its last record is not complete. More than the buffer
        holds is delivered in several calls."""
        first = self.encrypted(DATA[: 10 * RECORD_SIZE])
        self.client.dataReceived(first[:-1])
        self.client.dataReceived(first[-1:])
        self.client.dataReceived(self.encrypted(DATA))
        self.assertEqual([len(chunk) for chunk in self.recorder.chunks],
                         [9 * RECORD_SIZE, RECORD_SIZE, BUFFER_SIZE, len(DATA) - BUFFER_SIZE])  # fmt: skip
        self.assertEqual(b''.join(self.recorder.chunks), DATA[: 10 * RECORD_SIZE] + DATA)

    def test_clean_end(self) -> None:
        """The data before the end is delivered, and the end is confirmed."""
        data = self.encrypted(DATA[:100])
        self.server.shutdown()
        self.client.dataReceived(data + self.sent())
        self.assertEqual(self.recorder.chunks, [DATA[:100]])
        self.assertTrue(self.transport.disconnecting)
        self.server.bio_write(self.transport.value())
        self.assertRaises(SSL.ZeroReturnError, self.server.recv, 1)
        self.client.connectionLost(Failure(ConnectionDone()))
        self.assertIsInstance(self.recorder.reason, ConnectionDone)

    def test_cut(self) -> None:
        """A connection that ends without the end of TLS was cut: the data may not be all."""
        self.client.dataReceived(self.encrypted(DATA[:100]))
        self.client.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.recorder.chunks, [DATA[:100]])
        self.assertIsInstance(self.recorder.reason, ConnectionLost)

    def test_forged_record(self) -> None:
        """The data before it is delivered, nothing of it, and the connection ends with the error of OpenSSL."""
        good, forged = self.encrypted(DATA[:100]), bytearray(self.encrypted(DATA[:100]))
        forged[-1] ^= 1
        self.client.dataReceived(good + bytes(forged))
        self.assertEqual(self.recorder.chunks, [DATA[:100]])
        self.assertTrue(self.transport.disconnecting)
        self.client.connectionLost(Failure(ConnectionDone()))
        self.assertIsInstance(self.recorder.reason, SSL.Error)

    def test_no_garbage(self) -> None:
        """A delivery leaves no reference cycle, whose memory would be freed by the next garbage collection only."""
        self.client.dataReceived(self.encrypted(DATA[:100]))
        data = self.encrypted(DATA[:100])
        gc.collect()
        self.client.dataReceived(data)
        self.assertEqual(gc.collect(), 0)


class RecordReaderTests(BulkTlsTests):
    """The same with the public function of pyOpenSSL."""

    protocol = PublicTlsProtocol

    def test_openssl_is_called_directly(self) -> None:
        """The installed pyOpenSSL allows that, and another one is used without it."""
        connection, buffer = self.client._tlsConnection, bytearray(RECORD_SIZE)
        direct = SimpleNamespace(_ssl=connection._ssl, _raise_ssl_error=connection._raise_ssl_error)
        connection.bio_write(self.encrypted(b'one'))
        self.assertEqual(make_record_reader(direct, buffer)(0), 3)
        connection.bio_write(self.encrypted(b'four'))
        self.assertEqual(make_record_reader(SimpleNamespace(recv_into=connection.recv_into), buffer)(0), 4)
        self.assertEqual(bytes(buffer[:4]), b'four')
