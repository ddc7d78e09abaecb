"""Runs all tests under trial in several processes side by side, each of which is given whole modules.

    python -m trial_tests.support.side_by_side [--coverage] [--record] JOBS trial_tests zatotx.plugins

JOBS portions run at a time. Most tests wait most of the time, so a further one starts while processors are idle and
there is memory.

trial's own `--jobs` distributes single tests, so that every process builds every environment that the tests of a module
share. Here modules of one environment form a portion, which one process runs; the portions that take longest start
first, by the durations of an earlier run in `trial_tests/durations.toml` (`--record` writes that file), so that all
processes end at about the same time. Prints a line for each portion, at the end the slowest modules and trial's report
of the tests that failed. The exit code is 1 if a test failed.

`--coverage` measures the test processes. The processes that tests start run without coverage: it doubles their CPU
time, and unit tests cover the same code.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from attrs import frozen

T = TypeVar('T')

PORTION_SECONDS = 40.0  # a portion gets further modules up to this duration; starting a process takes two seconds
SHARED_SECONDS = 90.0  # up to this duration if they share an environment
SLOWEST = 15  # modules in the report
MORE = 1  # portions more than JOBS that run at a time at most: with six more, tests fail that wait for a processor
MEMORY = 2048  # MiB that must be available before a portion more than JOBS starts
IDLE = 0.5  # share of the time in which no process must wait for a processor before one starts
_LOOK_EVERY = 0.25  # seconds between two looks at the load
_LOOKS = 16  # whose average decides: a portion that has just started shows in it
_KNOWN_FROM = 1.0  # seconds from which a module is listed in the file of durations
_STARTING_SECONDS, _OTHER_SECONDS = 10.0, 0.5  # estimates for modules that are not listed
_KITS = 'broker|crewed|documented|every_field|guarded|mariadb|odb|postgresql|served|walkthrough'
_STARTS = re.compile(rf'^from trial_tests\.support(\.| import )({_KITS})\b', re.MULTILINE)  # brokers and databases
_ENVIRONMENTS = (  # what the modules of a portion share, by the names that they import
    'one_server', 'two_servers', 'crewed', 'guarded', 'documented', 'every_field', 'on_every_database', 'postgresql',
)
_ROOT = Path(__file__).resolve().parents[2]
_DURATIONS = _ROOT / 'trial_tests' / 'durations.toml'
_RULE = '=' * 79  # trial prints it above each failure
_FAILED_TEST = re.compile(r'^[\w.]+\.(test_\w+|setUpClass|tearDownClass)$', re.MULTILINE)  # in trial's report
_RAN = re.compile(r'^Ran (\d+) tests? in', re.MULTILINE)
_TIMED = re.compile(r'^([\w.]+) \.\.\. (?:(?!^\([\d.]+ secs\)$).)*?^\(([\d.]+) secs\)$', re.MULTILINE | re.DOTALL)


@frozen
class Result:
    """The result of a portion."""

    modules: Sequence[str]
    seconds: float
    code: int
    output: str

    @property
    def tests(self) -> int:
        """How many tests ran."""
        found = _RAN.search(self.output)
        return int(found[1]) if found else 0

    @property
    def failed(self) -> bool:
        """Whether a test failed, or none ran."""
        return self.code != 0 or not self.tests

    @property
    def report(self) -> str:
        """trial's report of the tests that failed; the whole output if there is none."""
        return self.output[max(0, self.output.find(_RULE)) :]

    @property
    def failed_tests(self) -> Sequence[str]:
        """The names of the tests that failed, in the order of the report."""
        return list(dict.fromkeys(found[0] for found in _FAILED_TEST.finditer(self.report))) if self.failed else []

    def durations(self) -> Counter[str]:
        """The seconds of each module: the sum of its tests, the start of its environments included."""
        found: Counter[str] = Counter()
        for test, seconds in _TIMED.findall(self.output):
            module = next((module for module in self.modules if test.startswith(f'{module}.')), '')
            if module:
                found[module] += float(seconds)  # type: ignore[assignment]
        return found

    def line(self) -> str:
        """One line for the person who waits, and one for each test that failed."""
        verdict = 'FAILED' if self.failed else 'ok'
        first, last = self.modules[0].rpartition('.')[2], self.modules[-1].rpartition('.')[2]
        span = first if first == last else f'{first} … {last}'
        line = f'{verdict:6} {self.tests:5} tests {self.seconds:6.1f} s  {span}'
        return '\n'.join((line, *(f'{"":31}{test}' for test in self.failed_tests)))


def modules_of(names: Sequence[str]) -> Iterator[str]:
    """The test modules of packages, in the order of their names; names of anything else unchanged."""
    for name in names:
        folders = _folders(name)
        if not folders:
            yield name
        for folder in folders:
            for path in sorted(Path(folder).rglob('test_*.py')):
                yield '.'.join((name, *path.relative_to(folder).with_suffix('').parts))


def _folders(name: str) -> Sequence[str]:
    """The directories of a package; none for a module, a class, a test."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return ()
    return () if spec is None else spec.submodule_search_locations or ()


def known_durations() -> Mapping[str, float]:
    """The seconds of modules in an earlier run, those that took a second or longer."""
    return tomllib.loads(_DURATIONS.read_text('utf-8')) if _DURATIONS.is_file() else {}


def portions_of(modules: Sequence[str], durations: Mapping[str, float]) -> list[Sequence[str]]:
    """Modules that share an environment together, other neighbors together; the portions that take longest first."""
    seconds = {module: _estimate(module, durations) for module in modules}
    portions: list[list[str]] = []
    shared, total = '', 0.0
    for module in sorted(modules, key=shared_environment):  # stable: neighbors by name stay neighbors
        environment = shared_environment(module)
        limit = SHARED_SECONDS if environment else PORTION_SECONDS
        if not portions or environment != shared or total + seconds[module] > limit:
            portions.append([])
            shared, total = environment, 0.0
        portions[-1].append(module)
        total += seconds[module]
    return sorted(portions, key=lambda portion: -sum(seconds[module] for module in portion))


def _estimate(module: str, durations: Mapping[str, float]) -> float:
    known = durations.get(module)
    if known is not None:
        return known
    return _STARTING_SECONDS if starts_programs(module) else _OTHER_SECONDS


def shared_environment(module: str) -> str:
    """The first environment that a module uses and other modules use, too; '' if there is none."""
    source = _source(module)
    found = (name for name in _ENVIRONMENTS if re.search(rf'import .*\b{name}\b|^    {name},$', source, re.MULTILINE))
    return next(found, '')


def starts_programs(module: str) -> bool:
    """Whether the tests of a module start brokers or databases."""
    return _STARTS.search(_source(module)) is not None


def _source(module: str) -> str:
    path = _ROOT.joinpath(*module.split('.')).with_suffix('.py')
    return path.read_text('utf-8') if path.is_file() else ''


def run(modules: Sequence[str], folder: str, *, coverage: bool = False) -> Result:
    """Run one portion in a process of its own."""
    command = [sys.executable, *(('-m', 'coverage', 'run') if coverage else ()), '-m', 'twisted.trial']
    command += ['--reporter', 'timing', '--temp-directory', f'{folder}/temp', *modules]
    began = time.monotonic()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=_environment()
    )
    return Result(modules, time.monotonic() - began, done.returncode, done.stdout)


def _environment() -> dict[str, str]:
    """The environment without PYTHONDONTWRITEBYTECODE, which images of containers often set: tests start hundreds of
    processes, each of which would compile all of zatotx."""
    return {name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'}


class Load:
    """How busy the machine is, by the time in which processes waited for a processor. The load average of the system
    looks back for a minute, which is as long as a portion."""

    def __init__(self, waited: Callable[[], float], available: Callable[[], int]) -> None:
        """`waited`: seconds in which some process waited for a processor, up to now; `available`: memory in MiB."""
        self._waited, self._available = waited, available
        self._seen: deque[tuple[float, float]] = deque(maxlen=_LOOKS)  # when, and how long one had waited up to then

    def look(self, now: float) -> None:
        """Read the time."""
        self._seen.append((now, self._waited()))

    def forget(self) -> None:
        """Begin anew: something has started."""
        self._seen.clear()

    def has_room(self) -> bool:
        """Whether processors were idle for most of the last seconds, and there is memory."""
        if len(self._seen) < _LOOKS:
            return False
        (began, before), (ended, after) = self._seen[0], self._seen[-1]
        return after - before < (ended - began) * IDLE and self._available() >= MEMORY


def seconds_waited(root: Path = Path('/')) -> float:
    """Seconds in which some process of this container, else of the machine, waited for a processor ("pressure stall
    information" of Linux). 0 if the kernel does not measure them: then as many portions as possible run."""
    for name in ('sys/fs/cgroup/cpu.pressure', 'proc/pressure/cpu'):
        if found := re.search(r'^some .*total=(\d+)$', _text_of(root / name), re.MULTILINE):
            return int(found[1]) / 1e6
    return 0.0


def available_memory(root: Path = Path('/')) -> int:
    """In MiB: what the machine has, and what the limit of this container leaves."""
    free = re.search(r'^MemAvailable: +(\d+) kB$', _text_of(root / 'proc/meminfo'), re.MULTILINE)
    found = [int(free[1]) * 1024] if free else []
    group = root / 'sys/fs/cgroup'
    limit, used = (_text_of(group / name).strip() for name in ('memory.max', 'memory.current'))
    if limit.isdigit() and used.isdigit():
        cached = re.search(r'^inactive_file (\d+)$', _text_of(group / 'memory.stat'), re.MULTILINE)
        found.append(int(limit) - int(used) + (int(cached[1]) if cached else 0))
    return min(found, default=0) // 2**20


def _text_of(file: Path) -> str:
    try:
        return file.read_text('ascii')
    except OSError:
        return ''


def run_all(tasks: Sequence[Callable[[], T]], jobs: int, load: Load) -> list[T]:
    """Run them in their order, at least `jobs` at a time, and more while there is room; returns the results in the
    order in which they ended."""
    waiting, running, results = deque(tasks), set[Future[T]](), list[T]()
    with ThreadPoolExecutor(jobs + MORE) as pool:
        while waiting or running:
            load.look(time.monotonic())
            while waiting and (len(running) < jobs or (len(running) < jobs + MORE and load.has_room())):
                running.add(pool.submit(waiting.popleft()))
                load.forget()
            ended, running = wait(running, _LOOK_EVERY, FIRST_COMPLETED)
            results += [each.result() for each in ended]
    return results


def main(jobs: int, names: Sequence[str], *, coverage: bool = False, record: bool = False) -> int:
    """Run the tests; returns the exit code."""
    portions = portions_of(list(modules_of(names)), known_durations())
    with tempfile.TemporaryDirectory(prefix='zatotx-trial-') as folder:
        tasks = [partial(_run_and_print, portion, f'{folder}/{number}', coverage=coverage)
                 for number, portion in enumerate(portions)]
        results = run_all(tasks, jobs, Load(seconds_waited, available_memory))
    durations = sum((result.durations() for result in results), Counter[str]())
    bad = [result for result in results if result.failed]
    for result in bad:
        print(f'\n{result.report}')
    print(slowest(durations))
    if record:
        _DURATIONS.write_text(durations_file(durations), 'utf-8')
    if bad:
        print('\n'.join(('\nThe tests that failed:', *(f'  {test}' for result in bad for test in result.failed_tests))))
    print(f'\nRan {sum(result.tests for result in results)} tests in {len(portions)} portions: '
          + (f'{len(bad)} of them FAILED' if bad else 'PASSED'))
    return 1 if bad else 0


def slowest(durations: Counter[str]) -> str:
    """The slowest modules, one per line."""
    return '\n'.join(('\nThe slowest modules:', *(f'{seconds:8.1f} s  {module}'
                                                  for module, seconds in durations.most_common(SLOWEST))))


def durations_file(durations: Mapping[str, float]) -> str:
    """TOML of the modules that take a second or longer."""
    lines = [f'"{module}" = {seconds:.0f}' for module, seconds in sorted(durations.items()) if seconds >= _KNOWN_FROM]
    head = '# Seconds of test modules, by which side_by_side.py orders them. Written by `make test RECORD=1`.'
    return '\n'.join((head, *lines, ''))


def _run_and_print(portion: Sequence[str], folder: str, *, coverage: bool) -> Result:
    Path(folder).mkdir()
    result = run(portion, folder, coverage=coverage)
    print(result.line(), flush=True)
    return result


if __name__ == '__main__':
    options = [word for word in sys.argv[1:] if word.startswith('--')]
    jobs, *names = (word for word in sys.argv[1:] if not word.startswith('--'))
    sys.exit(main(int(jobs), names, coverage='--coverage' in options, record='--record' in options))
