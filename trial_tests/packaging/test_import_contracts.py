"""The import contracts in setup.cfg: the tree keeps them, and each detects a violation. No files import each other in a
cycle."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Container, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
LINTER = 'from importlinter.cli import lint_imports_command; lint_imports_command()'


def import_graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return which modules each of these modules imports, anywhere in its text, below `if TYPE_CHECKING:` too.
    `sources`: module name to text."""
    return {name: _imports(text, sources) & sources.keys() - {name} for name, text in sources.items()}


def _imports(text: str, modules: Container[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = {f'{node.module}.{alias.name}' for alias in node.names}
            found |= {name if name in modules else node.module for name in names}
    return found


def find_cycle(sources: Mapping[str, str]) -> list[str]:
    """Return the modules of an import cycle, the first one repeated at the end; [] if there is none."""
    try:
        TopologicalSorter(import_graph(sources)).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


def product_sources() -> dict[str, str]:
    sources = {}
    for path in (ROOT / 'zatotx').rglob('*.py'):
        parts = path.relative_to(ROOT).with_suffix('').parts
        if 'test' not in parts:
            sources['.'.join(parts).removesuffix('.__init__')] = path.read_text('utf-8')
    return sources


class CycleTests(SynchronousTestCase):
    def test_no_files_import_each_other_in_a_cycle(self) -> None:
        """A module can be read and tested without the modules that use it; type annotations are no exception."""
        sources = product_sources()
        self.assertGreater(len(sources), 300)
        self.assertEqual(find_cycle(sources), [])

    def test_cycles_are_found(self) -> None:
        """Imports of modules and of their names count, in functions and for type annotations too."""
        sources = {'a': 'from b import Name', 'b': 'def f():\n    import c.d', 'c.d': 'x = 1'}
        self.assertEqual(find_cycle(sources), [])
        for statement in ('import a', 'from a import name', 'if TYPE_CHECKING:\n    from a import Type'):
            self.assertEqual(set(find_cycle({**sources, 'c.d': statement})), {'a', 'b', 'c.d'})


# What each contract must detect: an import in a module.
VIOLATIONS = {
    'A layer imports only the layers below it': [
        ('zatotx.pipeline.error_replies', 'zatotx.node.settings'),  # a higher layer
        ('zatotx.system.atomic_file', 'zatotx.interfaces.node'),  # below all that use it
        ('zatotx.pipeline.error_replies', 'zatotx.odb'),  # a package beside it, which is reached through interfaces
    ],
    # A kind is written against interfaces, so that a distribution can ship one.
    'A kind imports interfaces, rules, schema, wire, model and connectors, never other machinery or processes': [
        ('zatotx.plugins.http', 'zatotx.pipeline.error_replies'),
    ],
    # A new protocol is one new folder: nothing else names it.
    'Kinds are discovered by getPlugins; only plugins import zatotx.plugins': [
        ('zatotx.node.settings', 'zatotx.plugins.http'),
    ],
    'A security type imports pipeline, interfaces, rules, schema, wire and model, never other machinery or processes': [
        ('zatotx.security.apikey', 'zatotx.node.settings'),
    ],
    'Security types are discovered by getPlugins; only the HTTP client imports one': [
        ('zatotx.pipeline.error_replies', 'zatotx.security.apikey'),
    ],
    'Codecs, values, schemas and decisions do no I/O: no Twisted below the interfaces': [
        ('zatotx.model.cid', 'twisted.internet.defer'),
    ],
    'Only zatotx.odb and the SQL kind import SQLAlchemy, only zatotx.odb alembic': [
        ('zatotx.node.settings', 'sqlalchemy'),
    ],
    'Only zatotx.redis imports txredisapi and hiredis': [('zatotx.node.settings', 'txredisapi')],
}


class ContractTests(SynchronousTestCase):
    def lint(self, imports: Iterable[tuple[str, str]] = ()) -> tuple[int, str]:
        """Check a copy of the source tree, with these imports added; returns exit code and report."""
        copy = Path(self.mktemp())
        shutil.copytree(ROOT / 'zatotx', copy / 'zatotx', ignore=shutil.ignore_patterns('__pycache__', 'test'))
        shutil.copy(ROOT / 'setup.cfg', copy / 'setup.cfg')
        for module, imported in imports:
            path = copy.joinpath(*module.split('.'))
            path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
            with path.open('a', encoding='utf-8') as file:
                file.write(f'\nimport {imported}\n')
        done = subprocess.run(
            [sys.executable, '-c', LINTER, '--no-cache', '--config', 'setup.cfg'],
            cwd=copy, env={'PYTHONPATH': '.', 'PATH': '/usr/bin:/bin', 'COLUMNS': '200'},
            capture_output=True, text=True, timeout=300, check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def test_the_tree_keeps_all_contracts(self) -> None:
        """No module imports what its layer forbids."""
        code, said = self.lint()
        self.assertEqual(code, 0, said)

    def test_each_contract_detects_a_violation(self) -> None:
        """All violations in one tree: each is reported below its contract, by module and import."""
        code, said = self.lint(each for found in VIOLATIONS.values() for each in found)
        self.assertEqual(code, 1, said)
        _, _, reports = said.partition('Broken contracts')
        for contract, imports in VIOLATIONS.items():
            self.assertIn(f'{contract} BROKEN', said)
            report = reports[reports.index(f'\n{contract}\n') :]
            for module, imported in imports:
                self.assertRegex(report, rf'{re.escape(module)}\s+->\s+{re.escape(imported.partition(".")[0])}')
