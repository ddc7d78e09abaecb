"""An FTP channel in the process of its tests, on a loopback port, with a scripted dispatcher."""

from __future__ import annotations

import ftplib
import json
import os
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from trial_tests.support.ports import free_port
from trial_tests.unit.connectors.test_inbound_delivery import Memory
from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.interfaces.inbound_delivery import DeadLetter, IDeadLetterSink
from zatotx.model.message import Message, Reply
from zatotx.plugins import ftp
from zatotx.plugins.ftp.channels import FtpChannels
from zatotx.plugins.ftp.schema import FtpChannel
from zatotx.plugins.http.test.server_doubles import Lines, ScriptedExchange
from zatotx.schema.snapshot import Snapshot, StoredObject

TIMEOUT = 20.0  # seconds
T = TypeVar('T')


def payload_of(message: Message) -> dict[str, Any]:
    """What the service gets."""
    assert isinstance(message.body, bytes)
    payload: dict[str, Any] = json.loads(message.body)
    return payload


def error_of(call: Callable[[], object]) -> str:
    """The reply that a call fails with; '' where it succeeds."""
    try:
        call()
    except (ftplib.Error, EOFError, ValueError) as error:
        return str(error) or type(error).__name__
    return ''


@implementer(IDeadLetterSink)
class MemoryDeadLetters(list[DeadLetter]):
    """Dead letters in memory; `error` is raised instead of storing one."""

    error: Exception | None = None

    def store(self, letter: DeadLetter) -> Deferred[None]:
        """See IDeadLetterSink."""
        if self.error is not None:
            return fail(self.error)
        self.append(letter)
        return succeed(None)


class ChannelEnvironment(TestCase):
    """Mixin: `configure` starts or edits the channel 'inbox', `client` logs in."""

    timeout = 60.0

    def setUp(self) -> None:
        self.port = free_port()
        self.directory = Path(self.mktemp()).absolute()
        self.letters = MemoryDeadLetters()
        self.processed_keys = Memory()
        self.exchange = ScriptedExchange(lambda message: Reply(200, b'', b''))
        self.channels = self.make_channels()
        self._revision = 0
        self._started: list[FtpChannels] = []

    @property
    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor

    def make_channels(self) -> FtpChannels:
        """The channels of another node."""
        channels = FtpChannels(ChannelContext(
            reactor=self.reactor, settings={'grace': 1.0}, line_sink=lambda name: Lines(), work_dir=self.mktemp(),
            run_in_thread=deferToThread, declaration=ftp.kind, dead_letters=self.letters,
            processed_keys=self.processed_keys,
        ))  # fmt: skip
        self.addCleanup(channels.stop)
        return channels

    def value(self, **fields: Any) -> FtpChannel:
        """The configuration."""
        given = {'name': 'inbox', 'address': f'127.0.0.1:{self.port}', 'user': 'partner', 'password': 'secret',
                 'directory': str(self.directory), 'service': 'files.received', 'retry': None, **fields}  # fmt: skip
        return FtpChannel(**given)

    async def configure(self, channels: FtpChannels | None = None, **fields: Any) -> None:
        """Bring a configuration into force, and start the channel."""
        self._revision += 1
        used = self.channels if channels is None else channels
        await used.apply(Snapshot(self._revision, [StoredObject(1, 'channel_ftp', self.value(**fields), 1)]))
        if used not in self._started:
            self._started.append(used)
            await used.start(self.exchange)

    def connect(self) -> ftplib.FTP:
        """A client that is not logged in. Blocks."""
        client = ftplib.FTP(timeout=TIMEOUT)
        client.connect('127.0.0.1', self.port)
        return client

    def run_client(self, use: Callable[[ftplib.FTP], T]) -> Deferred[T]:
        """Run `use` with a client that is logged in, in a thread."""

        def run() -> T:
            with self.connect() as client:
                client.login('partner', 'secret')
                return use(client)

        return deferToThread(run)

    def upload(self, name: str, data: bytes = b'content') -> Deferred[str]:
        """Upload a file."""
        return self.run_client(lambda client: client.storbinary(f'STOR {name}', BytesIO(data)))

    @property
    def payloads(self) -> list[dict[str, Any]]:
        """What the service got."""
        return [payload_of(delivery.inbound) for delivery in self.exchange.delivered]

    def run_command(self, *command: str, data: bytes = b'') -> Deferred[Any]:
        """Run a client program: a CompletedProcess."""
        return deferToThread(subprocess.run, command, input=data, capture_output=True, timeout=TIMEOUT, check=False)

    async def until(self, is_true: Callable[[], object]) -> None:
        """Wait for it, at most TIMEOUT seconds."""
        end = self.reactor.seconds() + TIMEOUT
        while not is_true():
            if self.reactor.seconds() > end:
                raise AssertionError('It does not come')
            waiting: Deferred[None] = Deferred()
            self.reactor.callLater(0.02, waiting.callback, None)
            await waiting

    async def until_processed(self, number: int) -> None:
        """Wait until so many files are in processed/."""
        await self.until(lambda: len(self.files('processed')) == number)

    def files(self, folder: str) -> list[str]:
        """The files below a folder of the directory, whose folders may go away meanwhile."""
        root = self.directory / folder
        return sorted(str(Path(path, name).relative_to(root)) for path, _, names in os.walk(root) for name in names)
