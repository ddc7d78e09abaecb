"""Registry of the channel directories that this process has open. When a channel is edited, its successor takes over
the open directory together with the pending uploads, so that no other process can lock the directory in the
meantime.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.plugins.ftp.server.file_tree import FileTree
from zatotx.plugins.ftp.server.upload_queue import UploadQueue
from zatotx.plugins.ftp.server.upload_store import UploadStore


@define(eq=False)
class SharedDirectory:
    """An open channel directory. `channel` is the name of the channel that uses the directory."""

    path: FilePath
    channel: str
    queue: UploadQueue
    users: int = 0

    @property
    def store(self) -> UploadStore:
        """The uploads in it."""
        return self.queue.store


@define(eq=False)
class DirectoryRegistry:
    """The registry of all channel directories that the process has open."""

    clock: IReactorTime
    run_in_thread: Callable[..., Deferred[Any]]
    _open: dict[FilePath, SharedDirectory] = field(factory=dict, init=False)
    _lock: DeferredLock = field(factory=DeferredLock, init=False)

    _log = Logger()

    def waiting_uploads(self) -> int:
        """Return the number of uploads that are not settled."""
        return sum(len(shared.queue) for shared in self._open.values())

    def acquire(self, directory: str, channel: str) -> Deferred[SharedDirectory]:
        """Open a directory for a channel, or share it with the channel's configuration before. Fails with OSError where
        it cannot be used, or another channel has it. May be cancelled."""
        acquired: Deferred[SharedDirectory] = Deferred()

        def opened(shared: SharedDirectory) -> Any:
            if not acquired.called:
                acquired.callback(shared)
                return None
            return Deferred.fromCoroutine(self.release(shared))

        def failed(failure: Failure) -> None:
            if not acquired.called:
                acquired.errback(failure)

        Deferred.fromCoroutine(self._acquire(directory, channel)).addCallbacks(opened, failed)
        return acquired

    async def _acquire(self, directory: str, channel: str) -> SharedDirectory:
        await self._lock.acquire()
        try:
            path = await self.run_in_thread(FilePath(directory).resolve)
            shared = self._open.get(path)
            if shared is None:
                shared = await self._opened(path, channel)
            if shared.channel != channel:
                raise OSError(f'its directory {path} belongs to channel {shared.channel}')
            shared.users += 1
            return shared
        finally:
            self._lock.release()

    async def release(self, shared: SharedDirectory) -> None:
        """End what `acquire` began. Waits until settled uploads are moved."""
        await self._lock.acquire()
        try:
            shared.users -= 1
            if not shared.users:
                await shared.queue.stop()
                if len(shared.queue):
                    self._log.warn('{count} uploads in {path} were not processed; they are delivered when a channel '
                                   'uses the directory again', count=len(shared.queue), path=str(shared.path))
                del self._open[shared.path]
                await self.run_in_thread(shared.store.close)
        finally:
            self._lock.release()

    async def _opened(self, path: FilePath, channel: str) -> SharedDirectory:
        store = UploadStore(FileTree(path))
        try:
            records = await self.run_in_thread(store.open)
        except BlockingIOError:
            raise OSError(f'its directory {path} is used by another process') from None
        except OSError as error:
            raise OSError(f'its directory {path} cannot be used: {error.strerror or error}') from None
        queue = UploadQueue(store, self.clock, self.run_in_thread)
        shared = self._open[path] = SharedDirectory(path, channel, queue)
        queue.add(*records)
        return shared
