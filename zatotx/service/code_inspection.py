"""What the code of a service speaks of, found without running it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any


def mentioned_names(cls: type, base: type, name: str) -> bool:
    """Whether a method that a class has beyond `base`, or anything inside of one, reads an attribute of that name, or
    has the name as a text. Of functions elsewhere that are given `self` nothing is known."""
    own = [each for each in cls.__mro__ if each not in base.__mro__]
    return any(name in words for each in own for value in vars(each).values() for words in _words(_code_of(value)))


def _code_of(value: Any) -> CodeType | None:
    """The code of a method, whatever decorates it in the way of functools.wraps."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    code: CodeType | None = None
    if inspect.isfunction(value):
        code = getattr(inspect.unwrap(value), '__code__', None)
    return code


def _words(code: CodeType | None) -> Iterator[tuple[Any, ...]]:
    if code is None:
        return
    yield code.co_names
    yield code.co_consts
    for inside in code.co_consts:
        if isinstance(inside, CodeType):
            yield from _words(inside)
