"""An FTP server over memory transports and a Clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.ftp.schema import FtpChannel
from zatotx.plugins.ftp.server.file_tree import FileTree
from zatotx.plugins.ftp.server.login import Login
from zatotx.plugins.ftp.server.server_context import FtpServer
from zatotx.plugins.ftp.server.session import SessionContext
from zatotx.plugins.ftp.server.upload_store import UploadRecord, UploadStore

CLIENT, SERVER = IPv4Address('TCP', '192.0.2.1', 40_000), IPv4Address('TCP', '127.0.0.1', 21)


class IterationReactor(MemoryReactorClock):
    """A reactor in memory that runs the calls that are due when an iteration begins, as a real one does, and calls that
    these add in the next one."""

    def advance(self, amount: float) -> None:
        """Run one iteration."""
        self.rightNow += amount
        for call in [each for each in self.calls if each.getTime() <= self.rightNow]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Transport(StringTransport):
    """A TCP transport that remembers how it was ended."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class ControlTestCase(SynchronousTestCase):
    """`send` gives the replies to a line."""

    def setUp(self) -> None:
        self.reactor: Any = IterationReactor()
        self.root = Path(self.mktemp()).absolute()
        self.store = UploadStore(FileTree(self.root), lambda: 0.0)
        self.store.open()
        self.addCleanup(self.store.close)
        self.received: list[UploadRecord] = []
        self.server = self.make_server()
        self.control, self.transport = self.connect()
        self.assertEqual(self.replies(), '220 Ready\r\n')

    def make_server(self, **fields: Any) -> FtpServer:
        """The server of a configuration."""
        given: Any = {'name': 'in', 'address': '127.0.0.1:1', 'user': 'u', 'password': 'p', 'directory': 'd',
                      'service': 's', **fields}  # fmt: skip
        value = FtpChannel(**given)
        return FtpServer(SessionContext(
            title='Channel in (ftp)', value=value, reactor=self.reactor, run_in_thread=execute,
            login=Login('u', 'p'), certificate=None, store=self.store, receive=self.receive, now=lambda: 0.0,
        ))  # fmt: skip

    def receive(self, function: Any, *args: Any) -> Deferred[UploadRecord]:
        """Receive an upload."""

        def received(record: UploadRecord) -> UploadRecord:
            self.received.append(record)
            return record

        return execute(function, *args).addCallback(received)

    def connect(self) -> tuple[Any, Transport]:
        """A client that is connected."""
        control, transport = self.server.buildProtocol(CLIENT), Transport(SERVER, CLIENT)
        assert control is not None
        control.makeConnection(transport)
        return control, transport

    def send(self, *lines: str) -> str:
        """Send lines, and return the replies since the last call."""
        self.control.dataReceived(''.join(f'{line}\r\n' for line in lines).encode())
        for _ in lines:
            self.reactor.advance(0)
        return self.replies()

    def replies(self) -> str:
        """The replies since the last call."""
        said: str = self.transport.value().decode()
        self.transport.clear()
        return said

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and what is due run, one reactor iteration after another."""
        for each in (seconds, 0, 0):
            self.reactor.advance(each)

    def login(self) -> None:
        """Log in."""
        self.assertTrue(self.send('USER u', 'PASS p').endswith('230 Logged in\r\n'))

    def begin(self, command: str) -> tuple[Any, Transport]:
        """Begin a transfer: its data connection."""
        self.send('EPSV')
        factory = self.reactor.tcpServers[-1][1]
        data, transport = factory.buildProtocol(CLIENT), Transport(CLIENT)
        data.makeConnection(transport)
        self.assertEqual(self.send(command)[:3], '150')
        return data, transport

    def end(self, protocol: Any, reason: type[Exception] = ConnectionDone) -> None:
        """End a connection."""
        protocol.connectionLost(Failure(reason()))
