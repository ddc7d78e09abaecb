"""A bounded queue with round-robin scheduling between owners."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_Item = TypeVar('_Item', bound=Hashable)


class FairQueue(Generic[_Item]):
    """A queue that takes items from its owners in turn (round-robin), and in order of arrival within an owner.

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
        """Returns whether the owner has reached its own limit."""
        return len(self._owners.get(owner, ())) >= self._max_per_owner

    def add(self, owner: str, item: _Item) -> _Item | None:
        """Adds an item of an owner that is not `is_full_for`. Returns the displaced item, if any, which may be the new
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
        """Removes and returns the oldest item of the next owner. Raises KeyError if the queue is empty."""
        owner, items = self._owners.popitem(last=False)
        item, _ = items.popitem(last=False)
        self._length -= 1
        if items:
            self._owners[owner] = items  # to the end of the round
        return item

    def remove(self, owner: str, item: _Item) -> None:
        """Removes a waiting item, if it is still in the queue."""
        items = self._owners.get(owner)
        if items is not None and item in items:
            del items[item]
            self._length -= 1
            if not items:
                del self._owners[owner]
