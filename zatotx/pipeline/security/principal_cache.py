"""Who was admitted by what: a second look at the same credentials costs a look into a dictionary."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from zatotx.model.message import Principal

_Key = TypeVar('_Key')


class PrincipalCache(Generic[_Key]):
    """Principals, each until a moment. The oldest are forgotten where there are more than `most`."""

    __slots__ = ('_kept', '_most')

    def __init__(self, most: int) -> None:
        self._kept: OrderedDict[_Key, tuple[float, Principal]] = OrderedDict()
        self._most = most

    def get(self, key: _Key, now: float) -> Principal | None:
        """Who it was, if that still holds."""
        kept = self._kept.get(key)
        return kept[1] if kept is not None and now < kept[0] else None

    def keep(self, key: _Key, principal: Principal, until: float) -> None:
        """`until`, and `now` of `get`: on one clock."""
        self._kept.pop(key, None)
        self._kept[key] = until, principal
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """All has to be looked at again."""
        self._kept.clear()
