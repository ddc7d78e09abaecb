"""FTP servers whose replies a test writes, over connections in memory or over sockets; and connections to servers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from trial_tests.support.calling import Asking
from zatotx.connectors.remote_files import RemoteFileSystem
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.metrics.meters import MeterRegistry
from zatotx.plugins.ftp.outgoing import make_outgoing
from zatotx.plugins.ftp.schema.outgoing_ftp import FtpOutgoing
from zatotx.schema.snapshot import Snapshot, StoredObject

Reply = str | bytes | Callable[['ScriptedControl', str], object] | None
LOGIN: Mapping[str, Reply] = {
    '': '220 ready', 'USER': '331 password', 'PASS': '230 in', 'FEAT': '211 none', 'TYPE': '200 ok',
    'PWD': '257 "/"', 'NOOP': '200 ok', 'QUIT': '221 bye',
}  # fmt: skip


class ScriptedControl(LineReceiver):
    """One control connection. `data`: what the next data connection sends; None = nothing, and it stays open."""

    def __init__(self, server: ScriptedFtpServer) -> None:
        self.server = server
        self.data_connections: list[ScriptedData] = []

    def connectionMade(self) -> None:
        self.server.controls.append(self)
        self.say(self.server.replies.get(''), '')

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.server.lost += 1

    def lineReceived(self, line: bytes) -> None:
        command, _, argument = line.decode('utf-8', 'surrogateescape').partition(' ')
        self.server.commands.append(line.decode('utf-8', 'surrogateescape'))
        replies = self.server.replies
        if command == 'EPSV' and command not in replies:
            self.say(f'229 ok (|||{self.server.data_port}|)', '')
        else:
            self.say(replies.get(command, '502 unknown'), argument)

    def say(self, reply: Reply, argument: str) -> None:
        """Send a reply; None = silence."""
        if callable(reply):
            reply(self, argument)
        elif reply is not None:
            self.sendLine(reply.encode() if isinstance(reply, str) else reply)


class ScriptedData(Protocol):
    """One data connection."""

    def __init__(self, server: ScriptedFtpServer) -> None:
        self.server = server
        self.received = b''
        self.is_lost = False
        self.reason: Failure | None = None

    def connectionMade(self) -> None:
        self.server.data.append(self)
        waiting, self.server.awaiting_data = self.server.awaiting_data, []
        for each in waiting:
            each.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost, self.reason = True, reason
        if self.server.on_data_lost is not None:
            self.server.on_data_lost(self)


class ScriptedFtpServer:
    """A server on sockets of the loopback. `replies`: by command; functions get the control connection."""

    def __init__(self, reactor: Any, replies: Mapping[str, Reply]) -> None:
        self.replies: dict[str, Reply] = {**LOGIN, **replies}
        self.commands: list[str] = []
        self.controls: list[ScriptedControl] = []
        self.data: list[ScriptedData] = []
        self.awaiting_data: list[Deferred[ScriptedData]] = []
        self.on_data_lost: Callable[[ScriptedData], object] | None = None
        self.lost = 0
        self._ports = [
            reactor.listenTCP(0, _factory(partial(protocol, self)), interface='127.0.0.1')
            for protocol in (ScriptedControl, ScriptedData)
        ]
        self.port, self.data_port = (port.getHost().port for port in self._ports)

    def data_connection(self) -> Deferred[ScriptedData]:
        """The last data connection, or the next one if there is none."""
        waiting: Deferred[ScriptedData] = Deferred()
        if self.data and not self.data[-1].is_lost:
            waiting.callback(self.data[-1])
        else:
            self.awaiting_data.append(waiting)
        return waiting

    def sends(self, content: bytes, final: str = '226 done', *, cut: bool = False) -> Reply:
        """Reply to RETR or a listing: the content on the data connection, then the final reply."""

        def reply(control: ScriptedControl, argument: str) -> None:
            def connected(data: Any) -> None:
                data.transport.write(content)
                if cut:
                    data.transport.abortConnection()
                else:
                    data.transport.loseConnection()
                control.sendLine(final.encode())

            control.sendLine(b'150 here')
            self.data_connection().addCallback(connected)

        return reply

    def takes(self, final: str = '226 done') -> Reply:
        """Reply to STOR: the final reply when the data connection is closed."""

        def reply(control: ScriptedControl, argument: str) -> None:
            self.on_data_lost = lambda data: control.sendLine(final.encode())
            control.sendLine(b'150 go on')

        return reply

    async def close(self) -> None:
        """Close everything."""
        for port in self._ports:
            await port.stopListening()
        for each in (*self.controls, *self.data):
            transport: Any = each.transport
            if transport is not None and each.connected:
                transport.abortConnection()


def _factory(build: Callable[[], Protocol]) -> Any:
    factory: Any = Factory.forProtocol(build)
    factory.noisy = False
    return factory


class WithFtpConnections(TestCase):
    """A test with connections to FTP servers."""

    timeout = 60.0

    def setUp(self) -> None:
        self.meters = MeterRegistry()
        self.outgoing: Any = make_outgoing(OutgoingContext(
            reactor=self.reactor, settings={}, run_in_thread=deferToThread, meters=self.meters.outgoing,
        ))  # fmt: skip
        self.addCleanup(self.outgoing.stop)

    @property
    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor

    def serve(self, **replies: Reply) -> ScriptedFtpServer:
        """A scripted server."""
        server = ScriptedFtpServer(self.reactor, replies)
        self.addCleanup(server.close)
        return server

    async def files(self, port: int, call: Any = None, **fields: Any) -> RemoteFileSystem:
        """`self.out.ftp['Files']` of a connection to the port."""
        value = FtpOutgoing(**{'name': 'Files', 'host': '127.0.0.1', 'port': port, 'user': 'u', 'password': 'sEcReT',
                               **fields})  # fmt: skip
        await self.outgoing.apply(Snapshot(1, [StoredObject(1, 'outgoing_ftp', value, 1)]))
        files: RemoteFileSystem = self.outgoing.namespaces['ftp'](call or Asking())['Files']
        return files

    @property
    def connection(self) -> Any:
        """The connection behind `files`."""
        return self.outgoing.registries['outgoing_ftp'].connections['Files']

    async def failure(self, calling: Coroutine[Any, Any, Any], *kinds: type[BaseException]) -> Any:
        """What a call raises."""
        return await self.assertFailure(Deferred.fromCoroutine(calling), *kinds)

    def sleep(self, seconds: float) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, waiting.callback, None)
        return waiting

    async def until(self, is_true: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait for it."""
        end = self.reactor.seconds() + seconds
        while not is_true():
            if self.reactor.seconds() > end:
                raise AssertionError('It does not come')
            await self.sleep(0.01)

    def figures(self) -> Mapping[str, Any]:
        """What was counted of the connection."""
        return {name: value for name, label, value in self.meters._outgoing_rows() if label[1:] == ('Files',)}


class ControlTransport(StringTransport):
    """The transport of a control connection in memory."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


def lines(transport: StringTransport) -> Sequence[bytes]:
    """What was written since the last look."""
    written: list[bytes] = transport.value().splitlines()
    transport.clear()
    return written
