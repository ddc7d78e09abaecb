"""Measures the load of a process (CPU usage and requests in progress) for its heartbeats."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, process_time

from attrs import define, field

from zatotx.interfaces.config import NodeLoad

_MIN_INTERVAL = 0.5  # seconds; heartbeats of changes follow each other closely


@define(eq=False)
class LoadMeter:
    """Measures the load since the last call. `count_in_flight` returns the number of requests in progress."""

    count_in_flight: Callable[[], int]
    now: Callable[[], float] = monotonic
    cpu_time: Callable[[], float] = process_time
    _last: tuple[float, float] = field(init=False)  # time and CPU time of the last measurement
    _cpu: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._last = self.now(), self.cpu_time()

    def __call__(self) -> NodeLoad:
        at, used = self._last
        now, cpu_time = self.now(), self.cpu_time()
        if now - at >= _MIN_INTERVAL:
            self._cpu, self._last = (cpu_time - used) / (now - at), (now, cpu_time)
        return NodeLoad(cpu=round(self._cpu, 3), in_flight=self.count_in_flight())
