"""Limits the number of concurrent calls, queues waiting items fairly among their owners, and defines the limits of one
message's content. Pure: no I/O.

A `ConcurrencyLimit` counts the calls in progress in a service, a channel or a node. It is used for every request, so
that entering costs a comparison and an addition.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

import msgspec

from zatotx.wire.xml.document_limits import XmlLimits as XmlBudget

DEFAULT_SERVICE_LIMIT, DEFAULT_NODE_LIMIT = (
    1_000,
    10_000,
)  # default maximum of concurrent requests per service, and per node
_MAX_WORKERS = 256  # maximum number of worker processes of a node, draining ones included, that share the granted slots


class ConcurrencyLimit:
    """Limits the number of calls in progress to `limit`, and counts the rejected calls (`rejected`).

    The reactor's thread uses `enter` and `leave`; other threads `enter_from_thread` and `leave_from_thread`. Each
    successful entry must leave exactly once. The reactor takes no lock: if a thread takes the last slot at the same
    moment, both may enter.

    With several workers per node, `count_others` returns the count of the other workers, and `publish` reports the
    count of this one. An entry is published before the others are read: two workers competing for the last slot may
    both be rejected, but never both enter. Each worker has a few granted slots (`limit` // 256: three of a thousand)
    that it publishes as taken whether they are or not: within them it need not read or publish anything, which is the
    usual case for services that do not wait.

    The two calls of `enter` for a request take 650 of the 121,900 instructions of an echo. `Admission.release_request`
    inlines `leave`: if the limit is `is_local`, it decrements `active`.
    """

    __slots__ = (
        '_granted',
        '_in_threads',
        '_limit',
        '_lock',
        '_others',
        '_publish',
        'active',
        'fast_limit',
        'is_local',
        'rejected',
    )  # fmt: skip

    def __init__(
        self,
        limit: int = DEFAULT_SERVICE_LIMIT,
        *,
        count_others: Callable[[], int] | None = None,
        publish: Callable[[int], None] | None = None,
    ) -> None:
        self.active = 0  # entered by the reactor's thread
        self.rejected = 0
        self._in_threads = 0  # entered by other threads
        self._granted = 0  # slots available without asking the other workers
        self._lock = Lock()
        self._others = count_others
        self._publish = publish
        self.is_local = publish is None  # leaving need not be published
        self.limit = limit

    @property
    def limit(self) -> int:
        """Maximum number of calls in progress. Lowering it affects new calls only."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._lock:
            self._limit = limit
            self._grant_slots()
            self._update_fast_limit()

    @property
    def total_active(self) -> int:
        """Number of calls in progress in this process."""
        return self.active + self._in_threads

    @property
    def is_full(self) -> bool:
        """Whether the next call would be rejected."""
        return self._count() >= self._limit

    def enter(self) -> bool:
        """Take a slot; return whether one was free."""
        if self.active < self.fast_limit:
            self.active += 1
            return True
        return self._enter_slowly(in_thread=False)

    def leave(self) -> None:
        """Release a slot."""
        if self.is_local or self.active <= self.fast_limit:
            self.active -= 1
        else:
            with self._lock:
                self._adjust(-1, in_thread=False)

    def enter_from_thread(self) -> bool:
        """Like `enter`, from any thread."""
        return self._enter_slowly(in_thread=True)

    def leave_from_thread(self) -> None:
        """Like `leave`, from any thread."""
        with self._lock:
            self._adjust(-1, in_thread=True)

    def _enter_slowly(self, *, in_thread: bool) -> bool:
        with self._lock:
            self._adjust(1, in_thread=in_thread)
            if self._count() <= self._limit:
                return True
            self._adjust(-1, in_thread=in_thread)
            self.rejected += 1
            return False

    def _adjust(self, change: int, *, in_thread: bool) -> None:
        if in_thread:  # `active` belongs to the reactor, which changes it without a lock
            self._in_threads += change
            self._update_fast_limit()
        else:
            self.active += change
        self._publish_count()

    def _publish_count(self) -> None:
        if self._publish is not None:
            self._publish(max(self.total_active, self._granted))

    def _grant_slots(self) -> None:
        if self._others is None or self._publish is None:
            return
        previous, self._granted = self._granted, self._limit // _MAX_WORKERS
        if self._granted or previous:
            self._publish_count()
        if self._granted and self._others() + self._granted > self._limit:  # the others have taken them
            self._granted = 0
            self._publish_count()

    def _count(self) -> int:
        return self.total_active + (self._others() if self._others is not None else 0)

    def _update_fast_limit(self) -> None:
        shared = self._others is not None or self._publish is not None
        self.fast_limit = (self._granted if shared else self._limit) - self._in_threads


class MessageContentLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the content of one message, such as its number of elements. The size of the body is limited by the
    protocol."""

    json_depth: int = 100  # nesting of objects and lists
    json_keys: int = 100_000  # total number of keys and elements
    form_fields: int = 1_000
    xml: XmlBudget = XmlBudget()


DEFAULT_BUDGET = MessageContentLimits()


_Item = TypeVar('_Item', bound=Hashable)


class FairQueue(Generic[_Item]):
    """A bounded queue that takes its items from the owners in turn.

    It holds `max_items` items, and `max_per_owner` of any owner. When it is full, an owner with fewer items displaces
    the newest item of the owner that has most.
    """

    __slots__ = ('_length', '_max_items', '_max_per_owner', '_owners')

    def __init__(self, max_items: int, max_per_owner: int) -> None:
        self._max_items = max_items
        self._max_per_owner = max_per_owner
        self._owners: OrderedDict[str, OrderedDict[_Item, None]] = OrderedDict()  # in the order of their turns
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def is_full_for(self, owner: str) -> bool:
        """Return whether the owner has reached its own limit."""
        return len(self._owners.get(owner, ())) >= self._max_per_owner

    def add(self, owner: str, item: _Item) -> _Item | None:
        """Add an item of an owner that is not `is_full_for`. Returns the displaced item, if any, which may be the new
        one."""
        displaced: _Item | None = None
        if self._length >= self._max_items:
            largest = max(self._owners, key=lambda name: len(self._owners[name]))
            if len(self._owners[largest]) <= len(self._owners.get(owner, ())) + 1:
                return item
            displaced = next(reversed(self._owners[largest]))
            self.remove(largest, displaced)
        self._owners.setdefault(owner, OrderedDict())[item] = None
        self._length += 1
        return displaced

    def pop(self) -> _Item:
        """Remove and return the oldest item of the next owner. Raises KeyError if the queue is empty."""
        owner, items = self._owners.popitem(last=False)
        item, _ = items.popitem(last=False)
        self._length -= 1
        if items:
            self._owners[owner] = items  # to the end of the round
        return item

    def remove(self, owner: str, item: _Item) -> None:
        """Remove a waiting item, if it is still in the queue."""
        items = self._owners.get(owner)
        if items is not None and item in items:
            del items[item]
            self._length -= 1
            if not items:
                del self._owners[owner]
