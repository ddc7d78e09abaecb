"""Queues and units of work: pure state of the queue manager, without sockets."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from trial_tests.peers.mqi_loopback.messages import CORREL_ID, MSG_ID, StoredMessage
from trial_tests.peers.mqi_loopback.store import Store

DEFAULTS: dict[str, Any] = {
    'max_depth': 5_000_000, 'max_message_length': 4_194_304, 'backout_threshold': 0, 'backout_queue': '',
    'inhibit_get': 0, 'inhibit_put': 0, 'priority': 0, 'persistence': 0, 'denied_users': [], 'exclusive': False,
}  # fmt: skip


class Queue:
    """A local queue: its attributes and the messages that can be got."""

    def __init__(self, name: str, attributes: dict[str, Any]) -> None:
        self.name, self.attributes = name, {**DEFAULTS, **attributes}
        self.available: list[StoredMessage] = []  # a heap
        self.uncommitted = 0  # messages that were got or put in units of work
        self.inputs = self.outputs = 0  # open handles
        self.exclusive_owner: object = None

    @property
    def depth(self) -> int:
        """The current depth, with the messages of units of work."""
        return len(self.available) + self.uncommitted

    def add(self, message: StoredMessage) -> None:
        """Make a message available."""
        heapq.heappush(self.available, message)

    def take(self, matches: Callable[[StoredMessage], bool] | None, now: float) -> StoredMessage | None:
        """Remove and return the first message that matches; expired ones are dropped."""
        if matches is None:
            while self.available:
                message = heapq.heappop(self.available)
                if not 0 < message.expires_at <= now:
                    return message
            return None
        for message in sorted(self.available):
            if matches(message) and not 0 < message.expires_at <= now:
                self.available.remove(message)
                heapq.heapify(self.available)
                return message
        return None


class UnitOfWork:
    """What one connection has got and put since its last commit."""

    def __init__(self) -> None:
        self.got: list[StoredMessage] = []
        self.put: list[StoredMessage] = []

    def __len__(self) -> int:
        return len(self.got) + len(self.put)


class Queues:
    """All queues. `changed` is called with each queue that has new messages."""

    def __init__(self, store: Store, changed: Callable[[Queue], object]) -> None:
        self._store, self._changed = store, changed
        self.by_name = {name: Queue(name, attributes) for name, attributes in store.queues().items()}
        self.last_sequence = 0
        for message in store.messages():
            self.last_sequence = max(self.last_sequence, message.sequence)
            if message.queue in self.by_name:
                self.by_name[message.queue].add(message)

    def define(self, name: str, attributes: dict[str, Any]) -> None:
        """Make a queue, or change its attributes."""
        queue = self.by_name.get(name)
        if queue is None:
            queue = self.by_name[name] = Queue(name, attributes)
        queue.attributes.update(attributes)
        self._store.define(name, queue.attributes)
        self._changed(queue)

    def delete(self, name: str) -> None:
        """Delete a queue with its messages."""
        self.by_name.pop(name, None)
        self._store.delete(name)

    def next_sequence(self) -> int:
        """Return a number that no message has."""
        self.last_sequence += 1
        return self.last_sequence

    def put(self, queue: Queue, message: StoredMessage, unit: UnitOfWork | None) -> None:
        """Put a message, within a unit of work or at once."""
        if unit is not None:
            unit.put.append(message)
            queue.uncommitted += 1
            return
        self._store.commit([message], [])
        queue.add(message)
        self._changed(queue)

    def got(self, queue: Queue, message: StoredMessage, unit: UnitOfWork | None) -> None:
        """A message was taken: within a unit of work, or for good."""
        if unit is not None:
            unit.got.append(message)
            queue.uncommitted += 1
            self._store.mark_got(message)
        else:
            self._store.commit([], [message])

    def commit(self, unit: UnitOfWork) -> None:
        """Make a unit of work final."""
        self._store.commit(unit.put, unit.got)
        self._settle(unit, returned=unit.put)

    def back_out(self, unit: UnitOfWork) -> None:
        """Undo a unit of work: what it got is available again, with one more in its back-out count."""
        for message in unit.got:
            message.backout_count += 1
        self._store.count_backouts(unit.got)
        self._settle(unit, returned=unit.got)

    def _settle(self, unit: UnitOfWork, returned: Iterable[StoredMessage]) -> None:
        returned = list(returned)
        for message in (*unit.got, *unit.put):
            if message.queue in self.by_name:
                self.by_name[message.queue].uncommitted -= 1
        unit.got, unit.put = [], []
        touched: dict[str, Queue] = {}
        for message in returned:
            queue = self.by_name.get(message.queue)
            if queue is not None:
                queue.add(message)
                touched[queue.name] = queue
        for queue in touched.values():
            self._changed(queue)


def make_match(msg_id: bytes, correl_id: bytes) -> Callable[[StoredMessage], bool] | None:
    """Return what messages MQGET asks for; b'' = any identifier."""
    if not msg_id and not correl_id:
        return None
    return lambda message: (not msg_id or message.id(MSG_ID) == msg_id) and (
        not correl_id or message.id(CORREL_ID) == correl_id
    )
