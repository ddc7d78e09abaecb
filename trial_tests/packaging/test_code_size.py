"""The tail of the code is budgeted: long functions, files and classes are where code ages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
FUNCTION, FILE, METHODS, PARAMETERS = 60, 600, 15, 5

# What is over a budget for a reason. This list may only shrink.
EXCEPTIONS: dict[str, str] = {
    'zatotx/model/message.py:__init__': 'values of the hot path: made positionally, once a request',
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def product_files() -> list[Path]:
    return [path for path in sorted((ROOT / 'zatotx').rglob('*.py')) if 'test' not in path.parts]


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def interfaces(tree: ast.AST) -> set[int]:
    """Lines of classes that only declare: their methods have no self and no body."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any('Interface' in ast.dump(b) or 'Protocol' in ast.dump(b)
                                                  for b in node.bases):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def taken(function: Function) -> int:
    """Parameters besides self; keyword-only ones are named by the caller and do not count."""
    named = [a.arg for a in function.args.posonlyargs + function.args.args]
    return len(named) - bool(named and named[0] in ('self', 'cls'))


class BudgetTests(SynchronousTestCase):
    def found(self, place: str) -> bool:
        return place not in EXCEPTIONS

    def test_functions_fit_a_screen(self) -> None:
        """No function is longer than 60 lines."""
        over = [
            f'{path.relative_to(ROOT)}:{function.name}'
            for path in product_files()
            for function in functions(ast.parse(path.read_text('utf-8')))
            if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION
        ]
        self.assertEqual([place for place in over if self.found(place)], [])

    def test_files_hold_one_subject(self) -> None:
        """No file is longer than 600 lines."""
        over = [str(path.relative_to(ROOT)) for path in product_files()
                if path.read_text('utf-8').count('\n') > FILE]
        self.assertEqual([place for place in over if self.found(place)], [])

    def test_classes_do_one_thing(self) -> None:
        """No class has more than 15 methods, interfaces and what users subclass aside."""
        over = []
        for path in product_files():
            tree = ast.parse(path.read_text('utf-8'))
            declared = interfaces(tree)
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and node.lineno not in declared:
                    methods = [m for m in node.body if isinstance(m, Function)
                               and not any('property' in ast.dump(d) for d in m.decorator_list)]
                    if len(methods) > METHODS:
                        over.append(f'{path.relative_to(ROOT)}:{node.name}')
        self.assertEqual([place for place in over if self.found(place)], [])

    def test_calls_can_be_read(self) -> None:
        """No function takes more than 5 positional parameters."""
        over = [
            f'{path.relative_to(ROOT)}:{function.name}'
            for path in product_files()
            for function in functions(ast.parse(path.read_text('utf-8')))
            if taken(function) > PARAMETERS
        ]
        self.assertEqual([place for place in over if self.found(place)], [])

    def test_exceptions_are_still_needed(self) -> None:
        """The list of exceptions names only what exists."""
        gone = [place for place in EXCEPTIONS if not (ROOT / place.split(':')[0]).exists()]
        self.assertEqual(gone, [])

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
