"""Machine utilities: CPU cores, memory of processes, and a description of the machine."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import msgspec

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = _CORES[0], _CORES[-1]
ALL_CORES = f'{SERVER_CORE},{LOAD_CORE}'  # in the notation of taskset
PACKAGES = ('zatotx', 'Twisted', 'httptools', 'msgspec', 'uvicorn', 'uvloop', 'gunicorn', 'gevent')


class Memory(msgspec.Struct, frozen=True):
    """The memory of a process in bytes."""

    rss: int
    peak: int


class Available:
    """A context manager that measures the core-seconds available to `pids` on `cores`: used by them, or idle.

    Time used by other processes is excluded.
    """

    def __init__(self, pids: Sequence[int], cores: Sequence[int]) -> None:
        self.seconds = 0.0
        self._pids = pids
        self._cores = cores

    def __enter__(self) -> None:
        self.seconds = -self._so_far()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._so_far()

    def _so_far(self) -> float:
        ticks = sum(sum(_stat(pid)[11:13]) for pid in self._pids)  # utime and stime
        for line in Path('/proc/stat').read_text().splitlines():
            name, *numbers = line.split()
            if name in {f'cpu{core}' for core in self._cores}:
                ticks += int(numbers[3]) + int(numbers[4])  # idle and iowait
        return ticks / os.sysconf('SC_CLK_TCK')


def _stat(pid: int) -> list[int]:
    """The numbers after the state in /proc/PID/stat."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return [0, *(int(field) for field in fields[1:])]


def pinned(core: int | str, command: list[str]) -> list[str]:
    """The command line that runs `command` and its child processes on one core, or on a list of cores ('0,1')."""
    return ['taskset', '-c', str(core), *command]


def memory(pid: int) -> Memory:
    """The current and peak resident set size."""
    fields = dict(line.split(':', 1) for line in Path(f'/proc/{pid}/status').read_text().splitlines())
    return Memory(rss=_kib(fields['VmRSS']), peak=_kib(fields['VmHWM']))


def forget_peak(pid: int) -> None:
    """Reset the peak to the current size (Linux: write 5 to clear_refs)."""
    Path(f'/proc/{pid}/clear_refs').write_text('5')


def _kib(text: str) -> int:
    return int(text.split()[0]) * 1024


def wait_for_port(port: int, seconds: float = 15.0) -> None:
    """Wait until a server accepts connections on the port. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(('127.0.0.1', port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f'Nothing listens on 127.0.0.1:{port} after {seconds:g} s')


@contextmanager
def running(command: list[str], *, grace: float = 10.0, stop: signal.Signals = signal.SIGTERM) -> Iterator[int]:
    """Run `command` until the block ends and yield its process ID.

    Its output is discarded. It is stopped with the signal `stop`, and killed after `grace` seconds.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.send_signal(stop)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def describe() -> str:
    """A line with the cores, CPU, memory, kernel, Python version and package versions."""
    versions = ', '.join(f'{name} {version(name)}' for name in PACKAGES)
    gib = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    return (
        f'{len(_CORES)} cores of {_processor()}, {gib:.0f} GiB, Linux {platform.release()}, '
        f'Python {platform.python_version()}; {versions}'
    )


def _processor() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.split(':', 1)[1].strip()
    return platform.machine()
