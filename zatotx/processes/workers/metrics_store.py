"""Stores the metrics of all workers of a server, so that counters never decrease when a worker ends.

Each snapshot is written to work/samples/, one file per worker, before it is exposed, and a last one when a worker stops
regularly. The files of workers that have ended are added up in one file. A worker that is killed loses what it counted
since the last scrape. A restart of the whole server resets all counters. All functions block and are meant for threads.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from threading import Lock

import msgspec
from attrs import frozen

from zatotx.metrics.snapshot import MetricSample, merge_samples, remove_gauges
from zatotx.processes.workers.process_identity import process_start_time
from zatotx.system.atomic_file import write_file

FOLDER = 'samples'
_GONE = 'gone.json'


@frozen
class StoredSamples:
    """The stored metrics at the time when the other workers were asked for their metrics."""

    retired_total: MetricSample  # the sum for workers that have ended
    running: dict[tuple[int, int], MetricSample]  # the last snapshot of running workers, by slot and process id


class MetricsStore:
    """Reads and writes the stored metrics of all workers. Each worker has its own instance."""

    def __init__(self, work: Path, slot: int) -> None:
        self._folder = work / FOLDER
        self._slot = slot
        self._lock = Lock()
        self._process_id = f'{os.getpid()}-{process_start_time(os.getpid())}'

    def keep(self, sample: MetricSample) -> None:
        """Store a snapshot of this worker, before it is exposed."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with self._lock:  # a scrape and a request of another worker may coincide
            path = self._folder / f'{self._slot}-{self._process_id}.json'
            write_file(path, msgspec.json.encode(remove_gauges(sample)))

    def load_stored(self) -> StoredSamples:
        """Return the stored snapshots to combine with the responses that are about to be requested; see
        `sum_snapshots`."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with self._locked():
            gone = _read(self._folder / _GONE)
            others, ended = {}, []
            for path, slot, pid, started in _files(self._folder):
                if pid == os.getpid():
                    continue
                if process_start_time(pid) == started:
                    others[slot, pid] = _read(path)
                else:
                    gone = merge_samples(gone, _read(path))
                    ended.append(path)
            if ended:
                write_file(self._folder / _GONE, msgspec.json.encode(gone))
                for path in ended:
                    path.unlink(missing_ok=True)
        return StoredSamples(gone, others)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self._folder / 'lock', os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def select_samples_to_sum(
    stored: StoredSamples, responses: Iterable[tuple[int, int, MetricSample]]
) -> list[MetricSample]:
    """Return the metrics samples that must be summed: the responses of the other workers (slot, process ID, sample),
    the last stored sample of workers that did not respond, and the sum for workers that have ended. `stored` is read
    before the responses are requested, so that a worker that ends in between is counted once."""
    answered = {(slot, pid): sample for slot, pid, sample in responses}
    silent = [sample for key, sample in stored.running.items() if key not in answered]
    return [stored.retired_total, *silent, *answered.values()]


def reset_metrics(work: Path) -> None:
    """Delete all stored metrics, so that the counters start again at 0."""
    rmtree(work / FOLDER, ignore_errors=True)


def _files(folder: Path) -> Iterator[tuple[Path, int, int, str]]:
    for path in sorted(folder.glob('[0-9]*-*-*.json')):  # skips temporary files, whose names start with a dot
        slot, pid, started = path.stem.split('-')
        yield path, int(slot), int(pid), started


def _read(path: Path) -> MetricSample:
    try:
        return msgspec.json.decode(path.read_bytes(), type=MetricSample)
    except (OSError, msgspec.DecodeError):  # the file does not exist, or was written to a full disk
        return {}
