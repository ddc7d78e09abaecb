"""FTP pollers, which fetch the files of a directory on an FTP server, deliver them to a service, and then move or
delete them.

A file is fetched when its size and time are stable, and delivered at least once: it stays in its directory until the
service has succeeded. If the process dies between that and the move, the file is fetched again, and recognized as
processed by its name, size and time (`idempotent`). If it dies earlier, the service gets the file again, with the same
delivery id and `redelivered`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from zatotx.connectors.channels import ChannelParts, make_channel_delivery
from zatotx.connectors.failure_log import FailureLog
from zatotx.connectors.inbound_delivery import MessageDelivery
from zatotx.connectors.outgoing_connections import Sources
from zatotx.connectors.ping_call import PingCall
from zatotx.connectors.remote_files import FileInfo, RemoteFiles
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.inbound_delivery import InboundDelivery
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.model.cid import new_cid
from zatotx.model.errors import RemoteFileError, RemoteFileNotFound, ServiceError
from zatotx.model.message import ChannelSpec, Message, Reply
from zatotx.plugins.ftp.connection import FtpConnection
from zatotx.plugins.ftp.file_stability import StabilityTracker, matches
from zatotx.plugins.ftp.metrics import POLL_KIND
from zatotx.plugins.ftp.schema.channel_ftp_poll import DELETE, FtpPollChannel
from zatotx.schema.snapshot import StoredObject

GRACE = 10.0  # seconds that the service of a file gets when the poller stops
NOTED = 30 * 86_400.0  # seconds for which it is known that a file was given to its service
_ID_DIGITS = 32


@frozen
class FetchedFile:
    """A file that was copied to this machine. `id` is the same for each delivery of the file."""

    info: FileInfo
    path: Path
    size: int
    sha256: str
    id: str
    redelivered: bool = False  # whether the service may have had it before


class PollChannel:
    """Implements InboundChannel for one FTP poller. `files` accesses the files on the server; `retire` closes the
    connection when the poller ends."""

    _log = Logger()

    def __init__(self, value: FtpPollChannel, parts: ChannelParts, files: RemoteFiles,
                 retire: Callable[[], object], in_progress: set[str]) -> None:  # fmt: skip
        self._value, self._parts, self._files, self._retire = value, parts, files, retire
        self._in_progress = in_progress  # ids of files, for all pollers of the process
        self._reactor: Any = parts.context.reactor
        self._run_in_thread = parts.context.run_in_thread
        self._spec = ChannelSpec(name=value.name, kind=POLL_KIND, service=value.service, timeout=value.timeout,
                                 data_format='json')  # fmt: skip
        self._tracker = StabilityTracker(value.stable_for)
        self._failures = FailureLog(parts.title, self._reactor.seconds)
        self._spool = Path(parts.context.work_dir) / POLL_KIND / f'{os.getpid()}-{secrets.token_hex(8)}'
        self._delivery: MessageDelivery | None = None
        self._timer: IDelayedCall | None = None
        self._polling: Deferred[None] | None = None
        self._is_committed = False  # the service has a file, which is to be settled
        self._is_stopping = False

    # InboundChannel

    async def start(self, dispatcher: IDispatcher, lost: Callable[[str], None]) -> None:
        """See InboundChannel. What a process that died has left of its copies is removed."""
        self._is_stopping = False
        await self._run_in_thread(_make_spool, self._spool)
        self._delivery = make_channel_delivery(self._parts, dispatcher, self._value)
        self._poll()

    def stop(self) -> Deferred[None]:
        """See InboundChannel. A file whose service runs gets GRACE seconds; another one is left where it is."""
        self._is_stopping = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._polling is None:
            return self._close()
        timer = self._reactor.callLater(GRACE if self._is_committed else 0, self._polling.cancel)
        stopped: Deferred[None] = Deferred()

        def ended(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            self._close().chainDeferred(stopped)
            return result

        self._polling.addBoth(ended)
        return stopped

    def findings(self) -> Iterator[str]:
        """See InboundChannel."""
        if self._failures.cause:
            yield f'{self._parts.title} cannot fetch files: {self._failures.cause}'

    def _close(self) -> Deferred[None]:
        self._retire()
        removing: Deferred[None] = self._run_in_thread(shutil.rmtree, self._spool, True)
        return removing

    # Polling

    def _poll(self) -> None:
        polling = Deferred.fromCoroutine(self._scan())
        self._polling = polling
        polling.addErrback(self._failed)
        polling.addBoth(self._polled)

    def _polled(self, result: Any) -> Any:
        self._polling = None
        if not self._is_stopping:
            delay = self._tracker.delay(self._reactor.seconds(), self._value.interval)
            self._timer = self._reactor.callLater(delay, self._poll)
        return result

    def _failed(self, failure: Any) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(ServiceError, OSError):
            self._failures.failed(str(failure.value))
        else:
            self._log.failure('{title}: files cannot be fetched', failure, title=self._parts.title)
            self._failures.failed(type(failure.value).__name__)

    async def _scan(self) -> None:
        value = self._value
        entries = await self._files.list_directory(value.directory, PingCall(new_cid()))
        ready = self._tracker.update(
            [info for info in entries if info.is_file and matches(info.name, value.pattern, value.ignored_patterns)],
            self._reactor.seconds(),
        )
        error: ServiceError | None = None
        for info in ready:
            identity = self._id(info)
            if self._is_stopping:
                return
            if identity in self._in_progress:  # of the poller that this one replaces
                continue
            self._in_progress.add(identity)
            try:
                await self._process(info)
            except RemoteFileNotFound:  # somebody else has taken it
                self._tracker.forget(info.name)
            except RemoteFileError as failed:  # of this file: the others are fetched nevertheless
                error = failed
            finally:
                self._in_progress.discard(identity)
                self._is_committed = False
        if error is not None:
            raise error
        if self._failures.cause:
            self._failures.recovered()

    async def _process(self, info: FileInfo) -> None:
        try:
            fetched = await self._fetch(info)
            if fetched is not None:
                fetched = evolve(fetched, redelivered=await self._note_delivery(fetched))
                self._is_committed = True
                target = await self._deliver(fetched)
                if target is not None:
                    await self._settle(fetched, target)
        finally:
            self._run_in_thread(shutil.rmtree, self._spool / self._id(info), True)

    async def _fetch(self, info: FileInfo) -> FetchedFile | None:
        """Copy a file to this machine; return None if it has changed meanwhile. Memory stays flat."""
        call = PingCall(new_cid())
        directory = self._spool / self._id(info)
        await self._run_in_thread(_make_empty, directory)
        path = directory / _local_name(info.name)
        digest = hashlib.sha256()
        file = await self._run_in_thread(path.open, 'wb')
        size = 0
        try:
            reader = await self._files.open_reader(self._remote(info.name), call)
            try:
                while chunk := await reader.read():
                    size += len(chunk)
                    await self._run_in_thread(_append, file, digest, chunk)
            finally:
                await reader.close()
        finally:
            await self._run_in_thread(file.close)
        now = await self._files.find(self._remote(info.name), call)
        if now is None or now.size not in (None, size) or (info.size is not None and info.size != size):
            self._tracker.forget(info.name)
            return None
        return FetchedFile(info, path, size, digest.hexdigest(), self._id(info))

    async def _note_delivery(self, fetched: FetchedFile) -> bool:
        """Note that the service gets a file, before it does; return whether a process has noted that before."""
        keys = self._parts.context.processed_keys
        return keys is not None and await keys.note_delivery(f'{POLL_KIND}:{self._value.name}:{fetched.id}', NOTED)

    async def _deliver(self, fetched: FetchedFile) -> str | None:
        """Deliver a file; return the directory that it goes to, '' to be deleted, None to stay."""
        value, parts = self._value, self._parts
        assert self._delivery is not None
        began = self._reactor.seconds()
        parts.meter.requests += 1
        target: list[str | None] = [None]

        def processed(reply: Reply | None) -> None:
            parts.meter.observe_response(2, self._reactor.seconds() - began)
            target[0] = '' if value.after == DELETE else value.move_to

        def failed(reply: Reply | None, *, requeue: bool) -> None:
            status_class = 0 if reply is None else reply.status // 100
            parts.meter.observe_response(status_class, self._reactor.seconds() - began)
            target[0] = None if requeue else value.failed_to

        await self._delivery.deliver(InboundDelivery(
            make_message=partial(self._message, fetched), ack=processed, nack=failed, key=fetched.id,
        ))  # fmt: skip
        return target[0]

    def _message(self, fetched: FetchedFile) -> Message:
        info = fetched.info
        body = msgspec.json.encode({
            'name': info.name, 'path': str(fetched.path), 'size': fetched.size, 'sha256': fetched.sha256,
            'modified': None if info.modified is None else info.modified.isoformat(),
            'connection': self._value.connection, 'directory': self._value.directory, 'delivery_id': fetched.id,
            'redelivered': fetched.redelivered,
        })  # fmt: skip
        deadline = self._reactor.seconds() + self._value.timeout
        return Message(new_cid(), self._spec, self._spec.service, {}, body, deadline)

    async def _settle(self, fetched: FetchedFile, target: str) -> None:
        """Move or delete a file on the server. A name that is taken there gets the id of the delivery."""
        call, name = PingCall(new_cid()), fetched.info.name
        self._tracker.forget(name)
        if not target:
            await self._files.remove_file(self._remote(name), call)
            return
        directory = target if target.startswith('/') else self._remote(target)
        if await self._files.find(directory, call) is None:
            await self._files.make_directory(directory, call)
        path = f'{directory.rstrip("/")}/{name}'
        if await self._files.find(path, call) is not None:
            path = f'{path}.{fetched.id[:8]}'
        await self._files.rename(self._remote(name), path, call)

    def _remote(self, name: str) -> str:
        directory = self._value.directory
        return f'{directory.rstrip("/")}/{name}' if directory else name

    def _id(self, info: FileInfo) -> str:
        """Identify a file by its place, size and time."""
        text = '\0'.join((self._value.connection, self._remote(info.name), str(info.size), str(info.modified)))
        return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:_ID_DIGITS]


def _make_spool(directory: Path) -> None:
    """Create the directory for copies, and remove those of processes that are gone."""
    directory.mkdir(mode=0o700, parents=True)
    for other in directory.parent.iterdir():
        pid = other.name.partition('-')[0]
        if pid.isdigit() and not Path('/proc', pid).exists():
            shutil.rmtree(other, ignore_errors=True)


def _make_empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)


def _local_name(name: str) -> str:
    """Return the name of the copy: that of the file, if this machine's file system takes it."""
    return name if len(os.fsencode(name)) <= 255 else 'file'


def _append(file: Any, digest: Any, chunk: bytes) -> None:
    file.write(chunk)
    digest.update(chunk)


def build_poller(stored: StoredObject, sources: Sources, parts: ChannelParts, in_progress: set[str]) -> PollChannel:
    """Build an FTP poller from its configuration (see ChannelType.build). `in_progress` contains the IDs of the files
    that the pollers of this process are delivering. Raises ValueError."""
    connection = sources[0]
    if connection is None or not connection.value.is_active:
        raise ValueError('its outgoing connection is inactive')
    context = parts.context
    outgoing = OutgoingContext(reactor=context.reactor, settings=context.settings,
                               run_in_thread=context.run_in_thread, meters=context.outgoing_meters)  # fmt: skip
    meter = context.outgoing_meters('ftp').get(connection.name)
    files = FtpConnection(connection.value, f'Outgoing connection {connection.name} (ftp)', outgoing, meter)
    return PollChannel(stored.value, parts, files, files.end, in_progress)
