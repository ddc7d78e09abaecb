"""What the garbage collector and malloc are told, so that a node keeps no memory that it does not use."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from zatotx.rules.limits.byte_budget import ByteBudget
from zatotx.rules.limits.collection_pace import CollectionTrigger, TrimTrigger

# A request leaves a few dozen containers behind, nearly all freed by their reference counts. The default of 700 would
# look for cycles every twenty requests.
YOUNG, MIDDLE, OLD = 20_000, 20, 20
INTERVAL = 3.0  # seconds between two looks at the resident size


def tune_gc() -> None:
    """Everything that lives now lives as long as the process: never look through it again. Until now it was searched as
    often as Python does by itself: a start without that takes a sixth less work, and leaves the server with 8 MB more,
    of classes that attrs made anew. What the start itself took and freed goes back to the system."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    if is_glibc():
        trim()


def collector(pace: CollectionTrigger) -> Callable[[int, int], None]:
    """Collects garbage by the bytes that come in: to be called as ByteBudget does."""

    def grown(size: int, held: int) -> None:
        generation = pace.due(size, held)
        if generation is not None and gc.isenabled():
            gc.collect(generation)

    return grown


class Trimmer:
    """Has malloc give back what a peak left free, in a thread, where the C library is glibc."""

    def __init__(self, reactor: Any, offload: Callable[..., Deferred[Any]], memory: ByteBudget) -> None:
        self._offload = offload
        self._memory = memory
        self._pace = TrimTrigger()
        self._under_way = False
        self._call = LoopingCall(self._look)
        self._call.clock = reactor

    def start(self) -> None:
        """Begin to look, where there is something to be done."""
        if is_glibc():
            self._call.start(INTERVAL, now=False)

    def stop(self) -> None:
        """End. Harmless when it does not run."""
        if self._call.running:
            self._call.stop()

    def _look(self) -> None:
        if not self._under_way and self._pace.due(resident(), self._memory.held):
            self._under_way = True
            self._offload(trim).addCallbacks(self._trimmed, self._failed)

    def _trimmed(self, sizes: tuple[int, int]) -> None:
        self._under_way = False
        self._pace.trimmed(*sizes, self._memory.held)

    def _failed(self, failure: object) -> None:
        self._call.stop()  # there is no such function here after all


def is_glibc() -> bool:
    """Whether the C library is glibc, whose malloc has arenas to trim."""
    try:
        return (os.confstr('CS_GNU_LIBC_VERSION') or '').startswith('glibc')
    except (AttributeError, ValueError, OSError):
        return False


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path('/proc/self/statm').read_bytes().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def trim() -> tuple[int, int]:
    """Have malloc give back all that is free: for threads, as it takes a while after a peak. How much was resident
    before, and after."""
    before = resident()
    ctypes.CDLL(None).malloc_trim(0)
    return before, resident()

