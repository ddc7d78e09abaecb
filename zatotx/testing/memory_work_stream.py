"""An in-memory work stream, which needs no Redis."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from zope.interface import implementer

from zatotx.interfaces.work_stream import IWorkConsumer, IWorkStream
from zatotx.model.work_message import WorkCounts, WorkDelivery, WorkMessage, encode_work, make_delivery


@define
class _Entry:
    body: bytes
    consumer: str = ''  # '' = waiting
    deliveries: int = 0


@define
class _Queue:
    entries: dict[str, _Entry] = field(factory=dict)
    delayed: list[tuple[float, bytes]] = field(factory=list)
    known: set[str] = field(factory=set)  # names of consumers
    waiting: list[tuple[MemoryWorkConsumer, int, Deferred[list[WorkDelivery]]]] = field(factory=list)


@implementer(IWorkStream)
@define(eq=False)
class MemoryWorkStream:
    """An in-memory IWorkStream that uses a clock (seconds() and callLater())."""

    clock: Any
    queues: dict[str, _Queue] = field(factory=dict)
    ordered: dict[tuple[str, str], deque[bytes]] = field(factory=dict)
    _last_id: int = 0

    def add(self, messages: Sequence[WorkMessage]) -> Deferred[None]:
        return maybeDeferred(self.put, [(message, encode_work(message)) for message in messages])

    def put(self, encoded: Sequence[tuple[WorkMessage, bytes]]) -> None:
        """Add encoded messages."""
        for message, body in encoded:
            if message.order_key:
                following = self.ordered.setdefault((message.target, message.order_key), deque())
                following.append(body)
                if len(following) > 1:
                    continue
            self.append(message.target, body)

    def append(self, queue_name: str, body: bytes) -> None:
        """Add one message to a queue, and deliver it to a consumer that waits."""
        self._last_id += 1
        queue = self.queue(queue_name)
        queue.entries[f'{self._last_id}-0'] = _Entry(body)
        if queue.waiting:
            consumer, count, deferred = queue.waiting.pop(0)
            deferred.callback(consumer.hand(count))

    def queue(self, name: str) -> _Queue:
        """Return the queue of a server, or '' for the shared one."""
        return self.queues.setdefault(name, _Queue())

    def consumer(self, name: str, queue: str = '') -> MemoryWorkConsumer:
        """Return a consumer of a queue."""
        return MemoryWorkConsumer(self, name, queue)


@implementer(IWorkConsumer)
@define(eq=False)
class MemoryWorkConsumer:
    """An in-memory IWorkConsumer of a MemoryWorkStream. If `problem` is set, its methods fail, as if Redis were
    unavailable."""

    work: MemoryWorkStream
    name: str
    queue: str = ''
    problem: Exception | None = None

    def start(self) -> None:
        self._queue.known.add(self.name)

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def take(self, count: int, wait: float) -> Deferred[list[WorkDelivery]]:
        return maybeDeferred(self._take, count, wait)

    def _take(self, count: int, wait: float) -> Any:
        self._check()
        self._queue.known.add(self.name)
        found = self.hand(count)
        return found if found or wait <= 0 else self._wait(count, wait)

    def _wait(self, count: int, wait: float) -> Deferred[list[WorkDelivery]]:
        queue = self._queue

        def stop_waiting() -> None:
            queue.waiting[:] = [one for one in queue.waiting if one[2] is not result]

        def on_timeout() -> None:
            stop_waiting()
            result.callback([])

        result: Deferred[list[WorkDelivery]] = Deferred(lambda _: stop_waiting())
        queue.waiting.append((self, count, result))
        timer = self.work.clock.callLater(wait, on_timeout)

        def cancel_timer(found: Any) -> Any:
            if timer.active():
                timer.cancel()
            return found

        return result.addBoth(cancel_timer)

    def hand(self, count: int) -> list[WorkDelivery]:
        """Deliver up to `count` waiting messages to this consumer."""
        waiting = [(key, entry) for key, entry in self._queue.entries.items() if not entry.consumer][:count]
        return [self._delivered(key, entry) for key, entry in waiting]

    def finish(self, delivery: WorkDelivery, follow_ups: Sequence[WorkMessage] = ()) -> Deferred[None]:
        return maybeDeferred(self._finish, delivery, [(one, encode_work(one)) for one in follow_ups])

    def _finish(self, delivery: WorkDelivery, follow_ups: Sequence[tuple[WorkMessage, bytes]]) -> None:
        self._check()
        removed = self._queue.entries.pop(delivery.entry, None)
        message = delivery.message
        following = self.work.ordered.get((message.target, message.order_key))
        if removed is not None and message.order_key and following:
            following.popleft()
            if following:
                self.work.append(message.target, following[0])
        self.work.put(follow_ups)

    def retry(self, delivery: WorkDelivery, message: WorkMessage, delay: float) -> Deferred[None]:
        return maybeDeferred(self._retry, delivery, encode_work(message), delay)

    def _retry(self, delivery: WorkDelivery, body: bytes, delay: float) -> None:
        self._check()
        self._queue.entries.pop(delivery.entry, None)
        self._queue.delayed.append((self.work.clock.seconds() + delay, body))
        self._queue.delayed.sort()

    def give_back(self, delivery: WorkDelivery, delay: float) -> Deferred[None]:
        return maybeDeferred(self._retry, delivery, delivery.data, delay)

    def recover(self, is_dead: Callable[[str], bool], count: int) -> Deferred[list[WorkDelivery]]:
        return maybeDeferred(self._recover, is_dead, count)

    def _recover(self, is_dead: Callable[[str], bool], count: int) -> list[WorkDelivery]:
        self._check()
        dead = {name for name in self._queue.known if name != self.name and is_dead(name)}
        owned = [(key, entry) for key, entry in self._queue.entries.items() if entry.consumer in dead][:count]
        found = [self._delivered(key, entry) for key, entry in owned]
        self._queue.known -= dead - {entry.consumer for entry in self._queue.entries.values()}
        return found

    def release_due(self) -> Deferred[float | None]:
        return maybeDeferred(self._release_due)

    def _release_due(self) -> float | None:
        self._check()
        now, delayed = self.work.clock.seconds(), self._queue.delayed
        while delayed and delayed[0][0] <= now:
            self.work.append(self.queue, delayed.pop(0)[1])
        return delayed[0][0] - now if delayed else None

    def counts(self) -> Deferred[WorkCounts]:
        running = sum(bool(entry.consumer) for entry in self._queue.entries.values())
        return succeed(WorkCounts(waiting=len(self._queue.entries) - running, running=running,
                                  delayed=len(self._queue.delayed)))  # fmt: skip

    @property
    def _queue(self) -> _Queue:
        return self.work.queue(self.queue)

    def _delivered(self, key: str, entry: _Entry) -> WorkDelivery:
        entry.consumer, entry.deliveries = self.name, entry.deliveries + 1
        return make_delivery(entry.body, key, entry.deliveries - 1)

    def _check(self) -> None:
        if self.problem is not None:
            raise self.problem
