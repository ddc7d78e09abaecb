"""Isolated imports: several versions at the same time, and the reporting of users' mistakes."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.reactor import as_reactor
from trial_tests.support.thread_clock import ThreadClock
from trial_tests.support.waiting import until
from zatotx.model.errors import BadRequest
from zatotx.service.deployment.module_importer import PREFIX, ImportedVersion, import_source, importable_modules
from zatotx.service.deployment.source_package import SourcePackage, create_zip, parse_upload
from zatotx.service.deployment.user_code_threads import cpu_ticks, run_in_import_thread
from zatotx.service.naming import implementation_name, original_module_name


def module(text: str, name: str = 'crm.py') -> SourcePackage:
    return parse_upload(name, text.encode())


def package(init: str = '', **files: str) -> SourcePackage:
    """Return a package crm; `__` in a name stands for a directory."""
    named = {f'crm/{name.replace("__", "/")}.py': text.encode() for name, text in files.items()}
    return parse_upload('crm.zip', create_zip({'crm/__init__.py': init.encode(), **named}))


def ours() -> set[str]:
    return {name for name in sys.modules if name.startswith(PREFIX + '.')}


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        gc.collect()
        self.before = ours()
        self.place = Path(self.mktemp())

    def load(self, source: SourcePackage) -> ImportedVersion:
        return import_source(source, self.place)

    def refusal(self, source: SourcePackage) -> str:
        told: str = self.assertRaises(BadRequest, import_source, source, self.place).msg
        self.assertEqual(ours(), self.before)
        return told

    def test_versions_side_by_side(self) -> None:
        """Two versions of a module exist at the same time, each with its own state."""
        one, two = self.load(module('x = 1\ndef f(): return x')), self.load(module('x = 2\ndef f(): return x'))
        self.assertEqual([v.modules[0].f() for v in (one, two, one)], [1, 2, 1])
        self.assertNotEqual(one.modules[0].__name__, two.modules[0].__name__)
        self.assertEqual(original_module_name(one.modules[0].__name__), 'crm')
        self.assertEqual(implementation_name(type('Get', (), {'__module__': one.modules[0].__name__})), 'crm.Get')

    def test_dropped_with_its_last_holder(self) -> None:
        """A version is in sys.modules exactly as long as it is referenced; running code continues."""
        loaded = self.load(module('x = 7\nclass A:\n    def f(self): return x'))
        name, call = loaded.modules[0].__name__, loaded.modules[0].A().f
        self.assertIs(sys.modules[name], loaded.modules[0])
        del loaded
        self.assertEqual(ours(), self.before)
        self.assertNotIn(name.split('.')[1], vars(sys.modules[PREFIX]))
        self.assertEqual(call(), 7)

    def test_package_imports_itself(self) -> None:
        """Every form of a package's own imports, at the top and inside functions, stays in its version."""
        forms = """
import crm
import crm.util
import crm.util as u
import crm.sub.deep
from crm import util
from crm.util import VALUE
from . import util as relative
from .sub import deep as d
import os.path, json as j

top = (crm.util.VALUE, u.VALUE, util.VALUE, VALUE, relative.VALUE, crm.sub.deep.VALUE, d.VALUE)

def lazy():
    import crm.late as late
    from crm.late import VALUE as direct
    from crm.sub import later
    import crm.late
    return late.VALUE, direct, crm.late.VALUE, later.VALUE

class Lazy:
    def run(self):
        return (lambda: [__import__('crm.late').late.VALUE for _ in range(1)][0])()
"""
        others = ('util', 'late', 'sub__deep', 'sub__later')
        versions = [self.load(package(api=forms, **dict.fromkeys(others, f'VALUE = {n}'))) for n in (1, 2)]
        for n, version in zip((1, 2), versions, strict=True):
            api = sys.modules[f'{version.namespace.package}.crm.api']
            self.assertEqual(api.top, (n,) * 7)
            self.assertEqual(api.lazy(), (n,) * 4)
            self.assertEqual(api.Lazy().run(), n)
        self.assertNotIn('crm', sys.modules)

    def test_lazy_import_of_the_old_version_while_the_new_one_runs(self) -> None:
        """A function of the old version gets the old module even if it imports it after the new version was loaded."""
        init = 'def value():\n    from crm import test_lazy\n    return test_lazy.VALUE'
        old = self.load(package(init=init, test_lazy='VALUE = "old"'))
        new = self.load(package(init=init, test_lazy='VALUE = "new"'))
        self.assertEqual((new.modules[0].value(), old.modules[0].value()), ('new', 'old'))

    def test_flat_modules_see_each_other(self) -> None:
        """The modules of a flat archive import each other in their version."""
        loaded = import_source(
            parse_upload('both.zip', create_zip({'a.py': b'import b\nx = b.x', 'b.py': b'x = 5'})), self.place
        )
        self.assertEqual([m.x for m in loaded.modules], [5, 5])

    def test_module_may_be_called_as_what_it_imports(self) -> None:
        """A module json.py that imports json gets the standard library's, not itself."""
        loaded = self.load(module('import json\nx = json.dumps([])', 'json.py'))
        self.assertEqual(loaded.modules[0].x, '[]')

    def test_data_files_lie_beside(self) -> None:
        """A package finds its data files by `__file__`."""
        text = b'from pathlib import Path\nx = Path(__file__).with_name("data.txt").read_text()'
        loaded = import_source(
            parse_upload('crm.zip', create_zip({'crm/__init__.py': text, 'crm/data.txt': b'here'})), self.place
        )
        self.assertEqual(loaded.modules[0].x, 'here')

    def test_annotations_are_found(self) -> None:
        """Code that resolves types through sys.modules (dataclasses, get_type_hints, pickle) works."""
        text = """from __future__ import annotations
import dataclasses, pickle, typing
@dataclasses.dataclass
class A:
    b: B
class B: pass
hints = typing.get_type_hints(A)
def same(): return type(pickle.loads(pickle.dumps(B()))) is B
"""
        loaded = self.load(module(text))
        self.assertIs(loaded.modules[0].hints['b'], loaded.modules[0].B)
        self.assertTrue(loaded.modules[0].same())

    def test_tracebacks_show_the_file(self) -> None:
        """A traceback of deployed code names its file and shows the line."""
        loaded = self.load(module('def f():\n    return 1 / 0  # here\n'))
        try:
            loaded.modules[0].f()
        except ZeroDivisionError:
            shown = traceback.format_exc()
        self.assertIn('crm.py", line 2', shown)
        self.assertIn('return 1 / 0  # here', shown)

    def test_files_are_closed_to_others(self) -> None:
        """Deployed source is readable by the node's user alone, and damaged files are restored."""
        source = module('x = 1')
        self.load(source)
        path = self.place / source.sha256 / 'crm.py'
        self.assertEqual((path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777), (0o600, 0o700))
        path.write_text('x = 666')
        self.assertEqual(self.load(source).modules[0].x, 1)

    def test_what_is_looked_at(self) -> None:
        """All modules of a package are imported except tests, setup and `__main__`."""
        paths = 'crm/__init__ crm/__main__ crm/a crm/conftest crm/setup crm/sub/__init__ crm/sub/c crm/sub/tests/d'
        paths += ' crm/test_a crm/tests/b'
        files = {f'{path}.py': b'' for path in paths.split()} | {'crm/data.txt': b''}
        source = parse_upload('crm.zip', create_zip(files))
        self.assertEqual(importable_modules(source), ['crm', 'crm.a', 'crm.sub', 'crm.sub.c'])

    def test_mistakes_name_file_and_line(self) -> None:
        """Every error in a module becomes one sentence with the user's file and line, and leaves no modules behind."""
        cases = {
            'import json\nx = y\n': "crm.py:2: NameError: name 'y' is not defined",
            'def f():\n    return 1/0\n\nf()': 'crm.py:2: ZeroDivisionError: division by zero',
            'x = 1\ndef f(:\n': 'crm.py:2: SyntaxError: invalid syntax',
            'if 1:\nx = 1': "crm.py:2: IndentationError: expected an indented block after 'if' statement on line 1",
            '\nimport no_such_lib': "crm.py:2: ModuleNotFoundError: No module named 'no_such_lib'",
            'import sys\nsys.exit(3)': 'crm.py:2: SystemExit: 3',
            '\n\nraise KeyboardInterrupt': 'crm.py:3: KeyboardInterrupt',
            'import json\njson.loads("{")': 'crm.py:2: JSONDecodeError: Expecting property name',
            'raise ValueError("two\\nlines")': 'crm.py:1: ValueError: two lines',
            'class E(Exception):\n    def __str__(self): return 1/0\nraise E': 'crm.py:3: E',
            'def f(): f()\nf()': 'crm.py:1: RecursionError: maximum recursion depth exceeded',
            'from json import nothing': "crm.py:1: ImportError: cannot import name 'nothing' from 'json'",
        }
        for text, told in cases.items():
            with self.subTest(text):
                self.assertIn(told, self.refusal(module(text)))

    def test_bytes_that_are_no_text(self) -> None:
        """A file that is not Python text is rejected by name."""
        for content in (b'\xff\xfe\x00', b'x = "\x00"', b'# coding: no-such\n'):
            self.assertTrue(self.refusal(parse_upload('crm.py', content)).startswith('crm.py:'), content)

    def test_mistakes_in_packages(self) -> None:
        """In a package, the path of the file is named, and module names are those that the author knows."""
        self.assertIn('crm/sub/deep.py:1: ZeroDivisionError', self.refusal(package(sub__deep='1/0')))
        told = self.refusal(package(a='import crm.b', b='from crm import nothing'))
        self.assertIn("crm/b.py:1: ImportError: cannot import name 'nothing' from 'crm'", told)
        self.assertIn("No module named 'crm.nix'", self.refusal(package(a='import crm.nix')))


class OwnThreadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.place = Path(self.mktemp())

    def start(self, source: SourcePackage) -> tuple[Deferred[Any], threading.Thread]:
        """Import a module crm.py in its own thread, within 30 seconds of the clock."""
        importing = run_in_import_thread(
            as_reactor(self.clock), lambda: import_source(source, self.place), source, description='the import'
        )
        (thread,) = [thread for thread in threading.enumerate() if thread.name == 'the import of crm.py']
        return importing, thread

    def test_not_in_the_reactors_thread(self) -> None:
        """User code is imported in a thread named for its file."""
        source = module('import threading\nname = threading.current_thread().name')
        importing = run_in_import_thread(
            as_reactor(self.clock), lambda: import_source(source, self.place), source, description='the import'
        )
        self.clock.turn()
        self.assertEqual(self.successResultOf(importing).modules[0].name, 'the import of crm.py')

    def test_endless_import_is_given_up(self) -> None:
        """An endless import is rejected with its current line, its thread ends, and nothing of it remains."""
        importing, thread = self.start(module('x = 1\nwhile True:\n    x = 2\n'))
        self.clock.advance(29)
        before = cpu_ticks(thread)
        until(lambda: cpu_ticks(thread) >= before + 20, 'CPU time of the import')
        self.clock.advance(1)
        told = self.failureResultOf(importing, BadRequest).value.msg
        self.assertRegex(told, r'^crm\.py:[23]: the import did not end within 30 s$')
        thread.join(60)
        self.assertFalse(thread.is_alive())
        self.assertEqual([name for name in ours() if name.endswith('crm')], [])

    def test_import_that_waits_for_ever(self) -> None:
        """An import in an uninterruptible call is rejected too, and ends when the call does."""
        text = 'import threading\ngo = threading.Event()\nthreading.waiter = go\ngo.wait()\n'
        self.addCleanup(lambda: vars(threading).pop('waiter'))
        importing, thread = self.start(module(text))
        until(lambda: 'waiter' in vars(threading), 'the third line of the import')
        until(lambda: sys._current_frames()[thread.ident or 0].f_code.co_name == 'wait', 'the last line of the import')
        self.clock.advance(29)
        self.clock.advance(1)
        told = self.failureResultOf(importing, BadRequest).value.msg
        self.assertEqual(told, 'crm.py:4: the import did not end within 30 s')
        vars(threading)['waiter'].set()
        thread.join(60)
        self.assertFalse(thread.is_alive())
