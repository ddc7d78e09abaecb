"""How much may be under way at once, and how much one message may hold. Pure: plain numbers, no I/O.

A `ConcurrencyLimit` counts what is inside of something that takes only so much: a service, a channel, a node. It is
asked on the path of every request, so that letting somebody in costs a comparison and an addition.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import msgspec

from zatotx.wire.xml.budget import XmlBudget as XmlBudget

SERVICE, NODE = 1_000, 10_000  # requests of one service, and of a node, at once where nobody says otherwise
_WORKERS = 256  # processes of one node, those that drain included, that together have no more than the limit granted
_CLOSELY = -1  # a room that is always passed, so that every entry is looked at closely


class ConcurrencyLimit:
    """Lets at most `limit` in at once, and counts those it turns away (`refused`).

    The reactor's thread uses `enter` and `leave`; other threads `enter_from_thread` and `leave_from_thread`. Each entry
    that was let in leaves exactly once. The reactor takes no lock: where a thread comes at the same instant for the
    last place, both may get it.

    With several workers in one node, `others` gives how many are inside in the other workers, and `publish` tells them
    how many are inside here. An entry is published before the others are asked: two workers at the last place may both
    be refused it, they never both get it. Each worker has a few places for itself (`limit` // 256: three of a
    thousand), which it publishes as taken whether they are or not: within them nobody need be asked or told, which is
    as good as always where services do not wait.

    On the path of a request `enter` and `leave` are written out, as a call costs as much as the whole of them: whoever
    finds `held` below `room` adds one to `held` and is in; whoever leaves a gate that is `alone` takes one off.
    """

    __slots__ = ('_granted', '_in_threads', '_limit', '_lock', '_others', '_publish', 'alone', 'held', 'refused',
                 'room')  # fmt: skip

    def __init__(
        self,
        limit: int = SERVICE,
        *,
        others: Callable[[], int] | None = None,
        publish: Callable[[int], None] | None = None,
    ) -> None:
        self.held = 0  # let in by the reactor's thread
        self.refused = 0
        self._in_threads = 0  # let in by other threads
        self._granted = 0  # places that are ours without asking
        self._lock = Lock()
        self._others = others
        self._publish = publish
        self.alone = publish is None  # nobody need be told who leaves
        self.limit = limit

    @property
    def limit(self) -> int:
        """How many may be inside. A lower one cuts nobody off: it holds for those who come."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._lock:
            self._limit = limit
            self._grant()
            self._make_room()

    @property
    def inside(self) -> int:
        """How many are inside here."""
        return self.held + self._in_threads

    @property
    def full(self) -> bool:
        """Whether the next one would be turned away."""
        return self._count() >= self._limit

    def enter(self) -> bool:
        """Whether there is room; the place is taken then."""
        if self.held < self.room:
            self.held += 1
            return True
        return self._enter_closely(in_thread=False)

    def leave(self) -> None:
        """Give the place back."""
        if self.alone or self.held <= self.room:
            self.held -= 1
        else:
            with self._lock:
                self._take(-1, in_thread=False)

    def enter_from_thread(self) -> bool:
        """As `enter`, in any thread."""
        return self._enter_closely(in_thread=True)

    def leave_from_thread(self) -> None:
        """As `leave`, of an entry that was made in any thread."""
        with self._lock:
            self._take(-1, in_thread=True)

    def _enter_closely(self, *, in_thread: bool) -> bool:
        with self._lock:
            self._take(1, in_thread=in_thread)
            if self._count() <= self._limit:
                return True
            self._take(-1, in_thread=in_thread)
            self.refused += 1
            return False

    def _take(self, places: int, *, in_thread: bool) -> None:
        if in_thread:  # `held` is the reactor's own, which takes no lock for it
            self._in_threads += places
            self._make_room()
        else:
            self.held += places
        self._tell()

    def _tell(self) -> None:
        if self._publish is not None:
            self._publish(max(self.inside, self._granted))

    def _grant(self) -> None:
        if self._others is None or self._publish is None:
            return
        before, self._granted = self._granted, self._limit // _WORKERS
        if self._granted or before:
            self._tell()
        if self._granted and self._others() + self._granted > self._limit:  # the others have them already
            self._granted = 0
            self._tell()

    def _count(self) -> int:
        return self.inside + (self._others() if self._others is not None else 0)

    def _make_room(self) -> None:
        shared = self._others is not None or self._publish is not None
        self.room = (self._granted - self._in_threads or _CLOSELY) if shared else self._limit - self._in_threads


class MessageBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What one message may hold. A body's size is its protocol's to bound."""

    json_depth: int = 100  # of objects and lists within each other
    json_keys: int = 100_000  # keys and elements of all of them
    form_fields: int = 1_000
    xml: XmlBudget = XmlBudget()


USUAL = MessageBudget()
