"""Rules for the source tree that protect its readers: no giant functions or modules, no hidden reactor or errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
FUNCTION, MODULE = 80, 600  # lines

Function = ast.FunctionDef | ast.AsyncFunctionDef


def product_files() -> list[Path]:
    return [path for path in sorted((ROOT / 'zatotx').rglob('*.py')) if 'test' not in path.parts]


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


class SourceTreeTests(SynchronousTestCase):
    def test_functions(self) -> None:
        """No function is longer than 80 lines."""
        self.assertEqual([
            f'{path.relative_to(ROOT)}:{function.name}'
            for path in product_files()
            for function in functions(ast.parse(path.read_text('utf-8')))
            if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION
        ], [])  # fmt: skip

    def test_modules(self) -> None:
        """No module is longer than 600 lines."""
        self.assertEqual([str(path.relative_to(ROOT)) for path in product_files()
                          if path.read_text('utf-8').count('\n') > MODULE], [])  # fmt: skip

    def test_modules_that_the_docs_name(self) -> None:
        """Every module that docs/architecture.md names by its path exists."""
        named = re.findall(r'`(\w+(?:/\w+)+\.py)`', (ROOT / 'docs' / 'architecture.md').read_text('utf-8'))
        self.assertGreater(len(named), 50)
        self.assertEqual([path for path in named if not ((ROOT / 'zatotx' / path).exists() or (ROOT / path).exists())],
                         [])  # fmt: skip

    def test_the_global_reactor_is_imported_only_in_tap(self) -> None:
        """Clock and reactor are arguments everywhere else."""
        importers = []
        for path in product_files():
            for node in ast.walk(ast.parse(path.read_text('utf-8'))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
                module = getattr(node, 'module', None) or ''
                if (module == 'twisted.internet' and 'reactor' in names) or 'twisted.internet.reactor' in names:
                    importers.append(str(path.relative_to(ROOT)))
        self.assertEqual([path for path in importers if not path.startswith('zatotx/tap/')], [])

    def test_no_error_is_swallowed_in_silence(self) -> None:
        """`except …: pass` stands nowhere without a comment that says why nothing is to be done."""
        silent = []
        for path in product_files():
            text = path.read_text('utf-8')
            lines = text.split('\n')
            silent += [
                f'{path.relative_to(ROOT)}:{node.lineno}'
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.ExceptHandler) and all(isinstance(s, ast.Pass) for s in node.body)
                and not any('#' in line for line in lines[node.lineno - 1 : node.end_lineno])
            ]
        self.assertEqual(silent, [])
