"""Inspects the bytecode of a service class without running it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any


def mentions_name(cls: type, base: type, name: str) -> bool:
    """Return whether any method that `cls` adds to `base` mentions `name`, as an attribute or as a string constant.

    Nested functions and classes are searched too. Functions defined elsewhere that receive `self` are not.
    """
    codes = [_code_of(value) for added in cls.__mro__ if added not in base.__mro__ for value in vars(added).values()]
    return any(name in names for code in codes for names in _names_and_constants(code))


def _code_of(value: Any) -> CodeType | None:
    """Return the code object of a method, seen through properties, class and static methods, and functools.wraps."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    code: CodeType | None = None
    if inspect.isfunction(value):
        code = getattr(inspect.unwrap(value), '__code__', None)
    return code


def _names_and_constants(code: CodeType | None) -> Iterator[tuple[Any, ...]]:
    """Yield the names and constants of a code object and of all code nested in it."""
    if code is None:
        return
    yield code.co_names
    yield code.co_consts
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_and_constants(constant)
