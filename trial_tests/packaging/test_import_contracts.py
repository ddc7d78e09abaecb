"""The import contracts in setup.cfg: the tree keeps them, and each detects a violation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
LINTER = 'from importlinter.cli import lint_imports_command; lint_imports_command()'


class ContractTests(SynchronousTestCase):
    def lint(self, module: str = '', statement: str = '') -> tuple[int, str]:
        """Run the contracts on a copy of the source tree, with one statement added to one module."""
        copy = Path(self.mktemp())
        shutil.copytree(ROOT / 'zatotx', copy / 'zatotx', ignore=shutil.ignore_patterns('__pycache__', 'test'))
        shutil.copy(ROOT / 'setup.cfg', copy / 'setup.cfg')
        if module:
            target = copy / module
            target.write_text(f'{target.read_text("utf-8")}\n{statement}\n', 'utf-8')
        done = subprocess.run(
            [sys.executable, '-c', LINTER, '--no-cache', '--config', 'setup.cfg'],
            cwd=copy, env={'PYTHONPATH': '.', 'PATH': '/usr/bin:/bin', 'COLUMNS': '200'},
            capture_output=True, text=True, timeout=120, check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def assert_bites(self, contract: str, module: str, statement: str) -> None:
        code, said = self.lint(module, statement)
        self.assertEqual(code, 1, said)
        self.assertIn(f'{contract} BROKEN', said)

    def test_the_house_as_it_stands_keeps_all_contracts(self) -> None:
        """No module imports what its floor forbids."""
        code, said = self.lint()
        self.assertEqual(code, 0, said)

    def test_a_lower_floor_cannot_import_a_higher_one(self) -> None:
        """The exchange importing the node above it is refused."""
        self.assert_bites('A layer imports only the layers below it', 'zatotx/pipeline/error_replies.py',
                          'import zatotx.node.settings')

    def test_siblings_of_the_machinery_cannot_import_each_other(self) -> None:
        """The parts of the machinery meet only through interfaces."""
        self.assert_bites('A layer imports only the layers below it', 'zatotx/pipeline/error_replies.py',
                          'import zatotx.odb')

    def test_a_kind_cannot_import_the_machinery(self) -> None:
        """A kind is written against interfaces, so that a package elsewhere can ship one."""
        self.assert_bites(
            'A kind imports interfaces, rules, schema, wire, model and connectors, never other machinery or processes',
            'zatotx/plugins/http/__init__.py',
            'import zatotx.pipeline.error_replies',
        )

    def test_nobody_imports_a_kind(self) -> None:
        """A new protocol is one new folder: nothing else names it."""
        self.assert_bites(
            'Kinds are discovered by getPlugins; only plugins import zatotx.plugins',
            'zatotx/node/settings.py',
            'import zatotx.plugins.http',
        )

    def test_decisions_do_not_know_twisted(self) -> None:
        """Wire, model, rules and schema stay pure."""
        self.assert_bites('Codecs, values, schemas and decisions do no I/O: no Twisted below the interfaces',
                          'zatotx/model/cid.py', 'import twisted.internet.defer')

    def test_only_the_odb_knows_sqlalchemy(self) -> None:
        """No SQL outside odb/."""
        self.assert_bites(
            'Only zatotx.odb and the SQL kind import SQLAlchemy, only zatotx.odb alembic', 'zatotx/node/settings.py',
            'import sqlalchemy',
        )

    def test_only_kvdb_knows_txredisapi(self) -> None:
        """No Redis client outside kvdb/."""
        self.assert_bites(
            'Only zatotx.redis imports txredisapi and hiredis', 'zatotx/node/settings.py', 'import txredisapi'
        )
