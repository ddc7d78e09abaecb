"""A bounded queue that is fair between owners: each owner gets its turn, however many items another one has."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_Item = TypeVar('_Item', bound=Hashable)


class FairQueue(Generic[_Item]):
    """Items of owners, taken out in turns (round-robin); those of one owner in the order in which they came.

    It holds `most` items, and `most_of_one` of any one owner. Where it is full, an owner with fewer items than the one
    that has most of them displaces that one's newest item.
    """

    __slots__ = ('_length', '_most', '_most_of_one', '_owners')

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._owners: OrderedDict[str, OrderedDict[_Item, None]] = OrderedDict()  # whose turn is next comes first
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def full_for(self, owner: str) -> bool:
        """Whether this owner has as many items as one owner may have."""
        return len(self._owners.get(owner, ())) >= self._most_of_one

    def add(self, owner: str, item: _Item) -> _Item | None:
        """Add an item of an owner that is not `full_for`. Returns the item for which there is no room, if any: it may
        be this one."""
        displaced: _Item | None = None
        if self._length >= self._most:
            largest = max(self._owners, key=lambda one: len(self._owners[one]))
            if len(self._owners[largest]) <= len(self._owners.get(owner, ())) + 1:
                return item
            displaced = next(reversed(self._owners[largest]))
            self.remove(largest, displaced)
        self._owners.setdefault(owner, OrderedDict())[item] = None
        self._length += 1
        return displaced

    def pop(self) -> _Item:
        """Take out the next item: the oldest one of the owner whose turn it is. Raises KeyError where there is none."""
        owner, items = self._owners.popitem(last=False)
        item, _ = items.popitem(last=False)
        self._length -= 1
        if items:
            self._owners[owner] = items  # last: all others come first
        return item

    def remove(self, owner: str, item: _Item) -> None:
        """Take an item out whose turn has not come. Harmless where it is not here any more."""
        items = self._owners.get(owner)
        if items is not None and item in items:
            del items[item]
            self._length -= 1
            if not items:
                del self._owners[owner]
