"""Tunes Python's garbage collector and malloc so that a node returns unused memory to the operating system."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from zatotx.rules.limits.memory_budget import CollectionTrigger, MemoryBudget, TrimTrigger
from zatotx.system.startup_gc import stop_freezing

# A request allocates a few dozen containers, nearly all of which are freed by reference counting. Python's default of
# 700 would start a collection every twenty requests. A collection of the middle generation visits up to YOUNG *
# (MIDDLE + 1) objects that survived: 12 to 20 ms with these values, while a large configuration is loaded. Collections
# of the oldest one, which follow OLD of the middle one, are as rare as with fewer and larger ones of that.
YOUNG, MIDDLE, OLD = 20_000, 2, 160
CHECK_INTERVAL = 3.0  # seconds between two checks of the resident size
_M_ARENA_MAX = -8  # a parameter of mallopt(3)


def tune_gc() -> None:
    """Exclude all existing objects from garbage collection, because they live as long as the process, and raise the
    thresholds of later collections. The thresholds are not raised earlier: a start without collections takes a sixth
    less CPU time, but the server then keeps 8 MB of classes that attrs has replaced. Memory that the start has
    allocated and freed is returned to the operating system."""
    stop_freezing()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    if is_glibc():
        trim_malloc()


def freeze_objects() -> None:
    """Exclude all existing objects from garbage collection. This is useful after a change of thousands of configuration
    objects, because a full collection visits each of them, which takes 0.4 s for 100,000 jobs and definitions. Garbage
    of the younger generations is collected before."""
    gc.collect(1)
    gc.freeze()


def make_garbage_collector(pace: CollectionTrigger) -> Callable[[int, int], None]:
    """Return a callback for MemoryBudget that collects garbage, depending on the number of bytes received."""

    def on_growth(size: int, held: int) -> None:
        generation = pace.next_generation(size, held)
        if generation is not None and gc.isenabled():
            gc.collect(generation)

    return on_growth


class MemoryTrimmer:
    """Returns unused memory to the operating system after a peak, by calling malloc_trim in a thread. It has an effect
    with glibc only."""

    def __init__(self, reactor: IReactorTime, offload: Callable[..., Deferred[Any]], memory: MemoryBudget) -> None:
        self._offload = offload
        self._memory = memory
        self._pace = TrimTrigger()
        self._is_trimming = False
        self._loop = LoopingCall(self._check)
        self._loop.clock = reactor

    def start(self) -> None:
        """Start checking the resident size, if the C library is glibc."""
        if is_glibc():
            self._loop.start(CHECK_INTERVAL, now=False)

    def stop(self) -> None:
        """Stop checking. Idempotent."""
        if self._loop.running:
            self._loop.stop()

    def _check(self) -> None:
        if not self._is_trimming and self._pace.should_trim(resident_size(), self._memory.used):
            self._is_trimming = True
            self._offload(trim_malloc).addCallbacks(self._trimmed, self._failed)

    def _trimmed(self, sizes: tuple[int, int]) -> None:
        self._is_trimming = False
        self._pace.record_trim(*sizes, self._memory.used)

    def _failed(self, failure: object) -> None:
        self._loop.stop()  # the C library has no malloc_trim


def share_malloc_arena() -> None:
    """Make all threads allocate memory from one malloc arena. By default, each thread has its own arena, and other
    threads cannot use memory that was freed in it. The memory budget would then count a parsed tree as freed, while its
    memory stays resident and the next document is parsed in another arena. Objects of up to 512 bytes are not affected,
    because Python allocates them itself. The function must be called before threads are started, and has an effect with
    glibc only."""
    if is_glibc():
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def is_glibc() -> bool:
    """Return whether the C library is glibc, whose malloc keeps free memory in arenas."""
    try:
        return (os.confstr('CS_GNU_LIBC_VERSION') or '').startswith('glibc')
    except (AttributeError, ValueError, OSError):
        return False


def resident_size() -> int:
    """Return the resident size of this process, in bytes."""
    return int(Path('/proc/self/statm').read_bytes().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def trim_malloc() -> tuple[int, int]:
    """Make malloc return all free memory to the operating system. Returns the resident size before and after, in bytes.
    Blocking."""
    before = resident_size()
    gc.collect()  # cycles may keep what a peak has left
    ctypes.CDLL(None).malloc_trim(0)
    return before, resident_size()

