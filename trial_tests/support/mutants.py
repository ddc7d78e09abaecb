"""`make mutants`: how many small mistakes in the modules that only decide the tests notice.

    python -m trial_tests.support.mutants [part of a path …]

takes COUNT mutants (`support/mutation.py`) of chance, from SEED or one that is printed, 0 for all of them. For each of
them it runs the tests that come past the lines that it changes, in a process forked for it, until one fails. Tests that
start programs are left out: they would not see the mutant. So its figures count only what tests within one process
notice.

`trial_tests/mutants.toml` says which modules are looked at, which tests are added to those found by their imports, and
which mutants change nothing that anybody could see. Prints the score of each module and every mutant that survived.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from random import Random
from secrets import randbelow

from attrs import field, frozen

from trial_tests.support.mutant_runs import Case, Covered, Tried, covered_by, run_anew, run_patched
from trial_tests.support.mutation import Mutant, mutants_of
from trial_tests.support.side_by_side import starts_programs

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / 'trial_tests' / 'mutants.toml'
TEMPORARY = ROOT / 'build' / 'mutants'
_FIRST = ('twisted.trial.unittest', 'lxml.objectify', 'hypothesis', 'cryptography.x509', 'OpenSSL.crypto', 'zeep',
          'sqlalchemy', 'alembic', 'msgspec', 'arrow', 'prometheus_client', 'click')  # fmt: skip
_MOST = 20.0  # seconds of tests, the quickest first, that are run for one mutant
_LONGEST = 300.0  # seconds for the tests of one module, without mutants


@frozen
class Module:
    """A module that is looked at."""

    path: Path
    source: str = field(repr=False)

    @classmethod
    def of(cls, path: Path) -> Module:
        return cls(path, path.read_text('utf-8'))

    @property
    def shown(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def name(self) -> str:
        return name_of(self.path)


@frozen
class Equivalent:
    """A mutant that changes nothing that anybody could see, and why."""

    file: str
    where: str
    was: str
    now: str
    why: str


@frozen
class Table:
    """trial_tests/mutants.toml."""

    modules: Sequence[str]  # paths and patterns
    tests: Mapping[str, Sequence[str]]  # path -> test modules beside those found by their imports
    equivalent: Sequence[Equivalent]

    @classmethod
    def read(cls) -> Table:
        read = tomllib.loads(TABLE.read_text('utf-8'))
        return cls(read['modules'], read['tests'], [Equivalent(**each) for each in read['equivalent']])

    def chosen(self, parts: Sequence[str]) -> list[Module]:
        """The modules whose paths have one of these parts; all for none."""
        paths = sorted({path for pattern in self.modules for path in ROOT.glob(pattern)})
        return [Module.of(path) for path in paths if not parts or any(part in str(path) for part in parts)]


def name_of(path: Path) -> str:
    """What a file is imported as."""
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')


def mutants_to_try(module: Module, equivalent: Sequence[Equivalent]) -> list[Mutant]:
    """All of a module, without those that change nothing."""
    known = {(each.where, each.was, each.now) for each in equivalent if each.file == module.shown}
    return [one for one in mutants_of(module.source) if (one.where, *one.shown(module.source)) not in known]


def tests_of(module: Module, table: Table, imports: Mapping[str, frozenset[str]]) -> list[str]:
    """The test modules that import a module, whose tests that start programs are left out; those that import one that
    imports it, and start no programs; and those of the table."""
    near = {name for name, imported in imports.items() if module.name in imported}
    found = {name for name, imported in imports.items()
             if _is_test(name) and (name in near or (imported & near and not starts_programs(name)))}
    return sorted({*found, *table.tests.get(module.shown, ())})


def _is_test(name: str) -> bool:
    return name.rpartition('.')[2].startswith('test_')


def _file_of(name: str) -> Path:
    return ROOT.joinpath(*name.split('.')).with_suffix('.py')


def imports_of_all() -> dict[str, frozenset[str]]:
    """What the modules of the product and of the tests import, by their names."""
    files = [path for folder in ('zatotx', 'trial_tests') for path in (ROOT / folder).rglob('*.py')]
    return {name_of(path): frozenset(_imported(path.read_text('utf-8'))) for path in files}


def _imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f'{node.module}.{each.name}' for each in node.names)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


@frozen
class Trial:
    """One mutant, and the tests that come past it."""

    module: Module
    mutant: Mutant
    cases: Sequence[Case]

    @property
    def in_place(self) -> bool:
        """Whether changing the code of one function is enough."""
        return bool(self.mutant.where)


def sampled(modules: Sequence[Module], table: Table, count: int, seed: int) -> list[tuple[Module, Mutant]]:
    """Mutants of chance, `count` of them, 0 for all."""
    every = [(module, mutant) for module in modules for mutant in mutants_to_try(module, table.equivalent)]
    if not count or count >= len(every):
        return every
    picked = Random(seed).sample(range(len(every)), count)
    return [every[number] for number in sorted(picked)]


def main(parts: Sequence[str]) -> int:
    seed = int(os.environ.get('SEED') or randbelow(10**9))
    count = int(os.environ.get('COUNT') or 300)
    table = Table.read()
    chosen = sampled(table.chosen(parts), table, count, seed)
    modules = list(dict.fromkeys(module for module, _ in chosen))
    print(f'{len(chosen)} mutants of {len(modules)} modules: make mutants SEED={seed} COUNT={count} tries the same.',
          flush=True)  # fmt: skip
    TEMPORARY.mkdir(parents=True, exist_ok=True)
    os.chdir(TEMPORARY)
    for name in _FIRST:
        importlib.import_module(name)
    imports = imports_of_all()
    tests = {module.shown: tests_of(module, table, imports) for module in modules}
    wanted = sorted({name for names in tests.values() for name in names})
    covered = covered_by(dict(zip(wanted, kept_in(wanted), strict=True)),
                         [str(module.path) for module in table.chosen(())], _LONGEST)  # fmt: skip
    trials = [Trial(module, mutant, _cases(module, mutant, covered)) for module, mutant in chosen]
    return report(trials, list(tried(trials)))


def kept_in(names: Sequence[str]) -> Iterator[Path]:
    """The file that keeps what the tests of each module come past: another one after each change of the product, of
    what tests share, or of the module itself."""
    files = [*sorted((ROOT / 'zatotx').rglob('*.py')), *sorted((ROOT / 'trial_tests' / 'support').glob('*.py'))]
    shared = blake2b(b''.join(path.read_bytes() for path in files if not path.stem.startswith(('test_', 'mutant'))))
    for name in names:
        own = shared.copy()
        own.update(_file_of(name).read_bytes())
        yield TEMPORARY / f'{name}.{own.hexdigest()[:16]}'


def _cases(module: Module, mutant: Mutant, covered: Covered) -> list[Case]:
    """The tests that come past a mutant, the quickest first; for what runs when the module is imported, all that come
    past anything in it."""
    lines = covered.get(str(module.path), {})
    first, last = mutant.lines if mutant.where else (0, 10**9)
    found = {case for line, cases in lines.items() if first <= line <= last for case in cases}
    ordered = sorted(found, key=lambda case: (case.seconds, case.name))
    taken = accumulate(case.seconds for case in ordered)
    return [case for case, seconds in zip(ordered, taken, strict=True) if seconds < _MOST]


def tried(trials: Sequence[Trial]) -> Iterator[tuple[Trial, Tried]]:
    """What becomes of each mutant. Those of whole modules come first: their processes are forked before anything of
    the product is imported here."""
    began = time.monotonic()
    ordered = sorted(trials, key=lambda trial: trial.in_place)
    imported = False
    for number, trial in enumerate(ordered, 1):
        if not trial.cases:
            yield trial, Tried.NO_TEST
            continue
        source = trial.mutant.applied(trial.module.source)
        run = run_anew
        if trial.in_place:
            if not imported:
                for name in sorted({case.module for one in ordered for case in one.cases}):
                    importlib.import_module(name)
                imported = True
            run = run_patched
        yield trial, run(trial.module.name, trial.mutant.where, source, trial.cases)
        if number % 50 == 0:
            print(f'{number} of {len(ordered)} after {time.monotonic() - began:.0f} s', file=sys.stderr, flush=True)


def report(trials: Sequence[Trial], results: Sequence[tuple[Trial, Tried]]) -> int:
    """Prints the score of each module, then who survived."""
    of = {path: Counter(how for trial, how in results if trial.module.shown == path)
          for path in dict.fromkeys(trial.module.shown for trial in trials)}  # fmt: skip
    for path, counted in of.items():
        print(_line(path, counted))
    print(_line('all', sum(of.values(), Counter[Tried]())))
    for trial, how in sorted(results, key=lambda one: (one[0].module.shown, one[0].mutant.start)):
        if how is not Tried.KILLED:
            was, now = trial.mutant.shown(trial.module.source)
            said = 'no test comes past it' if how is Tried.NO_TEST else 'survived'
            print(f'\n{trial.module.shown}:{trial.mutant.lines[0]} {trial.mutant.where}: {said}\n- {was}\n+ {now}')
    return 0


def _line(path: str, counted: Counter[Tried]) -> str:
    killed, tried_ = counted[Tried.KILLED], counted.total()
    untested = f', {counted[Tried.NO_TEST]} that no test comes past' if counted[Tried.NO_TEST] else ''
    return f'{100 * killed / tried_:5.1f} %  {killed:4} of {tried_:4}  {path}{untested}'


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
