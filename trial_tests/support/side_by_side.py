"""All tests under trial, in several processes side by side, each of which takes whole modules.

    python -m trial_tests.support.side_by_side 2 trial_tests zatotx.plugins

trial's own `--jobs` hands out test by test, so that every process builds every environment that a module's tests share:
most of the time went into starting brokers twice. Portions that start many programs come first, so that all processes
end at about the same time. Prints a line for each portion, and at the end what trial says of the tests that failed.
Ends with 1 then.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

PORTION = 6  # modules that a process is given at a time: neighbours by name often share an environment
_KITS = 'broker|crewed|documented|guarded|mariadb|odb|postgresql|served|walkthrough'
_STARTS = re.compile(rf'^from trial_tests\.support(\.| import )({_KITS})\b', re.MULTILINE)  # brokers and databases
_ROOT = Path(__file__).resolve().parents[2]
_RULE = '=' * 79  # trial draws it above each failure
_RAN = re.compile(r'^Ran (\d+) tests? in', re.MULTILINE)


@frozen
class Result:
    """How a portion went."""

    modules: Sequence[str]
    seconds: float
    code: int
    said: str

    @property
    def tests(self) -> int:
        """How many ran."""
        found = _RAN.search(self.said)
        return int(found[1]) if found else 0

    @property
    def failed(self) -> bool:
        """Whether a test failed, or none ran."""
        return self.code != 0 or not self.tests

    @property
    def why(self) -> str:
        """What trial says of the tests that failed; all it says, where it does not come to that."""
        return self.said[max(0, self.said.find(_RULE)) :]

    def line(self) -> str:
        """One line for whoever waits."""
        verdict = 'FAILED' if self.failed else 'ok'
        first, last = self.modules[0].rpartition('.')[2], self.modules[-1].rpartition('.')[2]
        span = first if first == last else f'{first} … {last}'
        return f'{verdict:6} {self.tests:5} tests {self.seconds:6.1f} s  {span}'


def modules_of(names: Sequence[str]) -> Iterator[str]:
    """The test modules of packages, in the order of their names; what is no package as it is."""
    for name in names:
        folders = _folders(name)
        if not folders:
            yield name
        for folder in folders:
            for path in sorted(Path(folder).rglob('test_*.py')):
                yield '.'.join((name, *path.relative_to(folder).with_suffix('').parts))


def _folders(name: str) -> Sequence[str]:
    """Where a package lies; nowhere for a module, a class, a test."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return ()
    return () if spec is None else spec.submodule_search_locations or ()


def portions_of(modules: Sequence[str]) -> list[Sequence[str]]:
    """Neighbours together; those that take longest first, as far as their imports tell."""
    portions = [modules[start : start + PORTION] for start in range(0, len(modules), PORTION)]
    return sorted(portions, key=_programs, reverse=True)


def _programs(portion: Sequence[str]) -> int:
    return sum(map(starts_programs, portion))


def starts_programs(module: str) -> bool:
    """Whether the tests of a module start brokers or databases."""
    return _STARTS.search(_source(module)) is not None


def _source(module: str) -> str:
    path = _ROOT.joinpath(*module.split('.')).with_suffix('.py')
    return path.read_text('utf-8') if path.is_file() else ''


def run(modules: Sequence[str], folder: str) -> Result:
    """One portion, in a process of its own, which coverage measures where it measures this one."""
    command = [sys.executable, '-m', 'twisted.trial', '--temp-directory', f'{folder}/temp', *modules]
    began = time.monotonic()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=_environment()
    )
    return Result(modules, time.monotonic() - began, done.returncode, done.stdout)


def _environment() -> dict[str, str]:
    """Ours. Tests start hundreds of processes: each would compile all of zatotx where none may leave what it compiled,
    as images of containers often have it."""
    return {name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'}


def main(jobs: int, names: Sequence[str]) -> int:
    """The exit code."""
    portions = portions_of(list(modules_of(names)))
    with tempfile.TemporaryDirectory(prefix='zatotx-trial-') as folder, ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(_told, portion, f'{folder}/{number}') for number, portion in enumerate(portions)]
        results = [each.result() for each in running]
    bad = [result for result in results if result.failed]
    for result in bad:
        print(f'\n{result.why}')
    print(f'\nRan {sum(result.tests for result in results)} tests in {len(portions)} portions: '
          + (f'{len(bad)} of them FAILED' if bad else 'PASSED'))
    return 1 if bad else 0


def _told(portion: Sequence[str], folder: str) -> Result:
    Path(folder).mkdir()
    result = run(portion, folder)
    print(result.line(), flush=True)
    return result


if __name__ == '__main__':
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
