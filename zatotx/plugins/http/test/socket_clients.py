"""A channel on loopback sockets, and blocking clients to run in threads."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from trial_tests.support.reactor import reactor
from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.plugins.http.channel import HTTPChannel
from zatotx.plugins.http.test.server_doubles import Answer, Lines, ScriptedExchange, answers_in, channel
from zatotx.schema.snapshot import Snapshot

PATIENCE = 60.0  # seconds after which a client that waits for something gives the test up


class Served(TestCase):
    """Base class for tests with a listening channel."""

    def setUp(self) -> None:
        self.exchange = ScriptedExchange()
        self.lines = Lines()

    def made(self, **settings: Any) -> HTTPChannel:
        work_dir = self.mktemp()
        Path(work_dir).mkdir()
        context = ChannelContext(
            reactor=reactor,
            settings=settings,
            line_sink=lambda name: self.lines,
            work_dir=work_dir,
            run_in_thread=deferToThread,
        )
        return HTTPChannel(context)

    async def serve(self, listen: str = 'tcp:port=0:interface=127.0.0.1:backlog=1024', **settings: Any) -> None:
        """Listen with a channel for POST and GET /echo, on `self.port`."""
        self.channel = self.made(listen=[listen], grace=1, **settings)
        self.addCleanup(self.channel.stop)
        await self.channel.apply(Snapshot(1, [channel()]))
        await self.channel.start(self.exchange)
        self.port: int = self.channel.addresses[0].port  # type: ignore[attr-defined]  # an address of TCP

    async def client(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a blocking client in a thread, with a connection of its own, and return its result."""

        def run() -> Any:
            with connected(self.port) as connection:
                return function(connection, *args)

        return await deferToThread(run)

    async def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
        """Wait until a condition is true."""
        end = monotonic() + seconds
        while not condition():
            if monotonic() > end:
                self.fail(f'not within {seconds} s')
            await pause(0.02)


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)


@contextmanager
def connected(port: int, receive_buffer: int = 0) -> Iterator[socket.socket]:
    """Open a connection with a timeout of PATIENCE."""
    with socket.socket() as connection:
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE)
        connection.connect(('127.0.0.1', port))
        yield connection


def exchange(connection: socket.socket, data: bytes) -> list[Answer]:
    """Send data, then read until the server closes."""
    connection.sendall(data)
    return answers_in(everything(connection))


def everything(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    return b''.join(iter(lambda: connection.recv(262_144), b''))


def certificate(directory: str) -> tuple[str, str, ssl.SSLContext]:
    """Create a key, a self-signed certificate, and a client context that trusts it: file, file, context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'localhost')])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName('localhost')]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    Path(directory).mkdir()
    key_file, certificate_file = Path(directory) / 'key.pem', Path(directory) / 'certificate.pem'
    key_file.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip
    certificate_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(cafile=str(certificate_file))
    return str(key_file), str(certificate_file), context
