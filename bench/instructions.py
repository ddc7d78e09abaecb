"""Counts the instructions of a request under valgrind's callgrind, and compares them with the committed counts.

Unlike rates, the counts do not depend on what else the machine does, so that CI can compare them. `bench.in_memory` is
the program that is measured. `--check` fails where the count of a guarded subject is more than 5 % above the
committed one; `--write` replaces the committed counts.

    python -m bench.instructions [--check | --write]
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import msgspec

from bench.figures import Row
from bench.load import LoadError

COMMITTED = Path(__file__).with_name('instructions.json')
TOLERANCE = 1.05
GUARDED = ('echo', 'relay', 'balancer')  # the subjects whose growth fails the check
_REQUESTS = 256  # per subject; new_cid() asks the kernel once for that many, so each count has the same share of it
_TIMEOUT = 600.0  # seconds
_TOTAL = re.compile(r'^totals: (\d+)', re.MULTILINE)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Instructions per request by subject, and the interpreter they are of: each runs its bytecode in its own way."""

    python: str  # '3.11'
    build: str
    instructions: dict[str, int]


def this_python() -> Counts:
    """The interpreter that runs here, without counts."""
    optimized = '--enable-optimizations' in (sysconfig.get_config_var('CONFIG_ARGS') or '')
    build = f'{platform.machine()}, {platform.python_compiler()}, {"optimized" if optimized else "not optimized"}'
    return Counts(python='{}.{}'.format(*sys.version_info), build=build, instructions={})


def read_committed(file: Path = COMMITTED) -> Counts:
    """The counts of the repository."""
    return msgspec.json.decode(file.read_bytes(), type=Counts)


def measure(say: Callable[[str], None]) -> Counts:
    """Count. Takes 25 seconds of a processor. Raises LoadError."""
    with tempfile.TemporaryDirectory(prefix='zatotx-bench-') as name:
        out = Path(name) / 'callgrind.out'
        counts = {}
        for number, subject in enumerate(_run(out)):
            # Callgrind numbers its dumps from 1. One before the requests of a subject, one after them.
            counts[subject] = round(_total(out.with_name(f'{out.name}.{2 * number + 2}')) / _REQUESTS)
            say(f'  {subject}: {counts[subject]:,} instructions per request')
    return msgspec.structs.replace(this_python(), instructions=counts)


def _run(out: Path) -> list[str]:
    """Have callgrind write its dumps beside `out`. Returns the subjects in their order."""
    command = ['valgrind', '--quiet', '--tool=callgrind', '--instr-atstart=no', '--dump-before=getppid',
               f'--callgrind-out-file={out}', sys.executable, '-m', 'bench.in_memory', str(_REQUESTS)]  # fmt: skip
    environ = {**os.environ, 'PYTHONHASHSEED': '0', 'PYTHONPATH': str(COMMITTED.parents[1])}
    with tempfile.TemporaryFile('w+') as errors:
        measured = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environ)
        try:
            assert measured.stdout is not None
            ready, *subjects = measured.stdout.readline().decode().rstrip('\n').split('\t')
            if ready == 'ready':
                subprocess.run(['callgrind_control', '--instr=on', str(measured.pid)], stdout=errors, stderr=errors,
                               check=True, timeout=_TIMEOUT)  # fmt: skip
            measured.communicate(timeout=_TIMEOUT)
        except (subprocess.SubprocessError, OSError) as error:
            raise LoadError(f'callgrind could not be controlled: {error}; {_text(errors)}') from None
        finally:
            measured.kill()
            measured.wait()
        if measured.returncode:
            raise LoadError(f'bench.in_memory ended with {measured.returncode} under valgrind: {_text(errors)}')
    return subjects


def _text(errors: IO[str]) -> str:
    errors.seek(0)
    return errors.read().strip()[-1000:]


def _total(dump: Path) -> int:
    found = _TOTAL.search(dump.read_text('utf-8', 'replace')) if dump.exists() else None
    if found is None:
        raise LoadError(f'callgrind wrote no total to {dump.name}')
    return int(found[1])


def why_not_compared(counts: Counts, committed: Counts) -> str:
    """A sentence where the two are of different interpreters; else ''."""
    if counts.python == committed.python and counts.build == committed.build:
        return ''
    return (f'Nothing is compared: the committed counts are of Python {committed.python} ({committed.build}), this is '
            f'Python {counts.python} ({counts.build}).')  # fmt: skip


def excess(counts: Mapping[str, int], committed: Mapping[str, int]) -> list[str]:
    """A sentence for each guarded count that has grown too much."""
    return [
        f'{name}: {counts[name]:,} instructions per request are {counts[name] / committed[name] - 1:.1%} more than the '
        f'committed {committed[name]:,}; at most {TOLERANCE - 1:.0%} are allowed. Reduce them, or commit the new count '
        'with the reason (make instructions WRITE=1).'
        for name in GUARDED
        if counts[name] > committed[name] * TOLERANCE
    ]


def rows(say: Callable[[str], None]) -> list[Row]:
    """The guarded counts beside the committed ones. Raises LoadError."""
    committed = read_committed()
    counts = measure(say)
    if why := why_not_compared(counts, committed):
        say(f'  {why}')
        return []
    return [
        Row(what=f'instructions per request of the {name} beside the committed ones',
            figure=f'{counts.instructions[name]:,} : {committed.instructions[name]:,}',
            value=counts.instructions[name] / committed.instructions[name], bar=TOLERANCE, unit=' x')
        for name in GUARDED
    ]  # fmt: skip


def _check(say: Callable[[str], None]) -> int:
    committed = read_committed()
    if why := why_not_compared(this_python(), committed):
        say(why)
        return 0
    sentences = excess(measure(say).instructions, committed.instructions)
    say('\n'.join(sentences) or 'No guarded count has grown by more than 5 %.')
    return 1 if sentences else 0


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog='python -m bench.instructions', description='Instructions per request.')
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--check', action='store_true', help='fail where a guarded count has grown by more than 5 %%')
    what.add_argument('--write', action='store_true', help='replace the committed counts')
    options = parser.parse_args(arguments)
    try:
        if options.check:
            return _check(_say)
        counts = measure(_say)
    except (LoadError, OSError) as error:
        print(f'The instructions could not be counted: {error}', file=sys.stderr)
        return 1
    if options.write:
        COMMITTED.write_bytes(msgspec.json.format(msgspec.json.encode(counts)) + b'\n')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
