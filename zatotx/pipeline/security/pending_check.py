"""An awaitable for a coroutine and the awaitable it waits for, which can be closed before it starts."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from inspect import iscoroutine
from typing import Any, Generic, TypeVar

_T = TypeVar('_T')


class PendingCheck(Generic[_T]):
    """Awaits `going_on`, which awaits `first`. If it is dropped before it starts, both must be closed to avoid Python's
    "never awaited" warning."""

    __slots__ = ('_continuation', '_first')

    def __init__(self, first: Awaitable[Any], continuation: Coroutine[Any, Any, _T]) -> None:
        self._first = first
        self._continuation = continuation

    def __await__(self) -> Generator[Any, Any, _T]:
        return self._continuation.__await__()

    def close(self) -> None:
        """Close both coroutines: this object will not be awaited."""
        self._continuation.close()
        if iscoroutine(self._first) or isinstance(self._first, PendingCheck):
            self._first.close()
