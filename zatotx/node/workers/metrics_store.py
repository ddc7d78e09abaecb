"""What the workers of a server have counted, also those that are gone: figures that were shown once never go back.

Every sample that somebody is shown is first written to work/samples/, a file a worker; so is the last one, when a
worker ends in good order. What a file of a process that is gone says goes into one sum. A worker that is killed takes
with it what it counted since the metrics were asked for last. A new start of the whole server begins at 0. All of it
blocks: for threads.
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

from zatotx.metrics.snapshot import Sample, add, without_gauges
from zatotx.node.workers.procfs import process_start_time

FOLDER = 'samples'
_GONE = 'gone.json'


@frozen
class RetiredWorkers:
    """What was known before the other workers were asked."""

    gone: Sample  # of those that have ended
    others: dict[tuple[int, int], Sample]  # the last ones of those that have not, by seat and process


class MetricsStore:
    """One worker's access to what all of them keep."""

    def __init__(self, work: Path, seat: int) -> None:
        self._folder = work / FOLDER
        self._seat = seat
        self._keeping = Lock()
        self._me = f'{os.getpid()}-{process_start_time(os.getpid())}'

    def keep(self, sample: Sample) -> None:
        """Of this worker, before anybody sees it."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with self._keeping:  # a scrape here and a question of another worker may come together
            _write(self._folder / f'{self._seat}-{self._me}.json', without_gauges(sample))

    def before(self) -> RetiredWorkers:
        """What to count besides the answers that are about to be asked for; see `together`."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with self._locked():
            gone = _read(self._folder / _GONE)
            others, ended = {}, []
            for path, seat, pid, started in _files(self._folder):
                if pid == os.getpid():
                    continue
                if process_start_time(pid) == started:
                    others[seat, pid] = _read(path)
                else:
                    gone = add(gone, _read(path))
                    ended.append(path)
            if ended:
                _write(self._folder / _GONE, gone)
                for path in ended:
                    path.unlink(missing_ok=True)
        return RetiredWorkers(gone, others)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self._folder / 'lock', os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def sum_snapshots(before: RetiredWorkers, answers: Iterable[tuple[int, int, Sample]]) -> list[Sample]:
    """All there is to add up: what the others answered (seat, process, sample), for who did not answer what it said
    last, and what those that are gone left. What was `before` is looked at first and the answers come then, so that a
    worker that ends in between is counted once."""
    answered = {(seat, pid): sample for seat, pid, sample in answers}
    silent = [sample for key, sample in before.others.items() if key not in answered]
    return [before.gone, *silent, *answered.values()]


def remove_all(work: Path) -> None:
    """Begin at 0."""
    rmtree(work / FOLDER, ignore_errors=True)


def _files(folder: Path) -> Iterator[tuple[Path, int, int, str]]:
    for path in sorted(folder.glob('[0-9]*-*-*.json')):  # not those that are being written: a dot and `*` match
        seat, pid, started = path.stem.split('-')
        yield path, int(seat), int(pid), started


def _read(path: Path) -> Sample:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Sample)
    except (OSError, msgspec.DecodeError):  # none yet, or the disk was full when it was written
        return {}


def _write(path: Path, sample: Sample) -> None:
    aside = path.with_name(f'.{path.name}')
    aside.touch(mode=0o600)
    aside.write_bytes(msgspec.json.encode(sample))
    aside.replace(path)
