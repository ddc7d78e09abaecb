"""Mutants of a module: its source with one small mistake each. Pure.

The operators: comparisons and their bounds, `and` and `or`, negations, numbers off by one, arithmetic, elements of
literals left out, statements left out, returned values, and methods such as `.lower()` that are not called. Docstrings,
annotations, assertions, messages and log calls are left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from attrs import frozen

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: '<=', ast.LtE: '<', ast.Gt: '>=', ast.GtE: '>', ast.Eq: '!=', ast.NotEq: '==', ast.Is: 'is not',
    ast.IsNot: 'is', ast.In: 'not in', ast.NotIn: 'in',
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(), ast.Sub: ast.Add(), ast.Mult: ast.FloorDiv(), ast.FloorDiv: ast.Mult(), ast.Div: ast.Mult(),
    ast.Mod: ast.FloorDiv(), ast.BitAnd: ast.BitOr(), ast.BitOr: ast.BitAnd(), ast.LShift: ast.RShift(),
    ast.RShift: ast.LShift(),
}  # fmt: skip
_NORMALIZING = frozenset(('lower', 'upper', 'casefold', 'strip', 'lstrip', 'rstrip', 'removeprefix', 'removesuffix'))
_BRACKETS: dict[type[ast.expr], tuple[str, str]] = {ast.Set: ('{', '}'), ast.Tuple: ('(', ')'), ast.List: ('[', ']')}
_CALLABLE = ast.FunctionDef | ast.AsyncFunctionDef
_SIMPLE = ast.Expr | ast.AugAssign | ast.Assign | ast.Raise | ast.Break | ast.Continue | ast.Delete


@frozen
class Mutant:
    """One changed piece of a source. `where`: the qualified name of the outermost function it is in, '' for none."""

    where: str
    lines: tuple[int, int]  # of the statement that changed, or of its head, both included
    start: int  # bytes
    end: int
    text: str  # in place of what stands there

    def applied(self, source: str) -> str:
        """The source with the mistake."""
        data = source.encode('utf-8')
        return (data[: self.start] + self.text.encode('utf-8') + data[self.end :]).decode('utf-8')

    def shown(self, source: str) -> tuple[str, str]:
        """What is changed and what it becomes: the lines that differ, each as one line."""
        data = source.encode('utf-8')
        opening = data.rfind(b'\n', 0, self.start) + 1
        closing = data.find(b'\n', self.end)
        closing = len(data) if closing < 0 else closing
        after = data[opening : self.start] + self.text.encode('utf-8') + data[self.end : closing]
        return _line(data[opening:closing]), _line(after)


def mutants_of(source: str) -> list[Mutant]:
    """All mutants of a module, in the order of their places."""
    found = list(_Finder(source).module(ast.parse(source)))
    return sorted(set(found), key=lambda one: (one.start, one.end, one.text))


def _line(piece: bytes) -> str:
    return ' '.join(piece.decode('utf-8').split())


class _Finder:
    """Walks a module."""

    def __init__(self, source: str) -> None:
        lines = source.encode('utf-8').splitlines(keepends=True)
        self._starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]

    def module(self, tree: ast.Module) -> Iterator[Mutant]:
        for where, statement in _statements(tree.body, ''):
            lines = _lines_of(statement)
            for node, text in (*_left_out(statement), *_of_expressions(statement)):
                yield Mutant(where, lines, *self._span(node), text)

    def _span(self, node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, ast.expr | ast.stmt)
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (self._starts[node.lineno - 1] + node.col_offset,
                self._starts[node.end_lineno - 1] + node.end_col_offset)  # fmt: skip


def _statements(body: list[ast.stmt], where: str, prefix: str = '') -> Iterator[tuple[str, ast.stmt]]:
    """Every statement, with the qualified name of the outermost function around it."""
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == 'TYPE_CHECKING':
            continue
        yield where, statement
        inside, path = where, prefix
        if isinstance(statement, _CALLABLE | ast.ClassDef):
            path = f'{prefix}{statement.name}.'
            inside = where or (path[:-1] if isinstance(statement, _CALLABLE) else '')
        for name in ('body', 'orelse', 'finalbody'):
            yield from _statements(getattr(statement, name, []), inside, path)
        for part in (*getattr(statement, 'handlers', ()), *getattr(statement, 'cases', ())):
            yield from _statements(part.body, inside, path)


def _lines_of(statement: ast.stmt) -> tuple[int, int]:
    """Of a compound statement, those of its head."""
    body = getattr(statement, 'body', None)
    last = body[0].lineno - 1 if body else statement.end_lineno
    return statement.lineno, max(statement.lineno, last or 0)


def _left_out(statement: ast.stmt) -> Iterator[tuple[ast.AST, str]]:
    """The statement left out, or what it returns."""
    if isinstance(statement, ast.Return):
        if statement.value is not None and not _is_nothing(statement.value):
            yield statement, 'return None'
    elif isinstance(statement, _SIMPLE) and not _is_left_alone(statement):
        yield statement, 'pass'


def _is_left_alone(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Call | ast.Await) or '_log.' in ast.unparse(statement)
    if isinstance(statement, ast.Assign):  # without a name nothing runs
        return all(isinstance(target, ast.Name | ast.Tuple) for target in statement.targets)
    return False


def _of_expressions(statement: ast.stmt) -> Iterator[tuple[ast.AST, str]]:
    for root in _expressions(statement):
        for node in _walk(root):
            yield from _changed(node)
    if isinstance(statement, ast.If | ast.While) and not isinstance(statement.test, ast.Compare | ast.UnaryOp):
        yield statement.test, f'not ({ast.unparse(statement.test)})'
    for handler in getattr(statement, 'handlers', ()):
        if isinstance(handler.type, ast.Tuple):
            yield from _shorter(handler.type, ast.Name | ast.Attribute)


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """Those of a statement itself, not of what is in its body."""
    if isinstance(statement, ast.Assert | ast.Import | ast.ImportFrom) or _is_declaration(statement):
        return
    if isinstance(statement, _CALLABLE):
        yield from (default for default in (*statement.args.defaults, *statement.args.kw_defaults) if default)
        return
    for name, value in ast.iter_fields(statement):
        if name in ('annotation', 'returns', 'decorator_list', 'bases', 'keywords'):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.expr):
                yield each
            elif isinstance(each, ast.match_case | ast.withitem):
                yield from (part for part in ast.iter_child_nodes(each) if isinstance(part, ast.expr))


def _is_declaration(statement: ast.stmt) -> bool:
    """A docstring, and what says names only."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in ('__all__', '__slots__')


def _walk(root: ast.expr) -> Iterator[ast.expr]:
    """All expressions of one, but those of messages and of log calls."""
    waiting: list[ast.AST] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Call) and '_log.' in ast.unparse(node.func)):
            continue
        if isinstance(node, ast.expr):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def _changed(node: ast.expr) -> Iterator[tuple[ast.AST, str]]:
    """The expression with each mistake that it may have."""
    if isinstance(node, ast.Compare):
        yield from _compared(node)
    elif isinstance(node, ast.BoolOp):
        other = 'or' if isinstance(node.op, ast.And) else 'and'
        yield node, '({})'.format(f' {other} '.join(f'({ast.unparse(value)})' for value in node.values))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node, f'({ast.unparse(node.operand)})'
    elif isinstance(node, ast.Constant):
        yield from _off(node)
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC and not _is_text(node):
        yield node, f'({ast.unparse(ast.BinOp(node.left, _ARITHMETIC[type(node.op)], node.right))})'
    elif isinstance(node, ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield node.test, f'(not ({ast.unparse(node.test)}))'
    elif isinstance(node, ast.Set | ast.Tuple | ast.List) and isinstance(node.ctx if hasattr(node, 'ctx') else None,
                                                                         ast.Load | None):  # fmt: skip
        yield from _shorter(node)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _NORMALIZING:
        yield node, f'({ast.unparse(node.func.value)})'


def _compared(node: ast.Compare) -> Iterator[tuple[ast.AST, str]]:
    for number, operator in enumerate(node.ops):
        operands = [node.left, *node.comparators]
        words = [_COMPARISONS[type(operator)] if number == at else _sign(other) for at, other in enumerate(node.ops)]
        pieces = [ast.unparse(operands[0])]
        for word, operand in zip(words, operands[1:], strict=True):
            pieces += [word, _operand(operand)]
        yield node, ' '.join(pieces)


def _operand(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Constant | ast.Name | ast.Attribute) else f'({ast.unparse(node)})'


def _sign(operator: ast.cmpop) -> str:
    compared = ast.Compare(ast.Constant(0), [operator], [ast.Constant(0)])
    return ast.unparse(compared)[1:-1].strip()


def _off(node: ast.Constant) -> Iterator[tuple[ast.AST, str]]:
    if isinstance(node.value, bool):
        yield node, str(not node.value)
    elif isinstance(node.value, int | float):
        yield node, repr(node.value + 1)


def _shorter(node: ast.Set | ast.Tuple | ast.List, kinds: Any = ast.Constant) -> Iterator[tuple[ast.AST, str]]:
    """A literal whose elements are all of these kinds, with one less of them."""
    if not 1 < len(node.elts) < 9 or not all(isinstance(each, kinds) for each in node.elts):
        return
    opening, closing = _BRACKETS[type(node)]
    for number in range(len(node.elts)):
        kept = [ast.unparse(each) for at, each in enumerate(node.elts) if at != number]
        comma = ',' if len(kept) == 1 and opening == '(' else ''
        yield node, f'{opening}{", ".join(kept)}{comma}{closing}'


def _is_text(node: ast.BinOp) -> bool:
    """A template with what is put into it, or joined texts."""
    return any(isinstance(side, ast.JoinedStr) or isinstance(getattr(side, 'value', None), str | bytes)
               for side in (node.left, node.right))  # fmt: skip


def _is_nothing(node: ast.expr) -> bool:
    """None, and False, of which callers see no difference."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)
