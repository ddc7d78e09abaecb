"""A coroutine that will wait for another awaitable, and may be dropped before it began to."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from inspect import iscoroutine
from typing import Any, Generic, TypeVar

_T = TypeVar('_T')


class PendingCheck(Generic[_T]):
    """Awaits `going_on`, which awaits `first`. Dropped unstarted, both are to be closed: a coroutine that nobody
    closed or awaited is complained of."""

    __slots__ = ('_first', '_going_on')

    def __init__(self, first: Awaitable[Any], going_on: Coroutine[Any, Any, _T]) -> None:
        self._first = first
        self._going_on = going_on

    def __await__(self) -> Generator[Any, Any, _T]:
        return self._going_on.__await__()

    def close(self) -> None:
        """It will not be awaited."""
        self._going_on.close()
        if iscoroutine(self._first) or isinstance(self._first, PendingCheck):
            self._first.close()
