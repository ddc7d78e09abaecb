"""The import contracts in setup.cfg: the tree keeps them, and each detects a violation."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
LINTER = 'from importlinter.cli import lint_imports_command; lint_imports_command()'


# What each contract must detect: an import in a module.
VIOLATIONS = {
    'A layer imports only the layers below it': [
        ('zatotx.pipeline.error_replies', 'zatotx.node.settings'),  # a higher layer
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
    'Codecs, values, schemas and decisions do no I/O: no Twisted below the interfaces': [
        ('zatotx.model.cid', 'twisted.internet.defer'),
    ],
    'Only zatotx.odb imports SQLAlchemy and alembic': [('zatotx.node.settings', 'sqlalchemy')],
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
