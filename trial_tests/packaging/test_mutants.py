"""`make mutants`: which mistakes it makes, how they get into a module, and that its table is up to date."""

from __future__ import annotations

import os
import sys
import types
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.mutant_runs import UnfinishedError, forked, patch
from trial_tests.support.mutants import Table
from trial_tests.support.mutation import mutants_of


def changed(source: str) -> set[str]:
    """What each mutant of a source makes of the line that it changes."""
    return {mutant.shown(source)[1] for mutant in mutants_of(source)}


class OperatorTests(SynchronousTestCase):
    def test_each(self) -> None:
        """Every operator, by a line that it changes."""
        for line, expected in (
            ('a = b < c', {'a = b <= c'}), ('a = b is None', {'a = b is not None'}), ('a = b in c', {'a = b not in c'}),
            ('a = 1 <= b < 3', {'a = 1 < b < 3', 'a = 1 <= b <= 3', 'a = 2 <= b < 3', 'a = 1 <= b < 4'}),
            ('a = b and c', {'a = ((b) or (c))'}), ('a = not b', {'a = (b)'}), ('a = -b', {'a = (b)'}),
            ('a = True', {'a = False'}), ('a = b + c', {'a = (b - c)'}), ('a = "x" + b', set()),
            ('a = b if c else d', {'a = b if (not (c)) else d'}), ("a = {'x', 'y'}", {"a = {'x'}", "a = {'y'}"}),
            ('a = b.lower()', {'a = (b)'}), ('a.b = c', {'pass'}), ('a()', {'pass'}), ('raise a', {'pass'}),
            ('_log.debug(1)', set()), ('assert a < b', set()), ("'''A docstring of 1.'''", set()),
            ('a: int = 0', {'a: int = 1'}),
            ("__all__ = ['a', 'b']", set()), ('def f(a=1): b', {'def f(a=2): b'}), ('f"{1 + a}"', set()),
        ):  # fmt: skip
            self.assertEqual(changed(line), expected, line)

    def test_statements(self) -> None:
        """What is returned, conditions, and what is caught."""
        source = dedent('''
            def f(a):
                try:
                    if a:
                        return b
                    return None
                except (KeyError, ValueError):
                    return False
        ''')
        self.assertEqual(changed(source), {'if not (a):', 'return None', 'return True', 'except (KeyError,):',
                                           'except (ValueError,):'})  # fmt: skip
        self.assertEqual({mutant.where for mutant in mutants_of(source)}, {'f'})
        for mutant in mutants_of(source):
            compile(mutant.applied(source), 'f', 'exec')


SOURCE = '''
from functools import lru_cache

class C:
    @property
    def p(self): return 1

    @classmethod
    def c(cls): return 1

    def m(self): return (lambda: 1)()

@lru_cache
def f(): return 1

g = f
'''


class PatchTests(SynchronousTestCase):
    def test_functions_of_all_sorts(self) -> None:
        """Whoever has the function already sees what it does now; caches forget."""
        module = types.ModuleType('patched')
        module.__file__ = 'patched.py'
        exec(SOURCE, module.__dict__)  # as an import would
        read = {'C.p': lambda: module.C().p, 'C.c': module.C.c, 'C.m': module.C().m, 'f': module.g}
        for where, get in read.items():
            self.assertEqual(get(), 1)
            patch(module, where, SOURCE.replace('1', '2'))
            self.assertEqual(get(), 2, where)

    def test_processes(self) -> None:
        """What they return; those that die, or take too long, are told apart."""
        self.assertEqual(forked(lambda: [os.getpid() == os.getppid()], 60), [False])
        self.assertRaises(UnfinishedError, forked, lambda: os._exit(0), 60)
        self.assertRaises(UnfinishedError, forked, sys.exit, 60)
        self.assertRaises(UnfinishedError, forked, lambda: [0 for _ in iter(int, 1)], 0.0)


class TableTests(SynchronousTestCase):
    def test_it_is_up_to_date(self) -> None:
        """Every equivalent mutant is one of those that are made today, and has a reason; every path exists."""
        table = Table.read()
        modules = {module.shown: module for module in table.chosen(())}
        made = {path: {(one.where, *one.shown(module.source)) for one in mutants_of(module.source)}
                for path, module in modules.items() if path in {each.file for each in table.equivalent}}  # fmt: skip
        for each in table.equivalent:
            self.assertIn((each.where, each.was, each.now), made.get(each.file, ()), each.file)
            self.assertTrue(each.why)
        self.assertEqual({*table.tests} - {*modules}, set())
