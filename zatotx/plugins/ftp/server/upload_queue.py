"""Delivers the uploads of a directory to a service at least once, with limited concurrency, and moves or deletes each
upload afterwards.

Uploads that wait are on the disk; the queue has their records only. Uploads that a channel returns (it was edited, the
dead letter could not be stored) wait again, and are delivered with `redelivered`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import msgspec
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zatotx.plugins.ftp.server.upload_store import UploadRecord, UploadStore

RETURN_DELAY = 5.0  # seconds until uploads that were returned are delivered again
SETTLE_DELAY = 10.0  # seconds until a move that failed is tried again

Settle = Callable[[str | None], None]  # called once with a folder, or None where the upload is returned


class IUploadConsumer(Protocol):
    """The interface of the object that delivers uploads to a service."""

    title: str  # for messages
    max_in_flight: int

    def deliver(self, record: UploadRecord, path: str, settle: Settle) -> None:
        """Deliver one upload."""


@define(eq=False)
class UploadQueue:
    """The queue of the uploads in one directory that have not been processed yet."""

    store: UploadStore
    clock: IReactorTime
    run_in_thread: Callable[..., Deferred[Any]]
    problem: str = field(default='', init=False)  # why uploads cannot be moved now
    _waiting: deque[UploadRecord] = field(factory=deque, init=False)
    _in_flight: dict[str, UploadRecord] = field(factory=dict, init=False)  # by their ids
    _consumer: IUploadConsumer | None = field(default=None, init=False)
    _settling: set[Deferred[Any]] = field(factory=set, init=False)
    _pauses: set[Deferred[None]] = field(factory=set, init=False)  # until moves that failed are tried again
    _timer: IDelayedCall | None = field(default=None, init=False)
    _is_stopping: bool = field(default=False, init=False)

    _log = Logger()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    def add(self, *records: UploadRecord) -> None:
        """Deliver these uploads after those that wait."""
        self._waiting.extend(records)
        self._next()

    def receive(self, announce: Callable[[UploadRecord], None], function: Callable[..., UploadRecord], *args: Any
                ) -> Deferred[UploadRecord]:
        """Run a function of the store that receives an upload, in a thread, and deliver that upload. What awaits the
        result may be gone meanwhile."""
        receiving = self.run_in_thread(function, *args)
        self._settling.add(receiving)

        def received(record: UploadRecord) -> UploadRecord:
            announce(record)
            self.add(record)
            return record

        def over(result: Any) -> Any:
            self._settling.discard(receiving)
            return result

        return receiving.addCallback(received).addBoth(over)

    def attach(self, consumer: IUploadConsumer) -> None:
        """Give uploads to this consumer from now on."""
        self._consumer = consumer
        self._next()

    def detach(self, consumer: IUploadConsumer) -> None:
        """Give no more uploads to this consumer, unless another one has replaced it."""
        if self._consumer is consumer:
            self._consumer = None

    async def stop(self) -> None:
        """Wait for the moves under way."""
        self._is_stopping = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for pause in tuple(self._pauses):
            pause.cancel()
        while self._settling:
            await ended(next(iter(self._settling)))

    async def plan_failure(self, delivery_id: str) -> str:
        """Return the path that an upload which is being delivered will have when it is moved to `failed`. Raises
        OSError."""
        record = self._in_flight[delivery_id]
        return str(await self.run_in_thread(self.store.plan_failure, record))

    def findings(self) -> Iterator[str]:
        """What is wrong with the uploads now."""
        if self.problem:
            yield self.problem

    def _next(self) -> None:
        consumer = self._consumer
        while consumer is not None and self._waiting and len(self._in_flight) < consumer.max_in_flight:
            record = self._waiting.popleft()
            self._in_flight[record.id] = record
            consumer.deliver(record, str(self.store.path_of(record)), partial(self._settle, consumer, record))
            consumer = self._consumer

    def _settle(self, consumer: IUploadConsumer, record: UploadRecord, folder: str | None) -> None:
        if folder is None:
            self._in_flight.pop(record.id, None)
            self._waiting.appendleft(msgspec.structs.replace(record, redelivered=True))
            if self._consumer is not consumer:
                self._next()
            elif not self._is_stopping and (self._timer is None or not self._timer.active()):
                self._timer = self.clock.callLater(RETURN_DELAY, self._next)
            return
        settling = Deferred.fromCoroutine(self._settled(consumer.title, record, folder))
        self._settling.add(settling)
        settling.addBoth(lambda _: self._settling.discard(settling))

    async def _settled(self, title: str, record: UploadRecord, folder: str) -> None:
        while True:
            try:
                await self.run_in_thread(self.store.settle, record, folder)
                self.problem = ''
                break
            except OSError as error:
                self.problem = (f'{title}: {record.name} cannot be moved to {folder}/: {error.strerror}; it is '
                                f'delivered again when the server starts')  # fmt: skip
                self._log.error('{problem}', problem=self.problem)
            if self._is_stopping:
                return
            pause: Deferred[None] = deferLater(self.clock, SETTLE_DELAY)
            self._pauses.add(pause)
            try:
                await pause
            except CancelledError:
                return
            finally:
                self._pauses.discard(pause)
        self._in_flight.pop(record.id, None)
        self._next()


def ended(source: Deferred[Any]) -> Deferred[None]:
    """Return a Deferred that fires with None when `source` fires. The result of `source` does not change."""
    result_ended: Deferred[None] = Deferred()

    def fire(result: Any) -> Any:
        result_ended.callback(None)
        return result

    source.addBoth(fire)
    return result_ended
