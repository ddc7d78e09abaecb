"""A forgotten `await`: found where an answer cannot be written, or where code stumbles over a coroutine, and told with
file and line. Runs only after something has failed."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Awaitable, Iterator, Mapping
from inspect import unwrap
from types import CodeType, CoroutineType, FunctionType
from typing import NamedTuple

import msgspec

from zatotx.model.errors import ServiceError
from zatotx.service.response import Payload, copy_payload
from zatotx.service.service import Service

_SEARCHED = 1000  # values of an answer
_SHOWN = 3  # places where an await may be missing
_HASH = 64  # hex digits of a SHA-256, the name of the directory that a deployed version lies in
_INVOKE = ('invoke', 'invoke_by_impl_name')
_CONNECTIONS = frozenset({'out', 'outgoing', 'rest'})  # attributes of a service that lead to connections


class NotAwaited(TypeError):  # noqa: N818 - it says what was forgotten
    """An `await` is missing: where, and before which call."""


class _Call(NamedTuple):
    """A call in the code of a service that has no `await` before it."""

    line: int
    name: str  # of what is called, without what it is an attribute of
    text: str  # the same as it is written
    connects: bool  # it goes by way of self.out


def explain_error(error: BaseException, cls: type, value: object) -> BaseException:
    """NotAwaited in place of an error that a missing `await` led to, else the error. `value`: what the service set as
    its answer, None where it did not come to that."""
    if isinstance(error, (ServiceError, NotAwaited)) or not isinstance(error, (TypeError, AttributeError, ValueError)):
        return error
    found = find_not_awaited(cls, value)
    if found is None and 'coroutine' in (text := str(error)):
        place = _place_in_traceback(error, cls)
        found = NotAwaited(f"{place}{text}: 'await' is missing before the call that gave it")
    return error if found is None else found.with_traceback(error.__traceback__)


def find_not_awaited(cls: type, value: object) -> NotAwaited | None:
    """What to say where the answer of a service of that class has something to be awaited in it; None where it has
    none."""
    found = _awaitable_in(value)
    if found is None:
        return None
    code = getattr(found, 'cr_code', None)
    if isinstance(found, CoroutineType):
        found.close()  # else Python says, somewhere else, that it was never awaited
    return NotAwaited(_sentence(cls, type(found).__name__, code))


def _sentence(cls: type, kind: str, code: CodeType | None) -> str:
    functions = list(_functions(cls))
    file = shown_file(functions[0].co_filename) if functions else cls.__name__
    calls = _likely(list(_calls(functions)), code)[:_SHOWN]
    if calls:
        places = ' or '.join(f'{file}:{call.line}' for call in calls)
        texts = ' or '.join(dict.fromkeys(f'{call.text}(…)' for call in calls))
        return f"{places}: 'await' is missing before {texts}: the answer has a {kind} in it"
    made = f', of {code.co_qualname}' if code is not None else ''
    begins = f':{functions[0].co_firstlineno}' if functions else ''
    return f"{file}{begins}: 'await' is missing in {cls.__name__}: its answer has a {kind} in it{made}"


def _awaitable_in(value: object) -> object | None:
    """The first awaitable at any depth of an answer."""
    waiting, looked = [value], 0
    while waiting and looked < _SEARCHED:
        one = waiting.pop()
        looked += 1
        if isinstance(one, Awaitable):
            return one
        if isinstance(one, Payload):
            waiting.append(copy_payload(one))
        elif isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, (list, tuple, set)):
            waiting.extend(one)
        elif isinstance(one, msgspec.Struct):
            waiting.extend(getattr(one, name) for name in one.__struct_fields__)
        elif hasattr(one, '__dict__') and not isinstance(one, type):
            waiting.extend(vars(one).values())
    return None


def _functions(cls: type) -> Iterator[CodeType]:
    """The code of the methods that a class has beyond Service, of the file that the first of them is in."""
    file = ''
    for each in cls.__mro__:
        for value in vars(each).values() if each not in Service.__mro__ else ():
            code = getattr(unwrap(value), '__code__', None) if isinstance(value, FunctionType) else None
            if code is not None and file in ('', code.co_filename):
                file = code.co_filename
                yield code


def _calls(functions: list[CodeType]) -> Iterator[_Call]:
    """The calls in these functions that are not awaited, by line."""
    if not functions:
        return
    try:
        tree = ast.parse(''.join(linecache.getlines(functions[0].co_filename)))
    except SyntaxError:  # it is another version now
        return
    lines = {line for code in functions for _, _, line in _all_lines(code) if line}
    handed_on = {id(inner) for node in ast.walk(tree) for inner in _handed_on(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and id(node) not in handed_on and node.lineno in lines:
            words = [n.attr for n in ast.walk(node.func) if isinstance(n, ast.Attribute)]
            name = node.func.id if isinstance(node.func, ast.Name) else words[0] if words else ''
            yield _Call(node.lineno, name, ast.unparse(node.func), not _CONNECTIONS.isdisjoint(words))


def _handed_on(node: ast.AST) -> Iterator[ast.AST]:
    """What is awaited here, or given to another call, which may do it: gather(…), Deferred.fromCoroutine(…)."""
    if isinstance(node, ast.Await):
        yield node.value
    elif isinstance(node, ast.Call):
        yield from node.args


def _all_lines(code: CodeType) -> Iterator[tuple[int, int, int | None]]:
    yield from code.co_lines()
    for inside in code.co_consts:
        if isinstance(inside, CodeType):
            yield from _all_lines(inside)


def _likely(calls: list[_Call], code: CodeType | None) -> list[_Call]:
    """Those that may have made a coroutine of this code."""
    named = [call for call in calls if code is not None and call.name == code.co_name]
    connected = [call for call in calls if call.connects]
    invoked = [call for call in calls if call.name in _INVOKE]
    if code is not None and code.co_name == '_awaited':  # self.invoke, in facade.py
        return invoked
    return named or connected or invoked


def _place_in_traceback(error: BaseException, cls: type) -> str:
    """`crm.py:12: `, the innermost line of the class's file that the error passed through; '' where there is none."""
    files = {code.co_filename for code in _functions(cls)}
    place, traceback = '', error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file in files:
            place = f'{shown_file(file)}:{traceback.tb_lineno}: '
        traceback = traceback.tb_next
    return place


def shown_file(filename: str) -> str:
    """What the author of a deployed file calls it: `crm.py`, `crm/util.py`."""
    parts = filename.split('/')
    hashed = max((number for number, part in enumerate(parts) if len(part) == _HASH), default=len(parts) - 2)
    return '/'.join(parts[hashed + 1 :])
