"""A cache of principals by the credentials that authenticated them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from zatotx.model.message import Principal

_Key = TypeVar('_Key')


class PrincipalCache(Generic[_Key]):
    """Maps credentials to principals, each until its expiry. The oldest entries are dropped beyond `most`."""

    __slots__ = ('_entries', '_max_size')

    def __init__(self, max_size: int) -> None:
        self._entries: OrderedDict[_Key, tuple[float, Principal]] = OrderedDict()
        self._max_size = max_size

    def get(self, key: _Key, now: float) -> Principal | None:
        """Return the principal, unless it is unknown or expired."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and now < entry[0] else None

    def store(self, key: _Key, principal: Principal, expires_at: float) -> None:
        """Store a principal until `expires_at`, on the clock of `get`'s `now`."""
        self._entries.pop(key, None)
        self._entries[key] = expires_at, principal
        if len(self._entries) > self._max_size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Drop all entries."""
        self._entries.clear()
