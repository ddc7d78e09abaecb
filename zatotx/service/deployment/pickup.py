"""Watches a node's pickup directory and deploys what is dropped there, cluster-wide.

A file is taken when its writer has closed it or moved it in (inotify); where there is no inotify, when it has come to
rest: it looked the same for a second. A package, which is a directory and has no moment of closing, is taken when it
has come to rest in either case. What already lies there when the server starts is history: the ODB knows better, so
only a file it has no version of at all is deployed then. What was dropped since, while another process of the server
watched or when that one had just died, is deployed unless it was. Refusals are one sentence each in the node's log.
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
from zatotx.service.deployment.package import accept
from zatotx.service.deployment.pickup_scan import FileMark, SettledFiles, TakenFile, changed_at, scan, take_file

INTERVAL = 0.5  # seconds between two looks
HAS_INOTIFY = sys.platform.startswith('linux')


@define(kw_only=True, eq=False)
class PickupWatcher:
    """The watcher of one directory. `notify=False` never uses inotify."""

    reactor: Any
    directory: str
    deployer: IDeployer
    odb: IConfigStore
    offload: Callable[..., Deferred[Any]]
    since: float = inf  # unix time: when the server was started, which may be before this process took over
    notify: bool = HAS_INOTIFY
    interval: float = INTERVAL
    _looks: SettledFiles = field(factory=SettledFiles, init=False)
    _waiting: dict[str, None] = field(factory=dict, init=False)  # names to take, in order
    _later: set[str] = field(factory=set, init=False)  # names to try again at the next look
    _watcher: Any = field(default=None, init=False)
    _looping: LoopingCall | None = field(default=None, init=False)
    _working: Deferred[None] | None = field(default=None, init=False)
    _began: bool = field(default=False, init=False)
    _said: str = field(default='', init=False)

    _log = Logger()

    def start(self) -> Deferred[None]:
        """Begin to watch; fires when what already lies there has been judged for the first time."""
        self._watch()
        self._looping = LoopingCall(lambda: Deferred.fromCoroutine(self._look()))
        self._looping.clock = self.reactor
        first = Deferred.fromCoroutine(self._look())
        return first.addCallback(lambda _: self._loop())

    def _loop(self) -> None:
        if self._looping is not None:
            self._looping.start(self.interval, now=False)

    def stop(self) -> Deferred[None]:
        """Take nothing more; fires when what was being deployed is over."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        looping, self._looping = self._looping, None
        if looping is not None and looping.running:
            looping.stop()
        self._unwatch()
        self._waiting.clear()
        if self._working is not None:
            await self._working

    # Watching

    def _watch(self) -> None:
        if not self.notify or self._watcher is not None:
            return
        from twisted.internet import inotify

        try:
            watcher = inotify.INotify(self.reactor)
        except (inotify.INotifyError, OSError) as e:
            self._say(f'{self.directory} is watched by looking every {self.interval:g} s, there is no inotify: {e}')
            self.notify = False
            return
        mask = inotify.IN_CLOSE_WRITE | inotify.IN_MOVED_TO | inotify.IN_CREATE | inotify.IN_MOVE_SELF
        try:
            watcher.watch(FilePath(self.directory.encode()), mask, callbacks=[self._heard])
        except (inotify.INotifyError, OSError):  # no such directory yet: each look tries again
            watcher.loseConnection()
            return
        watcher.startReading()
        self._watcher = watcher

    def _unwatch(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None and not watcher.disconnected:
            watcher.loseConnection()

    def _heard(self, _: object, path: FilePath[bytes], mask: int) -> None:
        from twisted.internet import inotify

        if mask & (inotify.IN_MOVE_SELF | inotify.IN_DELETE_SELF | inotify.IN_UNMOUNT):
            self.reactor.callLater(0, self._unwatch)  # until it is back, looking does
            return
        place = Path(path.path.decode('utf-8', 'surrogateescape'))
        if mask & inotify.IN_ISDIR:
            return
        if mask & inotify.IN_CREATE and not _is_linked(place):
            return  # its writer has yet to close it
        self._enqueue(place.name)

    # Looking

    async def _look(self) -> None:
        self._watch()
        try:
            marks = await self.offload(scan, self.directory)
            if not self._began:
                await self._begin(marks)
        except OSError as e:
            self._say(f'The pickup directory {self.directory} cannot be read: {e.strerror or e}')
            return
        except CancelledError:
            raise
        except ServiceError as e:
            self._say(f'The files that lie in {self.directory} wait for the ODB: {e.msg}')
            return
        except Exception:
            self._log.failure('The pickup directory {directory} was not looked at', directory=self.directory)
            return
        if not self._later:
            self._said = ''
        later, self._later = self._later, set()
        for name in (*self._looks.settled(marks, only_directories=self._watcher is not None), *later):
            self._enqueue(name)

    async def _begin(self, marks: dict[str, FileMark]) -> None:
        """What lies there at the start: only what the ODB has never seen is deployed."""
        kept: dict[str, FileVersion] = {}
        stored: dict[tuple[str, str], float] = {}  # when the newest version of that file and hash was
        for version in await self.odb.versions():
            if version.active or version.file not in kept:
                kept[version.file] = version
            stored[version.file, version.sha256] = version.created
        for name, mark in marks.items():
            file, sha256, changed = await self.offload(_identity, self.directory, name)
            known = kept.get(file)
            if known is None or (changed > self.since and changed > stored.get((file, sha256), 0.0)):
                self._later.add(name)
                continue
            self._looks.took(name, mark)
            if known.sha256 != sha256:
                self._log.info(
                    '{name} lay in the pickup directory before the start and is not deployed: version {number} of '
                    '{file} in the ODB counts. Drop it again to deploy it',
                    name=name,
                    number=known.number,
                    file=file,
                )
        self._began = True

    def _enqueue(self, name: str) -> None:
        if self._looping is None:
            return
        self._waiting[name] = None
        if self._working is None:
            self._working = Deferred.fromCoroutine(self._work())

    async def _work(self) -> None:
        """Deploy what waits, one at a time."""
        try:
            while self._waiting:
                name = next(iter(self._waiting))
                del self._waiting[name]
                await self._take(name)
        finally:
            self._working = None

    async def _take(self, name: str) -> None:
        taken: TakenFile = await self.offload(take_file, self.directory, name)
        if taken.mark is None:
            return
        self._looks.took(name, taken.mark)
        try:
            if taken.trouble:
                raise BadRequest(taken.trouble)
            await self._deploy(taken)
        except CancelledError:
            raise
        except (ServiceUnavailable, Timeout) as e:
            self._later.add(name)
            self._say(f'{name} waits in the pickup directory: {e.msg}')
        except ServiceError as e:
            self._log.error('{name} was not deployed: {why}', name=name, why=e.msg)
        except Exception:
            self._log.failure('{name} was not deployed', name=name)

    async def _deploy(self, taken: TakenFile) -> None:
        report = await self.deployer.deploy(taken.name, taken.content, Actor('pickup', self.directory))
        version = report.version
        for node, why in sorted(report.refused.items()):
            self._log.error('{file} was refused by {node}: {why}', file=version.file, node=node, why=why)
        if report.missing:
            nodes = ', '.join(report.missing)
            self._log.warn('{file}: no verdict in time from {nodes}', file=version.file, nodes=nodes)
        self._log.info('{file} was picked up, it is version {number}', file=version.file, number=version.number)

    def _say(self, text: str) -> None:
        """Log a lasting trouble once, not at every look."""
        if text != self._said:
            self._said = text
            self._log.error('{text}', text=text)


def _is_linked(place: Path) -> bool:
    """Was it put there whole, as a link? Then nobody will close it."""
    try:
        seen = place.lstat()
    except OSError:
        return False
    return place.is_symlink() or seen.st_nlink > 1


def _identity(directory: str, name: str) -> tuple[str, str, float]:
    """The file that an entry would be a version of, its hash, and when it was put there."""
    changed = changed_at(directory, name)
    taken = take_file(directory, name)
    try:
        source = accept(taken.name, taken.content)
    except BadRequest:
        return taken.name, '', changed
    return source.file, source.sha256, changed
