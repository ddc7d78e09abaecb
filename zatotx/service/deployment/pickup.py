"""Watches the pickup directory of a node. Files that are copied to this directory are deployed to the cluster.

With inotify, a file is deployed when its writer has closed it or moved it in; without, when it was unchanged for a
second. A package is a directory, which is never closed, so it is always deployed when it was unchanged for a second.

Files that already exist when the server starts are deployed only if the ODB has no version of them. Files dropped since
then, while another process of the server was watching or just after it died, are deployed unless they already were.
Failures are logged as one sentence each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.filepath import FilePath

from zatotx.interfaces.config import FileVersion, IConfigStore
from zatotx.interfaces.node import IDeployer
from zatotx.model.errors import BadRequest, ServiceError, ServiceUnavailable, Timeout
from zatotx.schema.snapshot import Actor
from zatotx.service.deployment.pickup_scan import (
    EntryContent,
    EntryFingerprint,
    SettledEntries,
    last_change_time,
    read_entry,
    scan_directory,
)
from zatotx.service.deployment.source_package import parse_upload
from zatotx.system.thread_pool import IThreadReactor

SCAN_INTERVAL = 0.5  # seconds between two scans
HAS_INOTIFY = sys.platform.startswith('linux')


@define(kw_only=True, eq=False)
class PickupWatcher:
    """Watches one pickup directory and deploys its files. With `notify=False`, inotify is not used."""

    reactor: IThreadReactor
    directory: str
    deployer: IDeployer
    odb: IConfigStore
    offload: Callable[..., Deferred[Any]]
    since: float = inf  # Unix time when the server started, possibly before this process took over
    notify: bool = HAS_INOTIFY
    interval: float = SCAN_INTERVAL
    _settled_files: SettledEntries = field(factory=SettledEntries, init=False)
    _queue: dict[str, None] = field(factory=dict, init=False)  # names to deploy, in order
    _retries: set[str] = field(factory=set, init=False)  # names to try again at the next scan
    _watcher: Any = field(default=None, init=False)
    _loop_call: LoopingCall | None = field(default=None, init=False)
    _deploying: Deferred[None] | None = field(default=None, init=False)
    _has_begun: bool = field(default=False, init=False)
    _last_message: str = field(default='', init=False)

    _log = Logger()

    def start(self) -> Deferred[None]:
        """Start watching; fires when the existing files have been examined for the first time."""
        self._watch()
        self._loop_call = LoopingCall(lambda: Deferred.fromCoroutine(self._scan()))
        self._loop_call.clock = self.reactor
        first = Deferred.fromCoroutine(self._scan())
        return first.addCallback(lambda _: self._loop())

    def _loop(self) -> None:
        if self._loop_call is not None:
            self._loop_call.start(self.interval, now=False)

    def stop(self) -> Deferred[None]:
        """Stop watching; fires when the current deployment has ended."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        looping, self._loop_call = self._loop_call, None
        if looping is not None and looping.running:
            looping.stop()
        self._unwatch()
        self._queue.clear()
        if self._deploying is not None:
            await self._deploying

    # inotify

    def _watch(self) -> None:
        """Start inotify unless it runs already or is not available."""
        if not self.notify or self._watcher is not None:
            return
        from twisted.internet import inotify

        try:
            watcher = inotify.INotify(self.reactor)
        except (inotify.INotifyError, OSError) as error:
            self._log_once(
                f'{self.directory} is watched by looking every {self.interval:g} s, there is no inotify: {error}'
            )
            self.notify = False
            return
        mask = inotify.IN_CLOSE_WRITE | inotify.IN_MOVED_TO | inotify.IN_CREATE | inotify.IN_MOVE_SELF
        try:
            watcher.watch(FilePath(self.directory.encode()), mask, callbacks=[self._on_event])
        except (inotify.INotifyError, OSError):  # the directory does not exist yet; each scan tries again
            watcher.loseConnection()
            return
        watcher.startReading()
        self._watcher = watcher

    def _unwatch(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None and not watcher.disconnected:
            watcher.loseConnection()

    def _on_event(self, _: object, path: FilePath[bytes], mask: int) -> None:
        """Handle an inotify event."""
        from twisted.internet import inotify

        if mask & (inotify.IN_MOVE_SELF | inotify.IN_DELETE_SELF | inotify.IN_UNMOUNT):
            self.reactor.callLater(0, self._unwatch)  # until the directory is back, scans find files
            return
        file_path = Path(path.path.decode('utf-8', 'surrogateescape'))
        if mask & inotify.IN_ISDIR:
            return
        if mask & inotify.IN_CREATE and not _is_linked(file_path):
            return  # its writer has not closed it yet
        self._enqueue(file_path.name)

    # Scanning

    async def _scan(self) -> None:
        """Scan the directory and queue what has settled."""
        self._watch()
        try:
            marks = await self.offload(scan_directory, self.directory)
            if not self._has_begun:
                await self._begin(marks)
        except OSError as error:
            self._log_once(f'The pickup directory {self.directory} cannot be read: {error.strerror or error}')
            return
        except CancelledError:
            raise
        except ServiceError as error:
            self._log_once(f'The files that lie in {self.directory} wait for the ODB: {error.msg}')
            return
        except Exception:
            self._log.failure('The pickup directory {directory} was not looked at', directory=self.directory)
            return
        if not self._retries:
            self._last_message = ''
        retries, self._retries = self._retries, set()
        for name in (*self._settled_files.find_settled(marks, only_directories=self._watcher is not None), *retries):
            self._enqueue(name)

    async def _begin(self, marks: dict[str, EntryFingerprint]) -> None:
        """Examine the files that exist at startup: queue only those that the ODB does not know."""
        latest: dict[str, FileVersion] = {}
        stored: dict[tuple[str, str], float] = {}  # when the newest version with that file and hash was stored
        for version in await self.odb.versions():
            if version.active or version.file not in latest:
                latest[version.file] = version
            stored[version.file, version.sha256] = version.created
        for name, mark in marks.items():
            file, sha256, changed = await self.offload(_identity, self.directory, name)
            version_in_odb = latest.get(file)
            if version_in_odb is None or (changed > self.since and changed > stored.get((file, sha256), 0.0)):
                self._retries.add(name)
                continue
            self._settled_files.mark_deployed(name, mark)
            if version_in_odb.sha256 != sha256:
                self._log.info(
                    '{name} lay in the pickup directory before the start and is not deployed: version {number} of '
                    '{file} in the ODB counts. Drop it again to deploy it',
                    name=name,
                    number=version_in_odb.number,
                    file=file,
                )
        self._has_begun = True

    def _enqueue(self, name: str) -> None:
        """Queue an entry for deployment."""
        if self._loop_call is None:
            return
        self._queue[name] = None
        if self._deploying is None:
            self._deploying = Deferred.fromCoroutine(self._deploy_queue())

    async def _deploy_queue(self) -> None:
        """Deploy the queued entries, one at a time."""
        try:
            while self._queue:
                name = next(iter(self._queue))
                del self._queue[name]
                await self._deploy_entry(name)
        finally:
            self._deploying = None

    async def _deploy_entry(self, name: str) -> None:
        """Read and deploy an entry; failures are logged."""
        entry: EntryContent = await self.offload(read_entry, self.directory, name)
        if entry.fingerprint is None:
            return
        self._settled_files.mark_deployed(name, entry.fingerprint)
        try:
            if entry.error:
                raise BadRequest(entry.error)
            await self._deploy(entry)
        except CancelledError:
            raise
        except (ServiceUnavailable, Timeout) as error:
            self._retries.add(name)
            self._log_once(f'{name} waits in the pickup directory: {error.msg}')
        except ServiceError as error:
            self._log.error('{name} was not deployed: {why}', name=name, why=error.msg)
        except Exception:
            self._log.failure('{name} was not deployed', name=name)

    async def _deploy(self, entry: EntryContent) -> None:
        """Deploy an entry that was read, and log the result."""
        report = await self.deployer.deploy(entry.name, entry.content, Actor('pickup', self.directory))
        version = report.version
        for node, reason in sorted(report.refused.items()):
            self._log.error('{file} was refused by {node}: {why}', file=version.file, node=node, why=reason)
        if report.missing:
            nodes = ', '.join(report.missing)
            self._log.warn('{file}: no verdict in time from {nodes}', file=version.file, nodes=nodes)
        self._log.info('{file} was picked up, it is version {number}', file=version.file, number=version.number)

    def _log_once(self, text: str) -> None:
        """Log a persistent error once instead of at every scan."""
        if text != self._last_message:
            self._last_message = text
            self._log.error('{text}', text=text)


def _is_linked(path: Path) -> bool:
    """Return whether the file was created complete, as a symbolic or hard link: no writer will close it."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return path.is_symlink() or status.st_nlink > 1


def _identity(directory: str, name: str) -> tuple[str, str, float]:
    """Return the file that an entry would be a version of, its hash, and when it was last changed."""
    changed = last_change_time(directory, name)
    entry = read_entry(directory, name)
    try:
        source = parse_upload(entry.name, entry.content)
    except BadRequest:
        return entry.name, '', changed
    return source.file, source.sha256, changed
