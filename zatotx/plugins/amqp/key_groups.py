"""Preserves the order of messages with the same key, by processing one message per key at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

ROUTING_KEY, HEADER = 'routing_key', 'header:'


class KeyGroups:
    """Groups messages by key. Messages of one group are processed one after another, and do not delay the messages of
    other groups."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Callable[[], object]]] = {}  # by the keys of groups with a message in progress

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, key: str, begin: Callable[[], object]) -> None:
        """Begin with a message, now or when those before it in its group have left."""
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque()
            begin()
        else:
            waiting.append(begin)

    def leave(self, key: str) -> None:
        """A message has been settled: begin with the next one of its group."""
        waiting = self._waiting.get(key)
        if waiting:
            waiting.popleft()()
        elif waiting is not None:
            del self._waiting[key]

    def clear(self) -> None:
        """Forget the messages that wait."""
        self._waiting.clear()
