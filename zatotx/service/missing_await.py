"""Detects a missing `await` in the code of a service, and reports the file and line.

It runs only after an error: when a response cannot be serialized because it contains an awaitable, or when code used a
coroutine as if it were a value.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Awaitable, Iterator, Mapping
from inspect import unwrap
from types import CodeType, CoroutineType, FunctionType
from typing import NamedTuple

import msgspec

from zatotx.model.errors import ServiceError
from zatotx.service.response import Payload, payload_content
from zatotx.service.service import Service

_SEARCHED = 1000  # values of a response that are searched
_SHOWN = 3  # locations to report
_HASH = 64  # hex digits of a SHA-256; the directory of a deployed version is named by its hash
_INVOKE = ('invoke', 'invoke_by_id', 'invoke_by_impl_name')
# Attributes of a service that lead to connections.
_CONNECTIONS = frozenset({'cache', 'kvdb', 'out', 'outgoing', 'rest'})


class MissingAwait(TypeError):  # noqa: N818 - the name says what is missing
    """Raised for a missing `await`. The message contains the line, and the call before which `await` is missing."""


class _Call(NamedTuple):
    """A call in the code of a service that is not awaited."""

    line: int
    name: str  # of the called function, without the object it is an attribute of
    text: str  # the called expression as in the source
    connects: bool  # whether it is a call on an outgoing connection


def explain_error(error: BaseException, service_class: type, payload: object) -> BaseException:
    """Return a MissingAwait error if a missing `await` caused the given error. Other errors are returned unchanged.

    `payload` is the response that the service set, or None if it did not get that far.
    """
    if isinstance(error, (ServiceError, MissingAwait)) or not isinstance(
        error, (TypeError, AttributeError, ValueError)
    ):
        return error
    explanation = find_missing_await(service_class, payload)
    if explanation is None and 'coroutine' in (text := str(error)):
        location = _location_in_traceback(error, service_class)
        explanation = MissingAwait(f"{location}{text}: 'await' is missing before the call that gave it")
    return error if explanation is None else explanation.with_traceback(error.__traceback__)


def find_missing_await(service_class: type, payload: object) -> MissingAwait | None:
    """Return the MissingAwait error for a response that contains an awaitable, or None if the response contains no
    awaitable."""
    awaitable = _awaitable_in(payload)
    if awaitable is None:
        return None
    code = getattr(awaitable, 'cr_code', None)
    if isinstance(awaitable, CoroutineType):
        awaitable.close()  # avoids Python's 'never awaited' warning
    return MissingAwait(_message(service_class, type(awaitable).__name__, code))


def _message(cls: type, kind: str, code: CodeType | None) -> str:
    """Return the text of the error: the likely lines and calls, or the class if no call is likely."""
    functions = list(_functions(cls))
    file = display_path(functions[0].co_filename) if functions else cls.__name__
    calls = _likely(list(_calls(functions)), code)[:_SHOWN]
    if calls:
        locations = ' or '.join(f'{file}:{call.line}' for call in calls)
        texts = ' or '.join(dict.fromkeys(f'{call.text}(…)' for call in calls))
        return f"{locations}: 'await' is missing before {texts}: the answer has a {kind} in it"
    origin = f', of {code.co_qualname}' if code is not None else ''
    first_line = f':{functions[0].co_firstlineno}' if functions else ''
    return f"{file}{first_line}: 'await' is missing in {cls.__name__}: its answer has a {kind} in it{origin}"


def _awaitable_in(value: object) -> object | None:
    """Return the first awaitable at any depth of a response, or None."""
    pending, searched = [value], 0
    while pending and searched < _SEARCHED:
        current = pending.pop()
        searched += 1
        if isinstance(current, Awaitable):
            return current
        if isinstance(current, Payload):
            pending.append(payload_content(current))
        elif isinstance(current, Mapping):
            pending.extend(current.values())
        elif isinstance(current, (list, tuple, set)):
            pending.extend(current)
        elif isinstance(current, msgspec.Struct):
            pending.extend(getattr(current, name) for name in current.__struct_fields__)
        elif hasattr(current, '__dict__') and not isinstance(current, type):
            pending.extend(vars(current).values())
    return None


def _functions(cls: type) -> Iterator[CodeType]:
    """Yield the code objects of the methods that a class adds to Service, limited to the file of the first one."""
    file = ''
    for base in cls.__mro__:
        for value in vars(base).values() if base not in Service.__mro__ else ():
            code = getattr(unwrap(value), '__code__', None) if isinstance(value, FunctionType) else None
            if code is not None and file in ('', code.co_filename):
                file = code.co_filename
                yield code


def _calls(functions: list[CodeType]) -> Iterator[_Call]:
    """Yield the calls in these functions that are not awaited, by line."""
    if not functions:
        return
    try:
        tree = ast.parse(''.join(linecache.getlines(functions[0].co_filename)))
    except SyntaxError:  # the file has changed since it was imported
        return
    lines = {line for code in functions for _, _, line in _all_lines(code) if line}
    awaited_or_passed = {id(inner) for node in ast.walk(tree) for inner in _awaited_or_passed(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and id(node) not in awaited_or_passed and node.lineno in lines:
            attributes = [attribute.attr for attribute in ast.walk(node.func) if isinstance(attribute, ast.Attribute)]
            name = node.func.id if isinstance(node.func, ast.Name) else attributes[0] if attributes else ''
            yield _Call(node.lineno, name, ast.unparse(node.func), not _CONNECTIONS.isdisjoint(attributes))


def _awaited_or_passed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node awaits or passes to another call, which may await it: gather(…), Deferred.fromCoroutine(…)."""
    if isinstance(node, ast.Await):
        yield node.value
    elif isinstance(node, ast.Call):
        yield from node.args


def _all_lines(code: CodeType) -> Iterator[tuple[int, int, int | None]]:
    """Yield the line table of a code object and of all code nested in it."""
    yield from code.co_lines()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_lines(constant)


def _likely(calls: list[_Call], code: CodeType | None) -> list[_Call]:
    """Return the calls that may have created a coroutine of this code."""
    named = [call for call in calls if code is not None and call.name == code.co_name]
    connected = [call for call in calls if call.connects]
    invoked = [call for call in calls if call.name in _INVOKE]
    if code is not None and code.co_name == '_invoke_on_reactor':  # the coroutine of self.invoke, in invoke.py
        return invoked
    return named or connected or invoked


def _location_in_traceback(error: BaseException, cls: type) -> str:
    """Return `crm.py:12: `, the innermost line of the class's file in the traceback of an error, or ''."""
    files = {code.co_filename for code in _functions(cls)}
    location, traceback = '', error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file in files:
            location = f'{display_path(file)}:{traceback.tb_lineno}: '
        traceback = traceback.tb_next
    return location


def display_path(filename: str) -> str:
    """Return the path of a deployed file relative to its source package, such as `crm.py` or `crm/util.py`."""
    parts = filename.split('/')
    hash_index = max((index for index, part in enumerate(parts) if len(part) == _HASH), default=len(parts) - 2)
    return '/'.join(parts[hash_index + 1 :])
