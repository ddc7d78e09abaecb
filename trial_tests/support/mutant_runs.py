"""Runs tests in forked processes: to see which lines they come past, and against mutants.

What is imported before a fork is there after it, so that a run costs little more than its tests. A test that starts a
program is skipped: no mutant is in there.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.util
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import time
import types
import unittest
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

from attrs import frozen


class Tried(Enum):
    """What becomes of a mutant."""

    KILLED = 'killed'
    SURVIVED = 'survived'
    NO_TEST = 'no test'


@frozen
class Case:
    """A test, and the seconds that it takes."""

    name: str
    module: str
    seconds: float


Covered = Mapping[str, Mapping[int, Sequence[Case]]]  # path -> line -> the tests that come past it
_WRAPPERS = ('fget', '__func__', '__wrapped__', 'func')  # of properties, class methods, caches, cached properties
_LEAST = 10.0  # seconds that a mutant has at least
_MEMORY = 4 * 2**30  # bytes of address space that a mutant may take beyond what is taken


class UnfinishedError(Exception):
    """A process that gave no result: it took too long, or died."""


def forked(act: Callable[[], Any], seconds: float) -> Any:
    """What `act` returns in a process of its own. Raises UnfinishedError."""
    reading, writing = os.pipe()
    gc.collect()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _child(act, writing)
    os.close(writing)
    with contextlib.suppress(OSError):  # the child does it too, whoever is first
        os.setpgid(pid, 0)
    try:
        return pickle.loads(_read(reading, seconds))
    except (EOFError, TimeoutError, pickle.UnpicklingError) as error:
        raise UnfinishedError from error
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _child(act: Callable[[], Any], writing: int) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        sink = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(sink, descriptor)
        with os.fdopen(writing, 'wb') as out:
            out.write(pickle.dumps(act()))
        code = 0
    finally:
        os._exit(code)


def _read(descriptor: int, seconds: float) -> bytes:
    """All that comes until the end. Raises TimeoutError."""
    end = time.monotonic() + seconds
    pieces: list[bytes] = []
    while True:
        if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
            raise TimeoutError
        piece = os.read(descriptor, 1 << 20)
        if not piece:
            return b''.join(pieces)
        pieces.append(piece)


_Lines = tuple[Case, Mapping[str, Sequence[int]]]  # a test, and the lines of each file that it comes past


def covered_by(names: Mapping[str, Path], paths: Sequence[str], seconds: float) -> Covered:
    """Which tests of these modules come past which lines of these files. Modules that take longer, and tests that fail
    or start a program, are left out. `names`: of the test modules, each with the file that what was found is kept in.
    """

    def act() -> None:
        for name, kept in names.items():
            if not kept.exists():
                kept.write_bytes(pickle.dumps(_traced_apart(name, paths, seconds)))

    forked(act, seconds * len(names))
    out: dict[str, dict[int, list[Case]]] = {}
    for kept in names.values():
        for case, lines in pickle.loads(kept.read_bytes()):
            for path, numbers in lines.items():
                for number in numbers:
                    out.setdefault(path, {}).setdefault(number, []).append(case)
    return out


def _traced_apart(name: str, paths: Sequence[str], seconds: float) -> list[_Lines]:
    importlib.import_module(name)
    try:
        found: list[_Lines] = forked(lambda: list(_traced(name, paths)), seconds)
    except UnfinishedError:
        return []
    return found


def _traced(name: str, paths: Sequence[str]) -> Iterator[_Lines]:
    from coverage import Coverage

    no_programs()
    for test in tests_in(name):
        cover = Coverage(data_file=None, include=list(paths), config_file=False, concurrency=['thread'])
        began = time.monotonic()
        cover.start()
        passed = ran([test])
        cover.stop()
        taken = time.monotonic() - began
        if passed:
            data = cover.get_data()
            lines = {path: data.lines(path) or () for path in data.measured_files()}
            yield Case(test.id(), name, taken), {path: found for path, found in lines.items() if found}


def tests_in(name: str) -> list[Any]:
    """The tests of a module, or the one of that name."""
    from twisted.trial.runner import TestLoader

    return list(_flat(TestLoader().loadByName(name)))


def _flat(suite: Any) -> Iterator[Any]:
    if isinstance(suite, unittest.TestCase):
        yield suite
    else:
        for one in suite:
            yield from _flat(one)


def ran(tests: Iterable[Any]) -> bool:
    """Whether these tests ran, and all of them passed. Ends with the first that does not."""
    from twisted.trial.reporter import TestResult

    for test in tests:
        result = TestResult()
        unittest.TestSuite([test]).run(result)
        if not result.wasSuccessful() or result.skips or not result.testsRun:
            return False
    return True


def no_programs() -> None:
    """Skip tests that start a program, by whatever means."""
    from twisted.internet import reactor

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise unittest.SkipTest('starts a program')

    for owner, attribute in ((subprocess, 'Popen'), (reactor, 'spawnProcess'), (os, 'posix_spawn')):
        setattr(owner, attribute, refuse)


def run_patched(name: str, where: str, source: str, cases: Sequence[Case]) -> Tried:
    """Run tests against a mutant of one function, whose code is changed where it is: all who have imported the function
    see it. Where that cannot be done the module is made anew."""

    def act() -> bool:
        _limit()
        patch(sys.modules[name], where, source)
        no_programs()
        return ran(_loaded(cases))

    return _judged(act, cases)


def run_anew(name: str, where: str, source: str, cases: Sequence[Case]) -> Tried:
    """Run tests against a mutant of a module, which is imported in its place. Nothing of the product may be imported
    yet."""

    def act() -> bool:
        _limit()
        sys.meta_path.insert(0, _Finder(name, source))
        no_programs()
        return ran(_loaded(cases))

    return _judged(act, cases)


def _loaded(cases: Sequence[Case]) -> Iterator[Any]:
    for case in cases:
        yield from tests_in(case.name)


def _judged(act: Callable[[], bool], cases: Sequence[Case]) -> Tried:
    """A mutant that ends the process, or hangs, was noticed too."""
    seconds = _LEAST + 3 * sum(case.seconds for case in cases)
    try:
        return Tried.SURVIVED if forked(act, seconds) else Tried.KILLED
    except UnfinishedError:
        return Tried.KILLED


def _limit() -> None:
    """A mutant may not take the memory of the machine."""
    taken = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY, taken + _MEMORY))


def patch(module: types.ModuleType, where: str, source: str) -> None:
    """Give a function of a module the code that it has in another source."""
    code = _code_named(compile(source, module.__file__ or where, 'exec'), where)
    function = _function(module, where)
    function.__code__ = code.replace(co_freevars=function.__code__.co_freevars)
    for value in [*vars(module).values(), *_of_classes(module)]:
        if isinstance(value, functools._lru_cache_wrapper):
            value.cache_clear()


def _of_classes(module: types.ModuleType) -> Iterator[Any]:
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            yield from vars(value).values()


def _code_named(code: types.CodeType, where: str) -> types.CodeType:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_qualname == where:
                return constant
            if where.startswith(f'{constant.co_qualname}.'):
                return _code_named(constant, where)
    raise LookupError(where)


def _function(module: types.ModuleType, where: str) -> types.FunctionType:
    owner: Any = module
    *outer, last = where.split('.')
    for part in outer:
        owner = getattr(owner, part)
    found = vars(owner)[last]
    while not isinstance(found, types.FunctionType):
        found = next(getattr(found, name) for name in _WRAPPERS if hasattr(found, name))
    while isinstance(inner := getattr(found, '__wrapped__', None), types.FunctionType):
        found = inner
    return found


class _Finder:
    """Imports one module from another source."""

    def __init__(self, name: str, source: str) -> None:
        self._name, self._source = name, source

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        spec.loader = _Loader(name, spec.origin or '', self._source)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> types.CodeType:
        return compile(self._source, self.path, 'exec')
