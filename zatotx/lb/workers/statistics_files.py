"""The statistics files of workers in the directory work/. Every second, each worker writes its own statistics, and the
parent writes the sums, which any worker can show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zatotx.lb.statistics.statistics_snapshot import StatisticsSnapshot, merge_snapshots
from zatotx.system.atomic_file import write_file

INTERVAL = 1.0  # seconds
SUMS_FILE = 'statistics.json'

_decoder = msgspec.json.Decoder(StatisticsSnapshot)
_log = Logger()


def worker_statistics_path(work: Path, slot: int) -> Path:
    """Return the path of a worker's statistics file."""
    return work / f'statistics-{slot}.json'


def write_snapshot(path: Path, snapshot: StatisticsSnapshot) -> None:
    """Write statistics to a file. Errors are logged and ignored, because the file is written again a second later."""
    try:
        write_file(path, msgspec.json.encode(snapshot))
    except OSError as error:
        _log.error('The statistics cannot be written: {why}', why=str(error))


def read_snapshot(path: Path) -> StatisticsSnapshot | None:
    """Read the statistics from a file. Returns None if the file is missing, or was written by another version."""
    try:
        return _decoder.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


@define(eq=False, kw_only=True)
class WorkerStatistics:
    """The worker's side of the statistics files. It writes the statistics of the worker, and reads the sums."""

    clock: IReactorTime
    work: Path
    slot: int
    read_own: Callable[[], StatisticsSnapshot]
    _loop: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = LoopingCall(self._write)
        self._loop.clock = self.clock

    def start(self) -> None:
        """Start writing."""
        self._loop.start(INTERVAL)

    def stop(self) -> None:
        """Write once more, and stop. Idempotent."""
        if self._loop.running:
            self._loop.stop()
            self._write()

    def _write(self) -> None:
        write_snapshot(worker_statistics_path(self.work, self.slot), self.read_own())

    def read_sums(self) -> StatisticsSnapshot:
        """Return the figures of the whole load balancer, at most a second or two old."""
        return read_snapshot(self.work / SUMS_FILE) or self.read_own()


@define(eq=False, kw_only=True)
class ParentStatistics:
    """The parent's side of the statistics files. It sums the statistics of all workers, including workers that have
    ended. `read_own` returns the states of the servers, and `slots` the slots of the running workers."""

    work: Path
    read_own: Callable[[], StatisticsSnapshot]
    slots: Callable[[], Iterable[int]]
    _ended: StatisticsSnapshot = field(factory=lambda: StatisticsSnapshot(workers=0), init=False)

    def reset(self) -> None:
        """Remove the files of earlier workers."""
        for path in self.work.glob('statistics*.json'):
            path.unlink(missing_ok=True)

    def worker_ended(self, slot: int) -> None:
        """Keep the figures of a worker that has ended."""
        path = worker_statistics_path(self.work, slot)
        found = read_snapshot(path)
        path.unlink(missing_ok=True)
        if found is not None:
            self._ended = merge_snapshots([self._ended, found.ended()])

    def read(self) -> StatisticsSnapshot:
        """Return the sums."""
        running = (read_snapshot(worker_statistics_path(self.work, slot)) for slot in self.slots())
        own = self.read_own()
        own.workers = 0
        total = merge_snapshots([own, self._ended, *(snapshot for snapshot in running if snapshot is not None)])
        known = {(status.backend, status.name) for status in own.servers}  # others were removed by a configuration
        total.servers = [status for status in total.servers if (status.backend, status.name) in known]
        total.recent_errors = total.recent_errors[-100:]
        return total

    def publish(self, snapshot: StatisticsSnapshot) -> None:
        """Write the sums for the workers."""
        write_snapshot(self.work / SUMS_FILE, snapshot)
